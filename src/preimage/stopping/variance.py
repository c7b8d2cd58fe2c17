"""Where the outputs vary least: windowed and moving variance (Wang et al., Early Stopping for Deep Image Prior, TMLR 2023)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, ClassVar

import torch

from preimage.distances import squared
from preimage.engine.devices import wide
from preimage.engine.replay import Replay
from preimage.engine.step import Step
from preimage.errors import InputError
from preimage.problem import Problem
from preimage.rng import generator
from preimage.stopping.rule import StoppingRule, fixed
from preimage.stopping.tracker import ScoreTracker, Tracker

# A fit whose squared error is below this share of the noise's has begun to fit it; at its best it has 0.8 to 0.95 of it. Noise of
# a lower deviation is not estimated well enough for that. MEASURED on crops of 100 to 160 pixels.
_FITTING, _STRONG = 0.75, 12 / 255


class VarianceTracker(ScoreTracker):
    """Scores by a subset of the values, and goes on after a minimum that came too early; none counts once the noise is fitted."""

    rule: Any  # a VarianceRule
    n_statistics = 3
    remembers: tuple[str, ...] = ("losses",)

    def __init__(
        self, rule: VarianceRule, draws: torch.Generator, *, members: int, total: int, problem: Problem | None = None
    ) -> None:
        super().__init__(rule, members=members, total=total)
        self.draws = draws
        self.fitting: list[bool] = [False] * members
        self.problem = problem  # with strong Gaussian noise of a known level; else None
        self.chosen: torch.Tensor | None = None
        self.losses: list[float] = [float("inf")] * members  # at the best score
        self.error: Replay = Replay()

    def subset(self, image: torch.Tensor) -> torch.Tensor:
        """The same values of every image at every step, (b, n); those of a fit that diverged (and will go back) are 0."""
        x = image.flatten(1).nan_to_num(0, 0, 0)
        if self.rule.values is None or self.rule.values >= x.shape[1]:
            return x
        if self.chosen is None:
            self.chosen = torch.randint(x.shape[1], (self.rule.values,), generator=self.draws).to(x.device)
        return x[:, self.chosen]

    def _error(self, average: torch.Tensor) -> tuple[torch.Tensor]:
        assert self.problem is not None
        return (self.problem.data_term(self.problem.apply(average)),)

    def measure(self, step: Step) -> torch.Tensor:
        """(3, b): score and loss of each member, and whether it has begun to fit the noise."""
        numbers = super().measure(step)
        fitting = torch.zeros_like(numbers[:1])
        if self.problem is not None and self.problem.noise_level is not None:
            error = self.error(self._error, step.average)[0]
            fitting[0] = (error < _FITTING * self.problem.noise_level).to(numbers)
        return torch.cat([numbers, fitting])

    def decide(self, step: Step, numbers: list[list[float]]) -> list[bool]:
        self.fitting = [value > 0 for value in numbers[2]]
        return super().decide(step, numbers[:2])

    def accepts(self, step: Step, member: int) -> bool:
        return not self.fitting[member]

    def improve(self, step: Step, member: int) -> None:
        super().improve(step, member)
        self.losses[member] = self.last_loss[member]

    def patience_ends(self, step: Step, member: int) -> bool:
        """Whether a minimum was premature: the loss fell further since, as it does only while the image is fitted."""
        if not super().patience_ends(step, member):
            return False
        if self.fitting[member]:
            return True
        if self.last_loss[member] < self.rule.guard * self.losses[member]:
            self.best_score[member] = float("inf")  # the first flat phase: look for the next minimum
            self.last_improvement[member] = (step.index, float("inf"))
            return False
        return True


class WindowedTracker(VarianceTracker):
    """Running sums over a window."""

    remembers: tuple[str, ...] = ("ring", "total", "squares", "losses", "known_from")

    def __init__(
        self, rule: VarianceRule, draws: torch.Generator, *, members: int, total: int, problem: Problem | None = None
    ) -> None:
        super().__init__(rule, draws, members=members, total=total, problem=problem)
        self.window: int = self.rule.window or max(5, total // 30)
        self.ring: torch.Tensor | None = None
        self.total: torch.Tensor = torch.zeros(())
        self.squares: torch.Tensor = self.total
        self.known_from: torch.Tensor = self.total

    def score_of(self, step: Step) -> torch.Tensor:
        x = self.subset(step.image)
        if self.ring is None:
            self.ring = x.new_zeros(self.window, *x.shape)
            self.total = wide(x.new_zeros(x.shape))
            self.squares = wide(x.new_zeros(x.shape[0]))
            self.known_from = torch.full((x.shape[0],), self.window, device=x.device)
        sound = step.image.flatten(1).isfinite().all(1)
        self.known_from = torch.where(sound, self.known_from, step.index + self.window)
        slot = step.index % self.window
        old, new = wide(self.ring[slot]), wide(x)
        self.total = self.total + new - old
        self.squares = self.squares + new.square().sum(1) - old.square().sum(1)
        self.ring[slot] = x
        mean = self.total / self.window
        variance = (self.squares / self.window - mean.square().sum(1)) / x.shape[1]
        return torch.where(step.index < self.known_from, float("nan"), variance)


class MovingTracker(VarianceTracker):
    """Exponential moving mean and variance."""

    remembers: tuple[str, ...] = ("mean", "variance", "losses")
    mean: torch.Tensor | None = None
    variance: torch.Tensor | None = None

    def __init__(
        self, rule: VarianceRule, draws: torch.Generator, *, members: int, total: int, problem: Problem | None = None
    ) -> None:
        super().__init__(rule, draws, members=members, total=total, problem=problem)
        self.moved: Replay = Replay()

    def score_of(self, step: Step) -> torch.Tensor:
        if self.mean is None or self.variance is None:
            self.mean = wide(self.subset(step.image))
            self.variance = self.mean.new_zeros(len(self.mean))
            return torch.full((len(self.mean),), float("nan"))
        self.mean, self.variance = self.moved(self._moved, step.image, self.mean, self.variance)
        return self.variance if step.index > 3 / self.rule.alpha else torch.full_like(self.variance, float("nan"))

    def _moved(
        self, image: torch.Tensor, mean: torch.Tensor, variance: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and variance with one more image."""
        x, alpha = wide(self.subset(image)), float(self.rule.alpha)
        difference = (x - mean).square().mean(1)
        return torch.lerp(mean, x, alpha), (1 - alpha) * (variance + alpha * difference)


