"""What an explaining task returns: a Result with the given picture beside it, numbers for a report, panels for a figure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from preimage.engine.fit import Fit
from preimage.engine.result import Result
from preimage.engine.step import Step

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curve = list[tuple[int, float]]


@dataclass(frozen=True, eq=False)
class Explanation(Result):
    """A Result that says more of a classifier than its picture does.

    Args:
        given: the picture that was explained, (1, c, h, w), at the size it was explained in; None where there was none.
        numbers: what a report says, plain data.
        panels: pictures of the figure by title, (c, h, w) in 0 to 1 each.
        curves: {title: {line: [(step, value)]}}, drawn below the pictures.
        limits: what must not be read into it, a sentence each.
    """

    given: torch.Tensor | None = None
    numbers: dict[str, Any] = field(default_factory=dict)
    panels: dict[str, torch.Tensor] = field(default_factory=dict, repr=False)
    curves: dict[str, dict[str, Curve]] = field(default_factory=dict, repr=False)
    limits: tuple[str, ...] = ()

    def plot(self) -> Figure:
        """The panels, and the curves below, as a matplotlib Figure."""
        from preimage.figures.explanation import explanation_figure

        return explanation_figure(self)


Kind = TypeVar("Kind", bound=Explanation)


def extended(result: Result, kind: type[Kind], **more: Any) -> Kind:
    """A Result as an Explanation of some kind, with what that one says more."""
    return kind(**{each.name: getattr(result, each.name) for each in fields(Result)} | more)


class Explaining:
    """A Fit whose Result is told as an Explanation; a Run like any other. `turn`: called with the number of each step before
    it, and with None before the Result is told."""

    def __init__(self, fit: Fit, told: Callable[[Result], Explanation], turn: Callable[[int | None], None]) -> None:
        self.fit, self.told, self.turn = fit, told, turn
        self.task, self.fingerprint, self.remarks = fit.task, fit.fingerprint, fit.remarks

    number = 0

    def __iter__(self) -> Iterator[Step]:
        return self

    def __next__(self) -> Step:
        self.turn(self.fit.index)  # a result may have been asked for in between
        return next(self.fit)

    def run(self) -> Any:
        """To the end; the Explanation."""
        for _ in self:
            pass
        return self.result()

    def result(self) -> Any:
        """The Explanation by what the fit has now, at any time after the first step."""
        result = self.fit.result()
        self.turn(None)
        return self.told(result)

    @property
    def current(self) -> Fit:
        """The fit."""
        return self.fit

    def part(self, whole: torch.Tensor) -> torch.Tensor:
        """The whole."""
        return whole

    @property
    def size(self) -> tuple[int, int]:
        return self.fit.size

    @property
    def finished(self) -> bool:
        """Whether the result stands."""
        return self.fit.finished

    def state_dict(self) -> dict[str, Any]:
        return self.fit.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.fit.load_state_dict(state)
