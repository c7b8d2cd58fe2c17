"""Which pixels are missing: by a mask, by transparency or by NaNs; and what kind of gap they make."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch.nn import functional

from preimage.errors import InputError
from preimage.images import Picture, as_picture

SPARSE = 0.9  # of single pixels: a larger share missing
CLUSTERED = 0.15  # below: single pixels; text has 0.3 and more, patches nearly 1
THIN = 12  # gaps this many pixels deep, from the nearest valid one, at most: strokes
HOLE = 24  # deeper: a large hole; of the published masks the region is 18 deep and the hole 27
WARN_ABOVE = 0.5


def missing_of(
    picture: Picture, mask: Any, mask_white: Literal["valid", "missing"] | None
) -> tuple[torch.Tensor, Picture]:
    """(b or 1, c or 1, h, w) True where a value is missing, and the picture as it is to be written: without the hole.

    Raises:
        InputError: nothing says what is missing, or all or nothing is; a mask of another size; a mask without mask_white.
    """
    missing = picture.missing
    if mask is not None:
        drawn = drawn_missing(mask, mask_white)
        missing = drawn if missing is None else missing | drawn
    elif mask_white is not None:
        raise InputError(
            f"mask_white={mask_white!r} says what is white in a mask, and there is none: give a mask", code="option"
        )
    elif (transparent := picture.transparent()) is not None:
        missing = transparent if missing is None else missing | transparent
        picture = picture.opaque()
    if missing is None:
        raise InputError(
            f"{picture.name}: nothing says what is missing: give a mask, or an input with transparency or NaNs",
            code="mask",
        )
    for number, page in enumerate(missing, 1):
        if len(missing) > 1 and bool(page.all()):
            raise InputError(f"{picture.name}: page {number} has no valid pixel: leave it out", code="mask")
    share = float(missing.float().mean())
    if share in (0.0, 1.0):
        found = "nothing is missing" if share == 0 else "everything is missing"
        turn = "" if mask_white is None else f" (white is {mask_white}: is it the other way round?)"
        raise InputError(f"{picture.name}: {found}, the mask is {'empty' if share == 0 else 'full'}{turn}", code="mask")
    return missing, picture


def drawn_missing(mask: Any, mask_white: Literal["valid", "missing"] | None) -> torch.Tensor:
    """(b or 1, 1, h, w) from a black and white picture, whose size the start of the task has compared with the input's."""
    if mask_white not in ("valid", "missing"):
        raise InputError(
            f"specify with mask_white (--mask-white) whether white in the mask is valid or missing, got {mask_white!r}",
            code="option",
        )
    white = as_picture(mask).white()
    return white if mask_white == "missing" else ~white


def kind_of_gap(missing: torch.Tensor) -> Literal["text", "region", "hole", "scattered", "sparse"]:
    """What kind of gap: whether the pixels are missing one by one, and how deep the deepest is if they are not."""
    if clustering(missing.float()) < CLUSTERED:
        return "sparse" if float(missing.float().mean()) > SPARSE else "scattered"
    deep = depth(missing, HOLE + 1)
    return "text" if deep <= THIN else "hole" if deep > HOLE else "region"


def clustering(gap: torch.Tensor) -> float:
    """How much likelier than others the neighbours of a missing pixel are missing: 0 if drawn at random, 1 of one whole."""
    share = float(gap.mean())
    both = float((gap[..., 1:, :] * gap[..., :-1, :]).mean() + (gap[..., 1:] * gap[..., :-1]).mean()) / 2
    return (both / share - share) / (1 - share)


def depth(missing: torch.Tensor, most: int | None = None) -> int:
    """How many times the gaps can be made smaller by one pixel on all sides until nothing is left; `most` at most."""
    gap = missing.all(1, keepdim=True).float()
    for shrunk in range(most or max(gap.shape[-2:])):
        if not bool(gap.any()):
            return shrunk
        gap = -functional.max_pool2d(-functional.pad(gap, (1, 1, 1, 1), value=1.0), 3, stride=1)
    return most or max(gap.shape[-2:])


def describe(missing: torch.Tensor, kind: str) -> tuple[str, ...]:
    """What will be filled, and a warning where that is more than half."""
    share = float(missing.float().mean())
    said = f"{100 * share:.1f} % of the picture will be filled; settings for {kind}"
    warning = f"more than half of the picture is missing ({100 * share:.1f} %): if that is not so, white means the other thing"
    return (said, f"warning: {warning}") if share > WARN_ABOVE else (said,)
