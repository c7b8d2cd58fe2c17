"""What `denoise` takes off an image before it looks at its noise: the offsets of rows or columns of a sensor."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import torch

from preimage.errors import InputError
from preimage.images import Picture
from preimage.noise.stripes import Stripes, estimate_stripes, find_stripes, remove_stripes

Choice = Literal["off", "rows", "columns", "auto"]


def without_stripes(picture: Picture, choice: Choice) -> tuple[Picture, torch.Tensor | None, tuple[str, ...]]:
    """The image without its stripes; what was taken off, (1, c, h or 1, w or 1) or None; and what is to be said of it."""
    if choice not in get_args(Choice):
        raise InputError(f"stripes must be off, rows, columns or auto, got {choice!r}", code="option")
    if choice == "off":
        return picture, None, ()
    found = find_stripes(picture.tensor) if choice == "auto" else (estimate_stripes(picture.tensor, choice),)
    removed = [each for each in found if each.sigma > 0]
    if not removed:
        return picture, None, () if choice == "auto" else (f"no stripes along {choice} were found",)
    offsets = sum((each.offsets for each in removed[1:]), removed[0].offsets)
    said = tuple(_said(each, picture) for each in removed)
    return replace(picture, tensor=remove_stripes(picture.tensor, offsets)), offsets, said


def _said(stripes: Stripes, picture: Picture) -> str:
    low, high = picture.units()
    deviation = f"{stripes.sigma * (high - low):.3g} in units of the input"
    what = f"stripes of a sensor along {stripes.direction} were removed"
    return f"{what}: offsets of deviation {deviation}; --stripes off keeps them"
