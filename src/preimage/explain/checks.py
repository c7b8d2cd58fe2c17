"""Checks of arguments before the first step: an error names the argument, the constraint and the value."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from preimage.errors import InputError
from preimage.images.samples import MOST_PIXELS, SMALLEST_SIDE
from preimage.rng import is_whole


def is_number(value: Any) -> bool:
    """A finite real number; True and False are none.

    Example:
        >>> is_number(0.5), is_number(True), is_number(math.inf)
        (True, False, False)
    """
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def check_weights(**weights: Any) -> None:
    """Raise InputError for a weight of a term of the loss that is not finite, or below 0."""
    for name, value in weights.items():
        if not (is_number(value) and value >= 0):
            raise InputError(f"{name} must be a finite number, at least 0, got {value}")


def whole(name: str, value: Any, least: int) -> int:
    """A whole number as Python's int.

    Example:
        >>> whole("count", 3, least=1)
        3

    Raises:
        InputError: another type, or a value below the least.
    """
    if not is_whole(value) or value < least:
        raise InputError(f"{name} must be a whole number, at least {least}, got {value!r}")
    return int(value)


def checked_size(size: Any) -> tuple[int, int]:
    """(height, width) of an image that is made from nothing.

    Example:
        >>> checked_size([224, 320])
        (224, 320)

    Raises:
        InputError: not two whole numbers, or an image too small or too large.
    """
    if not isinstance(size, list | tuple) or len(size) != 2 or not all(map(is_whole, size)):
        raise InputError(
            f"size must be (height, width), two whole numbers, got {size!r}: (224, 224) is usual", code="type"
        )
    height, width = int(size[0]), int(size[1])
    if min(height, width) < SMALLEST_SIDE:
        raise InputError(
            f"the image must have at least {SMALLEST_SIDE} pixels a side, got {width} x {height}", code="size"
        )
    if height * width > MOST_PIXELS:
        raise InputError(
            f"size {height} {width} is {height * width} pixels, more than the maximum of {MOST_PIXELS}: "
            f"give a smaller --size",
            code="size",
        )
    return height, width
