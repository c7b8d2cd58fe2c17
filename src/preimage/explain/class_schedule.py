"""ClassReached: the rule of a counterfactual, which ends when the class is reached and the picture has settled."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from preimage.engine.step import Step
from preimage.errors import InputError
from preimage.explain.checks import is_number
from preimage.problem import Problem
from preimage.stopping import ScoreTracker, StoppingRule, Tracker
from preimage.stopping.rule import fixed

Probabilities = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class ClassReached(StoppingRule):
    """Looks at pairs of members, the counterfactual and its reconstruction, which end together.

    A pair ends when the classifier has said the target with the confidence asked for at every look of the last `wait` steps,
    in which the picture moved by no more than `still`. Where it does not say so after a third of the steps, the weight of the
    class grows by `push` at every look until it does. Where it never does, the most confident average of then on is kept.

    Args:
        probabilities: (n, c, h, w) in 0 to 1 -> (n, classes), of the classifier.
        target: index of the class.
        confidence: its probability, between 0 and 1.
        wait: steps; None: a fifth of the recipe's.
        still: root mean square by which the average may change from look to look, in units of the picture.
        every: steps between two looks.
        push: factor of the weight of the class (the problem's regularizer whose strength is a tensor); 1: it stays as it is.
        most: times the weight grows at most.
    """

    probabilities: Probabilities = field(kw_only=False)
    target: int = field(kw_only=False)
    confidence: float = field(default=0.9, kw_only=True)
    wait: int | None = field(default=None, kw_only=True)
    still: float = field(default=0.002, kw_only=True)
    push: float = field(default=1.25, kw_only=True)
    most: float = field(default=100.0, kw_only=True)
    every: int = field(default=5, kw_only=True)
    patience: int | None = fixed(None)
    min_delta: float = fixed(0.0)
    patience_ratio: float = fixed(0.0)

    name = "reached"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (is_number(self.confidence) and 0 < self.confidence < 1):
            raise InputError(f"the confidence to be reached must be between 0 and 1, got {self.confidence!r}")
        if self.wait is not None and self.wait < 1:
            raise InputError(f"wait must be at least 1 step, got {self.wait}")

    def start(
        self, problem: Problem, *, members: int, total: int, seed: int = 0, streams: Iterator[int] | None = None
    ) -> tuple[Problem, Tracker]:
        return problem, ClassTracker(self, problem, members=members, total=total)


class ClassTracker(ScoreTracker):
    """What a ClassReached has seen of one fit, and the weight of the class, which it raises in place."""

    rule: ClassReached
    remembers = ("along", "seen", "quiet_since", "confident", "pushed")

    def __init__(self, rule: ClassReached, problem: Problem, *, members: int, total: int) -> None:
        super().__init__(rule, members=members, total=total)
        self.limit = rule.wait or max(1, total // 5)
        self.along: list[tuple[int, torch.Tensor]] = []  # (step, (members, classes))
        self.seen: torch.Tensor | None = None
        self.n_statistics = 0  # not known yet
        self.quiet_since = [0] * members
        self.confident = [0.0] * members
        self.pushed = [1.0] * members
        self.begins = max(1, total // 3)
        strengths = [strength for strength, _ in problem.regularizers if isinstance(strength, torch.Tensor)]
        self.strengths = strengths[0] if strengths else torch.zeros(members)
        self.first = self.strengths.clone()

    def measure(self, step: Step) -> torch.Tensor:
        """(classes + 1, b): the probabilities of every picture, and how far it moved since the last look; NaN in between.

        Of as many rows at every step, for on an accelerator those of several steps are read as one tensor.
        """
        if self.n_statistics and self.skips(step):
            return step.loss.new_full((self.n_statistics, len(step.active)), float("nan"))
        with torch.no_grad():
            chances = self.rule.probabilities(step.average.clamp(0, 1)).float()
        self.n_statistics = chances.shape[1] + 1
        if self.skips(step):
            return chances.new_full((self.n_statistics, len(step.active)), float("nan"))
        before = step.average if self.seen is None else self.seen
        moved = (step.average - before).square().flatten(1).mean(1).sqrt()
        self.seen = step.average
        return torch.cat([chances.T, moved[None].to(chances)])

    def decide(self, step: Step, numbers: list[list[float]]) -> list[bool]:
        members = len(step.active)
        if self.skips(step):
            return [False] * members
        chances = torch.tensor(numbers[:-1]).T
        self.along.append((step.index, chances))
        stops = [False] * members
        better = [False] * members
        for i in range(0, members, 2):
            if not step.active[i]:
                continue
            chance = float(chances[i, self.rule.target])
            is_there = chance >= self.rule.confidence
            quiet = is_there and numbers[-1][i] <= self.rule.still
            self.quiet_since[i] = (self.quiet_since[i] or step.index) if quiet else 0
            # What counts is the latest picture once the class is reached, the most confident one until then.
            if is_there or chance > self.confident[i] or step.index < self.begins:
                better[i] = better[i + 1] = True
                self.confident[i] = 1.0 if is_there else max(chance, self.confident[i])
            if step.index < self.begins:
                self.confident[i] = 0.0
            elif not is_there and self.pushed[i] < self.rule.most:
                self.pushed[i] *= self.rule.push
                self._weigh()
            ends = bool(self.quiet_since[i]) and step.index - self.quiet_since[i] >= self.limit
            stops[i] = stops[i + 1] = ends
        self.take(step, [b or self.best is None for b in better])
        self.stopped_at = [step.index if s else old for s, old in zip(stops, self.stopped_at, strict=True)]
        self.last_score = [float(chances[i, self.rule.target]) for i in range(members)]
        return stops

    def _weigh(self) -> None:
        # In place: the problem, and what was recorded of a step, hold this very tensor.
        self.strengths.copy_(self.first * self.first.new_tensor(self.pushed))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._weigh()

    def reason(self, member: int) -> str:
        pair = member - member % 2
        kept, stopped = self.kept_step[pair], self.stopped_at[pair]
        if stopped:
            return f"the class was reached and the picture has settled; kept step {kept}"
        if self.confident[pair] >= 1:
            return f"the class was reached by the last steps, the picture had not settled; kept step {kept}: more steps may help"
        return (
            f"a confidence of {self.rule.confidence:g} was not reached, {self.confident[pair]:.2f} at most; kept step {kept}, "
            "the best attempt: more steps, or a larger weight of the class"
        )

    def reason_code(self, member: int) -> str:
        pair = member - member % 2
        return "class-reached" if self.stopped_at[pair] or self.confident[pair] >= 1 else "all-steps"

    def copied(self) -> ClassTracker:
        twin = copy.copy(self)
        twin.strengths = self.strengths.clone()  # the problem's own stay as they are
        twin.load_state_dict(copy.deepcopy(self.state_dict()))
        return twin

    def status(self) -> str:
        known = self.last_score[0::2]
        return f"target {sum(known) / len(known):.2f}" if known and known[0] == known[0] else ""

    def curve(self, member: int, label: int) -> list[tuple[int, float]]:
        """(step, probability) of a class for one member, at every look."""
        return [(index, float(chances[member, label])) for index, chances in self.along]