@dataclass(frozen=True)
class VarianceRule(StoppingRule):
    """What both rules share: a fixed random subset of the values, and a guard against minima that come too early.

    Args:
        values: how many values of the image the variance is computed from; None: all.
        guard: a minimum is dropped as premature if the loss falls below this fraction of its value there; 0: never.
    """

    values: int | None = field(default=4096, kw_only=True)
    guard: float = field(default=0.7, kw_only=True)
    min_delta: float = fixed(0.0)
    patience_ratio: float = fixed(0.0)
    every: int = fixed(1)

    meaning = "the least variance of the outputs"
    judge: ClassVar[type[VarianceTracker]]

    def start(
        self,
        problem: Problem,
        *,
        members: Sequence[int],
        total: int,
        seed: int = 0,
        streams: Iterator[int] | None = None,
    ) -> tuple[Problem, Tracker]:
        draws = generator(seed, "hold-out", 0, stream=next(streams or count()))
        level = problem.noise_level if problem.distance is squared and problem.weight is None else None
        strong = level is not None and bool((torch.as_tensor(level) >= _STRONG**2).all())
        known = problem if strong else None
        return problem, self.judge(self, draws, members=len(members), total=total, problem=known)


@dataclass(frozen=True)
class WindowedVariance(VarianceRule):
    """Keeps the average where the outputs of the last `window` steps vary least.

    The variance is the mean over the window of the squared distance to the window's mean, per value; kept as running sums in
    float64 over a fixed random subset of `values` values (None: all), never as a stack of images.

    Example:
        >>> WindowedVariance(10, patience=30).values
        4096

    Args:
        window: steps, 2 or more; None: a thirtieth of the maximum number of steps.

    Raises InputError for a value out of its range.

    Source: Wang et al., Early Stopping for Deep Image Prior, TMLR 2023, ES-WMV.
    """

    window: int | None = field(default=None, kw_only=False)

    name = "windowed variance"
    judge: ClassVar[type[VarianceTracker]] = WindowedTracker

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window is not None and self.window < 2:
            raise InputError(f"window must be at least 2 steps, got {self.window}")


@dataclass(frozen=True)
class MovingVariance(VarianceRule):
    """The same with exponential moving mean and variance: less memory, a little noisier.

    Example:
        >>> MovingVariance(patience=30).alpha
        0.1

    Args:
        alpha: EMA weight of the latest output, above 0 to below 1.

    Raises InputError for a value out of its range.

    Source: Wang et al., Early Stopping for Deep Image Prior, TMLR 2023, ES-EMV.
    """

    alpha: float = field(default=0.1, kw_only=False)

    name = "moving variance"
    judge: ClassVar[type[VarianceTracker]] = MovingTracker

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.alpha < 1:
            raise InputError(f"alpha must be between 0 and 1, got {self.alpha}")
