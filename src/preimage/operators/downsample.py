"""Phi of super-resolution: a blur against aliasing, then every f-th pixel, in one strided convolution.

    y(i, j) = sum over (u, v) of k(u, v) x(f i + (f - 1) / 2 + c - u, f j + (f - 1) / 2 + c - v),    c = (n - 1) / 2

The kernel is centered on the middle of each block of f x f pixels, so that the pixels of y are f times as large and
cover the same field: nothing moves.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from preimage.errors import InputError
from preimage.operators.kernels import Kernel, check_kernel, whole_factor


class Downsample(nn.Module):
    """(b, c, h, w) -> (b, c, h / factor, w / factor), every channel with the same kernel; borders are replicated.

    Example:
        >>> Downsample(lanczos2(4), 4)(torch.rand(1, 3, 64, 48)).shape
        torch.Size([1, 3, 16, 12])

    Args:
        kernel: (kh, kw) of sum 1, as `kernels` makes it; both sides even for an even factor, odd for an odd one. It is
            a point spread function: not symmetric, it acts as in `Blur`.
        factor: whole, at least 2.
        trainable: whether the kernel is fitted, starting from the given one; it is non-negative then.

    Raises:
        InputError: a factor that is not whole or below 2, a kernel of the other parity or that is no kernel; when
            called, h or w that is no multiple of the factor.

    Source: Ulyanov et al., Deep Image Prior, CVPR 2018, section 3.2 and its published down-sampler.
    """

    def __init__(self, kernel: torch.Tensor, factor: int, *, trainable: bool = False) -> None:
        super().__init__()
        self.factor: int = whole_factor(factor)
        kernel = torch.as_tensor(kernel)
        check_kernel(kernel, odd=False)
        kh, kw = kernel.shape
        if (kh - self.factor) % 2 or (kw - self.factor) % 2:
            wanted = f"{'odd' if self.factor % 2 else 'even'} sides for factor {self.factor}"
            moves = "otherwise the picture moves by half a pixel"
            raise InputError(f"the kernel must have {wanted}, got {kw} x {kh}: {moves}", code="kernel")
        self.filter: Kernel = Kernel(kernel, trainable=trainable)

    @property
    def kernel(self) -> torch.Tensor:
        """The current kernel, (kh, kw)."""
        return self.filter()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        channels, h, w = x.shape[-3:]
        if h % self.factor or w % self.factor:
            found = f"got {w} x {h}: crop it to {w - w % self.factor} x {h - h % self.factor}"
            raise InputError(f"the picture's sides must be multiples of the factor {self.factor}, {found}", code="size")
        kernel = self._reaching_the_block(self.kernel).flip(0, 1).to(x.dtype)
        kh, kw = kernel.shape
        rows, columns = (kh - self.factor) // 2, (kw - self.factor) // 2
        x = functional.pad(x, (columns, columns, rows, rows), mode="replicate")
        return functional.conv2d(x, kernel.expand(channels, 1, kh, kw), stride=self.factor, groups=channels)

    def _reaching_the_block(self, kernel: torch.Tensor) -> torch.Tensor:
        """A kernel smaller than a block (a single 1 is plain decimation) with zeros around it."""
        rows, columns = (max(0, self.factor - side) // 2 for side in kernel.shape)
        return functional.pad(kernel, (columns, columns, rows, rows)) if rows or columns else kernel
