"""E: how far a prediction is from what was given, each one short formula.

A distance takes (prediction, target) and returns one value per entry, which `Problem` averages (so that entries can be
weighted or left out), or one value per member, (b,), where entries have no meaning of their own.
"""

from __future__ import annotations

import torch
from torch.nn import functional


def squared(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """|a - b|^2, real or complex. Example: squared(tensor([1.0]), tensor([3.0])) -> tensor([4.0])."""
    difference = prediction - target
    return difference.abs().square() if difference.is_complex() else difference.square()


def absolute(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """|a - b|, real or complex. Example: absolute(tensor([1.0]), tensor([3.0])) -> tensor([2.0])."""
    return (prediction - target).abs()


def filtered(prediction: torch.Tensor, target: torch.Tensor, *, response: torch.Tensor) -> torch.Tensor:
    """Square of the difference after a filter: |F^-1(response F(a - b))|^2, entry by entry.

    Args:
        prediction, target: (b, c, h, w).
        response: (h, w // 2 + 1), what each frequency of `torch.fft.rfft2` is multiplied by.
    """
    spectrum = torch.fft.rfft2(prediction - target) * response.to(prediction.device)
    return torch.fft.irfft2(spectrum, s=prediction.shape[-2:]).square()


def huber(prediction: torch.Tensor, target: torch.Tensor, *, delta: float = 0.1) -> torch.Tensor:
    """Half the square up to `delta` (in units of the picture, 0 to 1), linear beyond (Huber 1964)."""
    return functional.huber_loss(prediction, target.expand_as(prediction), reduction="none", delta=delta)


def poisson_nll(prediction: torch.Tensor, target: torch.Tensor, *, gain: float, floor: float = 1e-3) -> torch.Tensor:
    """-log p(y | x) + log p(y | y) of y / gain ~ Poisson(x / gain): zero where x = y.

    Args:
        prediction, target: (b, c, h, w), 0 to 1.
        gain: picture units per count: the variance of y is gain * x.
        floor: both are taken to be at least this, where the logarithm would run away.
    """
    x = prediction.clamp_min(floor)
    y = target.clamp_min(floor)
    return (x - y - y * (x / y).log()) / gain


def beyond(prediction: torch.Tensor, target: torch.Tensor, *, slack: torch.Tensor) -> torch.Tensor:
    """Squared distance to the interval target +- slack, zero within: for values known only up to rounding.

    Example: beyond(tensor([1.0, 3.0]), tensor([2.0, 2.0]), slack=tensor([1.0, 0.5])) -> tensor([0.0000, 0.2500]).
    """
    return ((prediction - target).abs() - slack).clamp_min(0).square()


def laplacian_pyramid(prediction: torch.Tensor, target: torch.Tensor, *, levels: int = 4) -> torch.Tensor:
    """Sum over levels of 2^(2j) mean |L_j(a) - L_j(b)| (Bojanowski et al. 2018, appendix): (b, c, h, w) x 2 -> (b,).

    A picture too small for `levels` halvings takes fewer.
    """
    remaining = prediction - target
    total = remaining.new_zeros(remaining.shape[0])
    for level in range(levels):
        if min(remaining.shape[-2:]) < 4:
            break
        coarse = functional.avg_pool2d(remaining, 2, ceil_mode=True)
        back = functional.interpolate(coarse, size=remaining.shape[-2:], mode="bilinear", align_corners=False)
        total = total + 4.0**level * (remaining - back).abs().flatten(1).mean(1)
        remaining = coarse
    return total + remaining.abs().flatten(1).mean(1)


def cross_entropy(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """-log softmax(logits)[class]: logits (b, classes), class indices (b,) -> (b,)."""
    return functional.cross_entropy(prediction, target, reduction="none")
