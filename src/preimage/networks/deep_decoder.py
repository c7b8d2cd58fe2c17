"""The deep decoder (Heckel and Hand 2019): no convolution wider than one pixel, too few parameters to fit noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from preimage.errors import InputError
from preimage.networks.layers import Head, Norm, Output, Upsample, check_choices, halvings, upsampled


class DeepDecoder(nn.Module):
    """A code (1, in_channels, h / scale, w / scale) -> a picture (1, out_channels, h, w).

    Each layer mixes channels with a 1x1 convolution, doubles the size, and applies ReLU and batch norm; a last layer does
    so without doubling.

    Example:
        >>> net = DeepDecoder(64, 3, widths=[64] * 5)
        >>> net.scale, net(torch.rand(1, 64, 4, 6)).shape
        (32, torch.Size([1, 3, 128, 192]))

    Args:
        widths: channels after each doubling.
        upsample: "bilinear" or "nearest".
        output: "sigmoid" (0 to 1) or "linear".

    Raises InputError for no width.

    Source: Heckel, Hand, Deep Decoder, ICLR 2019, equation 1 (batch norm standing for its channel normalization).
    """

    @dataclass(frozen=True)
    class Config:
        """A DeepDecoder as a value; a small image has fewer doublings: 40 pixels, 40 / 2**3 = 5, three."""

        widths: tuple[int, ...] = (128,) * 6
        upsample: Upsample = "bilinear"
        output: Output = "sigmoid"

        def __post_init__(self) -> None:
            check_choices(self, upsample=Upsample, output=Output)

        def __call__(self, in_channels: int, out_channels: int, height: int, width: int) -> DeepDecoder:
            widths = self.widths[: halvings(min(height, width))]
            return DeepDecoder(in_channels, out_channels, widths=widths, upsample=self.upsample, output=self.output)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        widths: Sequence[int],
        upsample: Upsample = "bilinear",
        output: Output = "sigmoid",
    ) -> None:
        super().__init__()
        if not widths:
            raise InputError("widths must have at least one layer, got none")
        self.upsample: Upsample = upsample
        self.stride: int = 2 ** len(widths)
        self.scale: int = self.stride
        channels = [in_channels, *widths, widths[-1]]
        self.convs: nn.ModuleList = nn.ModuleList(nn.Conv2d(a, b, 1, bias=False) for a, b in pairwise(channels))
        self.norms: nn.ModuleList = nn.ModuleList(Norm(b) for b in channels[1:])
        self.out: Head = Head(widths[-1], out_channels, output, bias=False)

    def forward(self, code: torch.Tensor) -> torch.Tensor:
        x = code
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = conv(x)
            if conv is not self.convs[-1]:
                x = upsampled(x, self.upsample)
            x = norm(functional.relu(x))
        return self.out(x)
