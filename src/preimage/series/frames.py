"""Frames: a Run made of Runs: the pages of one file, fitted in turn, with `warm` each from the weights of the last.

    theta_k* = argmin_theta L_k(theta), begun at theta_(k-1)* or at random weights

The pages are frames of a film, slices of a volume, images of a series, each with noise, mask and rule of its own.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Self

import torch

from preimage.engine.fit import Fit
from preimage.engine.result import Result
from preimage.engine.step import Step
from preimage.images import Picture
from preimage.series.parts import (
    history_of,
    merged,
    operators_of,
    pages_of,
    part_of,
    remarks_of_all,
    resized,
    side_by_side,
    together,
)


class Frames:
    """The pages of a picture, fitted in turn; a fit is made when its turn comes and dropped when it is done.

    Step numbers continue from page to page. `Step.picture` holds all pages: the finished ones, the current one, and the input
    for the others.

    Args:
        make: makes the fit of a page, `make(number, initial)`, number 0 for the first.
        picture: the input, of b pages.
        fingerprints, remarks: of each page: plain data that identifies it in a checkpoint, and what its task decided.
        task: the name of the task.
        warm: whether a page begins from the weights of the last one.
        initial: weights that the first page (all of them, if not `warm`) begins from; None: random ones.
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
    ) -> None:
        self.make, self.picture, self.task, self.warm, self.initial = make, picture, task, warm, initial
        self.pages = pages_of(picture)
        self.fingerprint: dict[str, Any] = {"initial": "the last page" if warm else None, **merged(fingerprints)}
        self.remarks = remarks_of_all(remarks)
        self.offset = 0  # steps before the page at hand
        self.done: list[dict[str, Any]] = []
        self.written: list[Picture] = []  # as results of the pages are written: with another alpha, it may be
        self.current = make(0, initial)
        self._steps: Iterator[Step] | None = None

    # ------------------------------------------------------------------ the loop

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Step:
        if self._steps is None:
            self._steps = self._iterated()
        return next(self._steps)

    def _iterated(self) -> Iterator[Step]:
        while True:
            for step in self.current:
                yield self._of_all(step)
            if self.page + 1 == len(self.pages):
                return
            self._turn()

    def run(self) -> Result:
        """Iterate to the end and return the Result."""
        for _ in self:
            pass
        return self.result()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of each page of the result."""
        return self.current.size

    @property
    def page(self) -> int:
        """The page at hand, 0 for the first."""
        return len(self.done)

    @property
    def number(self) -> int:
        """The page at hand, 0 for the first."""
        return self.page

    def part(self, whole: torch.Tensor) -> torch.Tensor:
        """The page at hand, (1, c, h, w), of an image of all pages or of one that serves all."""
        return whole[self.page : self.page + 1] if len(whole) > 1 else whole

    @property
    def index(self) -> int:
        """Steps so far, of all pages."""
        return self.offset + self.current.index

    @property
    def finished(self) -> bool:
        """Whether the result of every page stands."""
        return self.page + 1 == len(self.pages) and self.current.finished

    def _turn(self) -> None:
        """From one page to the next."""
        result = self.current.result()
        self.offset += self.current.index
        self.written.append(result.picture or self.pages[self.page])
        self.done.append(part_of(result))
        del self.current  # before the next is made: networks and codes of two would stand beside each other
        self.current = self.make(self.page, result.weights if self.warm else self.initial)

    def _of_all(self, step: Step) -> Step:
        left, count = self.pages[self.page + 1 :], len(self.pages)
        before, finish = [part["image"] for part in self.done], step.finish

        def whole(mean: torch.Tensor) -> torch.Tensor:
            now = (mean if finish is None else finish(mean)).cpu()
            return torch.cat([*before, now, *(_placeholder(page, now) for page in left)])

        return replace(
            step,
            index=self.offset + step.index,
            total=self.offset + step.total * (1 + len(left)),
            seconds=step.seconds + sum(part["seconds"] for part in self.done),
            status=f"page {self.page + 1} of {count}" + (f": {step.status}" if step.status else ""),
            events=tuple(f"page {self.page + 1}, {event}" for event in step.events),
            finish=whole,
        )

    # ------------------------------------------------------------------ the result

    def result(self) -> Result:
        """All pages; those whose turn has not come are as given, at the size of the result.

        `kept_step`, `history` and `operators` are of all members, page by page, each counted from the page's own first step;
        `weights` are those of the last page; `uncertainty` is None unless it is known of every page.
        """
        last = self.current.result()
        parts = [*self.done, part_of(last)]
        left = self.pages[len(parts) :]
        images = [part["image"] for part in parts] + [_placeholder(page, last.image) for page in left]
        spreads = [part["uncertainty"] for part in parts if part["uncertainty"] is not None]
        written = [*self.written, last.picture or self.pages[self.page], *left]
        return replace(
            last,
            image=torch.cat(images),
            uncertainty=torch.cat(spreads) if len(spreads) == len(images) else None,
            reason=self._reason(parts),
            reason_code=last.reason_code if self.finished else "interrupted",
            kept_step=[step for part in parts for step in part["kept_step"]],
            steps=sum(part["steps"] for part in parts),
            seconds=sum(part["seconds"] for part in parts),
            history=side_by_side([history_of(part) for part in parts]),
            remarks=self.remarks,
            picture=together(self.picture, written),
            operators=[operator for part in parts for operator in operators_of(part, last.operators)],
        )

    def _reason(self, parts: list[dict[str, Any]]) -> str:
        count = len(self.pages)
        if not self.finished:
            ending = "; the pages after it are as given" if len(parts) < count else ""
            return f"ended on page {len(parts)} of {count}: {parts[-1]['reason']}{ending}"
        kept = ", ".join(str(statistics.median_low(part["kept_step"])) for part in parts)
        return f"{count} pages, kept steps {kept}; the first: {parts[0]['reason']}"

    # ------------------------------------------------------------------ state

    def state_dict(self) -> dict[str, Any]:
        """The pages that are done, and the state of the fit at hand."""
        return {
            "done": list(self.done),
            "offset": self.offset,
            "index": self.index,
            "fit": self.current.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state: on a CPU with as many threads, bit for bit as if it had never stopped."""
        self.done, self.offset, self._steps = list(state["done"]), state["offset"], None
        # What a page is written with comes from making its fit, which costs little beside fitting it.
        self.written = [self.make(page, self.initial).picture or self.pages[page] for page in range(len(self.done))]
        self.current = self.make(self.page, self.initial)
        self.current.load_state_dict(state["fit"])


def _placeholder(page: Picture, like: torch.Tensor) -> torch.Tensor:
    """A page that is not fitted yet, with the size and channels of a result."""
    image = resized(page.tensor, (like.shape[-2], like.shape[-1]))
    return image.expand(-1, like.shape[1], -1, -1) if image.shape[1] == 1 else image
