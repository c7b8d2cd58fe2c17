"""Resampling as Pillow does it, differentiably: the filters by which libraries of classifiers prepare their images."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import torch
from torch.nn import functional

Filter = Literal["bilinear", "bicubic", "lanczos", "box", "hamming", "nearest"]


def resampled(x: torch.Tensor, size: tuple[int, int], by: Filter = "bilinear") -> torch.Tensor:
    """Images (b, c, h, w) at another size, reduced with a filter that is as much wider; what size they have stays as it is.

    Bicubic and Lanczos overshoot; values beyond 0 to 1 that the image itself has not are cut off after the rows and after the
    columns, as in Pillow's 8 bits.

    Example:
        >>> resampled(torch.rand(1, 3, 40, 60), (20, 30), "lanczos").shape
        torch.Size([1, 3, 20, 30])
    """
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    if by == "nearest":
        rows, columns = (_nearest(had, wanted).to(x.device) for had, wanted in zip(x.shape[-2:], size, strict=True))
        return x.index_select(-2, rows).index_select(-1, columns)
    if by == "bilinear":
        return functional.interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=True)
    low = x.detach().amin((1, 2, 3), keepdim=True).clamp_max(0)
    high = x.detach().amax((1, 2, 3), keepdim=True).clamp_min(1)
    x = _along_rows(x, size[1], by).clamp(low, high)
    return _along_rows(x.mT, size[0], by).mT.clamp(low, high)


def _along_rows(x: torch.Tensor, width: int, by: Filter) -> torch.Tensor:
    if width == x.shape[-1]:
        return x
    if by == "bicubic":
        size = (x.shape[-2], width)
        return functional.interpolate(x, size=size, mode="bicubic", align_corners=False, antialias=True)
    return x @ _weights(x.shape[-1], width, by).to(x).T


@lru_cache(maxsize=16)
def _nearest(had: int, wanted: int) -> torch.Tensor:
    """(wanted,): the index of each pixel of a row; summed up as Pillow does it, by which halves are rounded (Geometry.c)."""
    scale, found = had / wanted, [0.5 * (had / wanted)]
    for _ in range(wanted - 1):
        found.append(found[-1] + scale)
    return torch.tensor([min(had - 1, int(place)) for place in found])


@lru_cache(maxsize=16)
def _weights(had: int, wanted: int, by: Filter) -> torch.Tensor:
    """(wanted, had): the weight of each pixel of a row in each pixel of the resized one (Pillow, Resample.c)."""
    kernel, support = _KERNELS[by]
    scale = had / wanted
    wide = max(scale, 1.0)
    found = torch.zeros(wanted, had, dtype=torch.float64)
    for pixel in range(wanted):
        center = (pixel + 0.5) * scale
        first, last = int(max(0, center - support * wide + 0.5)), int(min(had, center + support * wide + 0.5))
        for source in range(first, last):
            found[pixel, source] = kernel((source - center + 0.5) / wide)
    return (found / found.sum(1, keepdim=True)).float()


def _sinc(x: float) -> float:
    return 1.0 if x == 0 else math.sin(math.pi * x) / (math.pi * x)


_KERNELS: dict[str, tuple[Callable[[float], float], float]] = {  # each with its support, in pixels
    "lanczos": (lambda x: _sinc(x) * _sinc(x / 3) if abs(x) < 3 else 0.0, 3.0),
    "box": (lambda x: 1.0 if -0.5 < x <= 0.5 else 0.0, 0.5),
    "hamming": (lambda x: _sinc(x) * (0.54 + 0.46 * math.cos(math.pi * x)) if abs(x) < 1 else 0.0, 1.0),
}
