"""The explaining commands from file to file: every option, and what they leave behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from classifiers import small
from cli.tiny import ENVIRONMENT, TINY, pictures
from PIL import Image

from preimage.classifiers import Classifier, LossEstimator, TrainedModel
from preimage.classifiers.model_file import Backbone, write_model
from preimage.cli.progress import Progress
from preimage.images import read

OWN = "classifiers.small:own_classifier"
BRIEF = ("--recipe", "tiny.json", "--device", "cpu")
CHANGE = ("counterfactual", "noisy.png", "--classifier", OWN, *BRIEF)
KEYS = {"task", "input", "output", "size", "reason", "steps", "kept_step", "seconds", "recipe", "seed", "device"}
KEYS |= {"precision", "threads", "peak_memory_bytes", "remarks", "events"}


def pixels(path: str) -> np.ndarray:
    return np.asarray(Image.open(path))


def report_of(path: str = "report.json") -> dict:
    return json.loads(Path(path).read_text())


@pytest.fixture
def model(here: Path) -> Path:
    """A model file: a small classifier of a library with an estimator of its loss."""
    classifier = Classifier(Backbone("timm:test_resnet").build(3), ["round", "square", "star"], size=(20, 24))
    _, features = classifier.logits_and_features(torch.rand(1, 3, 20, 24), ["layer1"])
    estimator = LossEstimator({"layer1": features["layer1"].shape[1]}, units=4)
    estimator.settle(torch.linspace(-1, 1, 20))
    trained = TrainedModel(classifier, estimator, {"target_quantile": 0.2}, Backbone("timm:test_resnet"))
    return write_model(here / "model.pt", trained)


def test_further_classifiers_are_an_ensemble(here, model, run):
    ran = run("counterfactual", "noisy.png", "--classifier", "model.pt", *BRIEF, "--further-classifier", OWN,
              "--further-classifier", "model.pt", "--report", "report.json")  # fmt: skip
    assert ran.code == 0, ran.err
    assert len(report_of()["further_confidences"]) == 2
    ran = run(
        "counterfactual",
        "noisy.png",
        "--classifier",
        "model.pt",
        *BRIEF,
        "--further-classifier",
        "nothing.pt",
        "-o",
        "b.png",
    )
    assert ran.code == 2
    assert "nothing.pt" in ran.err


def test_a_counterfactual_with_all_its_files(here, model, run):
    mask = np.zeros((20, 24), np.uint8)
    mask[5:15, 5:15] = 255
    Image.fromarray(mask).save("lesion.png")
    ran = run("counterfactual", "noisy.png", "--classifier", "model.pt", *BRIEF, "--figure", "figure.png",
              "--html", "page.html", "--report", "report.json", "--strengths", "strip.png", "--film", "why.gif",
              "--lesion-mask", "lesion.png", "--second-classifier", OWN, "--seed", "3", "--threads", "1")  # fmt: skip
    assert ran.code == 0, ran.err
    assert pixels("noisy-counterfactual.png").shape == (20, 24, 3)
    report = report_of()
    assert report.keys() >= KEYS | {"valid", "target", "prediction", "confidence", "probabilities"}
    assert (report["task"], report["size"], report["seed"], report["threads"]) == ("counterfactual", [20, 24], 3, 1)
    assert isinstance(report["valid"], bool)
    assert 0 <= report["confidence"] <= 1
    assert report["target"] != report["prediction"]
    assert {"inside_share", "transfers"} & report.keys() or any("inside" in key for key in report)
    for words in ("noisy.png -> noisy-counterfactual.png", "valid", "confidence", report["reason"], "12 steps in"):
        assert words in ran.out, words
    assert pixels("figure.png").shape[1] > pixels("strip.png").shape[0] > 100
    page = Path("page.html").read_text()
    assert not re.search(r'src="(?!data:)', page)
    assert "noisy.png" in page
    assert not list(here.glob("*.checkpoint")) + list(here.glob(".preimage*"))


def test_a_class_that_is_not_reached_is_a_result_all_the_same(here, run):
    ran = run(*CHANGE, "--steps", "1", "--class-weight", "0", "--report", "report.json")
    assert ran.code == 0, ran.err
    assert report_of()["valid"] is False


def test_several_seeds_write_several_files(here, run):
    ran = run(*CHANGE, "--count", "2", "-o", "out.png", "--report", "report.json")
    assert ran.code == 0, ran.err
    assert (pixels("out.png") != pixels("out-2.png")).any()
    assert report_of()["count"] == 2
    assert -1 <= report_of()["stability"] <= 1


def test_nothing_changes_outside_the_region(here, run):
    region = np.zeros((20, 24), np.uint8)
    region[:, 12:] = 255
    Image.fromarray(region).save("region.png")
    assert run(*CHANGE, "--region", "region.png").code == 0
    before, after = pixels("noisy.png"), pixels("noisy-counterfactual.png")
    assert (after[:, :12] == before[:, :12]).all()
    assert (after[:, 12:] != before[:, 12:]).any()


@pytest.mark.usefixtures("more")
def test_a_page_of_a_stack_and_of_its_masks(run):
    ran = run("recover", "stack.tif", "--classifier", OWN, *BRIEF, "--page", "2", "-o", "a.tif")
    assert ran.code == 0, ran.err
    Image.fromarray(tifffile.imread("stack.tif")[1]).save("second.png")
    assert run("recover", "second.png", "--classifier", OWN, *BRIEF, "-o", "b.png").code == 0
    assert (pixels("a.tif") == pixels("b.png")).all()

    masked = ("stack.tif", *CHANGE[2:], "--region", "masks.tif", "--page", "2", "-o", "c.tif")
    assert (ran := run("counterfactual", *masked)).code == 0, ran.err
    kept = tifffile.imread("masks.tif")[1] == 0
    assert (pixels("c.tif")[kept] == tifffile.imread("stack.tif")[1][kept]).all()


def test_target_by_name_or_number(here, run):
    run(*CHANGE, "--report", "report.json")
    names = ["round", "square", "star"]
    wanted = next(n for n in names if n not in (report_of()["prediction"], report_of()["target"]))
    for k, target in enumerate((wanted.upper(), names.index(wanted))):
        ran = run(*CHANGE, "--target", target, "--report", f"{k}.json", "-o", f"{k}.png")
        assert ran.code == 0, ran.err
        assert report_of(f"{k}.json")["target"] == wanted
    assert Path("0.png").read_bytes() == Path("1.png").read_bytes()


def test_json_alone_on_stdout_and_quiet_says_nothing(here, run):
    ran = run(*CHANGE, "--json")
    assert json.loads(ran.out).keys() >= KEYS
    assert "noisy-counterfactual.png" in ran.err
    ran = run(*CHANGE, "--json", "--quiet", "-o", "b.png")
    assert (json.loads(ran.out)["output"], ran.err) == ("b.png", "")
    ran = run(*CHANGE, "--quiet", "-o", "c.png")
    assert (ran.code, ran.out, ran.err) == (0, "", "")


def test_equal_runs_give_equal_bytes(here, model, run):
    for name in ("a", "b"):
        ran = run("recover", "noisy.png", "--classifier", "model.pt", *BRIEF, "-o", f"{name}.png",
                  "--figure", f"{name}-figure.png")  # fmt: skip
        assert ran.code == 0, ran.err
    for end in (".png", "-figure.png"):
        assert Path(f"a{end}").read_bytes() == Path(f"b{end}").read_bytes(), end


@pytest.mark.parametrize("uncertainty", ["loss", "entropy", "energy", "none"])
def test_recover_by_every_doubt(here, model, run, uncertainty):
    ran = run("recover", "noisy.png", "--classifier", "model.pt", *BRIEF, "--steps", "2", "--uncertainty", uncertainty,
              "--report", "report.json", "--html", "a.html")  # fmt: skip
    assert ran.code == 0, ran.err
    assert report_of()["uncertainty"] == uncertainty
    assert ("estimated_loss" in report_of()) is (uncertainty == "loss")
    assert pixels("noisy-recover.png").shape == (20, 24, 3)


def test_invert_all_layers_is_a_sheet(here, run):
    ran = run("invert", "noisy.png", "--classifier", OWN, *BRIEF, "--report", "report.json", "--figure", "f.png",
              "--html", "a.html")  # fmt: skip
    assert ran.code == 0, ran.err
    assert [each["layer"] for each in report_of()["layers"]] == ["block1", "block2", "head"]
    assert Path("a.html").read_text().count("<figure>") == 4
    assert pixels("noisy-invert.png").shape == (20, 24, 3)


@pytest.mark.parametrize("prior", ["deep", "tv", "alpha", "none"])
def test_invert_one_layer_by_every_prior(here, run, prior):
    recipe = BRIEF if prior == "deep" else ("--device", "cpu")  # tiny.json has a network
    ran = run("invert", "noisy.png", "--classifier", OWN, *recipe, "--layer", "block1", "--prior", prior, "--steps", "2",
              "--report", "report.json")  # fmt: skip
    assert ran.code == 0, ran.err
    assert (report_of()["layer"], report_of()["prior"]) == ("block1", prior)
    assert report_of()["feature_error"] > 0


def test_layers_with_commas_between(here, run):
    ran = run("invert", "noisy.png", "--classifier", OWN, *BRIEF, "--layers", "block1, head", "--report", "report.json")
    assert ran.code == 0, ran.err
    assert [each["layer"] for each in report_of()["layers"]] == ["block1", "head"]


def test_maximize_a_class_or_a_channel(here, run):
    ran = run("maximize", "--classifier", OWN, *BRIEF, "--target", "star", "--size", 20, 24, "--report", "report.json")
    assert ran.code == 0, ran.err
    assert pixels("class-maximize.png").shape == (20, 24, 3)
    assert report_of()["input"] is None
    assert report_of()["maximized"] == "class star"
    ran = run("maximize", "--classifier", OWN, *BRIEF, "--layer", "block2", "--channel", 3, "--window", 2, "--size", 20, 24,
              "-o", "unit.tif", "--html", "a.html")  # fmt: skip
    assert ran.code == 0, ran.err
    assert read("unit.tif").tensor.shape == (1, 3, 20, 24)


def test_a_folder_gets_the_default_name(here, run):
    (here / "folder").mkdir()
    assert run(*CHANGE, "-o", "folder").code == 0
    assert Path("folder/noisy-counterfactual.png").exists()


def test_gray_16_bit_and_a_picture_with_alpha(here, run):
    deep = pictures()[1][..., 0].astype(np.uint16) * 200
    Image.fromarray(deep).save("deep.png")
    alpha = np.full((20, 24, 1), 255, np.uint8)
    alpha[:5] = 0
    Image.fromarray(np.concatenate([pictures()[1], alpha], 2)).save("alpha.png")
    for name in ("deep", "alpha"):
        ran = run("counterfactual", f"{name}.png", "--classifier", OWN, *BRIEF)
        assert ran.code == 0, ran.err
    assert read("deep-counterfactual.png").dtype == np.uint16
    assert (pixels("alpha-counterfactual.png")[..., 3:] == alpha).all()


def test_a_model_file_of_a_library_s_backbone_and_a_picture_much_larger(here, run):
    classifier = Classifier(Backbone("timm:test_resnet").build(3), ["a", "b", "c"], size=(16, 16))
    _, features = classifier.logits_and_features(torch.rand(1, 3, 16, 16), ["layer1"])
    estimator = LossEstimator({"layer1": features["layer1"].shape[1]}, units=4)
    estimator.settle(torch.linspace(-1, 1, 20))
    write_model(here / "m.pt", TrainedModel(classifier, estimator, {}, Backbone("timm:test_resnet")))
    Image.fromarray(np.kron(pictures()[1], np.ones((4, 4, 1), np.uint8))).save("large.png")
    for task, shape in (("counterfactual", (80, 96, 3)), ("recover", (16, 16, 3))):
        ran = run(task, "large.png", "--classifier", "m.pt", *BRIEF, "--steps", "2")
        assert ran.code == 0, ran.err
        assert pixels(f"large-{task}.png").shape == shape


@pytest.mark.parametrize("name", ["counterfactual", "recover", "invert", "maximize"])
def test_help_shows_an_example(run, name):
    ran = run(name, "--help")
    assert ran.code == 0
    assert f"preimage {name}" in ran.out.split("Example")[1]
    for option in ("--classifier", "--figure", "--html", "--report", "--resume"):
        assert option in ran.out, option
    assert "None" not in ran.out


# ---------------------------------------------------------------------- interrupted, resumed

INVERT = ("invert", "noisy.png", "--classifier", OWN, *BRIEF, "-o", "out.png")


@pytest.mark.parametrize("command", [(*CHANGE, "-o", "out.png", "--count", "2"), INVERT])
def test_interrupted_and_resumed_gives_the_same_bytes(here, run, monkeypatch, command):
    with monkeypatch.context() as patched:
        shown = [0]

        def ask_to_end(progress: Progress, step: object) -> None:
            shown[0] += 1
            if shown[0] == 9:
                os.kill(os.getpid(), signal.SIGINT)

        patched.setattr(Progress, "show", ask_to_end)
        ran = run(*command, "--autosave", "4", "--report", "report.json")
    assert ran.code == 130, ran.err
    assert report_of()["reason_code"] == "interrupted"
    assert Path("out.png").exists()
    assert Path("out.png.checkpoint").exists()
    ran = run(*command, "--report", "report.json", "--resume")
    assert ran.code == 0, ran.err
    assert not Path("out.png.checkpoint").exists()
    resumed = Path("out.png").read_bytes()
    assert run(*command, "--overwrite").code == 0
    assert Path("out.png").read_bytes() == resumed


def test_a_request_to_end_without_a_checkpoint(here, run, monkeypatch):
    monkeypatch.setattr(Progress, "show", lambda progress, step: os.kill(os.getpid(), signal.SIGTERM))
    ran = run(*CHANGE)
    assert ran.code == 143
    assert Path("noisy-counterfactual.png").exists()
    assert not list(here.glob("*.checkpoint"))


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX systems")
def test_ctrl_c_on_a_real_process(here, run):
    Path("long.json").write_text(json.dumps({**TINY, "steps": 5000}))
    source = Path(small.__file__).read_text()
    Path("mine.py").write_text(source)  # a module of the working folder is found
    command = [sys.executable, "-m", "preimage", "invert", "noisy.png", "--classifier", "mine:own_classifier"]
    command += ["--layer", "block1", "--recipe", "long.json", "-o", "out.png", "--autosave", "5", "--device", "cpu"]
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not Path("out.png.checkpoint").exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert Path("out.png").exists()
    assert Path("out.png.checkpoint").exists()
