"""Small classifiers that tests share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from preimage.classifiers import Classifier
from preimage.classifiers.labelled import Labelled
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


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def auroc(strange: torch.Tensor, usual: torch.Tensor) -> float:
    above = (strange[:, None] > usual[None, :]).float() + 0.5 * (strange[:, None] == usual[None, :]).float()
    return float(above.mean())


def discs(count: int = 90, side: int = 32) -> Labelled:
    """Discs of three colors on a ramp, with fine stripes on all: pictures of three classes."""
    random, (rows, columns) = np.random.default_rng(0), np.mgrid[:side, :side]
    colors = np.array([(220, 60, 60), (60, 220, 60), (60, 60, 220)])
    images = []
    for i in range(count):
        y, x, radius = random.uniform(10, 22), random.uniform(10, 22), random.uniform(5, 10)
        inside = ((rows - y) ** 2 + (columns - x) ** 2 < radius**2)[..., None]
        ground = (80 + random.uniform(1, 3) * columns)[..., None] + random.normal(0, 3, (side, side, 3))
        color = colors[i % 3] + random.normal(0, 25, 3)
        stripes = 20 * np.sin(2.1 * rows + random.uniform(0, 6))[..., None]
        images.append((np.where(inside, color, ground) + stripes).clip(0, 255).astype(np.uint8))
    parts = tuple("test" if i % 5 == 0 else "train" for i in range(count))
    pictures = torch.from_numpy(np.stack(images)).movedim(-1, 1)
    return Labelled(pictures, torch.arange(count) % 3, tuple(map(str, range(count))), parts, ("r", "g", "b"), "discs")
