"""What networks share: a convolution, a batch norm of the current image, the two of them with an activation, and checks.

They also take the weights of several members at once, stacked in front, (b, ...): each of the b images of x is then processed
with the weights of its own member, in one call. The operations between (activations, padding, up-sampling) act on each image
alone. Where a network is made of nothing else (`takes_members`), a Prior computes all its members so.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar, cast, get_args

import torch
from torch import nn
from torch.nn import functional

from preimage.errors import InputError
from preimage.networks.fused import normed_and_activated

Padding = Literal["reflect", "zeros"]
Upsample = Literal["bilinear", "nearest"]
Output = Literal["sigmoid", "linear"]
PerLevel = int | tuple[int, ...]
T = TypeVar("T")
EPSILON = 1e-5  # of a norm, added to the variance
SLOPE = 0.2  # of a LeakyReLU, for negative values


class Norm(nn.Module):
    """Batch norm by the statistics of the current image always: no running averages, so that the state is what is learned.

    Example: (1, c, h, w) -> (1, c, h, w), each channel with mean 0 and variance 1, times `weight` plus `bias`; without
    these two (`affine=False`) it is the instance norm of one image, which keeps channels_last as PyTorch's own does not.
    """

    seen: Callable[[Norm, torch.Tensor, int], None] | None = (
        None  # is called with what is normalized, and its first channel
    )

    def __init__(self, channels: int, *, affine: bool = True) -> None:
        super().__init__()
        self.weight: nn.Parameter | None = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias: nn.Parameter | None = nn.Parameter(torch.zeros(channels)) if affine else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.seen is not None:
            self.seen(self, x, 0)
        return _normed(x, self.weight, self.bias)

    def of_channels(self, x: torch.Tensor, first: int) -> torch.Tensor:
        """The norm of some neighboring channels alone, from `first` on: each channel is normalized independently."""
        last = first + x.shape[1]
        if self.seen is not None:
            self.seen(self, x, first)
        weight, bias = (None if p is None else p[..., first:last] for p in (self.weight, self.bias))
        return _normed(x, weight, bias)


class Block(nn.Module):
    """Convolution, batch norm, LeakyReLU 0.2; with `pool`, the convolution runs at stride 1 and averages follow it."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, pool: bool = False, padding: Padding
    ) -> None:
        super().__init__()
        self.conv: Convolution = Convolution(
            in_channels, out_channels, kernel, stride=1 if pool else stride, padding=padding
        )
        self.norm: Norm = Norm(out_channels)
        self.pool: int = stride if pool else 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        return self.activated(functional.avg_pool2d(x, self.pool) if self.pool > 1 else x)

    def activated(self, x: torch.Tensor) -> torch.Tensor:
        """What follows the convolution: norm and activation."""
        weight, bias = self.norm.weight, self.norm.bias
        if self.norm.seen is None and weight is not None and bias is not None:
            fused = normed_and_activated(x, weight, bias, SLOPE, EPSILON)
            if fused is not None:
                return fused
        # In place: the norm's backward pass needs its input, not its output, and a picture-sized tensor less is kept. What is
        # a view of something else (of several members) would be copied by that.
        return functional.leaky_relu(self.norm(x), SLOPE, inplace=len(x) == 1)


