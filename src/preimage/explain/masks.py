"""Masks of an explaining task, at the size at which its image is explained: a region, a lesion."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from preimage.errors import InputError
from preimage.explain.inputs import Given, one_page


def region_of(mask: Any, given: Given, name: str = "region") -> torch.Tensor:
    """The white part of a mask, (1, 1, h, w) in 0 to 1, at the size at which the image is explained.

    Raises:
        InputError: a mask of another size than the image's, or with nothing white left at that size.
    """
    own = one_page(mask).white()
    (height, width), (rows, columns) = given.full_size.shape[-2:], own.shape[-2:]
    if len(own) != 1 or (height, width) != (rows, columns):
        raise InputError(
            f"the {name} is {columns} x {rows} pixels, the image {width} x {height}: give a mask of the image's size",
            code="shape",
        )
    frame = given.frame
    white = (
        functional.interpolate(own.float(), size=given.size, mode="area")
        if frame is None
        else frame.of_mask(own.float())
    )
    if not bool((white > 0.5).any()):
        if frame is not None and frame.share < 1 and seen_share(mask, given) < 0.5:
            way = "give resizing letterbox, which shows the whole image"
            raise InputError(
                f"the {name} lies outside of what the classifier sees ({frame.remark()}): {way}", code="mask"
            )
        raise _lost(name, "white", int(own.sum()), given.size)
    return white


def lesion_of(mask: Any, given: Given) -> torch.Tensor:
    """The white part of a lesion mask, (1, 1, h, w) bool; some of the mask must be black.

    Raises:
        InputError: as `region_of`, or with nothing black left.
    """
    inside = region_of(mask, given, "lesion mask") > 0.5
    if bool(inside.all()):
        raise _lost("lesion mask", "black", int((~one_page(mask).white().bool()).sum()), given.size)
    return inside


def seen_share(mask: Any, given: Given) -> float:
    """The share of the white part of a mask that the classifier sees, 0 to 1."""
    if given.frame is None:
        return 1.0
    own = one_page(mask).white().float()
    whole = functional.interpolate(own, given.frame.resized, mode="area").sum()
    return float(given.frame.of_mask(own).sum() / whole.clamp_min(1e-6))


def _lost(name: str, color: str, count: int, size: tuple[int, int]) -> InputError:
    return InputError(
        f"the {name} has {count} {color} pixels, too few at {size[1]} x {size[0]}, the size at which the image is explained: "
        f"paint more of it {color}, or leave it out",
        code="mask",
    )
