"""Black and white pictures that say where: what may change, and where the change should be; known to be of use before a fit."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from preimage.errors import InputError
from preimage.explain.forward import one_page
from preimage.images import Picture


def region_of(given: Any, picture: Picture, size: tuple[int, int], name: str = "region") -> torch.Tensor:
    """(1, 1, h, w), 1 where a black and white picture is white, at the size (h, w) that the picture is explained in.

    Raises:
        InputError: a size that is not the picture's, or nothing white that is seen at that size.
    """
    mask = one_page(given).white()
    if mask.shape[0] != 1 or mask.shape[-2:] != picture.tensor.shape[-2:]:
        (height, width), (rows, columns) = picture.tensor.shape[-2:], mask.shape[-2:]
        raise InputError(
            f"the {name} is {columns} x {rows} pixels, the picture {width} x {height}: they must be one size"
        )
    if not bool(mask.any()):
        raise InputError(f"the {name} is black everywhere: white is what is meant")
    white = functional.interpolate(mask.float(), size=size, mode="area")
    if not bool((white > 0.5).any()):
        raise InputError(_lost(name, "white", int(mask.sum()), size))
    return white


def lesion_of(given: Any, picture: Picture, size: tuple[int, int]) -> torch.Tensor:
    """The same as bool, of a lesion mask, by which a place can only be judged if there is another beside it.

    Raises:
        InputError: as `region_of`, or nothing black.
    """
    inside = region_of(given, picture, size, "lesion mask") > 0.5
    if bool(inside.all()):
        black = int((~one_page(given).white().bool()).sum())
        if black:
            raise InputError(_lost("lesion mask", "black", black, size))
        raise InputError(
            "the lesion mask is white everywhere: paint white only where the change should be, or leave --lesion-mask out"
        )
    return inside


def _lost(name: str, color: str, count: int, size: tuple[int, int]) -> str:
    pixels = "1 pixel" if count == 1 else f"{count} pixels"
    return (
        f"{pixels} of the {name} {'is' if count == 1 else 'are'} {color}, too few to be seen at {size[1]} x {size[0]}, "
        f"the size that the picture is explained in: make more of it {color}"
    )
