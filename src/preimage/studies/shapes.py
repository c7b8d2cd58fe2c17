"""Drawn pictures whose class has one known cause: the color of the disc. The square, the places and the ground say nothing.

What an explanation changes can so be held against what it should have changed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from preimage.predictors.labelled import TEST, TRAIN, Labelled

CLASSES = ("orange disc", "blue disc")
_COLORS = np.array([[0.85, 0.45, 0.15], [0.20, 0.40, 0.85]])


@dataclass(frozen=True, eq=False)
class Shapes:
    """Pictures (n, 3, h, w) uint8, labels (n,), and where the disc and the square are, (n, h, w) bool each."""

    pictures: torch.Tensor
    labels: torch.Tensor
    discs: torch.Tensor
    squares: torch.Tensor

    def labelled(self, tests: int) -> Labelled:
        """As a data set, the last `tests` of them its test part."""
        count = len(self.labels)
        parts = (TRAIN,) * (count - tests) + (TEST,) * tests
        return Labelled(self.pictures, self.labels, tuple(map(str, range(count))), parts, CLASSES, "shapes")


def draw_shapes(count: int, side: int = 64, seed: int = 0) -> Shapes:
    """A disc and a square on a soft ground, apart from each other; the square is of either color, whatever the class.

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
    discs, squares = (np.zeros((count, side, side), bool) for _ in range(2))
    for k in range(count):
        waves = sum(
            random.normal()
            * np.sin(2 * np.pi * (random.normal() * rows + random.normal() * columns) + random.uniform(0, 6))
            for _ in range(4)
        )
        ground = 0.55 + 0.06 * waves[..., None] + random.normal(0, 0.04, 3)
        first, second = _places(random)
        radius, half = random.uniform(0.11, 0.16), random.uniform(0.09, 0.14)
        discs[k] = np.hypot(rows - first[0], columns - first[1]) < radius
        squares[k] = np.maximum(abs(rows - second[0]), abs(columns - second[1])) < half
        disc, square = (_COLORS[i] + random.normal(0, 0.05, 3) for i in (k % 2, random.integers(2)))
        picture = np.where(discs[k][..., None], disc, np.where(squares[k][..., None], square, ground))
        pictures[k] = picture + random.normal(0, 0.015, picture.shape)
    values = torch.from_numpy((pictures.clip(0, 1) * 255).round().astype(np.uint8)).movedim(-1, 1).contiguous()
    return Shapes(values, torch.arange(count) % 2, torch.from_numpy(discs), torch.from_numpy(squares))


def _places(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two places at least 0.36 apart, within the picture."""
    while True:
        first, second = random.uniform(0.18, 0.82, (2, 2))
        if np.abs(first - second).max() > 0.36:
            return first, second
