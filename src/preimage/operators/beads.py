"""A blur kernel that was measured as the image of a bead or a star: its background is removed, and it is centered.

k = (b - median of its border) within the bead, 0 elsewhere;    sum over r of k(r) (r - center) = 0
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

SMALLEST = 7  # pixels a side: below, a flat border is the kernel's own
SHARE = 0.01  # of the sum: less of a background changes nothing
ABOVE = 2.0  # times the background that the bead is bright, at least
CLEAR = 3.0  # deviations of the border's noise above which a pixel belongs to the bead
OFF = 0.05  # pixels: nearer to the center than can be measured


def without_background(kernel: torch.Tensor, *, odd: bool = True) -> tuple[torch.Tensor, tuple[str, ...]]:
    """The kernel of a bead on a background, of sum 1, and what is to be said of it; any other kernel as it is.

    Example:
        >>> bead = torch.nn.functional.pad(gaussian(1.0), (4, 4, 4, 4)) + 0.01
        >>> without_background(bead / bead.sum())[0].shape
        torch.Size([7, 7])

    Args:
        kernel: (kh, kw) of sum 1.
        odd: whether both sides are to be odd, as for a blur; even otherwise.
    """
    values = kernel.double().numpy()
    found = _background(values)
    if found is None:
        return kernel, ()
    level, noise = found
    bead = _bead(values - level, CLEAR * noise)
    centered = _centered(bead, odd=odd)
    share, (height, width) = 100 * level / values.max(), centered.shape
    said = (
        f"the kernel is a bead on a background of {share:.1f} % of its brightest value: the background was removed, and the bead "
        f"centered in {width} x {height} pixels"
    )
    return torch.from_numpy((centered / centered.sum()).astype(np.float32)), (said,)


def _background(values: NDArray[Any]) -> tuple[float, float] | None:
    """Level and noise of a border that is flat, bright enough to matter, and far darker than the bead; None without one.

    The tails of a blur are no background: they are darker in the corners, which are further from its center.
    """
    if min(values.shape) < SMALLEST:
        return None
    ring, inner = _ring(values), _ring(values[1:-1, 1:-1])
    level = float(np.median(ring))
    noise = 1.4826 * float(np.median(np.abs(ring - level)))
    if level * values.size <= SHARE * values.sum() or noise > level or values.max() < ABOVE * level + 5 * noise:
        return None
    # Tails are smooth: what noise there is shows from pixel to pixel.
    chance = 3 * 1.4826 * float(np.median(np.abs(np.diff(ring)))) / np.sqrt(0.6 * len(ring))
    height, width = values.shape
    rows, columns = np.mgrid[:height, :width]
    distance = np.hypot(_ring(rows) / (height - 1) - 0.5, _ring(columns) / (width - 1) - 0.5)
    corners, middles = distance >= np.quantile(distance, 0.7), distance <= np.quantile(distance, 0.3)
    slopes = (np.median(ring[middles]) - np.median(ring[corners]), np.median(inner) - level)
    return (level, noise) if max(map(abs, slopes)) <= 0.1 * level + chance else None


def _ring(values: NDArray[Any]) -> NDArray[Any]:
    """The outermost pixels, in turn around."""
    return np.concatenate([values[0, :-1], values[:-1, -1], values[-1, :0:-1], values[:0:-1, 0]])


def _bead(values: NDArray[Any], least: float) -> NDArray[Any]:
    """The brightest spot above `least`, a pixel wider on every side, and zeros elsewhere."""
    import cv2

    bright = values > max(least, 1e-3 * values.max())
    _, parts = cv2.connectedComponents(bright.astype(np.uint8), connectivity=8)
    own = parts == parts[np.unravel_index(values.argmax(), values.shape)]
    wider = cv2.dilate(own.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return np.where(wider, values, 0).clip(min=0)


def _centered(values: NDArray[Any], *, odd: bool) -> NDArray[Any]:
    """The values with their centroid in the middle of the smallest square of odd, or even, sides that holds them."""
    centroid = (
        np.array([(values.sum(1 - axis) * np.arange(values.shape[axis])).sum() for axis in (0, 1)]) / values.sum()
    )
    held = np.argwhere(values > 0)
    reach = float(np.abs(held - centroid).max())
    half = np.ceil(reach - OFF) if odd else np.ceil(reach - OFF + 0.5) - 0.5
    size = int(2 * half + 1)
    padded = np.pad(values, size)
    start = np.rint(centroid + size - half).astype(int)
    off = start + half - (centroid + size)
    moved = _shifted(_shifted(padded, off[0]).T, off[1]).T.clip(min=0) if np.abs(off).max() > OFF else padded
    return moved[start[0] : start[0] + size, start[1] : start[1] + size]


def _shifted(values: NDArray[Any], off: float) -> NDArray[Any]:
    """The values moved by less than a row downward, between zeros, by the cubic spline through them (Unser 1999)."""
    count = len(values)
    spline = (4 * np.eye(count) + np.eye(count, k=1) + np.eye(count, k=-1)) / 6
    coefficients = np.pad(np.linalg.solve(spline, values), ((2, 2), (0, 0)))
    first = math.floor(-off)
    t = -off - first
    weights = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    rows = np.arange(count) + 2 + first
    taken = [coefficients[(rows + k - 1).clip(0, count + 3)] for k in range(4)]
    return sum((weight / 6 * part for weight, part in zip(weights, taken, strict=True)), np.zeros(values.shape))
