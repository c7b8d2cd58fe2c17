"""preimage train: from labelled pictures to a file that load_model reads; killed and resumed as if it had never stopped."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from cli.tiny import ENVIRONMENT
from PIL import Image
from preimage.cli.train import _Shown
from preimage.cli.train_options import TrainOptions, settings_of

from preimage.classifiers import load_classifier, load_model
from preimage.classifiers.train import Batch, Epoch, Settings, Training
from preimage.defend.adversarial import SETTINGS

COLORS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}
EACH = 12
SMALL = ("--backbone", "timm:test_resnet", "--batch", 16, "--threads", 1, "--device", "cpu")
BRIEF = (*SMALL, "--epochs", 3)
FROZEN = ("--freeze", "--epochs", 2, "--batch", 16, "--threads", 1)


@pytest.fixture
def colors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of three colors, 12 pictures of 32 x 32 each, and labels.csv of the same."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    rows = []
    for number, (name, color) in enumerate(COLORS.items()):
        (tmp_path / "colors" / name).mkdir(parents=True)
        for i in range(EACH):
            pixels = (np.array(color) + random.normal(0, 25, (32, 32, 3))).clip(0, 255).astype(np.uint8)
            path = f"colors/{name}/{i}.png"
            Image.fromarray(pixels).save(path)
            split = "test" if i < 4 else "train"
            rows.append(
                {"filename": path, "class_index": number, "word": name, "split": split, "who": f"{name}{i // 2}"}
            )
    with Path("labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path


def test_help_shows_an_example(run):
    ran = run("train", "--help")
    assert ran.code == 0
    assert "preimage train lesions/labels.csv" in ran.out.split("Example")[1]
    for name in ("--label-column", "--split-column", "--group", "--freeze", "--resume", "--turned"):
        assert name in ran.out, name


def test_a_folder_becomes_a_model_and_a_table(colors, run):
    ran = run("train", "colors", "-o", "model.pt", "--report", "report.json", "--rate", 3e-3, *BRIEF)
    assert ran.code == 0, ran.err
    for words in (
        "36 pictures of 32 x 32 in 3 classes", "balanced accuracy", "recall of red", "calibration error",
        "rank correlation of estimated and true loss", "target quantile", "was chosen", "minutes",
        "preimage counterfactual PICTURE --classifier model.pt",
    ):  # fmt: skip
        assert words in ran.out, words
    assert ran.err.count("validation: balanced accuracy") == 3
    report = json.loads(Path("report.json").read_text())
    assert set(report["test"]) == {"balanced_accuracy", "accuracy", "recall", "calibration_error", "rank_correlation"}
    assert [row["epoch"] for row in report["history"]] == [1, 2, 3]
    model = load_model("model.pt")
    assert model.classifier.classes == ("blue", "green", "red")
    assert model.classifier.size == (32, 32)
    assert model.estimator is not None
    assert model.about["target_quantile"] == report["target_quantile"]
    assert model.about["test"]["balanced_accuracy"] == report["test"]["balanced_accuracy"]
    assert not Path("model.pt.checkpoint").exists()


def test_a_csv_with_its_columns_and_json(colors, run):
    columns = ("--label-column", "word", "--split-column", "split", "--group", "who", "--size", 24, "--turned")
    ran = run("train", "labels.csv", *columns, "-o", "model.pt", "--json", "--quiet", *BRIEF)
    assert (ran.code, ran.err) == (0, "")
    report = json.loads(ran.out)
    assert report["pictures"] == {"train": 18, "validation": 6, "test": 12}
    assert (report["size"], report["settings"]["upright"]) == ([24, 24], False)
    ran = run("train", "labels.csv", "-o", "other.pt", "--json", *BRIEF)
    assert json.loads(ran.out)["classes"] == list(COLORS)
    assert "use it so" in ran.err


def test_an_npz(colors, run):
    x = np.stack([np.asarray(Image.open(f"colors/{name}/{i}.png")) for name in COLORS for i in range(EACH)])
    np.savez("data.npz", x=x, y=np.repeat(np.arange(3), EACH))
    assert run("train", "data.npz", "-o", "model.pt", "--quiet", *BRIEF).code == 0
    assert load_classifier("model.pt").classes == ("0", "1", "2")


def test_against_attacks(colors, run):
    ran = run("train", "colors", "-o", "model.pt", "--adversarial", 4, "--report", "report.json", *BRIEF)
    assert ran.code == 0, ran.err
    assert "test accuracy under PGD-10 at eps 4: " in ran.out
    assert ran.err.count("under attack 0.") + ran.err.count("under attack 1.") == 3
    report = json.loads(Path("report.json").read_text())
    assert (report["adversarial"]["eps"], report["settings"]["batch"]) == (4, 16)
    assert all(0 <= row["robust"] <= 1 for row in report["history"])
    assert load_model("model.pt").about["adversarial"] == report["adversarial"]


def test_settings_that_are_not_given_are_those_of_the_kind_of_training():
    plain = settings_of(TrainOptions(Path("model.pt")))
    robust = settings_of(TrainOptions(Path("model.pt"), adversarial=8))
    assert plain == Settings()
    assert robust == SETTINGS
    assert settings_of(TrainOptions(Path("model.pt"), adversarial=8, batch=32, backbone="resnet18")).batch == 32


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--adversarial", 0), "eps must be above 0"),
        (("--adversarial", 300), "eps must be from 0 to 255"),
        (("--adversarial", 8, "--freeze", "--classifier", "first.pt"), "--adversarial trains a classifier anew"),
    ],
)
def test_an_eps_that_cannot_be_is_one_line(colors, run, given, said):
    ran = run("train", "colors", "-o", "model.pt", *given, *SMALL[2:])
    assert ran.code != 0
    assert said in ran.err


# ---------------------------------------------------------------------- somebody's finished classifier


@pytest.mark.parametrize("spec", ["classifiers.small:own_classifier", "first.pt"])
def test_the_loss_estimator_alone(colors, run, spec):
    if spec == "first.pt":
        assert run("train", "colors", "-o", spec, "--quiet", *BRIEF).code == 0
    ran = run("train", "colors", "-o", "model.pt", "--classifier", spec, *FROZEN)
    assert ran.code == 0, ran.err
    assert ("blue is round, green is square, red is star" in ran.out) is (spec != "first.pt")
    backbone = None if spec == "first.pt" else spec
    before, after = load_model(spec), load_model("model.pt", backbone=backbone)
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(after.classifier(x), before.classifier(x))
    assert after.about["frozen"]
    assert after.estimator is not None
    assert float(after.estimator.quantile(0.9)) > float(after.estimator.quantile(0.1))


# ---------------------------------------------------------------------- kept, interrupted, resumed


def test_killed_and_resumed_it_is_the_same_model(colors, run):
    tokens = [str(token) for token in ("colors", *SMALL, "--epochs", 6)]
    command = [sys.executable, "-m", "preimage", "train", *tokens, "-o", "model.pt", "--quiet"]
    process = subprocess.Popen(command, env=ENVIRONMENT)
    until = time.monotonic() + 60
    while not Path("model.pt.checkpoint").exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not Path("model.pt").exists()
    assert run("train", *tokens, "-o", "model.pt", "--resume", "--quiet").code == 0
    assert run("train", *tokens, "-o", "whole.pt", "--quiet").code == 0
    assert not Path("model.pt.checkpoint").exists()
    resumed, whole = (load_model(name) for name in ("model.pt", "whole.pt"))
    for name, value in whole.classifier.state_dict().items():
        assert torch.equal(resumed.classifier.state_dict()[name], value), name
    assert resumed.about["test"] == whole.about["test"]


def ended_in_epoch(number: int, monkeypatch: pytest.MonkeyPatch, sent: signal.Signals = signal.SIGINT) -> None:
    def ask_to_end(shown: _Shown, step: Batch) -> None:
        if (step.epoch, step.index) == (number, 1):
            os.kill(os.getpid(), sent)

    monkeypatch.setattr(_Shown, "batch", ask_to_end)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX systems")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_the_last_whole_epoch_and_says_how_to_go_on(colors, run, monkeypatch, sent):
    with monkeypatch.context() as patch:
        ended_in_epoch(3, patch, sent)
        ran = run("train", "colors", "-o", "model.pt", *BRIEF)
    assert ran.code == 128 + sent
    assert "ended before epoch 3 of 3 was done; model.pt.checkpoint has epoch 2" in ran.err
    assert "--resume" in ran.err
    assert not Path("model.pt").exists()
    for changed, words in ((("--rate", 0.1), "rate 0.001, not 0.1"), (("--size", 16), "with data")):
        refused = run("train", "colors", "-o", "model.pt", "--resume", "--quiet", *BRIEF, *changed)
        assert refused.failed_in_one_line("model.pt.checkpoint was made with", words, "repeat that call")
    seen: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(_Shown, "epoch", lambda shown, step: seen.append(step.index))
        assert run("train", "colors", "-o", "model.pt", "--resume", *BRIEF).code == 0
    assert seen == [3]
    assert not Path("model.pt.checkpoint").exists()


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX systems")
def test_a_signal_in_the_first_epoch_leaves_nothing(colors, run, monkeypatch):
    ended_in_epoch(1, monkeypatch)
    before = sorted(colors.iterdir())
    ran = run("train", "colors", "-o", "model.pt", *BRIEF)
    assert ran.code == 130
    assert "nothing was kept" in ran.err
    assert sorted(colors.iterdir()) == before


def test_without_resume_an_old_checkpoint_is_not_read(colors, run):
    Path("model.pt.checkpoint").write_bytes(b"old")
    assert run("train", "colors", "-o", "model.pt", "--resume", *BRIEF).failed_in_one_line("not a readable checkpoint")
    assert run("train", "colors", "-o", "model.pt", "--quiet", *BRIEF).code == 0
    assert not Path("model.pt.checkpoint").exists()


def test_an_existing_file_is_replaced_only_if_asked(colors, run):
    for name in ("model.pt", "report.json"):
        Path(name).write_text("mine")
        options = ("colors", "-o", "model.pt", "--report", "report.json", *BRIEF)
        assert run("train", *options).failed_in_one_line(name, "exists already")
        assert Path(name).read_text() == "mine"
        assert run("train", *options, "--overwrite", "--quiet").code == 0
        assert Path(name).stat().st_size > 1000
        Path(name).unlink()


def test_the_bar_of_a_terminal(colors, run, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    ran = run("train", "colors", "-o", "model.pt", *BRIEF)
    assert ran.code == 0
    assert ran.err.count("validation: balanced accuracy") == 3


def test_a_loss_that_is_no_number_is_one_line(colors, run):
    ran = run("train", "colors", "-o", "model.pt", *BRIEF, "--rate", "1e30", "--quiet")
    assert ran.failed_in_one_line("the loss is no number", "smaller rate")


# ---------------------------------------------------------------------- what cannot be


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (["nowhere"], ["nowhere does not exist"]),
        (["notes.txt"], ["notes.txt is no data set"]),
        (["one"], ["one has pictures of 1 class"]),
        (["empty"], ["empty holds no folder with pictures"]),
        (["labels.csv", "--label-column", "kind"], ["no column 'kind'", "filename, class_index"]),
        (["labels.csv", "--group", "patient"], ["no column 'patient'"]),
        (["labels.csv", "--split-column", "word"], ["'red' is no part"]),
        (["colors", "--group", "who"], ["colors has no columns"]),
        (["colors", "--size", "8"], ["at least 16 pixels, got 8"]),
        (["colors", "--size", "8.5"], ["--size"]),
        (["colors", "--epochs", "0"], ["epochs must be at least 1"]),
        (["colors", "--batch", "1"], ["batch must be at least 2"]),
        (["colors", "--rate", "0"], ["rate must be above 0"]),
        (["colors", "--rate", "nan"], ["rate must be above 0"]),
        (["colors", "--seed", "-1"], ["seed must be"]),
        (["colors", "--threads", "0"], ["--threads must be at least 1"]),
        (["colors", "--device", "abacus"], ["abacus"]),
        (["colors", "--backbone", "resnet99"], ["no model 'resnet99'"]),
        (["colors", "--backbone", "timm:resnet99"], ["no model 'resnet99'"]),
        (["colors", "--backbone", "vit_b_16"], ["takes no pictures of 32 x 32"]),
        (["colors", "--freeze"], ["--classifier"]),
        (["colors", "--classifier", "torchvision:resnet18"], ["not supported", "--freeze"]),
        (["colors", "--classifier", "missing.pt", "--freeze"], ["missing.pt does not exist"]),
        (["colors", "--classifier", "model.pt", "--freeze"], ["--output and --classifier are both model.pt"]),
        (["colors", "--classifier", "timm:test_resnet@none", "--freeze"], ["has 1000 classes, colors has 3"]),
        (["colors", "--classifier", "a.pt", "--freeze", "--backbone", "resnet18"], ["--backbone"]),
        (["colors", "-o", "model.bin"], ["--output", ".pt"]),
        (["colors", "-o", "nowhere/model.pt"], ["nowhere", "does not exist"]),
        (["colors", "-o", "folder.pt"], ["folder.pt is a folder"]),
        (["colors", "--report", "model.pt"], ["--output and --report are both model.pt"]),
        (["labels.csv", "--report", "labels.csv", "--overwrite"], ["DATA and --report are both labels.csv"]),
        (["colors", "--report", "nowhere/report.json"], ["nowhere", "does not exist"]),
    ],
    ids=lambda given: " ".join(given),
)  # fmt: skip
def test_what_cannot_be_is_one_line_and_nothing_is_written(colors, run, tokens, words, monkeypatch):
    for folder in ("folder.pt", "empty", "one"):
        Path(folder).mkdir()
    Path("colors/red").rename("one/red")
    Path("colors/red").symlink_to(Path("one/red").resolve())
    Path("notes.txt").write_text("hello")
    monkeypatch.setattr(Training, "steps", lambda training: pytest.fail("the training was begun"))
    before = sorted(Path().rglob("*"))
    output = [] if "-o" in tokens else ["-o", "model.pt"]
    ran = run("train", *tokens, *output)
    assert ran.failed_in_one_line(*words), ran
    assert sorted(Path().rglob("*")) == before


def test_a_wrong_command_line_is_one_line(run):
    assert run("train").failed_in_one_line("DATA")
    assert run("train", "colors").failed_in_one_line("--output")


def test_epochs_are_said_in_one_line(capsys):
    from preimage.classifiers.scores import Scores

    class Nothing: ...

    scores = Scores(0.5, 0.5, (0.5, 0.5), 0.1, 0.25)
    with _Shown(Nothing(), quiet=False) as shown:  # pyright: ignore[reportArgumentType]
        shown.epoch(Epoch(2, 6, 60.0, 1.0, 0.5, scores, 1))
    assert capsys.readouterr().err == (
        "epoch 2 of 6, 2.0 minutes left, loss 1.000, validation: balanced accuracy 0.500, rank correlation 0.250 "
        "(best: epoch 1)\n"
    )
