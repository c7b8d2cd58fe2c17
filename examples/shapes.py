"""Drawn pictures whose class has one known cause: the color of the disc. Its place, the two bars and the ground say nothing.

What an explanation changes can so be held against what it should have changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from preimage.classifiers.labelled import TEST, TRAIN, Labelled

CLASSES = ("orange disc", "blue disc")
_COLORS = np.array([[0.85, 0.45, 0.15], [0.20, 0.40, 0.85]])
_NOISE = 0.05


@dataclass(frozen=True, eq=False)
class Shapes:
    """Pictures (n, 3, h, w) uint8, labels (n,), and where the disc and the bars are, (n, h, w) bool each."""

    pictures: torch.Tensor
    labels: torch.Tensor
    discs: torch.Tensor
    bars: torch.Tensor

    def labelled(self, tests: int) -> Labelled:
        """As a data set, the last `tests` of them its test part."""
        count = len(self.labels)
        parts = (TRAIN,) * (count - tests) + (TEST,) * tests
        return Labelled(self.pictures, self.labels, tuple(map(str, range(count))), parts, CLASSES, "shapes")


def draw_shapes(count: int, side: int = 64, seed: int = 0) -> Shapes:
    """A disc of either color on a soft ground, beside an orange and a blue bar.

    Example:
        >>> draw_shapes(8).pictures.shape
        torch.Size([8, 3, 64, 64])

    Args:
        count: how many pictures; the classes take turns.
        side: in pixels.
        seed: of places, sizes, colors and ground.
    """
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:side, 0:side] / side
    pictures = np.empty((count, side, side, 3))
    discs, bars = (np.zeros((count, side, side), bool) for _ in range(2))
    for k in range(count):
        picture = _ground(random, rows, columns)
        middle = random.uniform(0.25, 0.75, 2)
        radius = random.uniform(0.14, 0.19)
        for color in random.permutation(2):
            bar = _bar(random, rows, columns, middle, radius)
            bars[k] |= bar
            picture = np.where(bar[..., None], _COLORS[color] + random.normal(0, 0.05, 3), picture)
        discs[k] = np.hypot(rows - middle[0], columns - middle[1]) < radius
        picture = np.where(discs[k][..., None], _COLORS[k % 2] + random.normal(0, 0.05, 3), picture)
        pictures[k] = picture + random.normal(0, _NOISE, picture.shape)
    values = torch.from_numpy((pictures.clip(0, 1) * 255).round().astype(np.uint8)).movedim(-1, 1).contiguous()
    return Shapes(values, torch.arange(count) % 2, torch.from_numpy(discs), torch.from_numpy(bars & ~discs))


def _ground(random: np.random.Generator, rows: Any, columns: Any) -> Any:
    """Soft gray waves with a slight tint, (h, w, 3)."""
    waves = np.zeros_like(rows)
    for _ in range(4):
        across, down, phase = random.normal(), random.normal(), random.uniform(0, 2 * np.pi)
        waves += random.normal() * np.sin(2 * np.pi * (down * rows + across * columns) + phase)
    return 0.55 + 0.06 * waves[..., None] + random.normal(0, 0.04, 3)


def _bar(random: np.random.Generator, rows: Any, columns: Any, middle: Any, radius: float) -> Any:
    """A bar upright or across, outside the disc."""
    y, x = (rows, columns) if random.integers(2) else (columns, rows)
    center = middle if y is rows else middle[::-1]
    while True:
        at, along = random.uniform(0.05, 0.95), random.uniform(0.2, 0.8)
        if abs(at - center[1]) > radius + 0.06:
            return (np.abs(x - at) < 0.035) & (np.abs(y - along) < 0.28)
