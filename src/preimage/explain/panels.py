"""Changes for the eye: signed and magnified around gray, or how large they are as a heat map."""

from __future__ import annotations

import torch


def magnified(change: torch.Tensor, share: float = 0.995) -> torch.Tensor:
    """(b, c, h, w) signed -> 0 to 1: no change is gray, the value that all but 0.5 % are below is black or white."""
    return (0.5 + 0.5 * change / _largest(change, share)).clamp(0, 1)


def heat_map(change: torch.Tensor, share: float = 0.995) -> torch.Tensor:
    """(b, c, h, w) signed -> (b, 1, h, w): the mean size over the channels, 0 to 1."""
    size = change.abs().mean(1, keepdim=True)
    return (size / _largest(size, share)).clamp(0, 1)


def _largest(change: torch.Tensor, share: float) -> float:
    values = change.abs().flatten()
    return max(float(torch.quantile(values[:: max(1, values.numel() // 1_000_000)], share)), 1e-6)
