"""k: the kernels of down-sampling and blur, each a (kh, kw) float32 tensor that sums to 1.

Kernels for down-sampling by f are centered on the middle of a block of f x f pixels. For an even f that lies between
pixels (phase 0.5 in the published code) and the size is even; for an odd f it is a pixel and the size is odd. In both:

    k(i, j) ~ w((i - (n - 1) / 2) / f) w((j - (n - 1) / 2) / f),        i, j = 0 ... n - 1
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from preimage.errors import InputError

LARGEST_SIDE = 4095
"""Pixels of a kernel's side beyond which sigma or length is taken for a mistake."""
LEAK = 1e-3
"""Sum of what is added to a fitted kernel at the start: the gradient of an entry that is exactly 0 would vanish."""


class Kernel(nn.Module):
    """() -> (kh, kw), the kernel of an operator: fixed, or fitted along with the image.

    A fitted one is softmax(logits): non-negative and of sum 1 whatever the optimizer does, so that no brightness can move
    between the picture and its blur.

    Args:
        kernel: (kh, kw) of sum 1, checked by the caller.
        trainable: whether it is a parameter, which starts within 0.1 % of the sum, negative values (lobes of a Lanczos) at 0.
    """

    def __init__(self, kernel: torch.Tensor, *, trainable: bool) -> None:
        super().__init__()
        self.trainable: bool = trainable
        kernel = kernel.detach().float()
        if trainable:
            self.logits: nn.Parameter = nn.Parameter((kernel.clamp_min(0) + LEAK / kernel.numel()).log())
        else:
            self.register_buffer("values", kernel.clone())

    def forward(self) -> torch.Tensor:
        if self.trainable:
            return self.logits.flatten().softmax(0).view_as(self.logits)
        return self.get_buffer("values")


def lanczos2(factor: int) -> torch.Tensor:
    """The published down-sampler's kernel: w(t) = sinc(t) sinc(t / 2) for |t| < 2, the same for every channel.

    Example:
        >>> lanczos2(4).shape, lanczos2(3).shape
        (torch.Size([16, 16]), torch.Size([11, 11]))

    The factor is whole, at least 2, else InputError; the size 4 * factor if it is even, as published, and 4 * factor - 1 if odd:
    the next row on either side would be all zeros, since w(2) = 0.

    Source: Ulyanov et al., Deep Image Prior, CVPR 2018, section 3.2 (kernel "lanczos2", phase 0.5).
    """
    return _resampling(lambda t: torch.sinc(t) * torch.sinc(t / 2), factor)


def bicubic(factor: int) -> torch.Tensor:
    """Cubic convolution with a = -1/2, stretched by the factor against aliasing, as MATLAB's imresize and Pillow do it.

    Example:
        >>> bicubic(2).shape, bicubic(3).shape
        (torch.Size([8, 8]), torch.Size([11, 11]))

    Factor and size are as in `lanczos2`.

    Source: Keys, Cubic Convolution Interpolation for Digital Image Processing, 1981, equation 15.
    """

    def cubic(t: torch.Tensor) -> torch.Tensor:
        t = t.abs()
        return torch.where(t < 1, 1.5 * t**3 - 2.5 * t**2 + 1, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2)

    return _resampling(cubic, factor)


def box(factor: int) -> torch.Tensor:
    """The mean of each block of factor x factor pixels: the image of a camera with larger pixels.

    Example:
        >>> box(2)
        tensor([[0.2500, 0.2500],
                [0.2500, 0.2500]])

    The factor is whole, at least 2, else InputError.
    """
    factor = whole_factor(factor)
    _check_side(factor, f"the kernel for factor {factor}")
    return torch.full((factor, factor), 1 / factor**2)


def gaussian(sigma: float, size: int | None = None) -> torch.Tensor:
    """k(r) ~ exp(-r^2 / (2 sigma^2)), sampled at the pixels: a model of defocus and of atmospheric blur.

    Example:
        >>> gaussian(1.0).shape, gaussian(1.6, size=12).shape
        (torch.Size([7, 7]), torch.Size([12, 12]))

    Args:
        sigma: standard deviation in pixels, above 0.
        size: pixels a side, to 4095. None: the least odd number that reaches 3 sigma. An even size serves for down-sampling by
            an even factor, where the center lies between pixels.

    Raises InputError for a sigma or size out of its range.
    """
    if not (math.isfinite(sigma) and sigma > 0):
        raise InputError(f"sigma must be finite and above 0 pixels, got {sigma:g}: use 1.5, for example")
    if size is None:
        size = 2 * math.ceil(min(3 * sigma, LARGEST_SIDE)) + 1
    if size != int(size) or size < 1:
        raise InputError(f"size must be a whole number of pixels, at least 1, got {size}: leave it out for 3 sigma")
    _check_side(int(size), f"a Gaussian of sigma {sigma:g}")
    t = _centered(int(size)) / sigma
    return _outer(torch.softmax(-t.square() / 2, 0))  # exp over its sum, also where every exp would vanish


