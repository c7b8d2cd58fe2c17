"""Differences of images made visible: signed and magnified around gray, or their magnitude as a heat map."""

from __future__ import annotations

import torch

from preimage.figures.restoration import largest


def magnified(change: torch.Tensor) -> torch.Tensor:
    """Signed change (b, c, h, w) -> 0 to 1: no change is gray; the magnitude that 99.5 % are below is black or white.

    Example:
        >>> magnified(torch.tensor([-0.01, 0.0, 0.01]).expand(1, 1, 3, 3))[0, 0, 0]
        tensor([0.0000, 0.5000, 1.0000])
    """
    return (0.5 + 0.5 * change / largest(change)).clamp(0, 1)


def heat_map(change: torch.Tensor) -> torch.Tensor:
    """Change (b, c, h, w) -> (b, 1, h, w): the mean magnitude over the channels, 0 to 1.

    Example:
        >>> heat_map(torch.tensor([-0.01, 0.0, 0.005]).expand(1, 2, 3, 3))[0, 0, 0]
        tensor([1.0000, 0.0000, 0.5000])
    """
    magnitude = change.abs().mean(1, keepdim=True)
    return (magnitude / largest(magnitude)).clamp(0, 1)
