"""preimage train: from labeled images to a file that load_model reads; killed and resumed as if it had never stopped."""

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

from preimage.classifiers import load_classifier, load_model
from preimage.classifiers.train import Training
from preimage.cli.progress import Progress
from preimage.defend.training_run import TrainingStep

COLORS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}
EACH = 12
SMALL = ("--backbone", "timm:test_resnet", "--batch", 16, "--threads", 1, "--device", "cpu")
BRIEF = (*SMALL, "--epochs", 3)
FROZEN = ("--freeze", "--epochs", 2, "--batch", 16, "--threads", 1)


@pytest.fixture
def colors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of three colors, 12 images of 32 x 32 each, and labels.csv of the same."""
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


def test_help_has_all_options(run):
    ran = run("train", "--help")
    assert ran.code == 0
    for name in ("--label-column", "--split-column", "--group", "--freeze", "--resume", "--turned"):
        assert name in ran.out, name


def test_a_folder_becomes_a_model_and_a_table(colors, run):
    ran = run("train", "colors", "-o", "model.pt", "--report", "report.json", "--rate", 3e-3, *BRIEF)
    assert ran.code == 0, ran.err
    assert "model.pt" in ran.out
    assert len([line for line in ran.err.splitlines() if line.startswith("colors: epoch ")]) == 3
    report = json.loads(Path("report.json").read_text())
    assert set(report["test"]) == {"balanced_accuracy", "accuracy", "recall", "calibration_error", "rank_correlation"}
    assert [row["epoch"] for row in report["history"]] == [1, 2, 3]
    assert (report["task"], report["input"], report["output"]) == ("train", "colors", "model.pt")
    model = load_model("model.pt")
    assert model.classifier.classes == ("blue", "green", "red")
    assert model.classifier.size == (32, 32)
    assert model.estimator is not None
    assert model.about["target_quantile"] == report["target_quantile"]
    assert model.about["test"]["balanced_accuracy"] == report["test"]["balanced_accuracy"]
    assert not Path("model.pt.checkpoint").exists()


def test_a_csv_with_its_columns_and_json(colors, run):
    columns = ("--label-column", "word", "--split-column", "split", "--group", "who", "--size", 32, "--turned")
    ran = run("train", "labels.csv", *columns, "-o", "model.pt", "--json", "--quiet", *BRIEF)
    assert (ran.code, ran.err) == (0, "")
    report = json.loads(ran.out)
    assert report["pictures"] == {"train": 18, "validation": 6, "test": 12}
    assert (report["size"], report["settings"]["upright"]) == ([32, 32], False)
    ran = run("train", "labels.csv", "-o", "other.pt", "--json", *BRIEF)
    assert json.loads(ran.out)["classes"] == list(COLORS)
    assert ran.err


def test_an_npz(colors, run):
    x = np.stack([np.asarray(Image.open(f"colors/{name}/{i}.png")) for name in COLORS for i in range(EACH)])
    np.savez("data.npz", x=x, y=np.repeat(np.arange(3), EACH))
    assert run("train", "data.npz", "--quiet", *BRIEF).code == 0
    assert load_classifier("data.pt").classes == ("0", "1", "2")


def test_against_attacks(colors, run):
    ran = run("train", "colors", "-o", "model.pt", "--adversarial", 4, "--report", "report.json", *BRIEF)
    assert ran.code == 0, ran.err
    report = json.loads(Path("report.json").read_text())
    assert (report["adversarial"]["eps"], report["settings"]["batch"]) == (4, 16)
    assert all(0 <= row["robust"] <= 1 for row in report["history"])
    assert load_model("model.pt").about["adversarial"] == report["adversarial"]


def test_shifts_give_the_estimator_its_further_terms(colors, run):
    ran = run("train", "colors", "-o", "model.pt", "--shifts", "crop, blur", "--quiet", *BRIEF)
    assert ran.code == 0, ran.err
    estimator = load_model("model.pt").estimator
    assert estimator is not None
    assert estimator.unusual is not None
    assert (
        run(
            "recover", "colors/red/0.png", "--classifier", "model.pt", "--steps", 3, "-o", "r.png", "--device", "cpu"
        ).code
        == 0
    )


# ---------------------------------------------------------------------- a finished classifier


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


@pytest.mark.long
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
    def ask_to_end(progress: Progress, step: TrainingStep) -> None:
        each = step.total // 3  # batches of an epoch, of three
        if not step.completes_epoch and step.index == (number - 1) * each + 1:
            os.kill(os.getpid(), sent)

    monkeypatch.setattr(Progress, "show", ask_to_end)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX systems")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_the_last_whole_epoch_and_says_how_to_go_on(colors, run, monkeypatch, sent):
    with monkeypatch.context() as patch:
        ended_in_epoch(3, patch, sent)
        ran = run("train", "colors", "-o", "model.pt", *BRIEF)
    assert ran.code == 128 + sent
    assert "--resume" in ran.err
    assert "model.pt.checkpoint" in ran.err
    assert not Path("model.pt").exists()
    for changed in (("--rate", 0.1), ("--size", 40)):
        refused = run("train", "colors", "-o", "model.pt", "--resume", "--quiet", *BRIEF, *changed)
        assert refused.failed_in_one_line("model.pt.checkpoint", code="checkpoint"), refused
    seen: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "show", lambda progress, step: seen.append(step.completes_epoch))
        assert run("train", "colors", "-o", "model.pt", "--resume", *BRIEF).code == 0
    assert seen.count(True) == 1
    assert not Path("model.pt.checkpoint").exists()


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX systems")
def test_a_signal_in_the_first_epoch_leaves_nothing(colors, run, monkeypatch):
    ended_in_epoch(1, monkeypatch)
    before = sorted(colors.iterdir())
    ran = run("train", "colors", "-o", "model.pt", *BRIEF)
    assert ran.code == 130
    assert "--resume" not in ran.err  # there is nothing to go on from
    assert sorted(colors.iterdir()) == before


def test_a_checkpoint_that_is_there_is_neither_read_nor_lost_without_a_word(colors, run):
    Path("model.pt.checkpoint").write_bytes(b"old")
    train = ("train", "colors", "-o", "model.pt", "--quiet", *BRIEF)
    assert run(*train).failed_in_one_line("model.pt.checkpoint", "--resume", "--overwrite", code="exists")
    assert run(*train, "--resume").failed_in_one_line("model.pt.checkpoint", code="checkpoint")
    assert Path("model.pt.checkpoint").read_bytes() == b"old"
    assert run(*train, "--overwrite").code == 0
    assert not Path("model.pt.checkpoint").exists()


def test_an_existing_file_is_replaced_only_if_asked(colors, run):
    for name in ("model.pt", "report.json"):
        Path(name).write_text("mine")
        options = ("colors", "-o", "model.pt", "--report", "report.json", *BRIEF)
        assert run("train", *options).failed_in_one_line(name, code="exists")
        assert Path(name).read_text() == "mine"
        assert run("train", *options, "--overwrite", "--quiet").code == 0
        assert Path(name).stat().st_size > 1000
        Path(name).unlink()


def test_the_bar_of_a_terminal_keeps_a_line_for_each_epoch(colors, run, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    ran = run("train", "colors", "-o", "model.pt", *BRIEF)
    assert ran.code == 0
    for epoch in (1, 2, 3):
        assert f"colors: epoch {epoch} of 3" in ran.err


def test_a_loss_that_is_no_number_is_one_line(colors, run):
    ran = run("train", "colors", "-o", "model.pt", *BRIEF, "--rate", "1e30", "--quiet")
    assert ran.failed_in_one_line("rate")


# ---------------------------------------------------------------------- what cannot be


@pytest.mark.parametrize(
    ("tokens", "words", "code"),
    [
        (["nowhere"], ["nowhere"], "not-found"),
        (["notes.txt"], ["notes.txt"], "unreadable"),
        (["one"], ["one", "1 class"], "class"),
        (["empty"], ["empty"], "not-found"),
        (["labels.csv", "--label-column", "kind"], ["'kind'", "filename, class_index"], "not-found"),
        (["labels.csv", "--group", "patient"], ["'patient'"], "not-found"),
        (["labels.csv", "--split-column", "word"], ["'red'"], "invalid-value"),
        (["colors", "--group", "who"], ["colors"], "option"),
        (["colors", "--size", "8"], ["size", "8"], "invalid-value"),
        (["colors", "--size", "8.5"], ["--size", "8.5"], "option"),
        (["colors", "--epochs", "0"], ["epochs", "0"], "invalid-value"),
        (["colors", "--batch", "1"], ["batch", "1"], "invalid-value"),
        (["colors", "--rate", "0"], ["rate", "0"], "invalid-value"),
        (["colors", "--rate", "nan"], ["rate", "nan"], "invalid-value"),
        (["colors", "--shifts", "fog"], ["crop, blur", "'fog'"], "invalid-value"),
        (["colors", "--seed", "-1"], ["seed", "-1"], "invalid-value"),
        (["colors", "--threads", "0"], ["threads", "0"], "invalid-value"),
        (["colors", "--adversarial", "0"], ["adversarial", "0"], "invalid-value"),
        (["colors", "--adversarial", "300"], ["adversarial", "300"], "invalid-value"),
        (["colors", "--adversarial", "8", "--freeze", "--classifier", "first.pt"], ["--adversarial"], "option"),
        (["colors", "--device", "abacus"], ["abacus"], "device"),
        (["colors", "--backbone", "resnet99"], ["'resnet99'"], "not-found"),
        (["colors", "--backbone", "timm:resnet99"], ["'resnet99'"], "not-found"),
        (["colors", "--backbone", "os:getcwd"], ["os:getcwd"], "not-found"),
        (["colors", "--backbone", "vit_b_16"], ["32 x 32"], "classifier"),
        (["colors", "--freeze"], ["--classifier"], "option"),
        (["colors", "--classifier", "torchvision:resnet18"], ["--freeze"], "option"),
        (["colors", "--classifier", "missing.pt", "--freeze"], ["missing.pt"], "not-found"),
        (["colors", "--classifier", "mine.pt", "--freeze", "-o", "mine.pt", "--overwrite"], ["mine.pt"], "option"),
        (["colors", "--classifier", "timm:test_resnet@none", "--freeze"], ["1000 classes", "3"], "class"),
        (["colors", "--classifier", "a.pt", "--freeze", "--backbone", "resnet18"], ["--backbone"], "option"),
        (["colors", "-o", "model.bin"], ["--output", ".pt"], "format"),
        (["colors", "-o", "nowhere/model.pt"], ["nowhere"], "unwritable"),
        (["colors", "--report", "model.pt"], ["--report", "model.pt"], "format"),
        (["labels.csv", "--report", "labels.csv", "--overwrite"], ["--report", "labels.csv"], "format"),
        (["colors", "--report", "nowhere/report.json"], ["nowhere"], "unwritable"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else given,
)
def test_what_cannot_be_is_one_line_and_nothing_is_written(colors, run, tokens, words, code, monkeypatch):
    for folder in ("empty", "one"):
        Path(folder).mkdir()
    Path("colors/red").rename("one/red")
    Path("colors/red").symlink_to(Path("one/red").resolve())
    for name in ("notes.txt", "mine.pt"):
        Path(name).write_text("hello")
    monkeypatch.setattr(Training, "steps", lambda training: pytest.fail("the training was begun"))
    before = sorted(Path().rglob("*"))
    output = [] if "-o" in tokens else ["-o", "model.pt"]
    ran = run("train", *tokens, *output)
    assert ran.failed_in_one_line(*words, code=code), ran
    assert sorted(Path().rglob("*")) == before


def test_a_wrong_command_line_is_one_line(run):
    assert run("train").failed_in_one_line("INPUT", code="option")
    assert run("train", "a", "b").failed_in_one_line("b", code="option")
