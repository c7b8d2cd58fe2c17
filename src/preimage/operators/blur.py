"""Phi of deblurring: convolution with a point spread function.

    y(p) = sum over q of k(q) x(p - q)

A camera's sensor sees only part of the scene, and light from beyond its edge is blurred into it: "valid" models just
that. x is then larger than y by a margin, nothing is assumed about what lies beyond, and no ringing starts at the edge.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import nn
from torch.nn import functional

from preimage.errors import InputError
from preimage.operators.kernels import Kernel, check_kernel

Boundary = Literal["valid", "replicate", "reflect", "circular"]

LARGEST_DIRECT = 64
"""Values of a kernel beyond which the Fourier transform is used: on one thread as fast at 5 x 5, 6 times at 15 x 15 and
20 times at 31 x 31, where the kernel is known, and still more where it is fitted. Fixed, never timed at run time, so that
equal runs are equal."""


class Blur(nn.Module):
    """(b, c, h, w) -> (b, c, h - kh + 1, w - kw + 1) if "valid", else the same size; one kernel for every channel.

    Example:
        >>> blur = Blur(gaussian(2.0))
        >>> blur(torch.rand(1, 3, 64, 48)).shape, blur.margin
        (torch.Size([1, 3, 52, 36]), (6, 6))

    Args:
        kernel: (kh, kw) of sum 1 and odd sides: the picture of a point, not mirrored.
        boundary: what lies beyond the edge of x: "valid", nothing, and y is smaller than x; "replicate", its last
            pixels; "reflect", its mirror image without the edge itself; "circular", its other side.
        trainable: whether the kernel is fitted, starting from the given one; it is non-negative then.

    Raises InputError for an unknown boundary, an even kernel or one that is no kernel; when called, a kernel larger than x.
    """

    def __init__(self, kernel: torch.Tensor, *, boundary: Boundary = "valid", trainable: bool = False) -> None:
        super().__init__()
        if boundary not in get_args(Boundary):
            raise InputError(f"boundary must be one of {', '.join(get_args(Boundary))}, got {boundary!r}")
        kernel = torch.as_tensor(kernel)
        check_kernel(kernel, odd=True)
        self.boundary: Boundary = boundary
        self.reach: tuple[int, int] = (kernel.shape[0] // 2, kernel.shape[1] // 2)
        self.filter: Kernel = Kernel(kernel, trainable=trainable)

    @property
    def kernel(self) -> torch.Tensor:
        """The current kernel, (kh, kw)."""
        return self.filter()

    @property
    def margin(self) -> tuple[int, int]:
        """Rows and columns by which y is smaller than x on each side: (kh // 2, kw // 2) if "valid", else (0, 0)."""
        return self.reach if self.boundary == "valid" else (0, 0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kernel = self.kernel.to(x.dtype)
        kh, kw = kernel.shape
        h, w = x.shape[-2:]
        if kh > h or kw > w:
            check_kernel(kernel, (h, w), odd=True)
        if self.boundary != "valid":
            rows, columns = self.reach
            x = functional.pad(x, (columns, columns, rows, rows), mode=self.boundary)
        return by_fourier(x, kernel) if kh * kw > LARGEST_DIRECT else directly(x, kernel)


def directly(x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """The part of k * x that needs nothing from beyond x, (b, c, h - kh + 1, w - kw + 1), by its definition."""
    channels = x.shape[1]
    return functional.conv2d(x, kernel.flip(0, 1).expand(channels, 1, *kernel.shape), groups=channels)


def by_fourier(x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """The same as `directly`, in O(h w log(h w)): the circular convolution where it does not wrap around."""
    (h, w), (kh, kw) = x.shape[-2:], kernel.shape
    size = (fast_length(h), fast_length(w))
    product = torch.fft.rfft2(x, s=size) * torch.fft.rfft2(kernel, s=size)
    return torch.fft.irfft2(product, s=size)[..., kh - 1 : h, kw - 1 : w]


def fast_length(least: int) -> int:
    """The smallest length, at least this, that has no prime factor above 5: a Fourier transform of it is fast.

    Example:
        >>> fast_length(97), fast_length(1024)
        (100, 1024)
    """
    length = max(1, least)
    while True:
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 1


def gaussian_blurred(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """Images (b, c, h, w) blurred by a Gaussian of sigma pixels, by rows and then by columns; the border is reflected.

    Example:
        >>> gaussian_blurred(torch.rand(1, 3, 20, 30), 2.0).shape
        torch.Size([1, 3, 20, 30])
    """
    reach = max(1, min(math.ceil(3 * sigma), min(x.shape[-2:]) - 1))
    bell = (-0.5 * (torch.arange(-reach, reach + 1) / sigma).square()).exp()
    kernel = (bell / bell.sum()).to(x)[None, None].expand(x.shape[1], 1, -1)
    padded = functional.pad(x, (reach,) * 4, mode="reflect")
    across = functional.conv2d(padded, kernel[:, :, None, :], groups=x.shape[1])
    return functional.conv2d(across, kernel[:, :, :, None], groups=x.shape[1])
