"""Altered copies of an image, in all of which a class is sought: noisy, shifted, scaled, turned, in other colors.

The gradient of a single forward pass of an ordinary classifier follows patterns that no other classifier sees. The mean over
altered copies is that of a smoothed classifier (Cohen, Rosenfeld, Kolter, ICML 2019; Olah, Mordvintsev, Schubert, Feature
Visualization, Distill 2017): what remains is what survives the alterations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn import functional

STEPS = 48  # of different copies, after which they come again
FIXED = 2  # rows that no step takes: by them the class of an image is measured
FIELDS = 32  # of noise


@dataclass(frozen=True)
class Alteration:
    """How copies are altered, each by a number drawn within these bounds.

    Args:
        count: copies of each image.
        noise: largest standard deviation of the noise, where white is 1.
        shift: of the sides, to either side.
        scale: largest logarithm of the factor.
        turn: degrees, to either side.
        color: change of each channel's contrast; its brightness changes by half of it.
    """

    count: int = 4
    noise: float = 0.3
    shift: float = 0.07
    scale: float = 0.15
    turn: float = 0.0
    color: float = 0.3


class Copies:
    """Altered copies of images (b, c, h, w) of one size; `set_step` chooses those of a step.

    Example:
        >>> copies = Copies(Alteration(count=3), 3, (20, 30))
        >>> copies.set_step(5)
        >>> copies(torch.rand(2, 3, 20, 30)).shape
        torch.Size([6, 3, 20, 30])

    All numbers are drawn before, on the device: a step that is recorded (a CUDA graph) only reads which are its own.

    Args:
        alteration: what is done, and how many copies are made.
        channels, size: of the images.
    """

    def __init__(
        self, alteration: Alteration, channels: int, size: tuple[int, int], device: torch.device | str = "cpu"
    ) -> None:
        self.alteration = alteration
        generator = torch.Generator().manual_seed(0)
        count, rows = alteration.count, STEPS + FIXED

        def drawn(*shape: int) -> torch.Tensor:
            return 2 * torch.rand(rows, count, *shape, generator=generator) - 1

        factor, angle = (alteration.scale * drawn()).exp(), math.radians(alteration.turn) * drawn()
        aspect, cosine, sine = size[1] / size[0], angle.cos(), angle.sin()
        moves = 2 * alteration.shift * drawn(2)
        first = torch.stack([factor * cosine, -factor * sine / aspect, moves[..., 0]], -1)
        second = torch.stack([factor * sine * aspect, factor * cosine, moves[..., 1]], -1)
        contrast, brightness = 1 + alteration.color * drawn(channels), alteration.color / 2 * drawn(channels)
        fields = torch.randn(FIELDS, channels, *size, generator=generator)
        self._places: torch.Tensor = torch.stack([first, second], -2).to(device)
        self._colors: torch.Tensor = torch.stack([contrast, brightness]).to(device)
        self._deviations: torch.Tensor = (alteration.noise * (drawn() + 1) / 2).to(device)
        self._chosen: torch.Tensor = torch.randint(FIELDS, (rows, count), generator=generator).to(device)
        self._fields: torch.Tensor = fields.to(device)
        self._fixed: list[torch.Tensor] = [torch.tensor([STEPS + k], device=device) for k in range(FIXED)]
        # Changed in place: what was recorded of a step holds this very tensor.
        self.row: torch.Tensor = torch.zeros(1, dtype=torch.long, device=device)

    def __len__(self) -> int:
        return self.alteration.count

    def set_step(self, step: int | None) -> None:
        """Take the copies of a step, counted from 0; None: some that no step has."""
        self.row.fill_(STEPS if step is None else step % STEPS)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(b, c, h, w) -> (b * count, c, h, w): those of the first image first."""
        return self._of_row(x, self.row)

    def fixed(self, x: torch.Tensor) -> torch.Tensor:
        """(b, c, h, w) -> (b * count * 2, c, h, w): copies that no step has, always the same."""
        rows = [self._of_row(x, row) for row in self._fixed]
        return torch.stack([row.unflatten(0, (len(x), -1)) for row in rows], 1).flatten(0, 2)

    def _of_row(self, x: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
        images = len(x)
        copies = x.repeat_interleave(len(self), 0)
        places = self._places.index_select(0, row)[0].repeat(images, 1, 1).to(x.dtype)
        grid = functional.affine_grid(places, list(copies.shape), align_corners=False)
        copies = functional.grid_sample(copies, grid, padding_mode="reflection", align_corners=False)
        contrast, brightness = self._colors.index_select(1, row)[:, 0].repeat(1, images, 1)[..., None, None].to(x.dtype)
        noise = self._fields.index_select(0, self._chosen.index_select(0, row)[0]).repeat(images, 1, 1, 1).to(x.dtype)
        deviations = self._deviations.index_select(0, row)[0].repeat(images)[:, None, None, None].to(x.dtype)
        return copies * contrast + brightness + deviations * noise
