"""Masks of an explanation: where the image may change, and where the change is expected; checked before the fit."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from preimage.errors import InputError
from preimage.explain.inputs import one_page
from preimage.images import Picture


def region_of(given: Any, picture: Picture, size: tuple[int, int], name: str = "region") -> torch.Tensor:
    """The white part of a mask, (1, 1, h, w) in 0 to 1, at the size (h, w) at which the picture is explained.

    Raises:
        InputError: a mask of another size than the picture's, or with nothing white left at size (h, w).
    """
    mask = one_page(given).white()
    if mask.shape[0] != 1 or mask.shape[-2:] != picture.tensor.shape[-2:]:
        (height, width), (rows, columns) = picture.tensor.shape[-2:], mask.shape[-2:]
        raise InputError(
            f"the {name} is {columns} x {rows} pixels, the image {width} x {height}: give a mask of the image's size",
            code="shape",
        )
    if not bool(mask.any()):
        raise InputError(f"the {name} is black everywhere: paint what it selects white", code="mask")
    white = functional.interpolate(mask.float(), size=size, mode="area")
    if not bool((white > 0.5).any()):
        raise InputError(_lost(name, "white", int(mask.sum()), size), code="mask")
    return white


def lesion_of(given: Any, picture: Picture, size: tuple[int, int]) -> torch.Tensor:
    """The white part of a lesion mask, (1, 1, h, w) bool; some of the mask must be black.

    Raises:
        InputError: as `region_of`, or nothing black.
    """
    inside = region_of(given, picture, size, "lesion mask") > 0.5
    if bool(inside.all()):
        black = int((~one_page(given).white().bool()).sum())
        if black:
            raise InputError(_lost("lesion mask", "black", black, size), code="mask")
        raise InputError(
            "the lesion mask is white everywhere: paint white only where the change is expected, or leave --lesion-mask out",
            code="mask",
        )
    return inside


def _lost(name: str, color: str, count: int, size: tuple[int, int]) -> str:
    pixels = "1 pixel" if count == 1 else f"{count} pixels"
    return (
        f"{pixels} of the {name} {'is' if count == 1 else 'are'} {color}, too few at {size[1]} x {size[0]}, the size at "
        f"which the image is explained: make more of it {color}"
    )
