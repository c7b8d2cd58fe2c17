"""Changes for the eye: signed and magnified around gray, or how large they are as a heat map."""

from __future__ import annotations

import torch

from preimage.explain import quality
from preimage.figures.restoration import largest


def magnified(change: torch.Tensor) -> torch.Tensor:
    """(b, c, h, w) signed -> 0 to 1: no change is gray, the value that all but 0.5 % are below is black or white."""
    return (0.5 + 0.5 * change / largest(change)).clamp(0, 1)


def heat_map(change: torch.Tensor) -> torch.Tensor:
    """(b, c, h, w) signed -> (b, 1, h, w): the mean size over the channels, 0 to 1."""
    size = quality.heat_map(change)
    return (size / largest(size)).clamp(0, 1)
