"""Where the tiles of a picture lie, what each counts in their blend, and the parts that are cut out there.

    w_k(p) = v_k(p) / sum over j of v_j(p),    v_k(p) = sin(pi / 2 (p + 1/2) / overlap)^2 from the edge of tile k inward

A weight is one factor for rows and one for columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from preimage.errors import InputError
from preimage.images import Picture
from preimage.rng import is_whole

SMALLEST_SIDE = 16
Region = tuple[slice, slice, slice]  # page, rows, columns


@dataclass(frozen=True)
class Place:
    """One tile: its page, and the how-manieth it is from the top and from the left."""

    page: int
    row: int
    column: int


@dataclass(frozen=True)
class Axis:
    """Where tiles begin and end along one side of a picture, and how much each counts there."""

    length: int
    spans: list[tuple[int, int]]
    overlap: int

    def weights(self, number: int, scale: int = 1) -> torch.Tensor:
        """(side * scale,) of one tile: a raised cosine over the overlap, divided by the sum over all tiles."""
        start, stop = self.spans[number]
        own = self._window(number, scale)
        total = torch.zeros((stop - start) * scale, dtype=torch.float64)
        for other, (begin, end) in enumerate(self.spans):
            first, last = max(start, begin), min(stop, end)
            if first < last:
                here = slice((first - start) * scale, (last - start) * scale)
                total[here] += self._window(other, scale)[(first - begin) * scale : (last - begin) * scale]
        return (own / total).float()

    def _window(self, number: int, scale: int) -> torch.Tensor:
        start, stop = self.spans[number]
        window = torch.ones((stop - start) * scale, dtype=torch.float64)
        reach = self.overlap * scale
        ramp = torch.sin((torch.arange(reach, dtype=torch.float64) + 0.5) / max(reach, 1) * torch.pi / 2).square()
        if start > 0 and reach:
            window[:reach] = ramp
        if stop < self.length and reach:
            window[-reach:] *= ramp.flip(0)
        return window


def checked(side: Any, overlap: Any = None) -> tuple[int, int]:
    """Side and overlap of tiles; the overlap is an eighth of the side if None.

    Raises InputError for a side below 16 pixels, or an overlap that is not below half of it.
    """
    if not is_whole(side) or side < SMALLEST_SIDE:
        raise InputError(f"tile must be a side of at least {SMALLEST_SIDE} pixels, auto or none, got {side!r}")
    if overlap is None:
        return int(side), int(side) // 8
    if not is_whole(overlap) or not 0 <= 2 * overlap < side:
        raise InputError(
            f"the overlap of tiles of {side} pixels must be a whole number from 0 to {(side - 1) // 2}, got {overlap!r}: "
            "take a smaller overlap or a larger tile"
        )
    return int(side), int(overlap)


def reaching(side: int, margin: int) -> int:
    """The default overlap of tiles: an eighth of the side, and far enough that a blur's edge is left out."""
    return min(max(side // 8, 8, 4 * margin), (side - 1) // 2)


def spans(length: int, side: int, overlap: int, *, grid: int = 1, from_end: bool = False) -> list[tuple[int, int]]:
    """Where tiles begin and end along a length: as few as can be, evenly spread, each at least `side` long if the length is.

    Example:
        >>> spans(100, 48, 8)
        [(0, 48), (26, 74), (52, 100)]
    """
    if length <= side:
        return [(0, length)]
    count = -(-(length - overlap) // (side - overlap))
    starts = [k * (length - side) // (count - 1) // grid * grid for k in range(count)]
    found = [(start, start + side) for start in starts[:-1]] + [(starts[-1], length)]
    return [(length - stop, length - start) for start, stop in reversed(found)] if from_end else found


def multiple(given: tuple[int, int], size: tuple[int, int]) -> int:
    """How many times as large as the (height, width) that was given a tile's result is."""
    height, width = size
    if height % given[0] or size != tuple(height // given[0] * side for side in given):
        raise InputError(
            f"a tile of {given[1]} x {given[0]} pixels became {width} x {height}: expected as many, or a whole multiple"
        )
    return height // given[0]


def in_words(region: Region, pages: int) -> str:
    """Where a region of one of so many pages is."""
    page, rows, columns = region
    where = f"page {page.start + 1}, " if pages > 1 else ""
    return f"{where}columns {columns.start} to {columns.stop - 1}, rows {rows.start} to {rows.stop - 1}"


def tile_seed(seed: int, number: int) -> int:
    """The seed of one tile: streams that never meet, from one seed."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0]) >> 1


def pages_of(picture: Picture) -> list[Picture]:
    """Each page as a picture of its own, all of one range: (b, c, h, w) -> b times (1, c, h, w).

    Example:
        >>> from preimage.images import as_picture
        >>> [page.tensor.shape for page in pages_of(as_picture(torch.rand(2, 3, 32, 32)))]
        [torch.Size([1, 3, 32, 32]), torch.Size([1, 3, 32, 32])]
    """
    if len(picture.tensor) == 1:
        return [picture]
    return [cut_out(picture, (slice(i, i + 1), slice(None), slice(None))) for i in range(len(picture.tensor))]


def cut_out(picture: Picture, region: Region) -> Picture:
    """A part of one page as a picture of its own, of the same range: what serves all pages serves this one."""
    page, rows, columns = region
    alpha = picture.alpha
    if alpha is not None:
        alpha = alpha[page if len(alpha) > 1 else slice(0, 1), rows, columns]
    masks: dict[str, torch.Tensor | None] = {}
    for name in ("missing", "outliers", "bright", "kept"):
        mask = getattr(picture, name)
        part = None if mask is None else cut(mask, region)
        masks[name] = part if part is not None and bool(part.any()) else None
    given = (
        None if picture.given is None else picture.given[page if len(picture.given) > 1 else slice(0, 1), rows, columns]
    )
    return replace(picture, tensor=cut(picture.tensor, region), alpha=alpha, given=given, **masks)


def cut(tensor: torch.Tensor, region: Region) -> torch.Tensor:
    """(b or 1, c, h, w) -> (1, c, rows, columns)."""
    page, rows, columns = region
    return tensor[page if len(tensor) > 1 else slice(0, 1), :, rows, columns]


def valid_share(picture: Picture) -> float:
    """The share of the values of a page that are valid."""
    return 1.0 if picture.missing is None else 1 - float(picture.missing.float().mean())


def detail(tensor: torch.Tensor) -> float:
    """How much a picture changes from pixel to pixel, on average."""
    return sum(float(tensor.diff(dim=axis).square().mean()) for axis in (-2, -1))


def check_companions(picture: Picture, beside: Mapping[str, Picture]) -> None:
    """InputError for a picture beside another that has not the same size, or as many pages or one."""
    pages, _, height, width = picture.tensor.shape
    for name, other in beside.items():
        b, _, h, w = other.tensor.shape
        if b not in (1, pages) or (h, w) != (height, width):
            raise InputError(
                f"{name} has {b} pages of {w} x {h} pixels, expected {pages}, or one that serves all, of {width} x {height}",
                code="shape",
            )
