"""White noise from the highest frequencies: of chroma, which hold hardly any of a photograph, or of an image without."""

from __future__ import annotations

import math
import statistics

import torch
from torch import Tensor

from preimage.noise.blocks import SIDE, block_means, to_blocks, to_planes, usable_blocks

_HIGHEST = 20  # row and column of a cosine coefficient add up to at least this
_LEAST, _MIDDLE = 0.05, 0.5  # quantiles of the blocks
_EVEN = 1.3  # of the deviation in the middle block over that in the least: 1.03 for noise, 1.5 and more for texture
_FEWEST, _GROUPS = 32, 4  # blocks, and groups of them by brightness


def white_sigma(image: Tensor) -> float | None:
    """The deviation of noise that is independent from pixel to pixel; None of an image that is too small.

    It is 0 where there is none, and where the highest frequencies are uneven at one brightness, as those of texture are.

    Example:
        >>> noise = 0.1 * torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> round(white_sigma(0.5 + noise), 2), white_sigma(torch.full((1, 3, 64, 64), 0.5))
        (0.1, 0.0)

    image: (1, c, h, w), 0 to 1.
    """
    if min(image.shape[-2:]) < SIDE:
        return None
    stride = SIDE // 2
    usable = usable_blocks(image, stride)
    if int(usable.sum()) < _FEWEST:
        return None
    planes = to_planes(image)[0]
    diagonal = torch.arange(SIDE)[:, None] + torch.arange(SIDE)
    squares = to_blocks(planes[1:] if len(planes) == 3 else planes, stride)[:, usable][
        ..., diagonal >= _HIGHEST
    ].square()
    high = squares.mean((0, 2))
    # Of a mean of so many squares of normal values the quantile is this much below the mean (Wilson and Hilferty 1931).
    spread = 2 / (9 * squares.shape[0] * squares.shape[2])
    below = (1 - spread - 1.645 * math.sqrt(spread)) ** 3
    found, uneven = [], []
    for group in block_means(image.mean(1)[0], stride)[usable].argsort().chunk(min(_GROUPS, len(high) // _FEWEST)):
        least, middle = (float(torch.quantile(high[group], each)) for each in (_LEAST, _MIDDLE))
        found.append(least / below)
        uneven.append(math.sqrt(middle / max(found[-1], 1e-12)))
    even = statistics.median(uneven) < _EVEN
    return math.sqrt(statistics.fmean(found)) if even else 0.0
