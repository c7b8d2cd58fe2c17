"""Where the noise of the residual has settled: the rule for noise that neighboring pixels share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import compress

import torch

from preimage.engine.devices import wide
from preimage.engine.step import Step
from preimage.errors import InputError
from preimage.noise.blend import early_where_settled
from preimage.noise.camera import estimate_camera_noise, likely_noise
from preimage.problem import Problem
from preimage.stopping.rule import StoppingRule, fixed
from preimage.stopping.tracker import ScoreTracker, Tracker

SETTLED = (
    0.75  # deviation up to which a block's residual is all noise; MEASURED on the tuned sets of the study camera_noise
)


@dataclass(frozen=True, kw_only=True)
class ResidualNoise(StoppingRule):
    """Stops when the noise that is measured in the residual falls no longer: what is left then is noise, or fine texture.

    While an image is fitted, its residual in smooth parts falls fast. Then it rests at the noise, until that is fitted, slowly.
    Smooth parts are best early, details late: the last average is kept where the early one has left more than noise, the early
    one elsewhere (`early_where_settled`).

    Example:
        >>> ResidualNoise().early
        0.7

    Args:
        early: the share of the maximum number of steps at which the early average is held; from then on steps are judged.
        tells_texture: whether the spectrum of the noise tells it from texture; that of a reduced target does not.
        min_delta: fraction of the deviation by which it must fall within `patience` steps for the fit to go on.
    """

    early: float = 0.7
    tells_texture: bool = True
    patience: int | None = 60
    min_delta: float = 0.1
    every: int = 20
    patience_ratio: float = fixed(0.0)

    name = "residual-noise"
    meaning = "the noise of the residual"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.early <= 1:
            raise InputError(f"early must be above 0 and at most 1, got {self.early}")

    def tracker(self, problem: Problem, *, members: int, total: int) -> Tracker:
        return ResidualNoiseTracker(self, problem, members=members, total=total)


class ResidualNoiseTracker(ScoreTracker):
    """Scores by the deviation of the noise of target - Phi(average); NaN where it cannot be measured."""

    rule: ResidualNoise
    n_statistics = 5  # score, loss, and luma and chroma of the image's noise, and its certainty
    remembers: tuple[str, ...] = ("found", "early")

    def __init__(self, rule: ResidualNoise, problem: Problem, *, members: int, total: int) -> None:
        super().__init__(rule, members=members, total=total)
        self.problem = problem
        self.found: list[list[float]] = []  # luma, chroma and certainty, of each member
        self.early: torch.Tensor | None = None  # the average of each member at the first judged step

    def skips(self, step: Step) -> bool:
        return step.index < self.rule.early * step.total or super().skips(step)

    def measure(self, step: Step) -> torch.Tensor:
        nothing = wide(step.loss.new_full((self.n_statistics, len(step.active)), math.nan))
        if self.skips(step):
            return nothing
        nothing[1] = step.loss.to(nothing)
        with torch.no_grad():
            for i, fitted in enumerate(self.problem.apply(step.average)):
                image = self._image(i)
                noise = estimate_camera_noise(image, fitted[None]) if bool(fitted.isfinite().all()) else None
                whole = None if noise is None else estimate_camera_noise(image, fitted[None], whole=True)
                if noise is not None and whole is not None:
                    certainty = noise.certainty if self.rule.tells_texture else 1.0
                    if self.early is not None:
                        certainty *= likely_noise(image, self.early[i][None], fitted[None])
                    values = [noise.sigma(image), *whole.sigmas(image), certainty]
                    nothing[[0, 2, 3, 4], i] = torch.tensor(values).to(nothing)
        return nothing

    def decide(self, step: Step, numbers: list[list[float]]) -> list[bool]:
        if not self.skips(step):
            now = [list(each) for each in zip(*numbers[2:], strict=True)]
            old = self.found or now
            self.found = [new if active else kept for active, new, kept in zip(step.active, now, old, strict=True)]
            self.early = step.average.clone() if self.early is None else self.early
        return super().decide(step, numbers[:2])

    def take(self, step: Step, members: list[bool]) -> None:
        """Hold of some members the early average where it has left nothing but noise, the latest elsewhere.

        And as far as the noise may be texture, the image itself.
        """
        super().take(step, members)
        if self.early is not None and self.best is not None:
            for i in compress(range(len(members)), members):
                self.best[i] = self._settled(i, self.early[i][None], self.best[i][None])[0]

    def _settled(self, member: int, early: torch.Tensor, late: torch.Tensor) -> torch.Tensor:
        image = self._image(member).to(late)
        noise = estimate_camera_noise(image, early) if image.shape == late.shape else None
        if noise is None:
            return late
        held = early_where_settled(image, early, late, noise, settled=SETTLED)
        return image.lerp(held, likely_noise(image, early, late))

    def _image(self, member: int) -> torch.Tensor:
        return self.problem.target[member % len(self.problem.target)][None]

    def reason(self, member: int) -> str:
        """Why this member stopped, what the noise is, and what was done with it."""
        if not self.found or math.isnan(self.found[member][0]):
            return (
                f"too little of the image is neither black nor white to measure the noise of the residual; "
                f"kept step {self.kept_step[member]}; the image comes back as it was given: specify sigma if it is noisy"
            )
        luma, chroma, certainty = self.found[member]
        fall = f"fell by less than {100 * self.rule.min_delta:.0f} % in {self.limit} steps"
        end = fall if self.stopped_at[member] else "was still falling at the last step"
        noise = f"noise of {255 * luma:.1f} of 255 in luma, {255 * chroma:.1f} in chroma"
        said = f"{self.rule.name}: {noise}, by what the fit leaves, which {end}; kept step {self.kept_step[member]}"
        if certainty >= 1:
            return said
        doubt = "nearly as it was given" if certainty < 0.1 else "with a part of it"
        return f"{said}; it cannot be told from texture, so that the image comes back {doubt}: specify sigma if it is noise"

    def reason_code(self, member: int) -> str:
        """ "noise-level" or "all-steps"."""
        return "noise-level" if self.stopped_at[member] else "all-steps"
