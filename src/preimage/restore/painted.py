"""What a picture that is given as a mask is: black and white, painted into a copy of the photograph, or no mask at all.

A copy equals the photograph nearly everywhere, but for what saving it as JPEG has changed; where it differs it was painted.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch.nn.functional import max_pool2d

from preimage.errors import InputError
from preimage.images import Picture, as_picture

MaskWhite = Literal["valid", "missing"] | None

EXACT = 1e-4  # a copy without loss differs by less, in 0..1
LOSSY = 0.05  # values that a copy with loss changes by less than this, and a share of them above which it is one
LOSSY_SHARE, ONE_COLOR = 0.01, 0.8
FAINTEST, STRONGEST = 8 / 255, 0.2  # between these lies what a JPEG changes at most
TIMES = 6  # the median of its changes
ALIKE, CORRELATED = 0.5, 0.8  # of a copy: the share that is not painted, and its correlation with the photograph
# MEASURED: of black and white masks, blurred by 2 pixels and saved as JPEG, up to 0.25 of the pixels are neither (16 masks of
# edge_connect); of photographs nearly always more (437).
BETWEEN, MOST_BETWEEN = 0.1, 0.3


def shape_of(mask: Any, picture: Picture, mask_white: MaskWhite) -> tuple[Any, MaskWhite, tuple[str, ...]]:
    """The mask in black and white, what white means in it, and what is to be said of where it came from.

    Raises:
        InputError: a picture of many colors or gray levels that is no copy of the photograph, or one that equals it.
    """
    if mask is None:
        return None, mask_white, ()
    drawn = as_picture(mask)
    if (changed := painted(drawn, picture)) is not None:
        if not bool(changed.any()):
            raise InputError(
                f"{drawn.name} equals {picture.name}, nothing is painted in it: paint what is missing, in one color",
                code="mask",
            )
        said = f"the mask {drawn.name} is a copy of the photograph: what was painted in it is missing"
        return changed, "missing", (said,)
    if (opaque := alpha_shape(drawn)) is not None:
        said = f"the mask {drawn.name} has one color: its alpha channel is the mask, and opaque stands for white"
        return opaque, mask_white, (said,)
    if between(drawn.tensor) > MOST_BETWEEN:
        raise InputError(
            f"{drawn.name} has many colors or gray levels, a mask has two: make it black and white, or paint what is missing "
            f"in one color into a copy of {picture.name}",
            code="mask",
        )
    return drawn, mask_white, ()


def painted(mask: Picture, picture: Picture) -> torch.Tensor | None:
    """(b, 1, h, w) True where a copy of the picture was painted; None if it is no copy."""
    given, copy = picture.tensor, _in_units(mask, picture)
    if given.shape[1] not in (1, copy.shape[1]) or given.shape[-2:] != copy.shape[-2:]:
        return None
    given = given.expand(-1, copy.shape[1], -1, -1)
    change = (copy - given).abs().amax(1, keepdim=True)
    if picture.missing is not None:
        change = change.masked_fill(picture.missing.any(1, keepdim=True), 0)
    hidden = torch.zeros_like(change, dtype=torch.bool) if (holes := mask.transparent()) is None else holes
    visible = change[~hidden]
    if not visible.numel():
        return None
    faint = ((change > EXACT) & (change <= LOSSY) & ~hidden).squeeze(1)
    lossless = float(faint.float().mean()) < LOSSY_SHARE or _of_one_color(copy.movedim(1, -1)[faint])
    limit = EXACT if lossless else _most_of_jpeg(visible)
    alike = ((change <= limit) & ~hidden).expand_as(copy)
    if float(alike.float().mean()) < ALIKE or _correlation(copy[alike], given[alike]) < CORRELATED:
        return None
    if (
        _kept_edges(copy, given, max(limit, FAINTEST)) < ALIKE
    ):  # black and white, by chance like a page in black and white
        return None
    return hidden | (_closed(change > limit, 1) if lossless else _solid(change, limit))


def alpha_shape(mask: Picture) -> torch.Tensor | None:
    """(b, 1, h, w) True where a mask is opaque, if what is visible of it has one color; None for any other mask."""
    if mask.alpha is None or mask.transparent() is None:
        return None
    alpha = torch.from_numpy(mask.alpha.astype("float64"))[:, None]
    opaque = alpha > 0.5 * float(alpha.max())
    seen = mask.tensor.movedim(1, -1)[opaque.squeeze(1)]
    one_color = bool(seen.numel()) and float((seen.amax(0) - seen.amin(0)).max()) <= BETWEEN
    return opaque if one_color else None


def between(image: torch.Tensor) -> float:
    """The share of pixels that have neither of the two colors, dark and bright, that a picture has most."""
    pixels = image.movedim(1, -1).flatten(0, -2)
    bright = pixels.mean(1)
    low, high = bright.aminmax()
    if float(high - low) < 1 / 255:
        return float((pixels.amax(0) - pixels.amin(0)).max() > BETWEEN)
    upper = bright > _between_classes(bright, float(low), float(high))
    colors = [pixels[part].median(0).values for part in (~upper, upper)]
    reach = BETWEEN * float((colors[1] - colors[0]).abs().max())
    own = torch.where(upper[:, None], colors[1], colors[0])
    return float(((pixels - own).abs().amax(1) > reach).float().mean())


def _between_classes(values: torch.Tensor, low: float, high: float) -> float:
    """Where two classes of values part: the greatest variance between them (Otsu 1979)."""
    count = torch.histc(values, 256, low, high).double()
    centers = low + (torch.arange(256, dtype=torch.float64) + 0.5) * (high - low) / 256
    share, mean = (count / count.sum()).cumsum(0)[:-1], (count * centers / count.sum()).cumsum(0)
    variance = (mean[-1] * share - mean[:-1]).square() / (share * (1 - share)).clamp_min(1e-12)
    return low + (int(variance.argmax()) + 1) * (high - low) / 256


def _in_units(mask: Picture, picture: Picture) -> torch.Tensor:
    """The values of a mask's file in the 0..1 of the picture; of other bits, as much of white."""
    low, high = picture.units()
    own_low, own_high = mask.units()
    whole = mask.dtype.kind == picture.dtype.kind == "u"
    scale = np.iinfo(picture.dtype).max / np.iinfo(mask.dtype).max if whole else 1.0
    return (scale * (own_low + mask.tensor.double() * (own_high - own_low)) - low).div(high - low).float()


