"""A U-Net: each level on the way down is handed, as it is, to the same level on the way up, where the two are concatenated.

Two 3x3 convolutions a level; 2 x 2 maxima halve the picture, and what comes back from below is doubled and brought to the
width of the level by a transposed convolution, or by interpolation and a 3x3 one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional

from preimage.errors import InputError
from preimage.networks.layers import Convolution, Head, Norm, Output, Padding, check_choices, halvings, upsampled

UNetUpsample = Literal["transposed", "bilinear", "nearest"]
UNetNorm = Literal["batch", "instance"]


class UNet(nn.Module):
    """A code (1, in_channels, h, w) -> a picture (1, out_channels, h, w), h and w at least 2 * stride.

    Example:
        >>> net = UNet(32, 3)  # four levels down and up, bilinear
        >>> net(torch.rand(1, 32, 64, 96)).shape, net.stride
        (torch.Size([1, 3, 64, 96]), 16)
        >>> published = {"upsample": "transposed", "padding": "zeros", "norm": "instance", "up_norm": False}
        >>> hole = UNet(1, 3, widths=(8, 16, 32, 64, 128, 128), **published)  # compared with the hourglass on a large hole
        >>> sum(p.numel() for p in hole.parameters()), hole.stride
        (1616315, 32)

    Args:
        widths: channels at full resolution, then at each level below it; levels = len(widths) - 1, stride = 2**levels.
        upsample: "transposed" (4x4, stride 2), or "bilinear" or "nearest" followed by a 3x3 convolution.
        padding: "reflect" or "zeros", of all 3x3 convolutions; a transposed one always has zeros.
        norm: by the statistics of the one image, and then "batch": a learned weight and bias; "instance": none.
        up_norm: whether the way up is normalized as well. Published: not, and fitted at rate 0.001 instead of 0.01, at
            which the default widths would saturate the sigmoid within ten steps.
        output: "sigmoid" (0 to 1) or "linear".

    Raises:
        InputError: fewer than two widths, or one below 1; when called, a code with a side below 2 * stride: statistics
            of the coarsest level would be those of a single pixel, without variance (4 * stride is wiser).

    Source: Ulyanov, Vedaldi, Lempitsky, Deep Image Prior, CVPR 2018, large-hole comparison and code, for structure and example;
        Narayanaswamy, Thiagarajan, Spanias, ICASSP 2021, for four levels with bilinear up-sampling, whose widths, padding and
        norm are unpublished: the defaults have about as many parameters as the hourglass, and are fitted at its rate.
    """

    @dataclass(frozen=True)
    class Config:
        """A UNet as a value, with as many of its levels as the image can take: the coarsest keeps 4 pixels a side or more."""

        widths: tuple[int, ...] = (16, 32, 64, 128, 256)
        upsample: UNetUpsample = "bilinear"
        padding: Padding = "reflect"
        norm: UNetNorm = "batch"
        up_norm: bool = True
        output: Output = "sigmoid"

        def __post_init__(self) -> None:
            check_choices(self, upsample=UNetUpsample, padding=Padding, norm=UNetNorm, output=Output)

        def __call__(self, in_channels: int, out_channels: int, height: int, width: int) -> UNet:
            levels = min(len(self.widths) - 1, halvings(min(height, width)))
            settings: dict[str, Any] = asdict(self) | {"widths": self.widths[: levels + 1]}
            return UNet(in_channels, out_channels, **settings)

    scale = 1

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        widths: Sequence[int] = (16, 32, 64, 128, 256),
        upsample: UNetUpsample = "bilinear",
        padding: Padding = "reflect",
        norm: UNetNorm = "batch",
        up_norm: bool = True,
        output: Output = "sigmoid",
    ) -> None:
        super().__init__()
        if len(widths) < 2 or min(widths) < 1:
            raise InputError(f"widths must be at least two, each at least 1, got {tuple(widths)}")
        before = [in_channels, *widths[:-1]]
        risen = norm if up_norm else None
        self.downs: nn.ModuleList = nn.ModuleList(
            Pair(a, b, padding=padding, norm=norm) for a, b in zip(before, widths, strict=True)
        )
        self.ups: nn.ModuleList = nn.ModuleList(
            Up(below, here, upsample=upsample, padding=padding, norm=risen) for here, below in pairwise(widths)
        )
        self.out: Head = Head(widths[0], out_channels, output)
        self.levels: int = len(self.ups)
        self.stride: int = 2**self.levels

    def forward(self, code: torch.Tensor) -> torch.Tensor:
        if min(code.shape[-2:]) < 2 * self.stride:
            expected = f"at least {2 * self.stride} pixels a side for {self.levels} levels"
            found = f"{code.shape[-1]} x {code.shape[-2]}"
            raise InputError(f"a code must have {expected}, got {found}: give fewer widths", code="size")
        x, skips = code, []
        for down in self.downs:
            x = down(functional.max_pool2d(x, 2) if skips else x)
            skips.append(x)
        skips.pop()
        for up in reversed(self.ups):
            x = up(x, skips.pop())
        return self.out(x)


class Pair(nn.Module):
    """Twice a 3x3 convolution, a norm (None: none) and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, *, padding: Padding, norm: UNetNorm | None) -> None:
        super().__init__()
        self.conv1: Convolution = Convolution(in_channels, out_channels, 3, padding=padding)
        self.norm1: nn.Module = Norm(out_channels, affine=norm == "batch") if norm else nn.Identity()
        self.conv2: Convolution = Convolution(out_channels, out_channels, 3, padding=padding)
        self.norm2: nn.Module = Norm(out_channels, affine=norm == "batch") if norm else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(self.norm2(self.conv2(x)))


class Up(nn.Module):
    """What comes back from below, doubled and brought to the channels of this level; behind it the skip; mixed by a Pair."""

    def __init__(
        self, below: int, here: int, *, upsample: UNetUpsample, padding: Padding, norm: UNetNorm | None
    ) -> None:
        super().__init__()
        self.upsample: UNetUpsample = upsample
        self.rise: nn.Module
        if upsample == "transposed":
            self.rise = nn.ConvTranspose2d(below, here, 4, stride=2, padding=1)
        else:
            self.rise = Convolution(below, here, 3, padding=padding)
        self.mix: Pair = Pair(2 * here, here, padding=padding, norm=norm)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        if self.upsample != "transposed":
            x = upsampled(x, self.upsample)
        return self.mix(torch.cat([self.rise(x), skip], dim=1))
