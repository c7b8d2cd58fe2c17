"""Where the noise of the residual has settled: the rule for noise that neighboring pixels share."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from preimage.engine.step import Step
from preimage.errors import InputError
from preimage.noise.camera import estimate_camera_noise
from preimage.problem import Problem
from preimage.stopping.rule import StoppingRule, fixed
from preimage.stopping.tracker import ScoreTracker, Tracker, wide


@dataclass(frozen=True, kw_only=True)
class ResidualNoise(StoppingRule):
    """Stops when the noise that is measured in the residual falls no longer: what is left then is noise, or fine texture.

    While an image is fitted, its residual in smooth parts falls fast. Then it rests at the noise, until that is fitted, slowly.

    Example:
        >>> ResidualNoise().begin
        120

    Args:
        begin: the first step that is judged: before it a fit has rests of its own.
        min_delta: fraction of the deviation by which it must fall within `patience` steps for the fit to go on.
    """

    begin: int = 120
    patience: int | None = 60
    min_delta: float = 0.1
    every: int = 20
    patience_ratio: float = fixed(0.0)

    name = "residual-noise"
    meaning = "the noise of the residual"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.begin < 1:
            raise InputError(f"begin must be at least 1 step, got {self.begin}")

    def tracker(self, problem: Problem, *, members: int, total: int) -> Tracker:
        return ResidualNoiseTracker(self, problem, members=members, total=total)


class ResidualNoiseTracker(ScoreTracker):
    """Scores by the deviation of the noise of target - Phi(average); NaN where it cannot be measured."""

    rule: ResidualNoise
    n_statistics = 5  # score, loss, and luma, chroma and certainty of the noise
    remembers = ("found",)

    def __init__(self, rule: ResidualNoise, problem: Problem, *, members: int, total: int) -> None:
        super().__init__(rule, members=members, total=total)
        self.problem = problem
        self.found: list[list[float]] = []  # luma, chroma and certainty, of each member

    def skips(self, step: Step) -> bool:
        return step.index < min(self.rule.begin, step.total) or super().skips(step)

    def measure(self, step: Step) -> torch.Tensor:
        nothing = wide(step.loss.new_full((self.n_statistics, len(step.active)), math.nan))
        if self.skips(step):
            return nothing
        nothing[1] = step.loss.to(nothing)
        with torch.no_grad():
            target = self.problem.target
            for i, fitted in enumerate(self.problem.apply(step.average)):
                image = target[i % len(target)][None]
                noise = estimate_camera_noise(image, fitted[None]) if bool(fitted.isfinite().all()) else None
                if noise is not None:
                    luma, chroma = noise.sigmas(image)
                    values = [math.hypot(luma, chroma), luma, chroma, noise.certainty]
                    nothing[[0, 2, 3, 4], i] = torch.tensor(values).to(nothing)
        return nothing

    def decide(self, step: Step, numbers: list[list[float]]) -> list[bool]:
        if not self.skips(step):
            now = [list(each) for each in zip(*numbers[2:], strict=True)]
            old = self.found or now
            self.found = [new if active else kept for active, new, kept in zip(step.active, now, old, strict=True)]
        return super().decide(step, numbers[:2])

    def reason(self, member: int) -> str:
        """Why this member stopped, what the noise is, and what was done with it."""
        if not self.found or math.isnan(self.found[member][0]):
            return f"the noise of the residual could not be measured; kept step {self.kept_step[member]}"
        luma, chroma, certainty = self.found[member]
        fall = f"fell by less than {100 * self.rule.min_delta:.0f} % in {self.limit} steps"
        end = fall if self.stopped_at[member] else "was still falling at the last step"
        noise = f"noise of {255 * luma:.1f} of 255 in luma, {255 * chroma:.1f} in chroma"
        said = f"{self.rule.name}: {noise}, measured in the residual, {end}; kept step {self.kept_step[member]}"
        if certainty >= 1:
            return said
        doubt = "nearly as it was given" if certainty < 0.1 else "with a part of it"
        return f"{said}; it cannot be told from texture, so that the image comes back {doubt}: specify sigma if it is noise"

    def reason_code(self, member: int) -> str:
        """ "noise-level" or "all-steps"."""
        return "noise-level" if self.stopped_at[member] else "all-steps"
