"""Shifted pictures: made of those that a classifier is trained on, and unlike them. The loss estimator learns to rank them above.

They are crops to at most 40 % of the area, blur, noise, cutout, mixes of two pictures, and other colors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch.nn import functional

from preimage.classifiers.augmentation import sent
from preimage.errors import InputError
from preimage.operators.blur import gaussian_blurred

AREA = (0.1, 0.4)  # that a crop keeps
BLUR = (0.015, 0.05)  # deviation of a Gaussian, in short sides
NOISE = (0.04, 0.25)  # standard deviation, where white is 1
PATCHES, PATCH = 8, (0.1, 0.35)  # at most so many, of so many sides
MIX = (0.35, 0.65)  # share of the other picture


def _drawn(limits: tuple[float, float], generator: torch.Generator) -> float:
    low, high = limits
    return low + (high - low) * float(torch.rand((), generator=generator))


def _place(length: int, part: int, generator: torch.Generator) -> slice:
    first = int(torch.randint(length - part + 1, (), generator=generator))
    return slice(first, first + part)


def _crop(x: torch.Tensor, others: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A rectangle, enlarged, or with black, gray or its own mean around it."""
    del others
    height, width = x.shape[-2:]
    area, tall = _drawn(AREA, generator), _drawn((-0.4, 0.4), generator)
    rows = min(height, max(1, math.floor(math.sqrt(area) * math.exp(tall) * height)))
    columns = min(width, max(1, math.floor(area * height * width / rows)))
    place = (..., _place(height, rows, generator), _place(width, columns, generator))
    around = int(torch.randint(4, (), generator=generator))
    if around == 3:
        return functional.interpolate(x[place], size=(height, width), mode="bilinear", align_corners=False)
    fill = x.mean((2, 3), keepdim=True) if around == 2 else x.new_full((), 0.5 * around)
    cropped = fill.expand_as(x).clone()
    cropped[place] = x[place]
    return cropped


def _blur(x: torch.Tensor, others: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    del others
    return gaussian_blurred(x, _drawn(BLUR, generator) * min(x.shape[-2:]))


def _noise(x: torch.Tensor, others: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    del others
    normal = sent(torch.randn(x.shape, generator=generator), x.device).to(x.dtype)
    return (x + _drawn(NOISE, generator) * normal).clamp(0, 1)


def _cutout(x: torch.Tensor, others: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Squares that show gray, or the same place of another picture."""
    x, (height, width) = x.clone(), x.shape[-2:]
    for _ in range(2 + int(torch.randint(PATCHES - 1, (), generator=generator))):
        side = max(1, round(_drawn(PATCH, generator) * min(height, width)))
        place = (..., _place(height, side, generator), _place(width, side, generator))
        x[place] = others[place] if float(torch.rand((), generator=generator)) < 0.5 else 0.5
    return x


def _mix(x: torch.Tensor, others: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.lerp(x, others, _drawn(MIX, generator))


def _color(x: torch.Tensor, others: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Channels in another order, at least one of them inverted, with another contrast curve."""
    del others
    order = torch.randperm(x.shape[1], generator=generator).tolist()
    signs = torch.randint(2, (x.shape[1],), generator=generator)
    signs[int(torch.randint(x.shape[1], (), generator=generator))] = 1
    inverted = sent(signs, x.device).bool()[None, :, None, None]
    x = x[:, order]
    return torch.where(inverted, 1 - x, x).clamp(0, 1) ** math.exp(_drawn((-0.7, 0.7), generator))


_Kind = Callable[[torch.Tensor, torch.Tensor, torch.Generator], torch.Tensor]
KINDS: dict[str, _Kind] = {
    "crop": _crop, "blur": _blur, "noise": _noise, "cutout": _cutout, "mix": _mix, "color": _color,
}  # fmt: skip


def checked_kinds(kinds: Iterable[str]) -> tuple[str, ...]:
    """Kinds of shifts by their names; "all" stands for all.

    Example:
        >>> checked_kinds(["all"])
        ('crop', 'blur', 'noise', 'cutout', 'mix', 'color')

    Raises:
        InputError: an unknown kind.
    """
    kinds = tuple(kinds)
    if kinds == ("all",):
        return tuple(KINDS)
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise InputError(f"shifts must be some of {', '.join(KINDS)}, or all, got {unknown[0]!r}: leave it out")
    return tuple(dict.fromkeys(kinds))


def shifted_pictures(images: torch.Tensor, generator: torch.Generator, kinds: Iterable[str] = ("all",)) -> torch.Tensor:
    """Images (b, c, h, w) in 0 to 1, b at least 2, each shifted in one of the kinds, which is drawn; the same shape.

    Example:
        >>> shifted_pictures(torch.rand(8, 3, 32, 40), torch.Generator().manual_seed(0)).shape
        torch.Size([8, 3, 32, 40])
    """
    chosen = checked_kinds(kinds)
    which = torch.randint(len(chosen), (len(images),), generator=generator)
    others = images.roll(1, 0)
    shifted = torch.empty_like(images)
    for number in range(len(images)):  # each with draws of its own, whichever are beside it
        one = slice(number, number + 1)
        shifted[one] = KINDS[chosen[int(which[number])]](images[one], others[one], generator)
    return shifted.clamp(0, 1)
