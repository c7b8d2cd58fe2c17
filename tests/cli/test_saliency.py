"""`preimage saliency` from file to file: what it writes and says, and bad input in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from classifiers.small import tiny
from cli.tiny import pictures
from PIL import Image

from preimage.classifiers import Classifier, TrainedModel
from preimage.classifiers.model_file import Backbone, write_model
from preimage.defend.attribution import saliency_map
from preimage.defend.faithfulness import deletion, insertion
from preimage.defend.saliency import SaliencyOptions
from preimage.images import read

OWN = "classifiers.small:own_classifier"
ASK = ("saliency", "noisy.png", "--classifier", OWN, "--device", "cpu", "--steps", "3", "--samples", "2")


def pixels(path: str) -> np.ndarray:
    return np.asarray(Image.open(path))


def report_of(path: str = "report.json") -> dict:
    return json.loads(Path(path).read_text())


@pytest.mark.parametrize(("name", "least"), [("steps", 1), ("samples", 1), ("sigma", 0)])
def test_a_value_out_of_range_is_said_of_the_option_as_it_is_called(here, run, name, least):
    ran = run(*ASK[:6], f"--{name}", "-1")
    assert ran.failed_in_one_line(f"{name} must be at least {least}, got -1"), ran
    assert "n_" not in ran.err


def test_one_method_with_all_its_files(here, run):
    ran = run(*ASK, "--target", "star", "--array", "map.npy", "--figure", "figure.png", "--report", "report.json",
              "--sigma", "0.1", "--baseline", "gray", "--seed", "3", "--threads", "1")  # fmt: skip
    assert ran.code == 0, ran.err
    assert pixels("noisy-saliency.png").shape == (20, 24, 3)
    assert pixels("noisy-saliency.png").dtype == np.uint8
    wanted = saliency_map(
        "noisy.png",
        SaliencyOptions(tiny(), "star", n_steps=3, n_samples=2, sigma=0.1, baseline="gray", seed=3, device="cpu"),
    )
    np.testing.assert_allclose(np.load("map.npy"), wanted.map[0, 0].numpy(), rtol=1e-5)
    report = report_of()
    assert (report["task"], report["target"], report["size"], report["threads"]) == ("saliency", "star", [20, 24], 1)
    assert report["confidence"] == pytest.approx(wanted.confidence)
    (only,) = report["methods"]
    assert only["settings"] == {"n_steps": 3, "n_samples": 2, "sigma": 0.1, "seed": 3, "baseline": "gray"}
    for name, curve in (("insertion", insertion), ("deletion", deletion)):
        score = float(curve(tiny(), wanted.seen, wanted.merged, "star").area)
        assert only[name] == pytest.approx(score, abs=1e-4)
        assert f"{score:.3f}" in ran.out
    for words in ("noisy.png -> noisy-saliency.png", "class star, confidence", "mig-sg", "to black"):
        assert words in ran.out, words
    assert pixels("figure.png").shape[1] > 500
    assert not list(here.glob(".preimage*"))


def test_the_class_is_the_one_that_it_says_unless_it_is_named(here, run):
    says = tiny().classes[int(tiny()(read("noisy.png").tensor).argmax())]
    assert f"class {says}" in run(*ASK).out
    other = next(name for name in tiny().classes if name != says)
    assert f"{says}" in run(*ASK, "--target", other, "-o", "b.png").out


def test_several_methods_are_a_figure_and_a_table(here, run):
    ran = run(*ASK, "--method", "mig-sg, gradient,gradcam,gradient", "--array", "maps.npz", "--report", "report.json")
    assert ran.code == 0, ran.err
    assert [each["method"] for each in report_of()["methods"]] == ["mig-sg", "gradient", "gradcam"]
    assert all(
        sum(line.startswith(f"  {m}") for line in ran.out.splitlines()) == 1 for m in ("mig-sg", "gradient", "gradcam")
    )
    with np.load("maps.npz") as maps:
        assert {name: maps[name].shape for name in maps} == dict.fromkeys(("mig-sg", "gradient", "gradcam"), (20, 24))
    height, width = pixels("noisy-saliency.png").shape[:2]
    assert width > height > 500


@pytest.mark.parametrize("name", ["maps.npy", "maps.tif"])
def test_maps_one_after_another(here, run, name):
    assert run(*ASK, "--method", "gradient,mig-sg", "--array", name).code == 0
    found = np.load(name) if name.endswith(".npy") else tifffile.imread(name)
    assert found.shape == (2, 20, 24)
    assert found.dtype == np.float32
    wanted = saliency_map("noisy.png", SaliencyOptions(tiny(), method="gradient", device="cpu")).map[0, 0]
    np.testing.assert_allclose(found[0], wanted.numpy(), rtol=1e-5)


def test_every_method_of_the_help_works(here, run):
    from typing import get_args

    from preimage.defend.saliency import Method

    told = run("saliency", "--help")
    assert told.code == 0
    assert "preimage saliency" in told.out.split("Example")[1]
    assert "None" not in told.out
    shown = " ".join(told.out.split())
    for method in get_args(Method):
        assert method in shown
    ran = run(*ASK, "--method", ",".join(get_args(Method)))
    assert ran.code == 0, ran.err


def test_kinds_of_pictures_and_of_outputs(here, run):
    noisy = pictures()[1]
    Image.fromarray(noisy[..., 0].astype(np.uint16) * 200).save("deep.png")
    Image.fromarray(np.dstack([noisy, np.full((20, 24), 99, np.uint8)])).save("alpha.png")
    for source, output in (("deep.png", "deep.jpg"), ("alpha.png", "alpha.tif"), ("clean.png", "folder")):
        (here / "folder").mkdir(exist_ok=True)
        ran = run(ASK[0], source, *ASK[2:], "-o", output)
        assert ran.code == 0, ran.err
    assert pixels("deep.jpg").shape == (20, 24, 3)
    assert read("alpha.tif").dtype == np.uint8
    assert pixels("folder/clean-saliency.png").shape == (20, 24, 3)


def test_a_model_file_and_a_large_picture(here, run):
    classifier = Classifier(Backbone("timm:test_resnet").build(3), ["round", "square", "star"], size=(20, 24))
    write_model(here / "model.pt", TrainedModel(classifier, None, {}, Backbone("timm:test_resnet")))
    Image.fromarray(np.kron(pictures()[1], np.ones((2, 2, 1), np.uint8))).save("large.png")
    ran = run("saliency", "large.png", "--classifier", "model.pt", *ASK[4:], "--method", "gradient", "--array", "m.npy")
    assert ran.code == 0, ran.err
    assert np.load("m.npy").shape == (40, 48)
    assert pixels("large-saliency.png").shape == (40, 48, 3)


def test_json_alone_on_stdout_and_quiet_says_nothing(here, run):
    ran = run(*ASK, "--json")
    assert json.loads(ran.out)["methods"][0]["method"] == "mig-sg"
    assert "noisy-saliency.png" in ran.err
    ran = run(*ASK, "--quiet", "-o", "c.png")
    assert (ran.code, ran.out, ran.err) == (0, "", "")


def test_equal_runs_give_equal_bytes_and_nothing_is_overwritten_unasked(here, run):
    for name in ("a", "b"):
        ran = run(*ASK, "--quiet", "-o", f"{name}.png", "--figure", f"{name}-figure.png", "--array", f"{name}.npz")
        assert ran.code == 0, ran.err
    for end in (".png", "-figure.png", ".npz"):
        assert Path(f"a{end}").read_bytes() == Path(f"b{end}").read_bytes(), end
    before = Path("a.png").read_bytes()
    assert run(*ASK, "-o", "a.png", "--seed", "1").failed_in_one_line("a.png", code="exists")
    assert Path("a.png").read_bytes() == before
    assert run(*ASK, "-o", "a.png", "--seed", "1", "--overwrite").code == 0
    assert Path("a.png").read_bytes() != before


def test_a_map_that_is_zero_is_said(here, run):
    Image.fromarray(np.zeros((20, 24, 3), np.uint8)).save("black.png")
    ran = run(ASK[0], "black.png", *ASK[2:])
    assert ran.code == 0, ran.err
    assert "zero everywhere" in ran.out


BAD = [
    (["--classifier", "nothing"], ["nothing"]),
    (["--classifier", "missing.pt"], ["missing.pt"]),
    (["--classifier", "classifiers.small:no_classifier"], ["classifiers.small:no_classifier"]),
    (["--classifier", "classifiers.small:without_gradient"], ["gradient"]),
    (["--target", "hexagon"], ["hexagon"]),
    (["--target", "sqare"], ["sqare", "square"]),
    (["--target", "7"], ["0 to 2"]),
    (["--method", "magic"], ["magic", "mig-sg, gradient"]),
    (["--method", "mig-sg,"], ["method"]),
    (["--steps", "0"], ["steps", "0"]),
    (["--steps", "2.5"], ["--steps", "2.5"]),
    (["--samples", "0"], ["samples", "0"]),
    (["--sigma", "-1"], ["sigma", "-1"]),
    (["--sigma", "many"], ["--sigma", "many"]),
    (["--baseline", "pink"], ["--baseline", "pink"]),
    (["--baseline", "2"], ["baseline", "2"]),
    (["--baseline", "nan"], ["nan"]),
    (["--deleted", "pink"], ["--deleted", "pink"]),
    (["--method", "gradcam", "--layer", "blok1"], ["blok1", "block1"]),
    (["--seed", "-1"], ["seed", "-1"]),
    (["--threads", "0"], ["threads", "0"]),
    (["clean.png"], ["saliency", "clean.png"]),
    (["--page", "2"], ["noisy.png", "2"]),
    (["--page", "0"], ["page", "0"]),
    (["--device", "abacus"], ["abacus"]),
    (["-o", "out.xyz"], ["out.xyz"]),
    (["-o", "nowhere/out.png"], ["nowhere"]),
    (["-o", "clean.png"], ["clean.png"]),
    (["-o", "noisy.png", "--overwrite"], ["noisy.png"]),
    (["--array", "map.csv"], ["--array map.csv", ".npy or .npz or .tif"]),
    (["--figure", "figure.jpg"], ["--figure figure.jpg", ".png"]),
    (["--report", "report.txt"], ["--report report.txt", ".json"]),
    (["--report", "tiny.json"], ["tiny.json"]),
    (["--figure", "a.png", "-o", "a.png"], ["a.png", "--output"]),
    (["--method", "mig-sg,gradient", "--figure", "a.png"], ["--figure"]),
    (["--method", "mig-sg,gradient", "-o", "a.jpg"], ["a.jpg"]),
]


@pytest.mark.parametrize(("tokens", "words"), BAD, ids=[" ".join(tokens) for tokens, _ in BAD])
def test_bad_input_is_one_line_and_nothing_is_written(here, run, tokens, words):
    before = sorted(here.rglob("*"))
    given = [] if "--classifier" in tokens else ["--classifier", OWN]
    given += [] if "--steps" in tokens else ["--steps", "2"]
    given += [] if "--device" in tokens else ["--device", "cpu"]
    ran = run("saliency", "noisy.png", *given, *tokens)
    assert ran.failed_in_one_line(*words), ran
    assert sorted(here.rglob("*")) == before


def test_a_page_of_a_stack(more, run):
    assert run(*ASK[:1], "stack.tif", *ASK[2:], "-o", "a.png").failed_in_one_line("stack.tif", "--page", code="shape")
    ran = run(*ASK[:1], "stack.tif", *ASK[2:], "--page", "2", "-o", "a.png")
    assert ran.code == 0, ran.err
    Image.fromarray(tifffile.imread("stack.tif")[1]).save("second.png")
    assert run(*ASK[:1], "second.png", *ASK[2:], "-o", "b.png").code == 0
    assert (pixels("a.png") == pixels("b.png")).all()


@pytest.mark.parametrize("source", ["nowhere.png", "stack.tif", "tiny.json", "nan.tif", "out"])
def test_a_picture_that_cannot_be_is_one_line(more, run, source):
    before = sorted(more.rglob("*"))
    ran = run("saliency", source, "--classifier", OWN, "-o", "a.png")
    assert ran.failed_in_one_line(source), ran
    assert sorted(more.rglob("*")) == before


def test_what_fails_midway_leaves_nothing(here, run, monkeypatch):
    def fail(*args, **settings):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr("preimage.defend.saliency_run.deletion", fail)
    before = sorted(here.rglob("*"))
    assert run(*ASK, "--array", "map.npy").failed_in_one_line("memory", code="OutOfMemoryError")
    assert sorted(here.rglob("*")) == before
    assert run("saliency", "noisy.png").failed_in_one_line("--classifier")
