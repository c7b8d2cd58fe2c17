"""Rule: when to stop and what to keep are one concept. A rule looks at Steps, never at the ground truth.

A rule answers for each member by itself, keeps the best average it has seen in `.best`, and says why in words that are
advice. Rules compose: `held_out() | after(500)` stops at whichever says so first and keeps what that one kept.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch

from preimage.errors import InputError
from preimage.prior import seeded
from preimage.problem import Problem
from preimage.step import Step


class Rule:
    """What every rule shares: the best average of each member so far, the step it came from, and patience.

    A subclass gives `score`: a number for each member, the lower the better. A member stops when the last improvement
    (by more than the share `worth` of the score) is older than `patience` steps and than `slack` times its own age. To
    write one, define `score` and a `name`:

        class Quiet(Rule):
            name = "quiet"
            def score(self, step):
                return step.loss
    """

    name = "rule"
    meaning = "the lowest score"

    def __init__(self, *, patience: int | None = None, slack: float = 0.0, worth: float = 0.0, every: int = 1) -> None:
        if patience is not None and patience < 1:
            raise InputError(f"patience must be at least 1 step, got {patience}")
        self.patience = patience
        self.slack = slack
        self.worth = worth
        self.every = every
        self.best: torch.Tensor | None = None
        self.kept_step: list[int] = []
        self.best_score: list[float] = []
        self.renewed: list[tuple[int, float]] = []
        self.last_score: list[float] = []
        self.stopped_at: list[int] = []

    def prepare(self, problem: Problem, *, members: int, size: tuple[int, int], total: int, seed: int) -> Problem:
        """Called once before a fit: forgets what was seen, and may change the problem (held-out values need it)."""
        del size, seed
        self.best = None
        self.kept_step, self.stopped_at = [0] * members, [0] * members
        self.best_score = [float("inf")] * members
        self.renewed = [(0, float("inf"))] * members
        self.last_score = [float("nan")] * members
        self.limit = self.patience or max(1, total // 3)
        return problem

    def score(self, step: Step) -> torch.Tensor:
        """A number for each member, (b,), the lower the better; NaN where nothing can be said yet."""
        raise TypeError(f"{type(self).__name__} must define score(step)")

    def look(self, step: Step) -> list[bool]:
        """Which members to stop now; members that are not active are left alone."""
        self.take(step, [active and not since for active, (since, _) in zip(step.active, self.renewed, strict=True)])
        if step.index % self.every and step.index < step.total:
            return [False] * len(step.active)
        self.last_score = self.score(step).tolist()
        better = [
            active and self.accepts(step, i) and score < self.best_score[i]
            for i, (active, score) in enumerate(zip(step.active, self.last_score, strict=True))
        ]
        self.keep(step, better)
        stops = [active and self.patience_ends(step, i) for i, active in enumerate(step.active)]
        self.stopped_at = [step.index if s else old for s, old in zip(stops, self.stopped_at, strict=True)]
        return stops

    def accepts(self, step: Step, member: int) -> bool:
        """Whether a score counts at this step (a guard against minima that come too early)."""
        del step, member
        return True

    def patience_ends(self, step: Step, member: int) -> bool:
        since, _ = self.renewed[member]
        return since > 0 and step.index - since >= max(self.limit, self.slack * since)

    def keep(self, step: Step, better: list[bool]) -> None:
        """Take over the averages of some members, whose scores are the best so far."""
        self.take(step, better)
        for i, is_better in enumerate(better):
            if is_better:
                self.best_score[i] = self.last_score[i]
                before = self.renewed[i][1]
                if math.isinf(before) or self.last_score[i] < before - self.worth * abs(before):
                    self.renewed[i] = (step.index, self.last_score[i])

    def take(self, step: Step, members: list[bool]) -> None:
        """Hold the averages of some members: the latest until a first score is known, then the best."""
        if any(members):
            chosen = torch.tensor(members, device=step.average.device).reshape(-1, 1, 1, 1)
            self.best = step.average if self.best is None else torch.where(chosen, step.average, self.best)
            self.kept_step = [step.index if c else kept for c, kept in zip(members, self.kept_step, strict=True)]

    def reason(self, member: int) -> str:
        """Why this member stopped and what was kept, as advice."""
        kept, stopped = self.kept_step[member], self.stopped_at[member]
        if not stopped:
            return (
                f"all steps were done before {self.name} saw {self.meaning} pass; kept step {kept}: more steps may help"
            )
        return f"{self.name}: {self.meaning} was at step {kept}, nothing better until {stopped}; kept step {kept}"

    def state(self) -> str:
        """A few words for a progress line."""
        known = [score for score in self.last_score if score == score]
        return f"{self.name} {sum(known) / len(known):.3g}" if known else self.name

    def state_dict(self) -> dict[str, Any]:
        names = ("best", "kept_step", "best_score", "renewed", "last_score", "stopped_at", "limit", *self.remembers)
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)

    remembers: tuple[str, ...] = ()

    def __or__(self, other: Rule) -> Rule:
        return Either(self, other)


class Either(Rule):
    """Stops at whichever of two rules says so first, and keeps what that one kept."""

    def __init__(self, first: Rule, second: Rule) -> None:
        super().__init__()
        self.rules = (first, second)
        self.name = f"{first.name} | {second.name}"

    def prepare(self, problem: Problem, *, members: int, size: tuple[int, int], total: int, seed: int) -> Problem:
        super().prepare(problem, members=members, size=size, total=total, seed=seed)
        self.chosen = [0] * members
        for rule in self.rules:
            problem = rule.prepare(problem, members=members, size=size, total=total, seed=seed)
        return problem

    def look(self, step: Step) -> list[bool]:
        answers = [rule.look(step) for rule in self.rules]
        self.chosen = [
            (0 if a else 1 if b else old) if active else old
            for a, b, old, active in zip(*answers, self.chosen, step.active, strict=True)
        ]
        self.kept_step = [self.rules[rule].kept_step[i] for i, rule in enumerate(self.chosen)]
        bests = [rule.best for rule in self.rules]
        self.best = torch.stack([b[i] for i, rule in enumerate(self.chosen) if (b := bests[rule]) is not None])
        return [a or b for a, b in zip(*answers, strict=True)]

    def reason(self, member: int) -> str:
        return self.rules[self.chosen[member]].reason(member)

    def state(self) -> str:
        return ", ".join(rule.state() for rule in self.rules)

    def state_dict(self) -> dict[str, Any]:
        return {"own": super().state_dict(), "chosen": self.chosen, "rules": [rule.state_dict() for rule in self.rules]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state["own"])
        self.chosen = state["chosen"]
        for rule, saved in zip(self.rules, state["rules"], strict=True):
            rule.load_state_dict(saved)


class After(Rule):
    """Stops after a fixed number of steps and keeps the last average: what the authors did by hand."""

    name = "steps"

    def __init__(self, steps: int | None = None) -> None:
        super().__init__()
        if steps is not None and steps < 1:
            raise InputError(f"steps must be at least 1, got {steps}")
        self.steps = steps

    def score(self, step: Step) -> torch.Tensor:
        return torch.full((len(step.active),), -float(step.index))

    def patience_ends(self, step: Step, member: int) -> bool:
        return step.index >= (self.steps or step.total)

    def reason(self, member: int) -> str:
        return f"{self.kept_step[member]} steps were done as asked; kept the last"

    def state(self) -> str:
        return ""


class WindowedVariance(Rule):
    """Keeps the average where the outputs of the last `window` steps vary least (Wang et al., TMLR 2023, ES-WMV).

    The variance is the mean over the window of the squared distance to the window's mean, per value; kept as running
    sums in float64 over a fixed random subset of `values` values (None: all), never as a stack of pictures.
    """

    name = "windowed variance"
    meaning = "the least variance of the outputs"
    remembers = ("ring", "total", "squares", "losses", "known_from")

    def __init__(
        self, window: int | None = None, patience: int | None = None, *, values: int | None = 4096, guard: float = 0.7
    ) -> None:
        super().__init__(patience=patience)
        if window is not None and window < 2:
            raise InputError(f"window must be at least 2 steps, got {window}")
        self.window = window
        self.values = values
        self.guard = guard

    def prepare(self, problem: Problem, *, members: int, size: tuple[int, int], total: int, seed: int) -> Problem:
        self.span = self.window or max(5, total // 30)
        self.seed = seed
        self.ring: torch.Tensor | None = None
        self.total = self.squares = self.known_from = torch.zeros(())
        self.losses = [float("inf")] * members
        return super().prepare(problem, members=members, size=size, total=total, seed=seed)

    def score(self, step: Step) -> torch.Tensor:
        x = self.subset(step.image)
        if self.ring is None:
            self.ring = x.new_zeros(self.span, *x.shape)
            self.total = x.new_zeros(x.shape, dtype=torch.float64)
            self.squares = x.new_zeros(x.shape[0], dtype=torch.float64)
            self.known_from = torch.full((x.shape[0],), self.span, device=x.device)
        sound = step.image.flatten(1).isfinite().all(1)
        self.known_from = torch.where(sound, self.known_from, step.index + self.span)
        slot = step.index % self.span
        old, new = self.ring[slot].double(), x.double()
        self.total = self.total + new - old
        self.squares = self.squares + new.square().sum(1) - old.square().sum(1)
        self.ring[slot] = x
        mean = self.total / self.span
        variance = (self.squares / self.span - mean.square().sum(1)) / x.shape[1]
        return torch.where(step.index < self.known_from, float("nan"), variance)

    def subset(self, image: torch.Tensor) -> torch.Tensor:
        """The same values of every picture at every step, (b, n); those of a fit that diverged (and will go back) are 0."""
        x = image.flatten(1).nan_to_num(0, 0, 0)
        if self.values is None or self.values >= x.shape[1]:
            return x
        chosen = torch.randint(x.shape[1], (self.values,), generator=seeded(self.seed, "hold-out", 0))
        return x[:, chosen.to(x.device)]

    def keep(self, step: Step, better: list[bool]) -> None:
        super().keep(step, better)
        for i, is_better in enumerate(better):
            if is_better:
                self.losses[i] = float(step.loss[i])

    def patience_ends(self, step: Step, member: int) -> bool:
        """A minimum after which the loss fell on as only the learning of the picture makes it fall was premature."""
        if not super().patience_ends(step, member):
            return False
        if float(step.loss[member]) < self.guard * self.losses[member]:
            self.best_score[member] = float("inf")  # the first flat phase: look for the next minimum
            self.renewed[member] = (step.index, float("inf"))
            return False
        return True


class MovingVariance(WindowedVariance):
    """The same with exponential moving mean and variance: less memory, a little noisier (Wang et al., ES-EMV)."""

    name = "moving variance"
    remembers = ("mean", "variance", "losses")

    def __init__(
        self, alpha: float = 0.1, patience: int | None = None, *, values: int | None = 4096, guard: float = 0.7
    ) -> None:
        super().__init__(None, patience, values=values, guard=guard)
        if not 0 < alpha < 1:
            raise InputError(f"alpha must be between 0 and 1, got {alpha}")
        self.alpha = alpha

    def prepare(self, problem: Problem, *, members: int, size: tuple[int, int], total: int, seed: int) -> Problem:
        self.mean = self.variance = None
        return super().prepare(problem, members=members, size=size, total=total, seed=seed)

    def score(self, step: Step) -> torch.Tensor:
        x = self.subset(step.image).double()
        if self.mean is None or self.variance is None:
            self.mean, self.variance = x, x.new_zeros(len(x))
            return torch.full((len(x),), float("nan"))
        difference = (x - self.mean).square().mean(1)
        self.variance = (1 - self.alpha) * (self.variance + self.alpha * difference)
        self.mean = torch.lerp(self.mean, x, self.alpha)
        return self.variance if step.index > 3 / self.alpha else torch.full((len(x),), float("nan"))


class HeldOut(Rule):
    """Leaves a share of the values out of E, and keeps the average that predicts them best.

    Values are left out by pixel (all channels of it), each member its own. It needs no noise level, but takes noise to be
    independent from pixel to pixel; and on fine texture it stops too early, for the fit cannot guess a pixel that it has
    not seen, while the returned picture has seen it.
    """

    name = "held out"
    meaning = "the least error on pixels that were left out"
    remembers = ("mask",)

    def __init__(self, share: float = 0.03, patience: int | None = None, *, every: int = 3) -> None:
        super().__init__(patience=patience, slack=0.2, worth=0.01, every=every)
        if not 0 < share <= 0.5:
            raise InputError(f"the share of held-out pixels must be above 0 and at most 0.5, got {share}")
        self.share = share

    def prepare(self, problem: Problem, *, members: int, size: tuple[int, int], total: int, seed: int) -> Problem:
        target = problem.target
        if target.ndim != 4:
            raise InputError(
                f"held-out pixels need a target (b, c, h, w), got shape {tuple(target.shape)}: use after(n)"
            )
        super().prepare(problem, members=members, size=size, total=total, seed=seed)
        self.limit = self.patience or max(10, total // 30)
        masks = []
        for i in range(members):
            draws = torch.rand(1, 1, *target.shape[-2:], generator=seeded(seed, "hold-out", i))
            masks.append((draws < self.share).float())
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
            return self.problem.data_term(self.problem.operator(step.average), self.watched)


class Risk(HeldOut):
    """Keeps the average whose estimated distance to the clean picture is least; needs the noise level, known or estimated.

    On values that were given, Stein's unbiased estimate of the risk is E + 2 s h - s: E the error on the fitted values, s
    what it would be at the clean picture (sigma^2), h the fit's degrees of freedom over the number of values. For a linear
    smoother the error on a value that was left out is the fitted one's over (1 - h)^2, so held-out values tell h: it is
    1 - sqrt(E / E_out). On values that were not given (a mask, impulses) the risk is E_out - s.

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
            seen = self.problem.operator(step.average)
            fitted = self.problem.data_term(seen, self.fitted)
            watched = self.problem.data_term(seen, self.watched)
        freedom = 1 - (fitted / watched.clamp_min(1e-12)).clamp(0, 1).sqrt()
        return self.given * (fitted + 2 * level * freedom) + (1 - self.given) * watched - level


