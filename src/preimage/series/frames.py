"""Frames: the pages of one file, fitted in turn, with `warm` each from the weights of the last.

    theta_k* = argmin_theta L_k(theta), begun at theta_(k-1)* or at random weights

The pages are frames of a film, slices of a volume, images of a series, each with noise, mask and rule of its own.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from preimage.engine.fit import Fit
from preimage.engine.result import Result
from preimage.images import Picture
from preimage.series.layout import pages_of
from preimage.series.parts import Series, merged, operators_of, part_of, remarks_of_all, resized, together


class Frames(Series):
    """The pages of a picture, fitted in turn.

    `Step.picture` holds all pages: the finished ones, the current one, and the input for the others.

    Args:
        make: makes the fit of a page, `make(number, initial)`, number 0 for the first.
        picture: the input, of b pages.
        fingerprints, remarks: of each page: plain data that identifies it in a checkpoint, and what its task decided.
        task: the name of the task.
        warm: whether a page begins from the weights of the last one.
        initial: weights that the first page (all of them, if not `warm`) begins from; None: random ones.
        constant: whether a page is returned as given, and passes no weights on; None: no page is.
    """

    def __init__(
        self,
        make: Callable[[int, Any], Fit],
        picture: Picture,
        *,
        fingerprints: Sequence[dict[str, Any]],
        remarks: Sequence[tuple[str, ...]],
        task: str = "fit",
        warm: bool = False,
        initial: Any = None,
        constant: Sequence[bool] | None = None,
    ) -> None:
        self.constant = constant
        self.make = make
        self.picture = picture
        self.task = task
        self.warm = warm
        self.initial: Any = initial
        self.pages: list[Picture] = pages_of(picture)
        super().__init__("page", len(self.pages))
        self.fingerprint: dict[str, Any] = {"initial": "the last page" if warm else None, **merged(fingerprints)}
        self.remarks: tuple[str, ...] = remarks_of_all(remarks)
        self.written: list[Picture] = []  # as results of the pages are written: with another alpha, it may be
        self.current: Any = self.made(0)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of each page of the result."""
        return self.current.size

    @property
    def number(self) -> int:
        """The page at hand, 0 for the first."""
        return len(self.done)

    page = number

    def part(self, whole: torch.Tensor) -> torch.Tensor:
        """The page at hand, (1, c, h, w), of an image of all pages or of one that serves all."""
        return whole[self.page : self.page + 1] if len(whole) > 1 else whole

    def made(self, turn: int) -> Fit:
        return self.make(turn, self.initial)

    def end(self, result: Result) -> dict[str, Any]:
        self.written.append(result.picture or self.pages[self.page])
        if self.warm and not (self.constant and self.constant[self.page]):
            self.initial = result.weights
        return part_of(result)

    def whole(self) -> Callable[[torch.Tensor], torch.Tensor]:
        before, left = [part["image"] for part in self.done], self.pages[self.page + 1 :]
        return lambda page: torch.cat([*before, page, *(_placeholder(each, page) for each in left)])

    def result(self) -> Result:
        """All pages; those whose turn has not come are as given, at the size of the result.

        `kept_step`, `history` and `operators` are of all members, page by page, each counted from the page's own first step;
        `weights` are those of the last page; `uncertainty` is None unless it is known of every page.
        """
        last = self.current.result()
        parts = [*self.done, part_of(last)]
        spreads = [part["uncertainty"] for part in parts if part["uncertainty"] is not None]
        written = [*self.written, last.picture or self.pages[self.page], *self.pages[len(parts) :]]
        return replace(
            self.joined(last, parts, self._summary(parts)),
            image=self.whole()(last.image),
            uncertainty=torch.cat(spreads) if len(spreads) == self.count else None,
            picture=together(self.picture, written),
            operators=[operator for part in parts for operator in operators_of(part, last.operators)],
        )

    def _summary(self, parts: list[dict[str, Any]]) -> str:
        kept = ", ".join(str(statistics.median_low(part["kept_step"])) for part in parts)
        return f"{self.count} pages, kept steps {kept}; the first: {parts[0]['reason']}"

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        # What a page is written with comes from making its fit, which costs little beside fitting it.
        self.written = [self.made(page).picture or self.pages[page] for page in range(len(self.done))]


def _placeholder(page: Picture, like: torch.Tensor) -> torch.Tensor:
    """A page that is not fitted yet, with the size and channels of a result."""
    image = resized(page.tensor, (like.shape[-2], like.shape[-1]))
    return image.expand(-1, like.shape[1], -1, -1) if image.shape[1] == 1 else image
