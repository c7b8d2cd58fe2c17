"""Overlapping blocks of an image as their cosine coefficients, in luma and chroma, and back."""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

SIDE = (
    16  # pixels of a block: longer than the noise of a camera is correlated in luma, and twice that of most in chroma
)
_SATURATED = 0.1  # the share of the values of a block that may be at 0 or 1
_STEP = 1 / 255
# Rows of an orthonormal change of color: luma, red against blue, green against both.
_OPPONENT = ((1, 1, 1), (1, 0, -1), (1, -2, 1))


def to_planes(image: Tensor) -> Tensor:
    """Luma and two chroma planes of three channels, of the same energy; other numbers of channels as they are. (b, c, h, w)."""
    return torch.einsum("ij,bjhw->bihw", _opponent().to(image), image) if image.shape[1] == 3 else image


def from_planes(planes: Tensor) -> Tensor:
    """The inverse of `to_planes`."""
    return torch.einsum("ji,bjhw->bihw", _opponent().to(planes), planes) if planes.shape[1] == 3 else planes


def to_blocks(planes: Tensor, stride: int) -> Tensor:
    """The cosine coefficients of the blocks at every `stride` pixels: (p, h, w) -> (p, n, SIDE, SIDE)."""
    blocks = F.unfold(planes[:, None], SIDE, stride=stride).transpose(1, 2).unflatten(2, (SIDE, SIDE))
    basis = _basis().to(planes)
    return basis @ blocks @ basis.T


def from_blocks(blocks: Tensor, size: tuple[int, int], stride: int) -> Tensor:
    """The planes of these coefficients, (p, h, w), each block weighted towards its middle."""
    basis, window = _basis().to(blocks), _window().to(blocks)
    pixels = (basis.T @ blocks @ basis) * window
    weights = window.reshape(1, -1, 1).expand(1, -1, blocks.shape[1])
    summed = F.fold(pixels.flatten(2).transpose(1, 2), size, SIDE, stride=stride)
    return (summed / F.fold(weights, size, SIDE, stride=stride).clamp_min(1e-6))[:, 0]


def block_means(plane: Tensor, stride: int) -> Tensor:
    """The mean of each block of a plane, (h, w) -> (n,)."""
    return F.avg_pool2d(plane[None, None], SIDE, stride).flatten()


def is_cut_off(image: Tensor) -> Tensor:
    """Where values are black or white, at which noise is cut off: bool, of the image's shape."""
    return (image < _STEP / 2) | (image > 1 - _STEP / 2)


def usable_blocks(image: Tensor, stride: int) -> Tensor:
    """Which blocks of an image (1, c, h, w) are hardly saturated, (n,) bool: others say nothing of the noise."""
    return block_means(is_cut_off(image).float().amax(1)[0], stride) <= _SATURATED


@cache
def _opponent() -> Tensor:
    rows = torch.tensor(_OPPONENT, dtype=torch.float64, device="cpu")
    return rows / rows.norm(dim=1, keepdim=True)


@cache
def _basis() -> Tensor:
    k = torch.arange(SIDE, dtype=torch.float64, device="cpu")
    rows = torch.cos(math.pi * (2 * k + 1) * k[:, None] / (2 * SIDE)) * math.sqrt(2 / SIDE)
    rows[0] /= math.sqrt(2)
    return rows


@cache
def _window() -> Tensor:
    bell = torch.hann_window(SIDE + 2, periodic=False, dtype=torch.float64, device="cpu")[1:-1]
    return bell[:, None] * bell
