"""A residual network that never leaves full resolution: the hourglass's opposite in the comparison of Ulyanov et al. (2018).

Without levels the receptive field reaches only 2 * blocks + 3 pixels to each side, except for the statistics of the norms.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import nn
from torch.nn import functional

from preimage.errors import InputError
from preimage.networks.layers import Convolution, Head, Norm, Output, Padding, check_choices


class ResNet(nn.Module):
    """A code (1, in_channels, h, w) -> a picture (1, out_channels, h, w), of any size.

    Example:
        >>> net = ResNet(1, 3)  # as compared with the hourglass on a large hole
        >>> sum(p.numel() for p in net.parameters())
        158979
        >>> net(torch.rand(1, 1, 33, 47)).shape, net.stride
        (torch.Size([1, 3, 33, 47]), 1)

    Args:
        width: channels of all layers between.
        blocks: how many residual blocks, of two convolutions each; 0 or more.
        padding: "reflect" or "zeros", of the first and the last convolution; all others have zeros, as published.
        residual: whether a block's input is added to its output.
        output: "sigmoid" (0 to 1) or "linear".

    Raises InputError for a width below 1, or a negative number of blocks.

    Source: Ulyanov, Vedaldi, Lempitsky, Deep Image Prior, CVPR 2018, inpainting of a large hole, and code.
    """

    @dataclass(frozen=True)
    class Config:
        """A ResNet as a value, the same for every image size."""

        width: int = 32
        blocks: int = 8
        padding: Padding = "reflect"
        residual: bool = True
        output: Output = "sigmoid"

        def __post_init__(self) -> None:
            check_choices(self, padding=Padding, output=Output)

        def __call__(self, in_channels: int, out_channels: int, height: int, width: int) -> ResNet:
            return ResNet(in_channels, out_channels, **asdict(self))

    stride = 1
    scale = 1

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 32,
        blocks: int = 8,
        padding: Padding = "reflect",
        residual: bool = True,
        output: Output = "sigmoid",
    ) -> None:
        super().__init__()
        for name, value, least in (("width", width, 1), ("blocks", blocks, 0)):
            if value < least:
                raise InputError(f"{name} must be at least {least}, got {value}")
        self.first: Convolution = Convolution(in_channels, width, 3, padding=padding)
        self.blocks: nn.ModuleList = nn.ModuleList(ResidualBlock(width, residual=residual) for _ in range(blocks))
        self.last: Convolution = Convolution(width, width, 3, padding="zeros")
        self.norm: Norm = Norm(width)
        self.out: Head = Head(width, out_channels, output, kernel=3, padding=padding)

    def forward(self, code: torch.Tensor) -> torch.Tensor:
        x = functional.leaky_relu(self.first(code), 0.2)
        for block in self.blocks:
            x = block(x)
        return self.out(self.norm(self.last(x)))


class ResidualBlock(nn.Module):
    """Convolution, norm, LeakyReLU 0.2, convolution, norm; with `residual` its input is added, with no activation after."""

    def __init__(self, width: int, *, residual: bool) -> None:
        super().__init__()
        self.residual: bool = residual
        self.conv1: Convolution = Convolution(width, width, 3, padding="zeros", bias=False)
        self.norm1: Norm = Norm(width)
        self.conv2: Convolution = Convolution(width, width, 3, padding="zeros", bias=False)
        self.norm2: Norm = Norm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm2(self.conv2(functional.leaky_relu(self.norm1(self.conv1(x)), 0.2)))
        return x + y if self.residual else y
