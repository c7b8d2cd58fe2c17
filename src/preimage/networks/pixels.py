"""No network: the pixels themselves are fitted, for comparison, or with a regularizer (such as total variation) as the prior."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


class Pixels(nn.Module):
    """A picture (1, out_channels, h, w) that starts at grey and is fitted value by value; the code is ignored.

    Example:
        >>> Pixels(3, size=(32, 48))(torch.empty(1, 1, 32, 48)).shape
        torch.Size([1, 3, 32, 48])

    Args:
        size: height and width in pixels.
    """

    @dataclass(frozen=True)
    class Config:
        """Pixels as a value."""

        def __call__(self, in_channels: int, out_channels: int, height: int, width: int) -> Pixels:
            return Pixels(out_channels, size=(height, width))

    stride = 1
    scale = 1

    def __init__(self, out_channels: int, *, size: tuple[int, int]) -> None:
        super().__init__()
        self.image: nn.Parameter = nn.Parameter(torch.full((1, out_channels, *size), 0.5))

    def forward(self, code: torch.Tensor) -> torch.Tensor:
        return self.image * 1.0  # a new tensor: what is handed out never changes when the parameter does
