"""The hourglass with skip connections of the deep image prior (Ulyanov et al. 2018), exactly as published.

A level halves the size with two convolutions, passes the result to the next level, doubles the size of its output,
concatenates that with a narrow 1x1 branch of the level's input, normalizes, and applies a wide and a 1x1 convolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

import torch
from torch import nn

from preimage.errors import InputError
from preimage.networks.layers import (
    Block,
    Head,
    Norm,
    Output,
    Padding,
    PerLevel,
    Upsample,
    check_choices,
    check_widths,
    halvings,
    of_doubled,
    per_level,
    upsampled,
)

Downsample = Literal["stride", "average"]


class SkipNet(nn.Module):
    """The published hourglass: a code (1, in_channels, h, w) -> a picture (1, out_channels, h, w).

    Example:
        >>> net = SkipNet(32, 3, down=[128] * 5, up=[128] * 5, skip=[4] * 5)  # the denoising network of the paper
        >>> sum(p.numel() for p in net.parameters())
        2217831
        >>> net(torch.rand(1, 32, 64, 96)).shape, net.stride
        (torch.Size([1, 3, 64, 96]), 32)

    Args:
        down, up, skip: channels of each level on the way down, on the way up and in the skip branch (0: no branch);
            level 0 is full resolution.
        down_kernel, up_kernel, skip_kernel: odd kernel sizes, one for all levels or one for each.
        downsample: "stride" (the first convolution of a level has stride 2) or "average" (2 x 2 averages after it).
        upsample: "bilinear" or "nearest", one for all levels or one for each.
        padding: "reflect" or "zeros".
        pointwise: a 1x1 convolution after each convolution on the way up.
        output: "sigmoid" (0 to 1) or "linear".

    Raises InputError for an even kernel; a list that does not have one entry a level.

    Source: Ulyanov, Vedaldi, Lempitsky, Deep Image Prior, CVPR 2018, supplementary material and code.
    """

    @dataclass(frozen=True)
    class Config:
        """A SkipNet as a value, with as many of its levels as the image can take: the coarsest keeps 4 pixels a side or more."""

        down: tuple[int, ...] = (128,) * 5
        up: tuple[int, ...] = (128,) * 5
        skip: tuple[int, ...] = (4,) * 5
        down_kernel: PerLevel = 3
        up_kernel: PerLevel = 3
        skip_kernel: PerLevel = 1
        downsample: Downsample = "stride"
        upsample: Upsample | tuple[Upsample, ...] = "bilinear"
        padding: Padding = "reflect"
        pointwise: bool = True
        output: Output = "sigmoid"

        def __post_init__(self) -> None:
            check_choices(self, downsample=Downsample, upsample=Upsample, padding=Padding, output=Output)
            check_widths(self, down=1, up=1, skip=0)
            check_widths(self, down=1, up=1, skip=0)

        def __call__(self, in_channels: int, out_channels: int, height: int, width: int) -> SkipNet:
            levels = min(len(self.down), halvings(min(height, width)))
            cut: dict[str, Any] = {k: v[:levels] if isinstance(v, tuple) else v for k, v in asdict(self).items()}
            return SkipNet(in_channels, out_channels, **cut)

    scale = 1

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        down: Sequence[int],
        up: Sequence[int],
        skip: Sequence[int],
        down_kernel: int | Sequence[int] = 3,
        up_kernel: int | Sequence[int] = 3,
        skip_kernel: int | Sequence[int] = 1,
        downsample: Downsample = "stride",
        upsample: Upsample | Sequence[Upsample] = "bilinear",
        padding: Padding = "reflect",
        pointwise: bool = True,
        output: Output = "sigmoid",
    ) -> None:
        super().__init__()
        levels = len(down)
        if levels < 1:
            raise InputError("down must have at least one level, got none")
        ups, skips = per_level("up", tuple(up), levels), per_level("skip", tuple(skip), levels)
        kernels = {"down_kernel": down_kernel, "up_kernel": up_kernel, "skip_kernel": skip_kernel}
        kernels_of_level = zip(*(per_level(name, value, levels) for name, value in kernels.items()), strict=True)
        modes = cast("tuple[Upsample, ...]", per_level("upsample", upsample, levels))
        self.levels: int = levels
        self.stride: int = 2**levels
        for i, (kernel_sizes, mode) in enumerate(zip(kernels_of_level, modes, strict=True)):
            below = ups[i + 1] if i + 1 < levels else down[i]
            level = Level(
                down[i - 1] if i else in_channels,
                (down[i], skips[i], below, ups[i]),
                kernel_sizes,
                average=downsample == "average",
                upsample=mode,
                padding=padding,
                pointwise=pointwise,
            )
            self.add_module(f"level{i}", level)
        self.out: Head = Head(ups[0], out_channels, output)

    def forward(self, code: torch.Tensor) -> torch.Tensor:
        return self.out(self._through(0, code))

    def _through(self, i: int, x: torch.Tensor) -> torch.Tensor:
        level = cast("Level", self.get_submodule(f"level{i}"))
        deeper = level.downward(x)
        if i + 1 < self.levels:
            deeper = self._through(i + 1, deeper)
        return level.upward(x, deeper)


class Level(nn.Module):
    """One level of the hourglass; channels = (down, skip, what comes back from below, up)."""

    def __init__(
        self,
        in_channels: int,
        channels: tuple[int, int, int, int],
        kernels: tuple[int, int, int],
        *,
        average: bool,
        upsample: Upsample,
        padding: Padding,
        pointwise: bool,
    ) -> None:
        super().__init__()
        down, skip, below, up = channels
        down_kernel, up_kernel, skip_kernel = kernels
        self.upsample: Upsample = upsample
        self.skip_channels: int = skip
        self.doubles_at_once: bool = upsample == "nearest" and padding == "zeros" and up_kernel == 3
        self.skip: Block | None = Block(in_channels, skip, skip_kernel, padding=padding) if skip else None
        self.down1: Block = Block(in_channels, down, down_kernel, stride=2, pool=average, padding=padding)
        self.down2: Block = Block(down, down, down_kernel, padding=padding)
        self.cat_norm: Norm = Norm(skip + below)
        self.up: Block = Block(skip + below, up, up_kernel, padding=padding)
        self.mix: Block | None = Block(up, up, 1, padding=padding) if pointwise else None

    def downward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down2(self.down1(x))

    def upward(self, x: torch.Tensor, deeper: torch.Tensor) -> torch.Tensor:
        """Published: mix(up(norm(skip(x) and the doubled picture, concatenated))); here in parts, whose sum is the same.

        A norm of both is one of each, and the convolution of both the sum of two: nothing is copied together.
        """
        kernel, bias, skipped = self.up.conv.weight, self.up.conv.bias, 0 if self.skip is None else self.skip_channels
        of_deeper = kernel[..., skipped:, :, :]
        if self.doubles_at_once:
            y = of_doubled(self.cat_norm.of_channels(deeper, skipped), of_deeper, bias)
        else:
            doubled = upsampled(deeper, self.upsample)
            y = self.up.conv.by(of_deeper, self.cat_norm.of_channels(doubled, skipped), bias)
        if self.skip is not None:
            y = y + self.up.conv.by(kernel[..., :skipped, :, :], self.cat_norm.of_channels(self.skip(x), 0))
        y = self.up.activated(y)
        return y if self.mix is None else self.mix(y)
