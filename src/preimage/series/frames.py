"""Frames: a Run made of Runs, the pages of one picture one after another, each begun from the weights of the last.

    theta_k* = argmin_theta L_k(theta), begun at theta_(k-1)*

The pages are frames of a film, slices of a volume, pictures of a series: what one has taught the network serves the next.
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from preimage.engine.fit import Fit
from preimage.engine.result import Result
from preimage.engine.step import Step
from preimage.errors import InputError
from preimage.history import History
from preimage.images import Picture, as_picture


class Frames:
    """The pages of a picture, fitted in turn; a fit is made when its turn comes and dropped when it is done.

    A page is a picture of its own: noise, mask and rule are its own too. Steps are counted on from page to page, and
    `Step.picture` shows all pages: those that are done, the one at hand, and the others as they were given.

    Example:
        >>> chain = Frames(partial(denoise, sigma=25), read("frames.tif", page="all"))
        >>> for step in chain:
        ...     print(step.index, step.status)  # 181 page 2 of 31: risk 0.0012
        >>> chain.result().image.shape
        torch.Size([31, 1, 512, 512])

    Args:
        make: makes the fit of one page, `make(page, initial=weights)`: a task with its options.
        image: a Picture of b pages, a tensor (b, c, h, w), or a path.
        beside: pictures that `make` takes by name, of b pages as well or of one that serves all: {"mask": masks}.
        initial: what the first page begins from: a Result, or the weights of one; None: random weights.

    Raises:
        InputError: what `make` raises for any of the pages, found out by making each fit once before the first step.
    """

    def __init__(
        self, make: Callable[..., Fit], image: Any, *, beside: Mapping[str, Any] | None = None, initial: Any = None
    ) -> None:
        self.make = make
        self.picture = as_picture(image, missing=True)
        self.pages = pages_of(self.picture)
        self.beside = {name: pages_of(as_picture(given, missing=True)) for name, given in (beside or {}).items()}
        for name, pages in self.beside.items():
            if len(pages) not in (1, len(self.pages)):
                raise InputError(f"{name} has {len(pages)} pages, expected {len(self.pages)}, or one that serves all")
        self.written: list[Picture] = []  # as a task would have each page written: with another alpha, it may be
        self.offset = 0  # steps that were taken before the page at hand
        self.done: list[dict[str, Any]] = []
        self._survey(initial)
        self.fit = self._made(0, initial)
        self.task = self.fit.task

    def _made(self, page: int, initial: Any) -> Fit:
        beside = {name: pages[page % len(pages)] for name, pages in self.beside.items()}
        return self.make(self.pages[page], initial=initial, **beside)

    def _survey(self, initial: Any) -> None:
        """Make every fit once, for what it says, and so that what cannot be is known hours before its turn."""
        identities, remarks = [], []
        for number, page in enumerate(self.pages, 1):
            try:
                fit = self._made(number - 1, initial)
            except InputError as error:
                raise InputError(f"page {number}: {error}") from error
            identities.append(fit.fingerprint)
            remarks.append(fit.remarks)
            self.written.append(fit.picture or page)
            initial = fit.weights()
        self.fingerprint: dict[str, Any] = {"begun_from": "the last page", **_joined(identities)}
        self.remarks = _said(remarks)

    # ------------------------------------------------------------------ the loop

    def __iter__(self) -> Iterator[Step]:
        return self

    def __next__(self) -> Step:
        if self.fit.finished and self.page + 1 < len(self.pages):
            self._turn()
        return self._among_pages(next(self.fit))

    def run(self) -> Result:
        """Iterate to the end and return the Result."""
        for _ in self:
            pass
        return self.result()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of each page of the result."""
        return self.fit.size

    @property
    def page(self) -> int:
        """The page at hand, 0 for the first."""
        return len(self.done)

    @property
    def current(self) -> Fit:
        """The fit of the page at hand."""
        return self.fit

    @property
    def number(self) -> int:
        """The page at hand, 0 for the first."""
        return self.page

    def part(self, whole: torch.Tensor) -> torch.Tensor:
        """The page at hand, (1, c, h, w), of an image of all pages or of one that serves all."""
        return whole[self.page : self.page + 1] if len(whole) > 1 else whole

    @property
    def finished(self) -> bool:
        """Whether the result of every page stands."""
        return self.page + 1 == len(self.pages) and self.fit.finished

    def _turn(self) -> None:
        """From one page to the next."""
        result = self.fit.result()
        self.offset += self.fit.index
        self.done.append(part_of(result))
        del self.fit  # before the next is made: networks and codes of two would stand beside each other
        self.fit = self._made(self.page, result.weights)

    def _among_pages(self, step: Step) -> Step:
        left, count = self.pages[self.page + 1 :], len(self.pages)
        before, finish = [part["image"] for part in self.done], step.finish

        def whole(mean: torch.Tensor) -> torch.Tensor:
            now = (mean if finish is None else finish(mean)).cpu()
            return torch.cat([*before, now, *(as_given(page, now) for page in left)])

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
        last = self.fit.result()
        parts = [*self.done, part_of(last)]
        done, left = len(parts), self.pages[len(parts) :]
        images = [part["image"] for part in parts] + [as_given(page, last.image) for page in left]
        spreads = [part["uncertainty"] for part in parts if part["uncertainty"] is not None]
        return replace(
            last,
            image=torch.cat(images),
            uncertainty=torch.cat(spreads) if len(spreads) == len(images) else None,
            reason=self._reason(parts),
            kept_step=[step for part in parts for step in part["kept_step"]],
            steps=sum(part["steps"] for part in parts),
            seconds=sum(part["seconds"] for part in parts),
            history=side_by_side([history_of(part) for part in parts]),
            remarks=self.remarks,
            picture=_with_alpha(self.picture, self.written[:done] + left),
            operators=[operator for part in parts for operator in _operators(part, last.operators)],
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
        """What the pages that are done came to, and the state of the fit at hand."""
        index = self.offset + self.fit.index
        return {"done": list(self.done), "offset": self.offset, "index": index, "fit": self.fit.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state: on a CPU with as many threads, bit for bit as if it had never stopped."""
        self.done, self.offset = list(state["done"]), state["offset"]
        self.fit = self._made(self.page, None)
        self.fit.load_state_dict(state["fit"])


# ---------------------------------------------------------------------- pages apart


def pages_of(picture: Picture) -> list[Picture]:
    """Each page as a picture of its own, all of one range: (b, c, h, w) -> b times (1, c, h, w).

    Example:
        >>> [page.tensor.shape for page in pages_of(as_picture(torch.rand(2, 3, 32, 32)))]
        [torch.Size([1, 3, 32, 32]), torch.Size([1, 3, 32, 32])]
    """
    pages = []
    for i in range(len(picture.tensor)):
        alpha = None if picture.alpha is None else picture.alpha[i : i + 1]
        missing = None if picture.missing is None else picture.missing[i : i + 1]
        missing = missing if missing is not None and bool(missing.any()) else None
        pages.append(replace(picture, tensor=picture.tensor[i : i + 1], alpha=alpha, missing=missing))
    return pages


def as_given(page: Picture, like: torch.Tensor) -> torch.Tensor:
    """What a page was given as, (1, c, h, w), at the height and width of a result."""
    if page.tensor.shape[-2:] == like.shape[-2:]:
        return page.tensor
    return functional.interpolate(page.tensor, size=like.shape[-2:], mode="bilinear", align_corners=False)


# ---------------------------------------------------------------------- pages together


def side_by_side(histories: Sequence[History], word: str = "page") -> History:
    """The histories of fits that came one after another as that of one fit: a column a member, NaN after its end.

    A term that only some fits have is 0 in the others.
    """
    names = list(dict.fromkeys(name for history in histories for name in history.names))
    length = max(len(history) for history in histories)
    tables, events = [], []
    for number, history in enumerate(histories, 1):
        loss = history["loss"]
        table = torch.stack([history[name] if name in history.names else 0 * loss for name in names], 1)
        tables.append(functional.pad(table, (0, 0, 0, 0, 0, length - len(history)), value=float("nan")))
        events += [f"{word} {number}, {event}" for event in history.events]
    joined = History(names)
    joined.load_state_dict({"tables": torch.cat(tables, 2), "events": events})
    return joined


def part_of(result: Result) -> dict[str, Any]:
    """What is kept of a fit that is done, as plain containers and tensors."""
    names = ("image", "uncertainty", "kept_step", "steps", "seconds", "reason")
    return {
        **{name: getattr(result, name) for name in names},
        "history": {"names": result.history.names, **result.history.state_dict()},
        "operators": [operator.state_dict() for operator in result.operators],
    }


def history_of(part: dict[str, Any]) -> History:
    """The history that `part_of` kept."""
    history = History(part["history"]["names"])
    history.load_state_dict(part["history"])
    return history


def _operators(part: dict[str, Any], alike: Sequence[torch.nn.Module]) -> list[torch.nn.Module]:
    made = [copy.deepcopy(alike[0]) for _ in part["operators"]]
    for operator, state in zip(made, part["operators"], strict=True):
        operator.load_state_dict(state)
    return made


def _with_alpha(picture: Picture, pages: list[Picture]) -> Picture:
    alphas = [page.alpha for page in pages if page.alpha is not None]
    return replace(picture, alpha=np.concatenate(alphas)) if len(alphas) == len(pages) else picture


def _joined(identities: list[dict[str, Any]]) -> dict[str, Any]:
    """Options by name: what all pages share, or a list of what each has."""
    joined: dict[str, Any] = {}
    for key in identities[0]:
        values = [identity.get(key) for identity in identities]
        joined[key] = values[0] if all(value == values[0] for value in values) else values
    return joined


def _said(remarks: list[tuple[str, ...]]) -> tuple[str, ...]:
    """What is said of all pages once, of some page with its number."""
    shared = [line for line in remarks[0] if all(line in lines for lines in remarks)]
    own = [f"page {i}: {line}" for i, lines in enumerate(remarks, 1) for line in lines if line not in shared]
    return (*shared, *own)
