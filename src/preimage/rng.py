"""Randomness: explicit generators only, one for each source of each member, all from one seed."""

from __future__ import annotations

import numpy as np
import torch

SOURCES = ("weights", "code", "jitter", "hold-out")


def seeded(seed: int, source: str, member: int, device: torch.device | str = "cpu") -> torch.Generator:
    """The generator of one source of randomness of one member: streams that never meet, from one seed."""
    words = np.random.SeedSequence([seed, SOURCES.index(source), member]).generate_state(2)
    return torch.Generator(device).manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)
