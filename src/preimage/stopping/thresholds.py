"""Rules with a threshold: a number of steps, the noise level, a loss that no longer falls."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch

from preimage.engine.replay import Replay
from preimage.engine.step import Step
from preimage.errors import InputError
from preimage.problem import Distance, Problem
from preimage.stopping.rule import StoppingRule, fixed
from preimage.stopping.tracker import ScoreTracker, Tracker


@dataclass(frozen=True)
class After(StoppingRule):
    """Stops after a fixed number of steps and keeps the last average.

    Example:
        >>> After(200)
        After(steps=200)

    Args:
        steps: 1 or more; None: the maximum number of steps.
    """

    steps: int | None = field(default=None, kw_only=False)
    patience: int | None = fixed(None)
    min_delta: float = fixed(0.0)
    patience_ratio: float = fixed(0.0)
    every: int = fixed(1)

    name = "steps"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps is not None and self.steps < 1:
            raise InputError(f"steps must be at least 1, got {self.steps}")

    def tracker(self, problem: Problem, *, members: int, total: int) -> Tracker:
        return AfterTracker(self, members=members, total=total)


class AfterTracker(ScoreTracker):
    """The later, the better."""

    rule: After

    def score_of(self, step: Step) -> torch.Tensor:
        return torch.full_like(step.loss, -float(step.index))

    def patience_ends(self, step: Step, member: int) -> bool:
        return step.index >= (self.rule.steps or step.total)

    def score(self, step: int) -> None:
        """None: the number of a step says nothing of the image."""

    def reason(self, member: int) -> str:
        return f"all {self.kept_step[member]} steps were done; kept the last"

    def reason_code(self, member: int) -> str:
        return "steps-done"

    def status(self) -> str:
        return ""


@dataclass(frozen=True)
class Discrepancy(StoppingRule):
    """Stops when the data term has fallen to the value that noise alone causes: E <= factor * sigma^2.

    Example:
        >>> Discrepancy(0.1).factor
        0.95

    Args:
        sigma: standard deviation of the noise in 0 to 1, above 0; None: the task's own estimate.
        factor: of the noise level.
        distance: distance of the data term; None: the problem's own. Another one needs sigma, and is of use where the problem's
            weighs frequencies by an uncertain estimate.

    Raises InputError for a sigma out of its range, or a distance without it.

    Source: Morozov's discrepancy principle, Soviet Mathematics Doklady 1966.
    """

    sigma: float | None = field(default=None, kw_only=False)
    factor: float = field(default=0.95, kw_only=True)
    distance: Distance | None = field(default=None, kw_only=True)
    every: int = field(default=3, kw_only=True)
    patience: int | None = fixed(None)
    min_delta: float = fixed(0.0)
    patience_ratio: float = fixed(0.0)

    name = "discrepancy"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sigma is not None and not self.sigma > 0:
            raise InputError(f"sigma must be above 0, got {self.sigma}")
        if self.sigma is None and self.distance is not None:
            raise InputError("a distance needs sigma, too: discrepancy(sigma=..., distance=...)", code="option")

    def tracker(self, problem: Problem, *, members: int, total: int) -> Tracker:
        level = problem.noise_level if self.sigma is None else self.sigma**2
        if level is None:
            way_out = "state it (discrepancy(sigma=...), --sigma where there is one) or use held_out(), --stop held-out"
            raise InputError(f"the discrepancy rule needs sigma: {way_out}", code="noise")
        measured = problem if self.distance is None else replace(problem, distance=self.distance)
        return DiscrepancyTracker(self, measured, self.factor * level, members=members, total=total)


class DiscrepancyTracker(ScoreTracker):
    """Scores by how much the error is above that of the noise."""

    def __init__(
        self, rule: Discrepancy, problem: Problem, floor: float | torch.Tensor, *, members: int, total: int
    ) -> None:
        super().__init__(rule, members=members, total=total)
        self.problem: Problem = problem
        self.floor: float | torch.Tensor = floor
        self.above: Replay = Replay()

    def score_of(self, step: Step) -> torch.Tensor:
        return self.above(self._above, step.average)[0]

    def _above(self, average: torch.Tensor) -> tuple[torch.Tensor]:
        return ((self.problem.data_term(self.problem.apply(average)) - self.floor).clamp_min(0),)

    def accepts(self, step: Step, member: int) -> bool:
        return self.best_score[member] > 0

    def patience_ends(self, step: Step, member: int) -> bool:
        return self.best_score[member] <= 0

    def reason(self, member: int) -> str:
        if self.best_score[member] > 0:
            return f"the error stayed above the noise's until the last step; kept step {self.kept_step[member]}"
        return f"the error fell to that of the noise at step {self.kept_step[member]}; kept that step"

    def reason_code(self, member: int) -> str:
        return "all-steps" if self.best_score[member] > 0 else "noise-level"


@dataclass(frozen=True)
class Plateau(StoppingRule):
    """Stops when the loss has not fallen by a fraction of itself for `patience` steps: for priors that cannot fit noise.

    Example:
        >>> Plateau(fraction=0.05).patience is None  # a tenth of the maximum number of steps
        True

    Args:
        fraction: of the smoothed loss, 0 to below 1.
    """

    fraction: float = field(default=0.01, kw_only=True)
    min_delta: float = fixed(0.0)
    patience_ratio: float = fixed(0.0)
    every: int = fixed(1)

    name = "plateau"
    meaning = "the lowest smoothed loss"

    def tracker(self, problem: Problem, *, members: int, total: int) -> Tracker:
        return PlateauTracker(self, members=members, total=total, patience=max(1, total // 10))


class PlateauTracker(ScoreTracker):
    """Scores by an exponential average of the loss."""

    rule: Plateau
    remembers: tuple[str, ...] = ("smooth",)
    smooth: list[float] | None = None

    def score_of(self, step: Step) -> torch.Tensor:
        return step.loss

    def smoothed(self, scores: list[float]) -> list[float]:
        previous = self.smooth or scores
        self.smooth = [
            0.9 * old + 0.1 * new if math.isfinite(new) else old for old, new in zip(previous, scores, strict=True)
        ]
        return self.smooth

    def accepts(self, step: Step, member: int) -> bool:
        return self.last_score[member] < (1 - self.rule.fraction) * self.best_score[member]
