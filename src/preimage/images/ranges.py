"""File values <-> 0..1: x = (value - low) / (high - low), and its inverse.

x is float32, so a value comes back to within (high - low) * 2**-24: identical for integers that span less than 2**23,
to about seven digits of the range for floats (float64 data included).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from preimage.errors import InputError

_ROWS = 512  # bands: the float64 arithmetic of a big picture never needs a second copy of it
_WIDEST_EXACT = 2**23
_DEPTHS = (8, 10, 12, 14, 16, 24, 32, 64)  # bits of cameras and files


@dataclass(frozen=True)
class ValueRange:
    """The file values that are black and white in all pictures of a data set, and their dtype.

    Example:
        >>> ValueRange.of(np.dtype(np.uint16), 12, 3900)
        ValueRange(low=0.0, high=4095.0, dtype='uint16')

    Raises InputError unless low and high are finite and low < high.
    """

    low: float
    high: float
    dtype: str

    def __post_init__(self) -> None:
        if not (math.isfinite(self.high - self.low) and self.low < self.high):
            wrong = f"got {self.low:g} and {self.high:g}"
            raise InputError(f"value_range must be two finite numbers, low < high, {wrong}", code="range")

    @classmethod
    def of(cls, dtype: np.dtype[Any], lowest: float, highest: float) -> ValueRange:
        """That of pictures with these ends: the depth of a camera, 0 to 1 for floats within, else the ends themselves.

        A picture that comes later has another brightest value, and the same depth.
        """
        low, high = 0.0, 1.0
        if dtype.kind == "u" or (dtype.kind == "i" and lowest >= 0):
            high = float(next(2**bits - 1 for bits in _DEPTHS if highest < 2**bits))
        elif dtype.kind != "b" and not (dtype.kind == "f" and lowest >= 0 and highest <= 1):
            low, high = lowest, highest if highest > lowest else lowest + max(1.0, abs(lowest) * 2**-10)
        return cls(low, high, dtype.newbyteorder("=").name)

    def units(self, pages: NDArray[Any]) -> NDArray[np.float32]:
        """Values of these units as 0 to 1, clipped."""
        scaled = (pages.astype(np.float64) - self.low) / (self.high - self.low)
        return np.clip(scaled, 0, 1).astype(np.float32)

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g} ({self.dtype})"


EIGHT_BITS = ValueRange(0.0, 255.0, "uint8")


def choose_range(
    pages: NDArray[Any],
    value_range: tuple[float, float] | None,
    name: str,
    ends: tuple[float, float] | None = None,
) -> tuple[float, float]:
    """The values that become 0 and 1: (0, 255) for uint8, (0, 1) for bool, else the data's own ends or value_range.

    Example:
        >>> choose_range(np.array([[[[7], [1007]]]], np.uint16), None, "a.tif")
        (7.0, 1007.0)

    NaN is ignored; ends: the least and the greatest value that count. Raises InputError if value_range is empty or leaves
    values out, or an integer range is too wide to be kept exactly.
    """
    low, high = lowest, highest = known_ends(pages) if ends is None else ends
    if value_range is not None:
        low, high = float(value_range[0]), float(value_range[1])
        if not (np.isfinite(low) and np.isfinite(high) and low < high):
            wrong = f"got {low:g} and {high:g}"
            raise InputError(f"value_range must be two finite numbers, low < high, {wrong}", code="range")
        if lowest < low or highest > high:
            outside = f"its values go from {lowest:g} to {highest:g}, outside the value range {low:g} to {high:g}"
            way_out = "give a range that holds them, or clip the data first"
            raise InputError(f"{name}: {outside}: {way_out}", code="range")
    elif pages.dtype == np.uint8:
        low, high = 0.0, 255.0
    elif pages.dtype == np.bool_:
        low, high = 0.0, 1.0
    elif lowest == highest:  # constant: any span will do, as long as it is not zero
        high = lowest + max(1.0, abs(lowest) * 2**-10)
    if not np.isfinite(high - low):
        too_wide = f"its values go from {low:g} to {high:g}, too wide to compute with"
        raise InputError(f"{name}: {too_wide}: scale them first", code="range")
    if pages.dtype.kind in "iu" and high - low > _WIDEST_EXACT:
        span = f"{pages.dtype} values that span {high - low:.0f}, more than {_WIDEST_EXACT}"
        way_out = "convert to float32 or uint16 first"
        raise InputError(f"{name}: {span}, cannot be kept exactly: {way_out}", code="range")
    return low, high


def known_ends(pages: NDArray[Any]) -> tuple[float, float]:
    """The least and the greatest value that is not NaN."""
    return float(np.fmin.reduce(pages, axis=None)), float(np.fmax.reduce(pages, axis=None))


def to_unit(pages: NDArray[Any], low: float, high: float) -> torch.Tensor:
    """(b, h, w, c) of any real dtype -> (b, c, h, w) float32, low to high becoming 0 to 1.

    Example:
        >>> to_unit(np.array([[[[0], [51], [255]]]], np.uint8), 0, 255)
        tensor([[[[0.0, 0.2, 1.0]]]])
    """
    b, h, w, c = pages.shape
    tensor = torch.empty((b, c, h, w), dtype=torch.float32)
    view = tensor.numpy().transpose(0, 2, 3, 1)
    for band in _bands(b, h):
        with np.errstate(invalid="ignore", over="ignore"):  # a signaling NaN; a value that stands for a missing one
            view[band] = (pages[band].astype(np.float64) - low) / (high - low)
    return tensor


def from_unit(tensor: torch.Tensor, low: float, high: float, dtype: np.dtype[Any]) -> NDArray[Any]:
    """(b, c, h, w) -> (b, h, w, c) of dtype: rounded to the nearest integer and clipped to the limits of dtype.

    Example:
        >>> from_unit(torch.tensor([[[[0.0, 0.2, 1.5]]]]), 0, 255, np.dtype(np.uint8)).ravel()
        array([  0,  51, 255], dtype=uint8)
    """
    view = tensor.detach().cpu().numpy().transpose(0, 2, 3, 1)
    pages = np.empty(view.shape, dtype)
    for band in _bands(*view.shape[:2]):
        pages[band] = quantize(low + view[band].astype(np.float64) * (high - low), dtype)
    return pages


def _bands(pages: int, rows: int) -> Iterator[tuple[int, slice]]:
    return ((page, slice(top, top + _ROWS)) for page in range(pages) for top in range(0, rows, _ROWS))


def quantize(values: NDArray[np.float64], dtype: np.dtype[Any]) -> NDArray[Any]:
    """float64 values -> dtype: nearest integer within its limits, or the nearest float."""
    if dtype == np.bool_:
        return values >= 0.5
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return np.clip(np.rint(values), limits.min, limits.max).astype(dtype)
    ends = np.finfo(dtype)
    return np.clip(values, float(ends.min), float(ends.max)).astype(dtype)


def fill_missing(tensor: torch.Tensor) -> torch.Tensor | None:
    """Replace NaN, in place, by the mean of the valid values of its page and channel, or by 0.5 where there are none.

    Returns the mask of replaced values, bool (b, c, h, w), or None if there are none.
    """
    missing = tensor.isnan()
    if not missing.any():
        return None
    for values, holes in zip(tensor.flatten(0, 1), missing.flatten(0, 1), strict=True):
        known = values[~holes]
        values[holes] = float(known.mean(dtype=torch.float64)) if len(known) else 0.5
    return missing
