"""What a classifier returns, from file to file: noticed in one line, stated by an option of every command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from classifiers.small import Tiny
from torch import nn

from preimage.classifiers import Classifier
from preimage.registry import TASKS, task_named
from preimage.tasks import described

BRIEF = ("--recipe", "tiny.json", "--device", "cpu")
HALVES = {"mean": (0.5,) * 3, "std": (0.25,) * 3}


class Ends(nn.Module):
    """Logits that are no longer uncertain, and a last function of them."""

    def __init__(self, function, classes: int = 3) -> None:
        super().__init__()
        self.model, self.function = Tiny(classes), function
        with torch.no_grad():
            self.model.head.weight.mul_(40)

    def forward(self, x):
        return self.function(self.model(x))


def softmaxed() -> Classifier:
    return Classifier(Ends(nn.Softmax(1)), ["round", "square", "star"], **HALVES)


def squashed() -> Classifier:
    return Classifier(Ends(torch.sigmoid), ["round", "square", "star"], **HALVES)


def binary() -> Classifier:
    return Classifier(Ends(torch.sigmoid, 1), ["no", "yes"], **HALVES)


def squeezed() -> Classifier:
    return Classifier(Ends(torch.squeeze), ["round", "square", "star"], **HALVES)


NAMES = ("softmaxed", "squashed", "binary")
COMMANDS = {
    "counterfactual": ("counterfactual", "noisy.png", *BRIEF),
    "recover": ("recover", "noisy.png", *BRIEF),
    "invert": ("invert", "noisy.png", "--layers", "model.block1", *BRIEF),
    "maximize": ("maximize", "--target", "0", "--size", "16", "16", "--steps", "2", "--device", "cpu"),
    "saliency": ("saliency", "noisy.png", "--steps", "2", "--samples", "1", "--device", "cpu"),
    "inspect": ("inspect", "noisy.png", *BRIEF),
}


def own(name: str) -> tuple[str, str]:
    return "--classifier", f"cli.test_classifier_output:{name}"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", [*NAMES, "squeezed"])
def test_outputs_that_are_no_logits_are_one_line_in_every_command(here, run, command, name):
    ran = run(*COMMANDS[command], *own(name))
    assert ran.code == 2
    assert ("squeeze()" if name == "squeezed" else "--classifier-output") in ran.err
    assert len(ran.err.strip().splitlines()) == 1
    assert "defect" not in ran.err
    assert not list(here.glob("*-*.png"))


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("name", "output"), [("softmaxed", "probabilities"), ("squashed", "label-probabilities"), ("binary", "sigmoid")]
)
def test_the_option_states_it_in_every_command(here, run, command, name, output):
    ran = run(*COMMANDS[command], *own(name), "--classifier-output", output, "--report", "report.json")
    assert ran.code == 0, ran.err
    assert json.loads(Path("report.json").read_text())["task"] == command


@pytest.mark.parametrize("command", COMMANDS)
def test_another_word_is_one_line(here, run, command):
    ran = run(*COMMANDS[command], *own("softmaxed"), "--classifier-output", "softmax")
    assert ran.code == 2
    assert "softmax" in ran.err
    assert "label-probabilities" in ran.err


@pytest.mark.parametrize("name", [each for each in TASKS if "classifier" in described(task_named(each).options)])
def test_every_task_that_takes_a_classifier_has_the_option(name):
    options = described(task_named(name).options)
    assert "independent labels" in options["classifier_output"].help


def test_a_second_classifier_has_an_option_of_its_own(here, run):
    ask = (
        *COMMANDS["counterfactual"],
        *own("squashed"),
        "--classifier-output",
        "label-probabilities",
        "--second-classifier",
    )
    second = own("softmaxed")[1]
    assert run(*ask, second).failed_in_one_line("second classifier", "--second-classifier-output", code="classifier")
    ran = run(*ask, second, "--second-classifier-output", "probabilities", "--report", "report.json")
    assert ran.code == 0, ran.err
    assert "transfer_reached" in json.loads(Path("report.json").read_text())


def test_the_lines_for_people_say_the_labels(here, run):
    stated = (*own("squashed"), "--classifier-output", "label-probabilities")
    ran = run(*COMMANDS["counterfactual"], *stated, "--target", "star", "--html", "why.html")
    assert ran.code == 0, ran.err
    assert "target is to be" in ran.out
    assert "label star" in ran.out
    assert "target is to be" in Path("why.html").read_text()


def test_a_warning_of_untrained_weights_is_printed(here, run):
    ran = run("saliency", "noisy.png", "--classifier", "torchvision:squeezenet1_1@none", "--device", "cpu",
              "--method", "gradient", "--report", "report.json")  # fmt: skip
    assert ran.code == 0, ran.err
    assert "looks untrained" in ran.out
    assert any("looks untrained" in remark for remark in json.loads(Path("report.json").read_text())["remarks"])


def test_a_class_by_its_number_or_name(here, run):
    for target in ("2", "star", "STAR"):
        ran = run(
            *COMMANDS["saliency"], "--classifier", "classifiers.small:own_classifier", "--target", target, "--overwrite"
        )
        assert ran.code == 0, ran.err
        assert "class star" in ran.out
