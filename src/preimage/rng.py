"""Randomness: explicit generators only, one for each source and member, all derived from one seed."""

from __future__ import annotations

import numpy as np
import torch

SOURCES = ("weights", "code", "jitter", "hold-out")


def seeded(seed: int, source: str, member: int, device: torch.device | str = "cpu") -> torch.Generator:
    """The random generator of one source and one member, independent of all others of the same seed.

    Example:
        >>> first, second = (seeded(7, "code", member) for member in (0, 1))
        >>> torch.rand(2, generator=first), torch.rand(2, generator=second)
        (tensor([0.4875, 0.5200]), tensor([0.9746, 0.8098]))

    Args:
        seed: 0 or more.
        source: "weights", "code", "jitter" or "hold-out".
        member: index of the member, 0 or more.
        device: where the generator draws.

    Raises:
        ValueError: a negative number, or an unknown source.
    """
    words = np.random.SeedSequence([seed, SOURCES.index(source), member]).generate_state(2)
    return torch.Generator(device).manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)
