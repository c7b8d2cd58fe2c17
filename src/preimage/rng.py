"""Randomness: explicit generators only, one for each source of each member, all from one seed."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
import torch

from preimage.errors import InputError

SOURCES = ("weights", "code", "jitter", "hold-out")
LARGEST_SEED = 2**31 - 1


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number by its type, Python's or NumPy's; True and False are none.

    Example:
        >>> is_whole(3), is_whole(3.0), is_whole(True)
        (True, False, False)
    """
    return isinstance(value, Integral) and not isinstance(value, bool)


def checked_seed(seed: Any) -> int:
    """A random seed as Python's int: the one check that the whole library has for it.

    Example:
        >>> checked_seed(7)
        7

    Raises:
        InputError: not a whole number from 0 to 2147483647.
    """
    if not is_whole(seed) or not 0 <= int(seed) <= LARGEST_SEED:
        raise InputError(f"seed must be a whole number from 0 to {LARGEST_SEED}, got {seed!r}", code="invalid-value")
    return int(seed)


def seeded(seed: int, source: str, member: int, device: torch.device | str = "cpu") -> torch.Generator:
    """The generator of one source of randomness of one member: streams that never meet, from one seed."""
    words = np.random.SeedSequence([seed, SOURCES.index(source), member]).generate_state(2)
    return torch.Generator(device).manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)