def _most_of_jpeg(change: torch.Tensor) -> float:
    """What a copy with loss changes at most, where it was not painted."""
    limit = STRONGEST
    for _ in range(10):
        near = change[change <= limit]
        limit = min(max(TIMES * float(near.median()), FAINTEST), STRONGEST) if near.numel() else limit
    return limit


def _of_one_color(pixels: torch.Tensor) -> bool:
    """Whether most of (n, c) are equal, as paint is."""
    return float(((pixels - pixels.median(0).values).abs().amax(1) <= EXACT).float().mean()) > ONE_COLOR


def _correlation(one: torch.Tensor, other: torch.Tensor) -> float:
    one, other = one.double() - one.double().mean(), other.double() - other.double().mean()
    return float((one * other).mean() / (one.square().mean() * other.square().mean()).sqrt().clamp_min(1e-12))


def _kept_edges(copy: torch.Tensor, given: torch.Tensor, limit: float) -> float:
    """The share of the edges of a picture, its brightness rising by 4 limits from pixel to pixel, that a copy has as well."""
    given, copy = given.mean(1), copy.mean(1)  # a JPEG has lost much of the edges in color
    pairs = [(given.diff(dim=axis), copy.diff(dim=axis)) for axis in (-2, -1)]
    kept = torch.cat([((one - other).abs() <= 2 * limit)[one.abs() > 4 * limit] for one, other in pairs])
    return float(kept.float().mean()) if kept.numel() else 1.0


def _solid(change: torch.Tensor, limit: float) -> torch.Tensor:
    """Where change is strong over 2 x 2 pixels or more, and what changed close to that: specks of a JPEG are left out."""
    strong = change > max(1.5 * limit, STRONGEST)
    four = ~_grown(~strong, (0, 1, 0, 1))
    core = _grown(four, (1, 0, 1, 0))
    return _grown(_closed(core | (_grown(core, (2, 2, 2, 2)) & (change > limit)), 2), (1, 1, 1, 1))


def _closed(marks: torch.Tensor, by: int) -> torch.Tensor:
    """Marks with their pinholes filled: places where the paint has the color of the photograph."""
    sides = (by, by, by, by)
    return marks | ~_grown(~_grown(marks, sides), sides)


def _grown(marks: torch.Tensor, sides: tuple[int, int, int, int]) -> torch.Tensor:
    """Marks that grew by so many pixels to the left, right, top and bottom, in the terms of a window around each pixel."""
    padded = torch.nn.functional.pad(marks.float(), sides)
    return max_pool2d(padded, (sides[2] + sides[3] + 1, sides[0] + sides[1] + 1), stride=1) > 0