def motion(length: float, angle: float) -> torch.Tensor:
    """A camera that moved evenly along a straight line: k(p) ~ max(0, 1 - distance of p to the line).

    The line runs between the centers of its first and last pixel, length - 1 apart; one pixel across, it is
    anti-aliased.

    Example:
        >>> motion(5, 0)
        tensor([[0.2000, 0.2000, 0.2000, 0.2000, 0.2000]])

    Args:
        length: pixels, 1 to 4095, not necessarily whole; 1 is no blur, whatever the angle.
        angle: degrees, counter-clockwise from the horizontal: 45 is from the lower left to the upper right.

    Raises InputError for a length out of its range, an angle that is not finite.

    Source: the definition of MATLAB's fspecial("motion").
    """
    if not (math.isfinite(length) and length >= 1):
        raise InputError(f"length must be finite and at least 1 pixel, got {length:g}: use 15, for example")
    if not math.isfinite(angle):
        raise InputError(f"angle must be a finite number of degrees, got {angle:g}: use 45, for example")
    _check_side(math.ceil(length), f"motion of length {length:g}")
    half = (length - 1) / 2
    right, up = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    x = _centered(2 * math.floor(half * abs(right) + 1) + 1)
    y = -_centered(2 * math.floor(half * abs(up) + 1) + 1)[:, None]  # rows count downward
    along = (x * right + y * up).clamp(-half, half)
    distance = torch.hypot(x - along * right, y - along * up)
    weights = (1 - distance).clamp_min(0)
    weights[weights < 1e-6] = 0  # cos(90 degrees) is not quite 0
    weights = weights[weights.any(1)][:, weights.any(0)]
    return (weights / weights.sum()).float()


def check_kernel(kernel: torch.Tensor, size: tuple[int, int] | None = None, *, odd: bool) -> None:
    """Check before a fit that a kernel is valid and fits an image of that size.

    Example:
        >>> check_kernel(gaussian(2.0), (32, 32), odd=True)

    Args:
        kernel: (kh, kw).
        size: (h, w) of the picture; None if not known yet.
        odd: whether both sides must be odd, as for a blur.

    Raises InputError for one that is not (kh, kw), finite and of sum 1, larger than the picture, or even where it must be odd.
    """
    if kernel.ndim != 2 or not kernel.numel():
        found = f"got shape {tuple(kernel.shape)}: give one kernel for all channels"
        raise InputError(f"the kernel must be (kh, kw), {found}", code="kernel")
    kh, kw = kernel.shape
    if odd and not (kh % 2 and kw % 2):
        raise InputError(
            f"the kernel must have odd sides, got {kw} x {kh}: an even one moves the picture by half a pixel, "
            f"so give one of {kw // 2 * 2 + 1} x {kh // 2 * 2 + 1}",
            code="kernel",
        )
    if size is not None and (kh > size[0] or kw > size[1]):
        raise InputError(
            f"the kernel is {kw} x {kh} pixels, larger than the picture of {size[1]} x {size[0]}: "
            f"give a smaller kernel or a larger picture",
            code="kernel",
        )
    total = float(kernel.detach().cpu().double().sum())
    if not abs(total - 1) < 1e-3:  # also for NaN
        raise InputError(
            f"the kernel must be finite and sum to 1, it sums to {total:g}: pass it through read_kernel", code="kernel"
        )


def whole_factor(factor: float) -> int:
    """The factor as an int; InputError for one that is not whole or below 2."""
    if not (math.isfinite(factor) and factor == int(factor) and factor >= 2):
        raise InputError(f"factor must be a whole number, at least 2, got {factor:g}: use 2, 3, 4 or 8, for example")
    return int(factor)


def _resampling(profile: Callable[[torch.Tensor], torch.Tensor], factor: float) -> torch.Tensor:
    factor = whole_factor(factor)
    size = 4 * factor - factor % 2
    _check_side(size, f"the kernel for factor {factor}")
    weights = profile(_centered(size) / factor)
    return _outer(weights / weights.sum())


def _centered(size: int) -> torch.Tensor:
    """-(n - 1) / 2 ... (n - 1) / 2, in float64: kernels are computed in it and rounded once."""
    return torch.arange(size, dtype=torch.float64) - (size - 1) / 2


def _outer(weights: torch.Tensor) -> torch.Tensor:
    return torch.outer(weights, weights).float()


def _check_side(side: int, subject: str) -> None:
    if side > LARGEST_SIDE:
        raise InputError(f"{subject} is more than {LARGEST_SIDE} pixels wide: give a smaller one, in pixels")
