"""StoppingRule: what every stopping rule shares, and two of them as one."""

from __future__ import annotations

import math
from typing import Any

import torch

from preimage.engine.step import Step
from preimage.errors import InputError
from preimage.problem import Problem


def wide(x: torch.Tensor) -> torch.Tensor:
    """In float64, where the device knows it."""
    return x.float() if x.device.type == "mps" else x.double()


class StoppingRule:
    """What every rule shares: the best average of each member so far, the step it came from, and patience.

    A subclass gives `score`: a number for each member, the lower the better. A member stops when the last improvement
    (by more than the share `worth` of the score) is older than `patience` steps and than `slack` times its own age. A look
    is in two parts, so that an accelerator is not waited for at every step: `measured` works out a few numbers where the
    pictures are, `decide` is told them later, those of several steps at once. To write a rule, define `score` and a `name`:

        class Quiet(StoppingRule):
            name = "quiet"
            def score(self, step):
                return step.loss
    """

    name = "rule"
    meaning = "the lowest score"
    rows = 2  # how many numbers of each member `measured` gives

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
        self.last_loss: list[float] = []
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
        return self.decide(step, self.measured(step).tolist())

    def measured(self, step: Step) -> torch.Tensor:
        """What `decide` asks for, (rows, b), without waiting for it: score and loss of each member."""
        if self._passes_over(step):
            return wide(step.loss.new_full((2, len(step.active)), float("nan")))
        score = wide(self.score(step).to(step.loss.device))
        return torch.stack([score, step.loss.to(score)])

    def decide(self, step: Step, numbers: list[list[float]]) -> list[bool]:
        """Which members to stop at a step of which these numbers were measured."""
        self.take(step, [active and not since for active, (since, _) in zip(step.active, self.renewed, strict=True)])
        if self._passes_over(step):
            return [False] * len(step.active)
        scores, self.last_loss = numbers
        self.last_score = self.judged(scores)
        better = [
            active and self.accepts(step, i) and score < self.best_score[i]
            for i, (active, score) in enumerate(zip(step.active, self.last_score, strict=True))
        ]
        self.keep(step, better)
        stops = [active and self.patience_ends(step, i) for i, active in enumerate(step.active)]
        self.stopped_at = [step.index if s else old for s, old in zip(stops, self.stopped_at, strict=True)]
        return stops

    def judged(self, scores: list[float]) -> list[float]:
        """The scores as they are compared and shown (smoothed over the steps, say)."""
        return scores

    def _passes_over(self, step: Step) -> bool:
        return step.index % self.every > 0 and step.index < step.total

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
            # Member by member rather than by a mask, which would have to go to the device.
            chosen = zip(members, step.average, step.average if self.best is None else self.best, strict=True)
            self.best = step.average if all(members) else torch.stack([new if c else old for c, new, old in chosen])
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

    def __or__(self, other: StoppingRule) -> StoppingRule:
        return Either(self, other)


class Either(StoppingRule):
    """Stops at whichever of two rules says so first, and keeps what that one kept."""

    def __init__(self, first: StoppingRule, second: StoppingRule) -> None:
        super().__init__()
        self.rules = (first, second)
        self.name = f"{first.name} | {second.name}"
        self.rows = first.rows + second.rows

    def prepare(self, problem: Problem, *, members: int, size: tuple[int, int], total: int, seed: int) -> Problem:
        super().prepare(problem, members=members, size=size, total=total, seed=seed)
        self.chosen = [0] * members
        for rule in self.rules:
            problem = rule.prepare(problem, members=members, size=size, total=total, seed=seed)
        return problem

    def measured(self, step: Step) -> torch.Tensor:
        return torch.cat([rule.measured(step) for rule in self.rules])

    def decide(self, step: Step, numbers: list[list[float]]) -> list[bool]:
        first, second = self.rules
        answers = [first.decide(step, numbers[: first.rows]), second.decide(step, numbers[first.rows :])]
        self.chosen = [
            (0 if a else 1 if b else old) if active else old
            for a, b, old, active in zip(*answers, self.chosen, step.active, strict=True)
        ]
        self.kept_step = [self.rules[rule].kept_step[i] for i, rule in enumerate(self.chosen)]
        bests = [rule.best for rule in self.rules]
        if all(best is not None for best in bests):
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
