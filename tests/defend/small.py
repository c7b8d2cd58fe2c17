"""What tests of the defence share: pictures of three classes, a classifier that has learned them, a brief purification."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from preimage.classifiers import Classifier
from preimage.defend.purification import FAST
from preimage.networks import SkipNet

SIDE, CLASSES = 16, ("rising", "falling", "upright")
BRIEF = replace(FAST, network=SkipNet.Config((4, 4), (4, 4), (2, 2), upsample="nearest", padding="zeros"), steps=3)


def pictures(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """(b, 3, 16, 16) in 0..1, faint stripes of three directions on shades, with noise; and (b,) which direction it is."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % len(CLASSES)
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    ways = torch.stack([rows + columns, rows - columns, 2 * columns]).float()
    phase = 6 * torch.rand(count, 1, 1, generator=generator)
    stripes = torch.sin(ways[labels] * 0.8 + phase)[:, None]
    shades = 0.3 + 0.4 * torch.rand(count, 3, 1, 1, generator=generator)
    noise = 0.015 * torch.randn(count, 3, SIDE, SIDE, generator=generator)
    return (shades + 0.06 * stripes + noise).clamp(0, 1), labels


class Small(nn.Module):
    """Two convolutions and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 12, 5, padding=2), nn.Conv2d(12, 12, 3, stride=2, padding=1)
        self.head = nn.Linear(12, len(CLASSES))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.second(self.first(x).relu()).relu().mean((2, 3)))


@functools.cache
def trained() -> Classifier:
    """A classifier that knows the stripes."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = Small()
    images, labels = pictures(60)
    mover = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(80):
        mover.zero_grad()
        functional.cross_entropy(model((images - 0.5) / 0.25), labels).backward()
        mover.step()
    return Classifier(model, CLASSES, mean=(0.5,) * 3, std=(0.25,) * 3)


def accuracy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    with torch.no_grad():
        return float((model(images).argmax(1) == labels).float().mean())


class Detached(nn.Module):
    """A classifier whose logits say nothing of how to change a picture."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return trained()(x).detach()


class Broken(nn.Module):
    """A classifier whose answer is NaN, with a gradient."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return trained()(x) * torch.nan


class Shifted:
    """A cleaning that takes no time: a random number of its stream is added to each picture."""

    def __init__(self, reach: float = 0.02) -> None:
        self.reach = reach

    def __call__(
        self, images: torch.Tensor, seed: int | None = None, streams: Sequence[int] | None = None
    ) -> torch.Tensor:
        from preimage.defend.defence import random_source
        from preimage.rng import generator

        seed, streams = random_source(len(images), seed, streams)
        drawn = torch.stack([torch.rand(1, 1, 1, generator=generator(seed, "jitter", stream)) for stream in streams])
        return (images + self.reach * (drawn - 0.5)).clamp(0, 1)

    def describe(self) -> dict[str, Any]:
        return {"kind": "Shifted", "reach": self.reach}
