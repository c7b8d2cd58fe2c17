"""Held-out pixels judge the fit: by their error, or by the risk for which they give the degrees of freedom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import ClassVar

import torch

from preimage.engine.replay import Replay
from preimage.engine.step import Step
from preimage.errors import InputError
from preimage.problem import Problem
from preimage.rng import generator
from preimage.stopping.rule import EitherRule, StoppingRule
from preimage.stopping.tracker import ScoreTracker, Tracker


class HeldOutTracker(ScoreTracker):
    """Scores by the error on the values that are held out."""

    rule: HeldOut

    def __init__(self, rule: HeldOut, problem: Problem, mask: torch.Tensor, total: int) -> None:
        super().__init__(rule, members=len(mask), total=total, patience=max(10, total // 50))
        own = torch.ones_like(mask) if problem.weight is None else problem.weight
        self.problem = problem
        self.mask = mask
        self.held_out: torch.Tensor = own * mask
        self.fitted: torch.Tensor = own * (1 - mask)
        if not bool(self.held_out.flatten(1).any(1).all()):
            raise InputError(
                f"a fraction of {rule.fraction} holds out no value that is valid and not held out already: use a larger "
                "fraction, and only one rule that holds out",
                code="mask",
            )
        self.measured: Replay = Replay()

    def score_of(self, step: Step) -> torch.Tensor:
        return self.measured(self._measured, step.average)[0]

    def _measured(self, average: torch.Tensor, mean: torch.Tensor | None = None) -> tuple[torch.Tensor]:
        return (self.problem.data_term(self.problem.apply(average), self.held_out),)


class RiskTracker(HeldOutTracker):
    """Scores by the estimated risk."""

    def __init__(self, rule: HeldOut, problem: Problem, mask: torch.Tensor, total: int) -> None:
        if problem.noise_level is None:
            raise InputError(
                "the risk rule needs the noise level: give the problem a noise_level, or use held_out(), --stop held-out",
                code="noise",
            )
        super().__init__(rule, problem, mask, total)
        self.level: float | torch.Tensor = problem.noise_level
        # Of each image, so that none of a batch is judged by what is missing in another.
        weight = problem.weight
        self.valid: float | torch.Tensor = 1.0 if weight is None else (weight > 0).float().flatten(1).mean(1)

    def score_of(self, step: Step) -> torch.Tensor:
        means = [step.mean.repeat_interleave(step.restarts, 0)] if step.restarts > 1 else []
        risks = self.measured(self._measured, step.average, *means)
        return risks[0].unflatten(0, (-1, step.restarts)).mean(1).repeat_interleave(step.restarts)

    def _measured(self, average: torch.Tensor, mean: torch.Tensor | None = None) -> tuple[torch.Tensor]:
        """Of each member; of restarts what is returned is their mean: its error, but the mean freedom of its members."""
        prediction = self.problem.apply(average)
        fitted = self.problem.data_term(prediction, self.fitted)
        held_out = self.problem.data_term(prediction, self.held_out)
        freedom = 1 - (fitted / held_out.clamp_min(1e-12)).clamp(0, 1).sqrt()
        if mean is not None:
            fitted = self.problem.data_term(self.problem.apply(mean), self.fitted)
        return (self.valid * (fitted + 2 * self.level * freedom) + (1 - self.valid) * held_out - self.level,)


@dataclass(frozen=True)
class HeldOut(StoppingRule):
    """Leaves a fraction of the values out of E, and keeps the average that predicts them best.

    Values are left out by pixel (all channels of it) or one by one (`by_value`), each member its own. It needs no noise level,
    but takes noise to be independent from pixel to pixel; on fine texture it stops too early, for the fit cannot predict a
    pixel that it was not fitted to.

    Example:
        >>> held_out = HeldOut(0.1, patience=50)
        >>> held_out.fraction, held_out.every
        (0.1, 3)

    Args:
        fraction: of the values that are held out, above 0 to 0.5.
        by_value: whether channels are held out one by one.
        block: side in pixels of the squares that are held out whole; above 1 for noise that is correlated between pixels, which
            neighbors would predict.

    Raises InputError for a value out of its range.
    """

    fraction: float = field(default=0.03, kw_only=False)
    by_value: bool = field(default=False, kw_only=True)
    block: int = field(default=1, kw_only=True)
    min_delta: float = field(default=0.01, kw_only=True)
    patience_ratio: float = field(default=0.15, kw_only=True)
    every: int = field(default=3, kw_only=True)

    name = "held out"
    meaning = "the least error on pixels that were left out"
    judge: ClassVar[type[HeldOutTracker]] = HeldOutTracker

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.fraction <= 0.5:
            raise InputError(f"the fraction of held-out pixels must be above 0 and at most 0.5, got {self.fraction}")
        if self.block < 1:
            raise InputError(f"the side of held-out blocks must be at least 1 pixel, got {self.block}")

    def start(
        self,
        problem: Problem,
        *,
        members: Sequence[int],
        total: int,
        seed: int = 0,
        streams: Iterator[int] | None = None,
    ) -> tuple[Problem, Tracker]:
        if problem.target.ndim != 4:
            found = f"got shape {tuple(problem.target.shape)}: use after(n)"
            raise InputError(f"held-out pixels need a target (b, c, h, w), {found}", code="shape")
        mask = self.mask(problem.target, members, seed, next(streams or count()))
        tracker = self.judge(self, problem, mask, total)
        return replace(problem, weight=tracker.fitted), tracker

    def mask(self, target: torch.Tensor, members: Sequence[int], seed: int, stream: int = 0) -> torch.Tensor:
        """Which values of a target are held out: (b, 1 or c, h, w), 1 where they are."""
        h, w = target.shape[-2:]
        rows, columns = -(-h // self.block), -(-w // self.block)
        planes = target.shape[1] if self.by_value else 1
        masks = []
        for member in members:
            draws = torch.rand(1, planes, rows, columns, generator=generator(seed, "hold-out", member, stream=stream))
            blocks = (draws < self.fraction).float()
            masks.append(blocks.repeat_interleave(self.block, 2).repeat_interleave(self.block, 3)[..., :h, :w])
        return torch.cat(masks).to(target.device)


@dataclass(frozen=True)
class Risk(HeldOut):
    """Keeps the average whose estimated distance to the clean image is least; needs the noise level, known or estimated.

    On valid values Stein's unbiased estimate of the risk is E + 2 s h - s: E the error on the fitted values, s what it would be
    at the clean image (sigma^2), h the fit's degrees of freedom over the number of values. For a linear smoother the error on a
    held-out value is the fitted one's over (1 - h)^2, so that held-out values give h: 1 - sqrt(E / E_out). On values that are
    missing (a mask, impulses) the risk is E_out - s. Restarts of one image are judged by the risk of their mean, which is what is
    returned, and stop together: the mean may go on longer than each.

    Source: Stein, Annals of Statistics 1981; Craven and Wahba, Numerische Mathematik 1979 (the leaving-one-out lemma).
    """

    name = "risk"
    meaning = "the least estimated distance to the clean picture"
    judge: ClassVar[type[HeldOutTracker]] = RiskTracker


def holds_out(rule: StoppingRule | str | None) -> bool:
    """Whether a rule, or one of those joined in it, leaves values out of E; False of what is no rule.

    Example:
        >>> from preimage.stopping import after, held_out
        >>> holds_out(held_out() | after(200)), holds_out(after(200))
        (True, False)
    """
    if isinstance(rule, EitherRule):
        return holds_out(rule.first) or holds_out(rule.second)
    return isinstance(rule, HeldOut)
