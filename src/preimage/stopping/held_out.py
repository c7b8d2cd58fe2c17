"""What the fit has not seen judges it: held-out pixels, and the risk whose degrees of freedom they tell."""

from __future__ import annotations

from dataclasses import replace

import torch

from preimage.engine.step import Step
from preimage.errors import InputError
from preimage.problem import Problem
from preimage.rng import seeded
from preimage.stopping.rule import StoppingRule


class HeldOut(StoppingRule):
    """Leaves a share of the values out of E, and keeps the average that predicts them best.

    Values are left out by pixel (all channels of it) or one by one (`by_value`), each member its own. It needs no noise
    level, but takes noise to be independent from pixel to pixel; and on fine texture it stops too early, for the fit
    cannot guess a pixel that it has not seen, while the returned picture has seen it. `block`: the side in pixels of the
    squares that are left out whole; above 1 for noise that is correlated between pixels, which neighbors would tell.
    """

    name = "held out"
    meaning = "the least error on pixels that were left out"
    remembers = ("mask",)

    def __init__(
        self,
        share: float = 0.03,
        patience: int | None = None,
        *,
        by_value: bool = False,
        worth: float = 0.01,
        every: int = 3,
        block: int = 1,
    ) -> None:
        super().__init__(patience=patience, slack=0.15, worth=worth, every=every)
        if not 0 < share <= 0.5:
            raise InputError(f"the share of held-out pixels must be above 0 and at most 0.5, got {share}")
        if block < 1:
            raise InputError(f"the side of held-out blocks must be at least 1 pixel, got {block}")
        self.share = share
        self.by_value = by_value
        self.block = block

    def prepare(self, problem: Problem, *, members: int, size: tuple[int, int], total: int, seed: int) -> Problem:
        target = problem.target
        if target.ndim != 4:
            raise InputError(
                f"held-out pixels need a target (b, c, h, w), got shape {tuple(target.shape)}: use after(n)"
            )
        super().prepare(problem, members=members, size=size, total=total, seed=seed)
        self.limit = self.patience or max(10, total // 50)
        h, w = target.shape[-2:]
        rows, columns = -(-h // self.block), -(-w // self.block)
        masks = []
        for i in range(members):
            planes = target.shape[1] if self.by_value else 1
            draws = torch.rand(1, planes, rows, columns, generator=seeded(seed, "hold-out", i))
            blocks = (draws < self.share).float()
            masks.append(blocks.repeat_interleave(self.block, 2).repeat_interleave(self.block, 3)[..., :h, :w])
        self.mask = torch.cat(masks).to(target.device)
        own = torch.ones_like(self.mask) if problem.weight is None else problem.weight
        self.watched, self.fitted = own * self.mask, own * (1 - self.mask)
        if not bool(self.watched.flatten(1).any(1).all()):
            raise InputError(
                f"a share of {self.share} holds out no value that was given and is not held out already: "
                "take a larger share, and only one rule that holds out"
            )
        self.problem = problem
        return replace(problem, weight=self.fitted)

    def score(self, step: Step) -> torch.Tensor:
        with torch.no_grad():
            return self.problem.data_term(self.problem.see(step.average), self.watched)


def holds_out(rule: StoppingRule | None) -> bool:
    """Whether a rule, or one of those joined in it, leaves values out of E: then each must be judged by itself."""
    return isinstance(rule, HeldOut) or any(holds_out(part) for part in getattr(rule, "rules", ()))


class Risk(HeldOut):
    """Keeps the average whose estimated distance to the clean picture is least; needs the noise level, known or estimated.

    On values that were given, Stein's unbiased estimate of the risk is E + 2 s h - s: E the error on the fitted values, s
    what it would be at the clean picture (sigma^2), h the fit's degrees of freedom over the number of values. For a linear
    smoother the error on a value that was left out is the fitted one's over (1 - h)^2, so held-out values tell h: it is
    1 - sqrt(E / E_out). On values that were not given (a mask, impulses) the risk is E_out - s. Restarts of one picture are
    judged by the risk of their mean, which is what is returned, and stop together: the mean may go on longer than each.

    Source: Stein, Annals of Statistics 1981; Craven and Wahba, Numerische Mathematik 1979 (the leaving-one-out lemma).
    """

    name = "risk"
    meaning = "the least estimated distance to the clean picture"

    def prepare(self, problem: Problem, *, members: int, size: tuple[int, int], total: int, seed: int) -> Problem:
        if problem.noise_level is None:
            raise InputError("the risk rule must know the noise: give the problem a noise_level, or take held_out()")
        self.given = 1.0 if problem.weight is None else float((problem.weight > 0).float().mean())
        return super().prepare(problem, members=members, size=size, total=total, seed=seed)

    def score(self, step: Step) -> torch.Tensor:
        level = self.problem.noise_level or 0.0
        with torch.no_grad():
            seen = self.problem.see(step.average)
            fitted = self.problem.data_term(seen, self.fitted)
            watched = self.problem.data_term(seen, self.watched)
            freedom = 1 - (fitted / watched.clamp_min(1e-12)).clamp(0, 1).sqrt()
            if step.restarts > 1:  # what is returned is the mean: its error, but the mean freedom of its members
                mean = self.problem.see(step.mean.repeat_interleave(step.restarts, 0))
                fitted = self.problem.data_term(mean, self.fitted)
        risks = self.given * (fitted + 2 * level * freedom) + (1 - self.given) * watched - level
        return risks.unflatten(0, (-1, step.restarts)).mean(1).repeat_interleave(step.restarts)
