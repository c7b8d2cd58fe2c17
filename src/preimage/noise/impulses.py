"""Impulses: values that noise has replaced. Each contradicts its neighbors, and does so alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from preimage.errors import InputError

STEP = 1 / 255  # values nearer than half of this to 0 or 1 are extremes, whatever the bit depth
_FEWEST_IMPULSES = 0.008  # smaller shares are taken for the picture's own glints and specks


@dataclass(frozen=True)
class Impulses:
    """The impulses of one picture, and whether there are so many and so spread that they are none of its own specks."""

    mask: Tensor  # bool
    shares: tuple[float, float, float]  # of values replaced by 0, by 1, by anything in 0..1
    convincing: bool


def impulse_mask(image: Tensor) -> Tensor:
    """Mask of the values that impulses have replaced: extremes unlike their surroundings, or single outliers.

    Example:
        >>> picture = torch.full((1, 1, 32, 32), 0.5)
        >>> picture[0, 0, 8, 8] = 1.0
        >>> impulse_mask(picture).nonzero()
        tensor([[0, 0, 8, 8]])

    image: (1, c, h, w), values in 0..1, c in 1..16, h and w at least 16. Returns bool, same shape, channels judged one
    by one. Random values close to their surroundings are not seen. Raises InputError for another shape or range.
    Source: after Chan, Ho, Nikolova, "Salt-and-pepper noise removal by median-type noise detectors", TIP 14 (2005).
    """
    picture = checked(image)
    salt = salt_and_pepper(picture)
    if salt.convincing:
        return salt.mask.to(image.device)
    padded = F.pad(picture, (2, 2, 2, 2), mode="reflect")
    far = torch.cat([_outlying(padded[:, :, top : top + 68])[0] for top in range(0, picture.shape[2], 64)], 2)
    return (far if random_valued(windows_of(picture)).convincing else far & (_marked_near(far) < 1)).to(image.device)


def checked(image: Tensor) -> Tensor:
    """One picture (1, c, h, w) in 0..1, c in 1..16, h and w at least 16, as float32 on the CPU; else an InputError."""
    shape = tuple(image.shape)
    if len(shape) != 4 or shape[0] != 1 or not 1 <= shape[1] <= 16 or min(shape[2:]) < 16:
        raise InputError(f"image must be (1, c, h, w) with 1 to 16 channels and h, w at least 16, got {shape}")
    if not image.is_floating_point():
        raise InputError(f"image must hold floats in 0..1, got {image.dtype}: divide by the largest possible value")
    picture = image.detach().float().cpu()
    if not bool(((picture >= -1e-3) & (picture <= 1 + 1e-3)).all()):
        ends = f"{float(picture.min()):.4g} to {float(picture.max()):.4g}"
        raise InputError(f"image must lie in 0..1, got {ends}: scale or clamp it, and replace nan")
    return picture.clamp(0, 1)


def windows_of(image: Tensor) -> Tensor:
    """Some 100 windows, (n, 1, 40, 40), of a big picture: they tell shares as well as all of it, and sooner."""
    if image.numel() <= 160_000:
        return image
    h, w = (min(40, size) for size in image.shape[2:])
    stride = max(40, math.ceil(40 * math.sqrt(image.numel() / 160_000)))
    return image.unfold(2, h, stride).unfold(3, w, stride).reshape(-1, 1, h, w)


def _marked_near(marks: Tensor, radius: int = 1) -> Tensor:
    return F.avg_pool2d(marks.float(), 2 * radius + 1, 1, radius, divisor_override=1) - marks.float()


def _clustering(marks: Tensor, judged: Tensor) -> float:
    """How many times more often marked values have marked neighbors than chance would give them: 1 for impulses."""
    chance = (_marked_near(judged) * marks).sum() * marks.sum() / judged.sum().clamp(min=1)
    return float((_marked_near(marks) * marks).sum() / chance.clamp(min=1))


def salt_and_pepper(image: Tensor) -> Impulses:
    """Shares of 0 and 1 where all else around is far from them: there neither the picture nor clipping makes them."""
    extremes = (image < STEP / 2, image > 1 - STEP / 2)
    between = (~(extremes[0] | extremes[1])).float()
    count = F.avg_pool2d(between, 5, 1, 2)
    around, squares = (F.avg_pool2d(x * between, 5, 1, 2) / count.clamp(min=1e-6) for x in (image, image.square()))
    reach = 5 * (squares - around.square()).clamp(min=0).sqrt() + 0.1
    far = [(count > 0.1) & (distance > reach) for distance in (around, 1 - around)]
    pepper, salt = (float((e & f).sum() / f.sum().clamp(min=1)) for e, f in zip(extremes, far, strict=True))
    judged, marks = far[0] | far[1], (extremes[0] & far[0]) | (extremes[1] & far[1])
    wide = int(judged.sum())  # clipped noise, too, reaches an extreme, but where few places are judged at all
    common = wide > 0.2 * image.numel() and int(marks.sum()) > max(8.0, 0.3 * (pepper + salt) * wide)
    convincing = common and pepper + salt > _FEWEST_IMPULSES and _clustering(marks, judged) < 4
    mask = torch.zeros_like(marks)
    for extreme, share in zip(extremes, (pepper, salt), strict=True):  # all but the picture's own black and white
        mask |= extreme & (_marked_near(extreme, 3) / 48 < share + 4 * math.sqrt(max(share * (1 - share), 0.01) / 48))
    return Impulses(mask, (pepper, salt, 0.0), convincing)


def _outlying(padded: Tensor, times: float = 1.0) -> tuple[Tensor, Tensor]:
    """Which values lie far from the median around them, and how likely a random value there would be seen to."""
    around = F.unfold(padded.flatten(0, 1)[:, None], 5).transpose(1, 2)
    own, around = around[..., 12], torch.cat((around[..., :12], around[..., 13:]), 2)
    median = around.median(2).values
    reach = times * (5 * 1.4826 * (around - median[..., None]).abs().median(2).values + 0.08)
    judged = ((around < STEP / 2) | (around > 1 - STEP / 2)).float().mean(2) < 0.2  # else clipping shaped the median
    seen = (1 - ((median + reach).clamp(max=1) - (median - reach).clamp(min=0))) * judged
    far, inner = ((own - median).abs() > reach) & judged, padded[:, :, 2:-2, 2:-2]
    return far.view_as(inner), seen.view_as(inner)


def random_valued(image: Tensor) -> Impulses:
    """The share also counts those values that fell too close to be seen."""
    padded = F.pad(image, (2, 2, 2, 2), mode="reflect")
    (far, seen), (further, seen_further) = (_outlying(padded, times) for times in (1.0, 1.5))
    share, share_further = (float(x.sum() / y.sum().clamp(min=1)) for x, y in ((far, seen), (further, seen_further)))
    # heavy tails thin out further off, impulses do not
    steady = share_further > 0.7 * share and float(seen_further.mean()) > 0.05 and int(far.sum()) >= 8
    # MEASURED on Kodak24 with 2 to 40 %: 1.8 where few are marked, 1.0 to 1.3 where many are; small letters 2.6, a grid 1.5
    most = min(3.0, 1.3 + 0.02 / max(float(far.float().mean()), 1e-6))
    convincing = steady and share > 2 * _FEWEST_IMPULSES and _clustering(far, seen > 0) < most
    return Impulses(far, (0.0, 0.0, share), convincing)
