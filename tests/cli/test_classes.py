"""--classes: the names of a classifier's classes, in every task that takes a classifier."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from preimage.classifiers import load_model

BRIEF = ("--recipe", "tiny.json", "--device", "cpu")
WEIGHTS = "timm:test_resnet@w.ckpt"


@pytest.fixture
def weights(here: Path) -> Path:
    """Weights of two classes as Lightning saves them, without their names."""
    import timm

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model("test_resnet", num_classes=2)
    torch.save({"state_dict": {f"model.{name}": v for name, v in model.state_dict().items()}}, "w.ckpt")
    return here / "w.ckpt"


def test_classes_are_named_in_the_report(weights, run):
    ran = run("saliency", "noisy.png", "--classifier", WEIGHTS, "--method", "gradient", "--classes", "cat, dog",
              "--target", "dog", "--report", "report.json", "--device", "cpu")  # fmt: skip
    assert ran.code == 0, ran.err
    assert json.loads(Path("report.json").read_text())["target"] == "dog"
    assert "--classes" not in ran.out


def test_a_class_that_is_called_by_a_number_is_meant_by_it(here, run):
    own = (
        "--classifier",
        "classifiers.small:own_classifier",
        "--classes",
        "5,2,1",
        "--method",
        "gradient",
        "-o",
        "map.png",
        "--overwrite",
    )
    for name in ("2", "1", "5"):
        ran = run("saliency", "noisy.png", *own, "--target", name, "--report", "map.json")
        assert ran.code == 0, ran.err
        assert json.loads(Path("map.json").read_text())["target"] == name


@pytest.mark.long
@pytest.mark.parametrize(
    "command", [("maximize", "--target", "dog"), ("counterfactual", "noisy.png", "--target", "cat"),
                ("inspect", "noisy.png", "--steps", 12)],
)  # fmt: skip
def test_every_task_takes_them(weights, run, command):
    Path("names.txt").write_text("cat\ndog\n")
    ran = run(*command, "--classifier", WEIGHTS, "--classes", "names.txt", *(BRIEF if command[0] != "inspect" else ()))
    assert ran.code == 0, ran.err
    other = run(*command, "--classifier", WEIGHTS, "--classes", 3, "--overwrite")
    assert other.failed_in_one_line("has 2 classes, not 3", code="class"), other


def test_without_names_they_are_numbered_and_that_is_said(weights, run):
    ran = run("maximize", "--classifier", WEIGHTS, "--target", 1, *BRIEF)
    assert ran.code == 0, ran.err
    assert "the 2 classes have no names: --classes names them" in ran.out


def test_a_training_names_the_classes_of_its_data_or_of_its_classifier(weights, run):
    for label in range(2):
        Path(f"data/{label}").mkdir(parents=True)
        for i in range(6):
            Image.new("RGB", (32, 32), (200 * label + i, 20 * i, 9)).save(f"data/{label}/{i}.png")
    brief = ("--epochs", 1, "--batch", 4, "--threads", 1, "--device", "cpu", "--quiet", "--classes", "cat,dog")
    assert run("train", "data", "-o", "a.pt", "--backbone", "timm:test_resnet", *brief).code == 0
    assert load_model("a.pt").classifier.classes == ("cat", "dog")
    assert run("train", "data", "-o", "b.pt", "--classifier", WEIGHTS, "--freeze", *brief).code == 0
    assert load_model("b.pt").classifier.classes == ("cat", "dog")
    ran = run("train", "data", "-o", "c.pt", "--classes", "a,b,c")
    assert ran.failed_in_one_line("data has 2 classes, not 3", code="class"), ran
