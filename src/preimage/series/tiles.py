"""Tiles: a Run made of Runs, the overlapping tiles of a large picture, each a fit of its own, blended where they meet.

    x = sum over k of w_k x_k,    x_k = g_theta_k*(z_k),    theta_k* = argmin_theta L_k(theta),    sum over k of w_k = 1

Only the fit at hand is held, and the sum so far: pictures of any size are restored in the memory of one tile.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from preimage.engine.checkpoint import fingerprint
from preimage.engine.fit import Fit
from preimage.engine.recipe import Recipe
from preimage.engine.result import Result
from preimage.errors import InputError
from preimage.images import Picture, as_picture
from preimage.series.given import AsGiven
from preimage.series.layout import (
    Axis,
    Place,
    Region,
    check_companions,
    checked,
    cut,
    cut_out,
    detail,
    in_words,
    multiple,
    spans,
    tile_seed,
)
from preimage.series.parts import Series, part_of, resized


class Tiles(Series):
    """The tiles of a picture, fitted in turn.

    A tile has weights, code, random numbers and a stopping step of its own; with `warm_steps` its weights are at first those
    of the tile before, on the same page. Step numbers continue from tile to tile.
    `Step.picture`, read before the next step, is the whole image: finished tiles, the current one, and the input elsewhere.

    Args:
        make: `make(tile, page=page, seed=seed)` returns the fit of one tile; pages are numbered from 0.
        image: a Picture of b pages, a tensor (b, c, h, w), or a path.
        only_missing: whether tiles in which nothing is missing are returned as given, where its `missing` says what is.
        side, overlap: in pixels of the input; the picture is divided evenly into tiles of this side that share at least
            the overlap (None: an eighth of the side). A side of the picture that is shorter is taken whole.
        grid: tiles begin at multiples of so many pixels (the blocks of a JPEG), `from_end` where these are counted from
            the bottom, from the right.
        seed: each tile has one of its own, by its number.
        beside: further images of the same size, cut at the same places and passed to `make` by name: {"flash": flash}.
        share: `share(result)` is a tensor of the first tile's result (a kernel); the others are made with it,
            `make(tile, ..., shared=tensor)`, and the tile with the most detail is the first.
        warm_steps: tiles after the first of a page are made with the weights of the one before, `make(tile, ...,
            initial=weights)`, and take at most so many steps; the tiles with the most detail come first. None: each begins anew.
        channels: of the result; None: those of the picture.
        written: the picture as the result is written; None: as it is.
        remarks: beside those of the fits.

    Raises:
        InputError: a side or overlap out of range, an image of another size, a tile without a valid pixel, what `make` raises.
    """

    def __init__(
        self,
        make: Callable[..., Fit],
        image: Any,
        *,
        side: int,
        overlap: int | None = None,
        grid: int = 1,
        from_end: tuple[bool, bool] = (False, False),
        seed: int = 0,
        beside: Mapping[str, Any] | None = None,
        share: Callable[[Result], torch.Tensor] | None = None,
        warm_steps: int | None = None,
        channels: int | None = None,
        written: Picture | None = None,
        remarks: tuple[str, ...] = (),
        only_missing: bool = True,
    ) -> None:
        self.make = make
        self.seed = seed
        self.share = share
        self.warm_steps = warm_steps
        self.picture: Picture = as_picture(image, missing=True)
        self.channels: int = channels or self.picture.tensor.shape[1]
        self.written: Picture = written or replace(self.picture, missing=None)
        self.beside: dict[str, Picture] = {n: as_picture(each, missing=True) for n, each in (beside or {}).items()}
        check_companions(self.picture, self.beside)
        side, overlap = checked(side, overlap)
        self.overlap: int = overlap
        self.side: int = max(grid, side // grid * grid)
        self.axes: list[Axis] = [
            Axis(length, spans(length, self.side, self.overlap, grid=grid, from_end=end), self.overlap)
            for length, end in zip(self.picture.tensor.shape[-2:], from_end, strict=True)
        ]
        self.places: list[Place] = [
            Place(page, row, column)
            for page in range(len(self.picture.tensor))
            for row in range(len(self.axes[0].spans))
            for column in range(len(self.axes[1].spans))
        ]
        self.order: list[int] = self._order(only_missing=only_missing)
        super().__init__("tile", len(self.order))
        self.shared: dict[str, Any] = {}
        self.canvas: dict[str, torch.Tensor] = {}
        self.last: dict[str, Any] = {}  # the weights of the last tile that was fitted, and its page
        self.current: Any = self.made(0)
        self.recipe: Recipe = self.current.recipe  # later tiles may have fewer steps
        self.scale: int = self._scale()
        self.task: str = self.current.task
        rest = f", {self.not_fitted} of them as given, for nothing is missing there" if self.not_fitted else ""
        said = f"{len(self.places)} tiles of {self.side} pixels that share {self.overlap} or more with the next{rest}"
        self.remarks: tuple[str, ...] = (*self.current.remarks, *remarks, said)
        own = {"tile": self.side, "overlap": self.overlap, "seed": seed, "input": fingerprint(self.picture.tensor)}
        own |= {} if warm_steps is None else {"warm_steps": warm_steps}
        self.fingerprint: dict[str, Any] = {**self.current.fingerprint, **own}

    # ------------------------------------------------------------------ places

    def _order(self, *, only_missing: bool) -> list[int]:
        """The numbers of the tiles that are to be fitted, in their turn."""
        order = list(range(len(self.places)))
        if self.picture.missing is not None and only_missing:
            parts = [cut(self.picture.missing, self._region(place)) for place in self.places]
            for place, part in zip(self.places, parts, strict=True):
                kept = self.picture.kept
                if bool(part.all()) and not (kept is not None and bool(cut(kept, self._region(place)).all())):
                    where = in_words(self._region(place), len(self.picture.tensor))
                    raise InputError(
                        f"{self.picture.name}: nothing is known of {where}: the gap is wider than a tile of {self.side} pixels: "
                        "take a larger tile, or make the picture smaller first",
                        code="mask",
                    )
            order = [number for number, part in enumerate(parts) if bool(part.any())] or [0]
        if self.share is not None or self.warm_steps is not None:
            details = {number: detail(cut(self.picture.tensor, self._region(self.places[number]))) for number in order}
            order.sort(key=lambda number: (self.share is None and self.places[number].page, -details[number]))
        return order

    def _region(self, place: Place, scale: int = 1) -> Region:
        (top, bottom), (left, right) = self.axes[0].spans[place.row], self.axes[1].spans[place.column]
        rows, columns = slice(scale * top, scale * bottom), slice(scale * left, scale * right)
        return slice(place.page, place.page + 1), rows, columns

    def _scale(self) -> int:
        """How many times as large as the input the result is."""
        _, rows, columns = self._region(self.places[self.order[0]])
        given = (rows.stop - rows.start, columns.stop - columns.start)
        blank = torch.zeros(1, self.channels, *self.current.size, device=self.current.prior.device)
        finish = self.current.problem.finish
        height, width = (blank if finish is None else finish(blank)).shape[-2:]
        return multiple(given, (height, width))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the result."""
        return self.axes[0].length * self.scale, self.axes[1].length * self.scale

    @property
    def page(self) -> int:
        """The page that the tile at hand is of, 0 for the first."""
        return self.places[self.number].page

    @property
    def number(self) -> int:
        """The tile at hand, row by row from the upper left corner, 0 for the first."""
        return self.order[len(self.done)]

    @property
    def not_fitted(self) -> int:
        """How many tiles are returned as given, for nothing is missing in them."""
        return len(self.places) - len(self.order)

    def part(self, whole: torch.Tensor) -> torch.Tensor:
        """Of a picture of the result's size the tile at hand: (b, c, h, w) -> (1, c, side, side)."""
        return cut(whole, self._region(self.places[self.number], self.scale))

    def described(self) -> dict[str, Any]:
        """For a report: side and overlap, how many tiles, how many of them were not fitted, and the kept steps of each."""
        parts = [*self.done, *([part_of(self.current.result())] if self.current.index else [])]
        return {
            "side": self.side,
            "overlap": self.overlap,
            "count": len(self.places),
            "as_given": self.not_fitted,
            "order": self.order[: len(parts)],
            "kept_steps": [part["kept_step"] for part in parts],
        }

    # ------------------------------------------------------------------ fits

    def made(self, turn: int) -> Fit:
        number = self.order[turn]
        page, region = self.places[number].page, self._region(self.places[number])
        beside = {name: cut_out(picture, region) for name, picture in self.beside.items()}
        given = {"shared": self.shared["value"]} if self.shared else {}
        if self.last.get("page") == page:
            given |= {"initial": self.last["weights"]}
        return self.make(cut_out(self.picture, region), page=page, seed=tile_seed(self.seed, number), **beside, **given)

    def later(self, steps: int) -> int:
        return steps if self.warm_steps is None else min(steps, self.warm_steps)

    def end(self, result: Result) -> dict[str, Any]:
        if self.warm_steps is not None and not isinstance(self.current.rule, AsGiven):
            self.last = {"page": self.page, "weights": self.current.prior.function()}
        self.canvas = self._blended(self.canvas, self.places[self.number], result.image, result.uncertainty)
        if self.share is not None and not self.done:
            operators = [operator.state_dict() for operator in result.operators]
            self.shared = {"value": self.share(result), "operators": operators}
        return {**part_of(result), "image": None, "uncertainty": None, "operators": []}

    def whole(self) -> Callable[[torch.Tensor], torch.Tensor]:
        canvas, place = self.canvas, self.places[self.number]
        return lambda tile: self._blended(canvas, place, tile, None)["image"]

    # ------------------------------------------------------------------ blending

    def _blank(self, *, spread: bool) -> dict[str, torch.Tensor]:
        """The mean before the first tile: the input, with weight 0 except in tiles that are returned unchanged."""
        image = resized(self.picture.tensor, self.size).clone()
        if image.shape[1] < self.channels:
            image = image.mean(1, keepdim=True).repeat(1, self.channels, 1, 1)
        coverage = torch.zeros(len(image), 1, *self.size)
        for number in sorted(set(range(len(self.places))) - set(self.order)):
            region, weight = self._share_of(self.places[number])
            coverage[region] += weight
        return {"image": image, "coverage": coverage} | ({"uncertainty": torch.zeros_like(image)} if spread else {})

    def _share_of(self, place: Place) -> tuple[tuple[slice, ...], torch.Tensor]:
        """Where a tile lies in the result, and how much each of its pixels counts there."""
        page, rows, columns = self._region(place, self.scale)
        of_rows, of_columns = (self.axes[i].weights(k, self.scale) for i, k in enumerate((place.row, place.column)))
        return (page, slice(None), rows, columns), of_rows[:, None] * of_columns

    def _blended(
        self, canvas: dict[str, torch.Tensor], place: Place, tile: torch.Tensor, spread: torch.Tensor | None
    ) -> dict[str, torch.Tensor]:
        """The mean with a tile more: m <- m + w / (W + w) (x - m), which leaves alone whatever all tiles agree on."""
        found = {name: value.clone() for name, value in canvas.items()} or self._blank(spread=spread is not None)
        region, weight = self._share_of(place)
        coverage = found["coverage"][region] + weight
        for name, value in (("image", tile), ("uncertainty", spread)):
            if value is not None:
                found[name][region] = torch.lerp(found[name][region], value, (weight / coverage).expand_as(value))
        found["coverage"][region] = coverage
        return found

    # ------------------------------------------------------------------ the result

    def result(self) -> Result:
        """The whole picture; tiles whose turn has not come are as given, at the size of the result.

        `kept_step` and `history` are of all members, tile by tile, each counted from the tile's own first step; `weights`
        are those of the last tile, `operators` those that were fitted; `uncertainty` is blended as the picture is.
        """
        last = self.current.result()
        parts = [*self.done, part_of(last)]
        whole = self._blended(self.canvas, self.places[self.number], last.image, last.uncertainty)
        return replace(
            self.joined(last, parts, self._summary(parts)),
            image=whole["image"],
            uncertainty=whole.get("uncertainty"),
            seed=self.seed,
            recipe=self.recipe,
            picture=self.written,
            operators=self._fitted_operators() if self.shared else last.operators,
        )

    def _summary(self, parts: list[dict[str, Any]]) -> str:
        if self.count == 1:
            return parts[0]["reason"]
        kept = sorted(step for part in parts for step in part["kept_step"])
        spread = f"{kept[0]} to {kept[-1]}, half of them by {statistics.median_low(kept)}"
        return f"{self.count} tiles, kept steps {spread}; the first: {parts[0]['reason']}"

    def _fitted_operators(self) -> list[torch.nn.Module]:
        """Those of the tile whose kernel the others share."""
        shared, self.shared = self.shared, {}
        alike = self.made(0).theta.fitted_operators()
        self.shared = shared
        for operator, state in zip(alike, shared["operators"], strict=True):
            operator.load_state_dict(state)
        return alike

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "shared": self.shared, "canvas": self.canvas, "last": self.last}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.shared, self.canvas, self.last = state["shared"], state["canvas"], state.get("last", {})
        super().load_state_dict(state)
