"""R: regularizers, functions of the image x alone; each maps (b, c, h, w) to one value per member, (b,).

The "mean" does not depend on the image size; "sum" is the published form.

Source: Mahendran, Vedaldi, Understanding Deep Image Representations by Inverting Them, CVPR 2015, equation 5 and section 3.1.
"""

from __future__ import annotations

from typing import Literal

import torch

__all__ = ["alpha_norm", "total_variation"]

Reduction = Literal["mean", "sum"]


def total_variation(
    x: torch.Tensor, *, beta: float = 1.0, epsilon: float = 1e-8, reduction: Reduction = "mean"
) -> torch.Tensor:
    """Isotropic total variation, mean of (dx^2 + dy^2)^(beta / 2) over pixels and channels.

    Example:
        >>> ramp = torch.linspace(0, 1, 11).expand(1, 1, 11, 11)  # dx = 0.1 everywhere
        >>> total_variation(ramp), total_variation(ramp, reduction="sum")
        (tensor([0.0999]), tensor([9.99]))

    Args:
        x: (b, c, h, w), 0 to 1, h and w at least 2; it has (h - 1) (w - 1) differences.
        beta: exponent, above 0; 1 preserves edges, 2 smooths.
        epsilon: added to the square, so that the gradient exists at 0.
    """
    dx = x[..., :-1, 1:] - x[..., :-1, :-1]
    dy = x[..., 1:, :-1] - x[..., :-1, :-1]
    return _reduced((dx.square() + dy.square() + epsilon) ** (beta / 2) - epsilon ** (beta / 2), reduction)


def alpha_norm(x: torch.Tensor, *, alpha: float = 6.0, reduction: Reduction = "mean") -> torch.Tensor:
    """Mean of |x - mean|^alpha (alpha above 0) over pixels and channels: penalizes values far from the image's mean.

    Example:
        >>> x = torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 2)
        >>> alpha_norm(x, alpha=2), alpha_norm(x, alpha=2, reduction="sum")
        (tensor([0.2500]), tensor([0.5000]))
    """
    centered = x - x.flatten(1).mean(1).reshape(-1, 1, 1, 1)
    return _reduced(centered.abs() ** alpha, reduction)


def _reduced(values: torch.Tensor, reduction: Reduction) -> torch.Tensor:
    flat = values.flatten(1)
    return flat.mean(1) if reduction == "mean" else flat.sum(1)