class Head(nn.Module):
    """The last convolution, 1x1 by default, and the range of the image: 0 to 1, or linear; in float32."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        output: Output,
        *,
        kernel: int = 1,
        padding: Padding = "zeros",
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.conv: Convolution = Convolution(in_channels, out_channels, kernel, padding=padding, bias=bias)
        self.output: Output = output

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x).float()
        return torch.sigmoid(x) if self.output == "sigmoid" else x


class Convolution(nn.Conv2d):
    """A convolution that keeps the size (over stride): an odd kernel, padded by half of it with zeros or by reflection.

    Reflection is done here rather than by `padding_mode`, outside autocast, which would turn it to float32 and back.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, padding: Padding, bias: bool = True
    ) -> None:
        if kernel < 1 or kernel % 2 == 0:
            raise InputError(f"a kernel size must be odd and at least 1, got {kernel}")
        self.reflection: int = kernel // 2 if padding == "reflect" else 0
        margin = 0 if padding == "reflect" else kernel // 2
        super().__init__(in_channels, out_channels, kernel, stride, margin, bias=bias)

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 (the name in PyTorch)
        return self.by(self.weight, input, self.bias)

    def by(self, kernel: torch.Tensor, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """The convolution with the same stride and padding with another kernel, such as a part of its own."""
        if self.reflection:
            with full_precision(x):
                x = functional.pad(x, (self.reflection,) * 4, mode="reflect")
        if kernel.ndim == 4:
            return functional.conv2d(x, kernel, bias, self.stride, self.padding)
        if kernel.shape[-1] == 1 and self.stride == (1, 1):
            return _pointwise(x, kernel.to(x.dtype), bias)
        beside, bias = _as_groups(kernel, bias, x.dtype)
        y = functional.conv2d(_beside(x), beside, bias, self.stride, self.padding, groups=len(x))
        return _apart(y, len(x))


def full_precision(x: torch.Tensor) -> contextlib.AbstractContextManager[object]:
    """No autocast where x is; the meta device, on which memory is estimated, knows none."""
    known = torch.amp.is_autocast_available(x.device.type)
    return torch.autocast(x.device.type, enabled=False) if known else contextlib.nullcontext()


def upsampled(x: torch.Tensor, mode: Upsample) -> torch.Tensor:
    """(1, c, h, w) -> (1, c, 2h, 2w); bilinear as published, with align_corners=False; in the precision of x."""
    with full_precision(x):
        if mode == "nearest":
            return functional.interpolate(x, scale_factor=2, mode="nearest")
        return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def of_doubled(x: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """The 3x3 convolution, zeros beyond the edge, of x doubled by nearest neighbor, without making the doubled picture.

    (1, c, h, w), kernel (out, c, 3, 3) -> (1, out, 2h, 2w); of b members all have b in front. Each pixel of the doubled picture
    depends on at most 2 x 2 pixels of x, so that this is a transposed convolution of stride 2 by a 4x4 kernel: 16 products for 4
    pixels instead of 36.
    """
    with full_precision(x):
        spread = _spread(kernel.device, kernel.dtype)
        kernel = torch.einsum("ai,bj,...oxij->...xoab", spread, spread, kernel)
    if kernel.ndim == 4:
        return functional.conv_transpose2d(x, kernel, bias, stride=2, padding=1)
    kernel, bias = _as_groups(kernel, bias, x.dtype)
    y = functional.conv_transpose2d(_beside(x), kernel, bias, stride=2, padding=1, groups=len(x))
    return _apart(y, len(x))


def _beside(x: torch.Tensor) -> torch.Tensor:
    """(b, c, h, w) -> (1, b * c, h, w): the pictures of several members as channels of one, as grouped convolutions want it."""
    return x if len(x) == 1 else x.reshape(1, -1, *x.shape[2:])


def _apart(x: torch.Tensor, members: int) -> torch.Tensor:
    """(1, b * c, h, w) -> (b, c, h, w)."""
    return x if members == 1 else x.reshape(members, -1, *x.shape[2:])


def _as_groups(
    kernel: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Kernel (b, m, n, kh, kw) and bias (b, out) of several members as those of one grouped convolution, in a precision."""
    return kernel.to(dtype).flatten(0, 1), None if bias is None else bias.to(dtype).flatten()


def _pointwise(x: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """1x1 convolutions of several members as products of matrices, without the detour of a grouped convolution."""
    pixels, kernel = x.flatten(2), kernel.flatten(2)
    y = torch.bmm(kernel, pixels) if bias is None else torch.baddbmm(bias.to(x.dtype)[..., None], kernel, pixels)
    return y.unflatten(2, x.shape[2:])


def _normed(x: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None) -> torch.Tensor:
    """Each picture by its own statistics, times weight plus bias, (c,) or of several members (b, c)."""
    weight, bias = (None if p is None else p.flatten() for p in (weight, bias))
    return _apart(functional.batch_norm(_beside(x), None, None, weight, bias, training=True, eps=EPSILON), len(x))


def takes_members(network: nn.Module) -> bool:
    """Whether all that a network has learned is in layers that take the weights of several members at once.

    Example:
        >>> takes_members(SkipNet(32, 3, down=[16] * 3, up=[16] * 3, skip=[4] * 3)), takes_members(nn.Conv2d(3, 3, 1))
        (True, False)
    """
    holders = (module for module in network.modules() if any(True for _ in module.parameters(recurse=False)))
    return all(isinstance(module, Convolution | Norm) for module in holders)


@functools.cache
def _spread(device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Which of 4 rows each of 3 is added to; cached, to avoid a copy to the device at every step."""
    return torch.tensor([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]], device=device, dtype=dtype)


def per_level(name: str, value: T | Sequence[T], levels: int) -> tuple[T, ...]:
    """One value for each level: (3, levels=2) -> (3, 3); a sequence must have one entry a level."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        return (cast("T", value),) * levels
    values = tuple(cast("Sequence[T]", value))
    if len(values) != levels:
        found = f"got {len(values)}: {values}"
        raise InputError(f"{name} must have one entry for each of the {levels} levels, {found}", code="shape")
    return values


def check_choices(config: Any, **choices: object) -> None:
    """Raise InputError for a setting (or one level's of it) that is not among the values of its Literal type."""
    for name, literal in choices.items():
        value = getattr(config, name)
        known = get_args(literal)
        if any(each not in known for each in (value if isinstance(value, tuple) else (value,))):
            raise InputError(f"{name} must be {' or '.join(known)}, got {value!r}")


def check_widths(config: Any, **least: int) -> None:
    """Raise InputError for a setting with channels of a level that are no whole number, or fewer than so many."""
    for name, lowest in least.items():
        value = getattr(config, name)
        numbers = isinstance(value, list | tuple) and all(isinstance(each, int) and each >= lowest for each in value)
        if not numbers:
            raise InputError(f"{name} must be a whole number for each level, at least {lowest}, got {value!r}")


def halvings(side: int, smallest: int = 4) -> int:
    """How often a side can be halved so that at least `smallest` pixels remain, at least 1.

    Example:
        >>> halvings(64), halvings(40), halvings(5)
        (4, 3, 1)
    """
    return max(1, (side // smallest).bit_length() - 1)
