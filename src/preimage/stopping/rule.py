"""StoppingRule: the configuration of a rule, a value that any number of fits can share, and two of them as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, ClassVar

import torch

from preimage.engine.step import Step
from preimage.errors import InputError
from preimage.problem import Problem
from preimage.stopping.tracker import EitherTracker, ScoreTracker, Tracker


def fixed(value: Any) -> Any:
    """A field that a rule does not have as an option, with the value that it always has."""
    return field(default=value, init=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class StoppingRule:
    """When to stop and what to keep: a score for each member, the lower the better, and patience.

    A rule is a value: it remembers nothing of a fit, so that one rule serves any number of fits, also at once. What changes
    is in the Tracker that `start` makes. Write a rule of your own by `score` and a `name`:

    Example:
        >>> class Quiet(StoppingRule):
        ...     name = "quiet"
        ...     def score(self, step):
        ...         return step.loss
        >>> (Quiet(patience=60) | Quiet(patience=100, every=5)).name
        'quiet | quiet'

    Args:
        patience: steps without an improvement after which a member stops; None: a part of the maximum number of steps.
        min_delta: fraction of the score by which it must fall to count as an improvement, 0 or more.
        patience_ratio: a member also waits this many times the number of steps of its last improvement, 0 or more.
        every: steps between two scores, 1 or more.

    Raises InputError for a value out of its range.
    """

    patience: int | None = None
    min_delta: float = 0.0
    patience_ratio: float = 0.0
    every: int = 1

    name: ClassVar[str] = "rule"
    meaning: ClassVar[str] = "the lowest score"

    def __post_init__(self) -> None:
        for name, least in (("patience", 1), ("every", 1), ("min_delta", 0), ("patience_ratio", 0)):
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise InputError(f"{name} must be at least {least}{' step' if least else ''}, got {value}")

    def score(self, step: Step) -> torch.Tensor:
        """A number for each member, (b,), the lower the better; NaN where nothing is known yet."""
        raise TypeError(f"{type(self).__name__} must define score(step)")

    def start(
        self,
        problem: Problem,
        *,
        members: Sequence[int],
        total: int,
        seed: int = 0,
        streams: Iterator[int] | None = None,
    ) -> tuple[Problem, Tracker]:
        """Begin one fit: its problem, which a rule that holds out pixels changes, and the tracker of it.

        Args:
            problem: for all members, on their device.
            members: the number of the random stream of each: members of one number draw the same, as each does alone.
            total: maximum number of steps.
            seed, streams: of what a rule draws, and the numbers of random streams, of which it takes the next; None: 0, 1, 2, ...
        """
        return problem, self.tracker(problem, members=len(members), total=total)

    def tracker(self, problem: Problem, *, members: int, total: int) -> Tracker:
        """The tracker of a fit, of a rule that draws nothing and leaves the problem as it is."""
        return ScoreTracker(self, members=members, total=total)

    def __or__(self, other: StoppingRule) -> StoppingRule:
        return EitherRule(self, other)  # pyright: ignore[reportCallIssue] (fields that are not in the base come first)


@dataclass(frozen=True)
class EitherRule(StoppingRule):
    """Stops each member at whichever of two rules stops it first, and keeps what that one kept: `first | second`."""

    first: StoppingRule = field(kw_only=False)
    second: StoppingRule = field(kw_only=False)
    patience: int | None = fixed(None)
    min_delta: float = fixed(0.0)
    patience_ratio: float = fixed(0.0)
    every: int = fixed(1)

    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Both names."""
        return f"{self.first.name} | {self.second.name}"

    def start(
        self,
        problem: Problem,
        *,
        members: Sequence[int],
        total: int,
        seed: int = 0,
        streams: Iterator[int] | None = None,
    ) -> tuple[Problem, Tracker]:
        streams = streams or count()
        trackers = []
        for rule in (self.first, self.second):
            problem, tracker = rule.start(problem, members=members, total=total, seed=seed, streams=streams)
            trackers.append(tracker)
        return problem, EitherTracker(self, (trackers[0], trackers[1]), len(members))
