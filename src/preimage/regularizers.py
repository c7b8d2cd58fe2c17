"""R: what is asked of the picture itself, whatever was given; each maps (b, c, h, w) to (b,)."""

from __future__ import annotations

import torch


def total_variation(x: torch.Tensor, *, beta: float = 1.0, epsilon: float = 1e-8) -> torch.Tensor:
    """Isotropic total variation, summed over pixels and channels: sum (dx^2 + dy^2)^(beta / 2).

    It is a sum, as in the published code, so that a weight like 1e-7 means the same at every size only relative to a
    mean squared error over as many values.

    Example:
        >>> total_variation(torch.zeros(2, 3, 16, 16)).shape
        torch.Size([2])

    Source: Mahendran, Vedaldi, Understanding Deep Image Representations by Inverting Them, CVPR 2015, equation 5.
    """
    dx = x[..., :-1, 1:] - x[..., :-1, :-1]
    dy = x[..., 1:, :-1] - x[..., :-1, :-1]
    return ((dx.square() + dy.square() + epsilon) ** (beta / 2) - epsilon ** (beta / 2)).flatten(1).sum(1)


def alpha_norm(x: torch.Tensor, *, alpha: float = 6.0) -> torch.Tensor:
    """sum |x - mean|^alpha, which keeps values in a sensible range (Mahendran and Vedaldi 2015, section 3.1)."""
    centered = x - x.flatten(1).mean(1).reshape(-1, 1, 1, 1)
    return (centered.abs() ** alpha).flatten(1).sum(1)
