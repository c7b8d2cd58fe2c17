"""Small classifiers that tests share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from preimage.classifiers import Classifier
from preimage.errors import InputError


def refused(code: str, call: Callable[..., Any], *arguments: Any, **options: Any) -> str:
    """The message of a call's InputError, known to be one line of this code."""
    with pytest.raises(InputError) as caught:
        call(*arguments, **options)
    assert caught.value.code == code, caught.value
    assert "\n" not in str(caught.value)
    return str(caught.value)


class Tiny(nn.Module):
    """Two blocks and a linear layer; `output` names what its logits are wrapped in."""

    def __init__(self, classes: int = 3, channels: int = 3, output: str = "tensor") -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.block1 = nn.Sequential(nn.Conv2d(channels, 8, 3, 2, 1), nn.ReLU())
            self.block2 = nn.Sequential(nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU())
            self.unused = nn.Linear(1, 1)
            self.head = nn.Linear(12, classes)
        self.output = output

    def forward(self, x):
        logits = self.head(self.block2(self.block1(x)).mean((2, 3)))
        if self.output == "detached":
            return logits.detach()
        return {
            "tensor": logits,
            "tuple": (logits, None),
            "dict": {"logits": logits},
            "object": Answer(logits),
            "flat": logits.flatten(),
            "text": "cat",
            "nan": logits * torch.nan,
        }[self.output]


class Answer:
    """An output as that of transformers."""

    def __init__(self, logits: torch.Tensor) -> None:
        self.logits = logits


def tiny(classes: int = 3, output: str = "tensor", **settings) -> Classifier:
    names = ["round", "square", "star", "wave", "dot"][:classes]
    return Classifier(Tiny(classes, output=output), names, **{"mean": (0.5,) * 3, "std": (0.25,) * 3} | settings)


def own_classifier() -> Classifier:
    """What `module.path:function` names."""
    return tiny()


def no_classifier() -> str:
    return "cat"


def fails() -> Classifier:
    raise RuntimeError("boom,\nin two lines")


def of_one_class() -> Classifier:
    return tiny(1)


def without_gradient() -> Classifier:
    """A function whose classifier cannot be explained."""
    return tiny(output="detached")


def as_softmax() -> Classifier:
    """A function whose classifier returns probabilities, of which nothing is stated."""
    return Classifier(nn.Sequential(Tiny(), nn.Softmax(1)), ["round", "square", "star"], (0.5,) * 3, (0.25,) * 3)


def of_other_classes() -> Classifier:
    """A function whose classifier has none of the classes of `own_classifier`."""
    return Classifier(Tiny(2), ["left", "right"])
