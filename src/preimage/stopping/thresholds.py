"""Rules with a bound to reach: a number of steps, the error of the noise, a loss that rests."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from preimage.engine.step import Step
from preimage.errors import InputError
from preimage.problem import Distance, Problem
from preimage.stopping.rule import StoppingRule


class After(StoppingRule):
    """Stops after a fixed number of steps and keeps the last average: what the authors did by hand."""

    name = "steps"

    def __init__(self, steps: int | None = None) -> None:
        super().__init__()
        if steps is not None and steps < 1:
            raise InputError(f"steps must be at least 1, got {steps}")
        self.steps = steps

    def score(self, step: Step) -> torch.Tensor:
        return torch.full_like(step.loss, -float(step.index))

    def patience_ends(self, step: Step, member: int) -> bool:
        return step.index >= (self.steps or step.total)

    def reason(self, member: int) -> str:
        return f"{self.kept_step[member]} steps were done as asked; kept the last"

    def state(self) -> str:
        return ""


class Discrepancy(StoppingRule):
    """Stops when the error to what was given has fallen to what the noise alone makes: E <= factor * sigma^2.

    Morozov's principle. sigma, in 0..1, is the task's own estimate unless given. distance: what the error is measured by,
    if not by the problem's own (which may weigh frequencies by an uncertain estimate); then sigma must be given.
    """

    name = "discrepancy"

    def __init__(
        self, sigma: float | None = None, *, factor: float = 0.95, every: int = 3, distance: Distance | None = None
    ) -> None:
        super().__init__(every=every)
        if sigma is not None and sigma <= 0:
            raise InputError(f"sigma must be above 0, got {sigma}")
        if sigma is None and distance is not None:
            raise InputError("a distance of its own needs sigma beside it: discrepancy(sigma=..., distance=...)")
        self.sigma = sigma
        self.factor = factor
        self.distance = distance

    def prepare(self, problem: Problem, *, members: int, size: tuple[int, int], total: int, seed: int) -> Problem:
        self.problem = problem if self.distance is None else replace(problem, distance=self.distance)
        level = problem.noise_level if self.sigma is None else self.sigma**2
        if level is None:
            raise InputError("the discrepancy rule must know sigma: discrepancy(sigma=...) or --sigma")
        self.floor = self.factor * level
        return super().prepare(problem, members=members, size=size, total=total, seed=seed)

    def score(self, step: Step) -> torch.Tensor:
        with torch.no_grad():
            return (self.problem.data_term(self.problem.see(step.average)) - self.floor).clamp_min(0)

    def accepts(self, step: Step, member: int) -> bool:
        return self.best_score[member] > 0

    def patience_ends(self, step: Step, member: int) -> bool:
        return self.best_score[member] <= 0

    def reason(self, member: int) -> str:
        if self.best_score[member] > 0:
            return f"the error stayed above the noise's until the last step; kept step {self.kept_step[member]}"
        return f"the error fell to that of the noise at step {self.kept_step[member]}; kept that step"


class Plateau(StoppingRule):
    """Stops when the loss has not fallen by `share` of itself for `patience` steps: for priors that cannot fit noise."""

    name = "plateau"
    meaning = "the lowest smoothed loss"
    remembers = ("smooth",)

    def __init__(self, patience: int | None = None, *, share: float = 0.01) -> None:
        super().__init__(patience=patience)
        self.share = share

    def prepare(self, problem: Problem, *, members: int, size: tuple[int, int], total: int, seed: int) -> Problem:
        self.smooth: list[float] = []
        prepared = super().prepare(problem, members=members, size=size, total=total, seed=seed)
        self.limit = self.patience or max(1, total // 10)
        return prepared

    def score(self, step: Step) -> torch.Tensor:
        return step.loss

    def judged(self, scores: list[float]) -> list[float]:
        previous = self.smooth or scores
        self.smooth = [
            0.9 * old + 0.1 * new if math.isfinite(new) else old for old, new in zip(previous, scores, strict=True)
        ]
        return self.smooth

    def accepts(self, step: Step, member: int) -> bool:
        return self.last_score[member] < (1 - self.share) * self.best_score[member]