class Discrepancy(Rule):
    """Stops when the error to what was given has fallen to what the noise alone makes: E <= factor * sigma^2.

    Morozov's principle. sigma, in 0..1, is the task's own estimate unless given.
    """

    name = "discrepancy"

    def __init__(self, sigma: float | None = None, *, factor: float = 0.95, every: int = 3) -> None:
        super().__init__(every=every)
        if sigma is not None and sigma <= 0:
            raise InputError(f"sigma must be above 0, got {sigma}")
        self.sigma = sigma
        self.factor = factor

    def prepare(self, problem: Problem, *, members: int, size: tuple[int, int], total: int, seed: int) -> Problem:
        self.problem = problem
        level = problem.noise_level if self.sigma is None else self.sigma**2
        if level is None:
            raise InputError("the discrepancy rule must know sigma: discrepancy(sigma=...) or --sigma")
        self.floor = self.factor * level
        return super().prepare(problem, members=members, size=size, total=total, seed=seed)

    def score(self, step: Step) -> torch.Tensor:
        with torch.no_grad():
            return (self.problem.data_term(self.problem.operator(step.average)) - self.floor).clamp_min(0)

    def accepts(self, step: Step, member: int) -> bool:
        return self.best_score[member] > 0

    def patience_ends(self, step: Step, member: int) -> bool:
        return self.best_score[member] <= 0

    def reason(self, member: int) -> str:
        if self.best_score[member] > 0:
            return f"the error stayed above the noise's until the last step; kept step {self.kept_step[member]}"
        return f"the error fell to that of the noise at step {self.kept_step[member]}; kept that step"


class Plateau(Rule):
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
        losses = step.loss.tolist()
        previous = self.smooth or losses
        self.smooth = [
            0.9 * old + 0.1 * new if math.isfinite(new) else old for old, new in zip(previous, losses, strict=True)
        ]
        return torch.tensor(self.smooth, dtype=torch.float64)

    def accepts(self, step: Step, member: int) -> bool:
        return self.last_score[member] < (1 - self.share) * self.best_score[member]


after = After
windowed_variance = WindowedVariance
moving_variance = MovingVariance
held_out = HeldOut
risk = Risk
discrepancy = Discrepancy
plateau = Plateau
