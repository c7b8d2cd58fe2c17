"""E: the distance between a prediction Phi(x) and the measurement y, each one short formula.

A distance takes (prediction, target), of one shape or shapes that broadcast, and returns one value per entry, which `Problem`
weights, masks and averages. A distance of the whole image returns one value per member, (b,), and is marked by `whole_image`: a
weight or mask has no meaning for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch.nn import functional

__all__ = [
    "absolute",
    "cross_entropy",
    "filtered",
    "huber",
    "is_whole_image",
    "laplacian_pyramid",
    "poisson_nll",
    "squared",
    "squared_outside",
    "whole_image",
]

Function = TypeVar("Function", bound=Callable[..., torch.Tensor])


def whole_image(distance: Function) -> Function:
    """Decorator of a distance that returns one value per member instead of one per entry.

    Example:
        >>> @whole_image
        ... def largest(prediction, target):
        ...     return (prediction - target).abs().flatten(1).amax(1)
        >>> is_whole_image(largest)
        True
    """
    distance.whole_image = True  # type: ignore[attr-defined]
    return distance


def is_whole_image(distance: Callable[..., torch.Tensor]) -> bool:
    """Whether a distance, or the function inside a `functools.partial` of one, is marked by `whole_image`.

    Example:
        >>> is_whole_image(partial(laplacian_pyramid, levels=2)), is_whole_image(squared)
        (True, False)
    """
    return any(getattr(each, "whole_image", False) for each in (distance, getattr(distance, "func", None)))


def squared(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """|a - b|^2, real or complex; the result is real.

    Example:
        >>> squared(torch.tensor([1.0]), torch.tensor([3.0]))
        tensor([4.])
    """
    difference = prediction - target
    return difference.abs().square() if difference.is_complex() else difference.square()


def absolute(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """|a - b|, real or complex; the result is real.

    Example:
        >>> absolute(torch.tensor([1.0]), torch.tensor([3.0]))
        tensor([2.])
    """
    return (prediction - target).abs()


def filtered(prediction: torch.Tensor, target: torch.Tensor, *, response: torch.Tensor) -> torch.Tensor:
    """Square of the filtered difference, |F^-1(response F(a - b))|^2: whitens correlated noise.

    Example:
        >>> filtered(torch.ones(1, 1, 8, 8), torch.zeros(1, 1, 8, 8), response=torch.full((8, 5), 2.0)).mean()
        tensor(4.)

    Args:
        prediction, target: (b, c, h, w); so is the result.
        response: (h, w // 2 + 1), the factor of each frequency of `torch.fft.rfft2`.
    """
    spectrum = torch.fft.rfft2(prediction - target) * response.to(prediction.device)
    return torch.fft.irfft2(spectrum, s=prediction.shape[-2:]).square()


def huber(prediction: torch.Tensor, target: torch.Tensor, *, delta: float = 0.1) -> torch.Tensor:
    """Half the square up to `delta` (in units of the image), linear beyond: robust to outliers (Huber 1964).

    Example:
        >>> huber(torch.tensor([0.1, 1.0]), torch.zeros(2), delta=0.1)
        tensor([0.0050, 0.0950])
    """
    return functional.huber_loss(prediction, target.expand_as(prediction), reduction="none", delta=delta)


def poisson_nll(prediction: torch.Tensor, target: torch.Tensor, *, gain: float, floor: float = 1e-3) -> torch.Tensor:
    """-log p(y | x) + log p(y | y) for y / gain ~ Poisson(x / gain): zero where x = y.

    Example:
        >>> poisson_nll(torch.tensor([0.2, 0.5]), torch.tensor([0.2, 0.2]), gain=0.01)
        tensor([ 0.0000, 11.6742])

    Args:
        prediction, target: 0 to 1.
        gain: image units per count, so that the variance of y is gain * x.
        floor: lower limit of both, above 0, because the logarithm diverges at 0.
    """
    x = prediction.clamp_min(floor)
    y = target.clamp_min(floor)
    return (x - y - y * (x / y).log()) / gain


def squared_outside(prediction: torch.Tensor, target: torch.Tensor, *, tolerance: torch.Tensor) -> torch.Tensor:
    """Squared distance to the interval target +- tolerance (0 or more), 0 inside it: for values that were rounded.

    Example:
        >>> squared_outside(torch.tensor([1.0, 3.0]), torch.tensor([2.0, 2.0]), tolerance=torch.tensor([1.0, 0.5]))
        tensor([0.0000, 0.2500])
    """
    return ((prediction - target).abs() - tolerance).clamp_min(0).square()


@whole_image
def laplacian_pyramid(prediction: torch.Tensor, target: torch.Tensor, *, levels: int = 4) -> torch.Tensor:
    """Sum over the levels j of 4^j mean |L_j(a) - L_j(b)|, L_j being level j of a Laplacian pyramid.

    Example:
        >>> laplacian_pyramid(torch.ones(2, 3, 32, 32), torch.zeros(2, 3, 32, 32))
        tensor([1., 1.])

    Args:
        prediction, target: (b, c, h, w); the result is (b,).
        levels: maximum number of halvings; the coarsest level has 2 pixels a side or more.

    Source: Bojanowski et al., Optimizing the Latent Space of Generative Networks, ICML 2018, appendix.
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


@whole_image
def cross_entropy(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """-log softmax(logits)[class] in nats, (b,), of logits (b, classes) and class indices (b,).

    Example:
        >>> cross_entropy(torch.zeros(2, 10), torch.tensor([3, 7]))
        tensor([2.3026, 2.3026])
    """
    return functional.cross_entropy(prediction, target, reduction="none")
