"""Coarse to fine: low frequencies of an image follow the class first, and the highest ones never.

The gradient of a class term is blurred by a Gaussian, wide at first, less and less from step to step. So what changes are forms
and colors, which other classifiers see, too, before it is texture. Loss and probabilities are those of the image as it is.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional

FIRST, LAST = 8 / 224, 1.5 / 224  # standard deviations, in short sides of the image
UNTIL = 0.67  # of the steps, when the deviation has fallen to nothing, or to its last
LEVELS = 32  # of the deviation


class CoarseToFine:
    """Images (b, c, h, w) as they are, whose gradient is blurred as it is to be at a step; `set_step` chooses.

    Example:
        >>> smoothed = CoarseToFine((20, 30), total=100)
        >>> x = torch.rand(1, 3, 20, 30)
        >>> bool(torch.allclose(smoothed(x), x))
        True

    Args:
        size: height and width in pixels.
        total: steps of the fit.
    """

    def __init__(self, size: tuple[int, int], total: int, device: torch.device | str = "cpu") -> None:
        short = min(size)
        self.total: int = max(1, total)
        self.reach: int = max(1, min(math.ceil(3 * FIRST * short), short - 1))
        places = torch.arange(-self.reach, self.reach + 1)
        levels = torch.linspace(0, 1, LEVELS)
        self.deviations: list[float] = [short * max(LAST, FIRST * (1 - float(level))) for level in levels]
        bells = torch.stack([(-0.5 * (places / deviation).square()).exp() for deviation in self.deviations])
        self._kernels: torch.Tensor = (bells / bells.sum(1, keepdim=True)).to(device)
        # Changed in place: what was recorded of a step (a CUDA graph) holds this very tensor.
        self.kernel: torch.Tensor = self._kernels[:1].clone()

    def set_step(self, step: int | None) -> None:
        """Blur as at a step, counted from 0; None: as at the last."""
        share = 1.0 if step is None else min(1.0, step / (UNTIL * self.total))
        self.kernel.copy_(self._kernels[round(share * (LEVELS - 1))][None])

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(b, c, h, w) -> the same values."""
        kernel = self.kernel.to(x.dtype)[None].expand(x.shape[1], 1, -1)
        padded = functional.pad(x, (self.reach,) * 4, mode="reflect")
        across = functional.conv2d(padded, kernel[:, :, None, :], groups=x.shape[1])
        low = functional.conv2d(across, kernel[:, :, :, None], groups=x.shape[1])
        return low + (x - low).detach()
