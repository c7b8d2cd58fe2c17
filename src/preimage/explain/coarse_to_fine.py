"""Coarse to fine: low frequencies of an image follow the class, or the features of a layer, first.

The gradient is blurred by a Gaussian, wide at first, less and less from step to step. So what changes are forms and colors
before it is texture. Of a class the highest frequencies, which other classifiers do not see, never follow; of features all do in
the end: edges that come first may have light and dark exchanged, from which no fit returns. Loss and probabilities are those of
the image as it is.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional

FIRST, LAST = 8 / 224, 1.5 / 224  # standard deviations, in short sides of the image
UNTIL = 0.67  # of the steps, when the deviation has fallen to its last
UNTIL_OF_FEATURES = 0.3  # of the steps, when the gradient of features is as it is
LEVELS = 32  # of the deviation
NARROWEST = 0.05  # pixels: what it leaves of a neighbor is rounded to nothing


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
        until: share of the steps after which the deviation is the last one.
        last: the last deviation, in short sides of the image; 0: no blur any more.
    """

    def __init__(
        self,
        size: tuple[int, int],
        total: int,
        device: torch.device | str = "cpu",
        *,
        until: float = UNTIL,
        last: float = LAST,
    ) -> None:
        short = min(size)
        self.falling: float = until * max(1, total)
        self.reach: int = max(1, min(math.ceil(3 * FIRST * short), short - 1))
        places = torch.arange(-self.reach, self.reach + 1)
        levels = torch.linspace(0, 1, LEVELS)
        self.deviations: list[float] = [short * max(last, FIRST * (1 - float(level))) for level in levels]
        bells = torch.stack(
            [(-0.5 * (places / max(deviation, NARROWEST)).square()).exp() for deviation in self.deviations]
        )
        self._kernels: torch.Tensor = (bells / bells.sum(1, keepdim=True)).to(device)
        # Changed in place: what was recorded of a step (a CUDA graph) holds this very tensor.
        self.kernel: torch.Tensor = self._kernels[:1].clone()
        self.is_blurring: bool = True

    def set_step(self, step: int | None) -> None:
        """Blur as at a step, counted from 0; None: as at the last."""
        share = 1.0 if step is None else min(1.0, step / self.falling)
        level = round(share * (LEVELS - 1))
        self.kernel.copy_(self._kernels[level][None])
        self.is_blurring = self.deviations[level] > 0

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(b, c, h, w) -> the same values."""
        if not self.is_blurring:  # the kernel would change nothing; what was recorded while it did goes on with it
            return x
        kernel = self.kernel.to(x.dtype)[None].expand(x.shape[1], 1, -1)
        padded = functional.pad(x, (self.reach,) * 4, mode="reflect")
        across = functional.conv2d(padded, kernel[:, :, None, :], groups=x.shape[1])
        low = functional.conv2d(across, kernel[:, :, :, None], groups=x.shape[1])
        return low + (x - low).detach()
