"""Series: a Run made of fits, one after another, and what is kept of those that are done, as plain containers and tensors."""

from __future__ import annotations

import copy
import gc
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from preimage.engine.fit import Fit
from preimage.engine.result import History, Result
from preimage.engine.run import Run
from preimage.engine.step import Step
from preimage.images import Picture


class Series(Run):
    """Fits in turn: each is made when its turn comes and dropped when it is done; step numbers continue from one to the next.

    Args:
        word: for one of them in messages.
        count: how many there are.
    """

    current: Any = None  # the Fit at hand
    remarks: tuple[str, ...]

    def __init__(self, word: str, count: int) -> None:
        self.word = word
        self.count = count
        self.offset: int = 0  # steps before the fit at hand
        self.done: list[dict[str, Any]] = []

    @abstractmethod
    def made(self, turn: int) -> Fit:
        """The fit of a turn, 0 for the first."""

    @abstractmethod
    def end(self, result: Result) -> dict[str, Any]:
        """Take over the result of the fit at hand; returns what is kept of it as a part."""

    def whole(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """What turns an image of the fit at hand into one of all, as it is now whenever it is called."""
        return lambda image: image

    @property
    def index(self) -> int:
        """Steps so far, of all fits."""
        return self.offset + self.current.index

    @property
    def usual_steps(self) -> int | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The step at which all fits have ended, as a rule; None if that is not known of the fit at hand."""
        usual = self.current.usual_steps
        if usual is None:
            return None
        return self.offset + max(usual, self.current.index) + (self.count - len(self.done) - 1) * self.later(usual)

    def later(self, steps: int) -> int:
        """How many steps each of the fits takes whose turn has not come, if the one at hand takes so many."""
        return steps

    @property
    def finished(self) -> bool:
        """Whether the result of every fit stands."""
        return len(self.done) + 1 == self.count and self.current.finished

    def __next__(self) -> Step:
        if self.finished:
            raise StopIteration
        if self.current.finished:
            self.done.append(self.end(self.current.result()))
            self.offset += self.current.index
            del self.current  # before the next is made: networks and codes of two would stand beside each other
            gc.collect()  # a fit and its guard know one another
            self.current = self.made(len(self.done))
        step: Step = next(self.current)
        turn, finish, whole = len(self.done), step.finish, self.whole()
        return replace(
            step,
            index=self.offset + step.index,
            total=self.offset + step.total + self.later(step.total) * (self.count - turn - 1),
            seconds=step.seconds + sum(part["seconds"] for part in self.done),
            status=f"{self.word} {turn + 1} of {self.count}" + (f": {step.status}" if step.status else ""),
            events=tuple(f"{self.word} {turn + 1}, {event}" for event in step.events),
            finish=lambda mean: whole((mean if finish is None else finish(mean)).cpu()),
        )

    def joined(self, last: Result, parts: list[dict[str, Any]], reason: str) -> Result:
        """The last result with what is told of all parts: steps, time, history, and the reason, `reason` if all fits are done."""
        if not self.finished:
            rest = f"; the {self.word}s after it are as given" if len(parts) < self.count else ""
            reason = f"ended on {self.word} {len(parts)} of {self.count}: {parts[-1]['reason']}{rest}"
        return replace(
            last,
            reason=reason,
            reason_code=last.reason_code if self.finished else "interrupted",
            kept_step=[step for part in parts for step in part["kept_step"]],
            steps=sum(part["steps"] for part in parts),
            seconds=sum(part["seconds"] for part in parts),
            history=side_by_side([history_of(part) for part in parts], self.word),
            remarks=self.remarks,
        )

    def state_dict(self) -> dict[str, Any]:
        """What is kept of the fits that are done, and the state of the one at hand."""
        own = {"done": list(self.done), "offset": self.offset, "index": self.index}
        return {**own, "fit": self.current.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state: on a CPU with as many threads, bit for bit as if it had never stopped."""
        self.done, self.offset = list(state["done"]), state["offset"]
        del self.current
        self.current = self.made(len(self.done))
        self.current.load_state_dict(state["fit"])


def part_of(result: Result) -> dict[str, Any]:
    """What is kept of a fit that is done."""
    names = ("image", "uncertainty", "kept_step", "steps", "seconds", "reason", "reason_code")
    return {
        **{name: getattr(result, name) for name in names},
        "history": {"names": result.history.names, **result.history.state_dict()},
        "operators": [operator.state_dict() for operator in result.operators],
    }


def history_of(part: dict[str, Any]) -> History:
    """The history of a part."""
    history = History(part["history"]["names"])
    history.load_state_dict(part["history"])
    return history


def operators_of(part: dict[str, Any], alike: Sequence[torch.nn.Module]) -> list[torch.nn.Module]:
    """The fitted operators of a part, made like those of another."""
    made = [copy.deepcopy(alike[0]) for _ in part["operators"]]
    for operator, state in zip(made, part["operators"], strict=True):
        operator.load_state_dict(state)
    return made


def side_by_side(histories: Sequence[History], word: str) -> History:
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


def together(picture: Picture, pages: Sequence[Picture]) -> Picture:
    """The picture with the alpha, channels, kept values and metadata of its pages, as they will be written."""
    channels = max(page.tensor.shape[1] for page in pages)  # a page that is not fitted yet has those of the input
    tensor = torch.cat([page.tensor.expand(-1, channels, -1, -1) for page in pages])
    sizes = [
        page.alpha.shape[1:] for page in pages if page.alpha is not None
    ]  # of pages that are not fitted yet as given
    alphas = [each for page in pages if (each := page.alpha_of_size(*max(sizes, default=(0, 0)))) is not None]
    alpha = np.concatenate(alphas) if alphas and len(alphas) == len(pages) else picture.alpha
    masks = {name: _masks([getattr(page, name) for page in pages]) for name in ("kept", "bright")}
    return replace(picture, tensor=tensor, alpha=alpha, metadata=pages[0].metadata, **masks)


def _masks(masks: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
    """Those of all pages as one; None if no page has one."""
    like = next((mask for mask in masks if mask is not None), None)
    return None if like is None else torch.cat([torch.zeros_like(like) if mask is None else mask for mask in masks])


def resized(tensor: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """An input (b, c, h, w) at the height and width of a result, to stand in its place until it is fitted."""
    if tuple(tensor.shape[-2:]) == tuple(size):
        return tensor
    return functional.interpolate(tensor, size=size, mode="bilinear", align_corners=False)


def merged(fingerprints: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Options by name: what all pages share, or a list of what each has."""
    joined: dict[str, Any] = {}
    for key in fingerprints[0]:
        values = [fingerprint.get(key) for fingerprint in fingerprints]
        joined[key] = values[0] if all(value == values[0] for value in values) else values
    return joined


def remarks_of_all(remarks: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The remarks that hold for all pages once, those of a page with its number."""
    shared = [line for line in remarks[0] if all(line in lines for lines in remarks)]
    own = [f"page {i}: {line}" for i, lines in enumerate(remarks, 1) for line in lines if line not in shared]
    return (*shared, *own)
