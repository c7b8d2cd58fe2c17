"""JPEG: Phi = the coefficients that a JPEG file stores rounded; the rounding error of each is bounded.

A JPEG holds of each 8 x 8 block of Y, Cb and Cr the cosine coefficients, rounded to multiples of a quantization table. All
pictures whose coefficients lie within half a step of the stored ones would give the same file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from preimage.errors import InputError

BLOCK = 8
_GREY = 128 / 255  # the level from which a JPEG counts
# JFIF 1.02: Y, Cb, Cr from R, G, B, all in 0..1 (Cb and Cr about 0).
_TO_YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


class JpegCoefficients(nn.Module):
    """Orthonormal block cosine coefficients of a picture, (b, c, h, w) in 0..1 -> (b, n), in units of the picture.

    Example:
        >>> view = JpegCoefficients([torch.full((8, 8), 16.0)], size=(20, 33))
        >>> view(torch.rand(1, 1, 20, 33)).shape, view.steps.shape  # 3 x 5 blocks
        (torch.Size([1, 960]), torch.Size([960]))

    Args:
        tables: one 8 x 8 quantization table for each channel, in units of 1/255, row-major: 1 (grey) or 3 (color) channels.
        size: (height, width) of the picture as stored; blocks that reach over the edge repeat its last pixels.
        subsampling: (vertical, horizontal) factors by which Cb and Cr are averaged: (2, 2) for 4:2:0.
        space: what three channels are stored as: YCbCr (BT.601, full range), or RGB as it is.

    Attributes:
        steps: (n,) the quantization step of each coefficient, in units of the picture.
        whole: (n,) bool, whether its block lies within the picture: of the others only a part is in the decoded file.

    Raises InputError for another number of channels, or a table that is not 8 x 8.

    Source: ITU-T T.81 (JPEG), annexes A and K; JFIF 1.02 for the colors.
    """

    basis: torch.Tensor
    to_rgb: torch.Tensor
    to_ycbcr: torch.Tensor
    steps: torch.Tensor
    whole: torch.Tensor

    def __init__(
        self,
        tables: Sequence[torch.Tensor],
        size: tuple[int, int],
        *,
        subsampling: tuple[int, int] = (1, 1),
        space: Literal["grey", "YCbCr", "RGB"] = "YCbCr",
    ) -> None:
        super().__init__()
        if len(tables) not in (1, 3) or any(tuple(table.shape) != (BLOCK, BLOCK) for table in tables):
            shapes = [tuple(table.shape) for table in tables]
            raise InputError(f"a JPEG has 1 or 3 quantization tables of 8 x 8, got {shapes}", code="shape")
        self.size: tuple[int, int] = size
        self.subsampling: tuple[int, int] = subsampling
        self.channels: int = len(tables)
        k = torch.arange(BLOCK, dtype=torch.float32)
        basis = torch.cos(math.pi * (2 * k + 1) * k[:, None] / (2 * BLOCK)) * math.sqrt(2 / BLOCK)
        basis[0] /= math.sqrt(2)
        self.register_buffer("basis", basis)
        to_ycbcr = torch.eye(3) if space == "RGB" else torch.tensor(_TO_YCBCR)
        self.register_buffer("to_ycbcr", to_ycbcr)
        self.register_buffer("to_rgb", torch.linalg.inv(to_ycbcr.double()).float())
        planes = self._planes(torch.zeros(1, self.channels, *size))
        steps = [(table.float() / 255).flatten() for table in tables]
        counts = [plane.numel() // BLOCK**2 for plane in planes]
        self.register_buffer("steps", torch.cat([own.repeat(n) for own, n in zip(steps, counts, strict=True)]))
        self.register_buffer("whole", torch.cat([self._inside(i, plane) for i, plane in enumerate(planes)]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self._coefficients(plane).flatten(1) for plane in self._planes(x - _GREY)], 1)

    def nearest(self, x: torch.Tensor, stored: torch.Tensor, tolerance: torch.Tensor) -> torch.Tensor:
        """Projection of x, (b, c, h, w), onto the images whose coefficients are within `tolerance` (n,) of the stored (b, n).

        Example:
            >>> view = JpegCoefficients([torch.full((8, 8), 16.0)], size=(16, 16))
            >>> stored = rounded(view(torch.rand(1, 1, 16, 16)), view.steps)
            >>> x = view.nearest(torch.zeros(1, 1, 16, 16), stored, view.steps / 2)
            >>> bool(((view(x) - stored).abs() <= view.steps / 2 + 1e-5).all())
            True

        All pictures that the file may have been made from lie there, a convex set: going to its nearest point leads
        closer to every one of them (Zakhor, IEEE Transactions on Circuits and Systems for Video Technology 1992).
        """
        found = self(x)
        correction = torch.maximum(torch.minimum(found, stored + tolerance), stored - tolerance) - found
        return x + self._from_coefficients(correction)

    def _from_coefficients(self, coefficients: torch.Tensor) -> torch.Tensor:
        """The least picture that has these coefficients, (b, n) -> (b, c, h, w), counted from grey."""
        b = len(coefficients)
        empty = self._planes(coefficients.new_zeros(1, self.channels, *self.size))
        planes, begin = [], 0
        for plane in empty:
            h, w = plane.shape[-2:]
            blocks = coefficients[:, begin : begin + h * w].reshape(b, h // BLOCK, w // BLOCK, BLOCK, BLOCK)
            begin += h * w
            pixels = self.basis.T @ blocks @ self.basis
            planes.append(pixels.transpose(2, 3).reshape(b, 1, h, w))
        if self.channels == 3:
            planes = [planes[0], *(functional.interpolate(each, size=planes[0].shape[-2:]) for each in planes[1:])]
            planes = list(torch.einsum("dc,bchw->bdhw", self.to_rgb, torch.cat(planes, 1)).split(1, 1))
        return torch.cat(planes, 1)[..., : self.size[0], : self.size[1]]

    def _planes(self, x: torch.Tensor) -> list[torch.Tensor]:
        if x.shape[1] != self.channels or tuple(x.shape[-2:]) != self.size:
            expected = f"(b, {self.channels}, {self.size[0]}, {self.size[1]})"
            raise InputError(f"expected {expected}, got {tuple(x.shape)}", code="shape")
        vertical, horizontal = self.subsampling if self.channels == 3 else (1, 1)
        height, width = (
            -(-side // (BLOCK * factor)) * BLOCK * factor
            for side, factor in zip(self.size, (vertical, horizontal), strict=True)
        )
        x = functional.pad(x, (0, width - self.size[1], 0, height - self.size[0]), mode="replicate")
        if self.channels == 1:
            return [x]
        ycc = torch.einsum("dc,bchw->bdhw", self.to_ycbcr, x)
        chroma = functional.avg_pool2d(ycc[:, 1:], (vertical, horizontal))
        return [ycc[:, :1], chroma[:, :1], chroma[:, 1:]]

    def _coefficients(self, plane: torch.Tensor) -> torch.Tensor:
        """(b, 1, h, w) -> (b, blocks, 8, 8)."""
        b, _, h, w = plane.shape
        blocks = plane.reshape(b, h // BLOCK, BLOCK, w // BLOCK, BLOCK).transpose(2, 3).flatten(1, 2)
        return self.basis @ blocks @ self.basis.T

    def _inside(self, channel: int, plane: torch.Tensor) -> torch.Tensor:
        """Of blocks whose last row and column are pixels of the picture, True for each coefficient."""
        reach = [BLOCK * factor if channel else BLOCK for factor in self.subsampling]
        rows, columns = (
            (torch.arange(side // BLOCK) + 1) * step <= limit
            for side, step, limit in zip(plane.shape[-2:], reach, self.size, strict=True)
        )
        return (rows[:, None] & columns).flatten().repeat_interleave(BLOCK**2)


def rounded(coefficients: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """The nearest multiples of the steps, (b, n), (n,) -> (b, n): the coefficients in the file, from its decoded pixels.

    Example:
        >>> rounded(torch.tensor([[0.31, -0.12]]), torch.tensor([0.1, 0.1]))
        tensor([[ 0.3, -0.1]])
    """
    return (coefficients / steps).round() * steps
