"""ClassReached: stops a counterfactual once the class is reached and the image has settled; before, raises the class weight."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from preimage.engine.step import Step
from preimage.errors import InputError
from preimage.problem import Problem
from preimage.stopping import ScoreTracker, StoppingRule, Tracker
from preimage.stopping.rule import fixed

Probabilities = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class ClassReached(StoppingRule):
    """Evaluates pairs of members, the counterfactual and its reconstruction, which stop together.

    A pair stops when at every evaluation of the last `wait` steps the target had the confidence or more and the average changed
    by no more than `tolerance`. If it has not after a third of the steps, the class weight grows by `growth` at every evaluation
    until it does. If it never does, the most confident average from then on is kept. A reconstruction that has lost the class
    of the picture by then gets a class weight, too, which begins as that of the counterfactual did and grows until it is back.

    Args:
        probabilities: (n, c, h, w) in 0 to 1 -> (n, classes), of the classifier.
        target: index of the class.
        absent: whether the target is an independent label that is to disappear: its absence is to have the confidence.
        keeps_class: of the reconstruction's probabilities (classes,): whether it still has the class of the picture; None: it
            need not.
        confidence: the probability to be reached, between 0 and 1.
        counted: whose probability is to reach it, where that is not the classifier's alone, for messages.
        wait: steps; None: a fifth of the recipe's.
        tolerance: root mean square by which the average may change between evaluations, in 0 to 1 of the image.
        every: steps between two evaluations.
        growth: factor of the class weight (the problem's regularizer whose weight is a tensor); 1: it is constant.
        largest_factor: maximum of all these factors together.
    """

    probabilities: Probabilities = field(kw_only=False)
    target: int = field(kw_only=False)
    absent: bool = field(default=False, kw_only=True)
    keeps_class: Callable[[torch.Tensor], bool] | None = field(default=None, kw_only=True)
    confidence: float = field(default=0.9, kw_only=True)
    counted: str = field(default="", kw_only=True)
    wait: int | None = field(default=None, kw_only=True)
    tolerance: float = field(default=0.002, kw_only=True)
    growth: float = field(default=1.25, kw_only=True)
    largest_factor: float = field(default=100.0, kw_only=True)
    every: int = field(default=5, kw_only=True)
    patience: int | None = fixed(None)
    min_delta: float = fixed(0.0)
    patience_ratio: float = fixed(0.0)

    name = "reached"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.confidence < 1:
            raise InputError(f"confidence must be between 0 and 1, got {self.confidence!r}")
        if self.wait is not None and self.wait < 1:
            raise InputError(f"wait must be at least 1 step, got {self.wait}")

    def tracker(self, problem: Problem, *, members: int, total: int) -> Tracker:
        return ClassTracker(self, problem, members=members, total=total)


class ClassTracker(ScoreTracker):
    """The state of a ClassReached in one fit, and the class weight, which it raises in place."""

    rule: ClassReached
    remembers: tuple[str, ...] = ("along", "previous", "settled_since", "confident", "factors")

    def __init__(self, rule: ClassReached, problem: Problem, *, members: int, total: int) -> None:
        super().__init__(rule, members=members, total=total)
        self.limit: int = rule.wait or max(1, total // 5)
        self.along: list[tuple[int, torch.Tensor]] = []  # (step, (members, classes))
        self.previous: torch.Tensor | None = None
        self.n_statistics: int = 0  # not known yet
        self.settled_since: list[int] = [0] * members
        self.confident: list[float] = [0.0] * members
        # Of a reconstruction 0, while it keeps its class.
        self.factors: list[float] = [1.0 - i % 2 for i in range(members)]
        self.first_counted: int = max(1, total // 3)
        weights = [weight for weight, _ in problem.regularizers if isinstance(weight, torch.Tensor)]
        self.weights: torch.Tensor = weights[0] if weights else torch.zeros(members)
        self.initial_weights: torch.Tensor = self.weights.clone()

    def measure(self, step: Step) -> torch.Tensor:
        """(classes + 1, b): the class probabilities, and the change of the average since the last evaluation; NaN in between.

        As many rows at every step, for on an accelerator those of several steps are read as one tensor.
        """
        if self.n_statistics and self.skips(step):
            return step.loss.new_full((self.n_statistics, len(step.active)), float("nan"))
        with torch.no_grad():
            probabilities = self.rule.probabilities(step.average.clamp(0, 1)).float()
        self.n_statistics = probabilities.shape[1] + 1
        if self.skips(step):
            return probabilities.new_full((self.n_statistics, len(step.active)), float("nan"))
        before = step.average if self.previous is None else self.previous
        change = (step.average - before).square().flatten(1).mean(1).sqrt()
        self.previous = step.average
        return torch.cat([probabilities.T, change[None].to(probabilities)])

    def decide(self, step: Step, numbers: list[list[float]]) -> list[bool]:
        members = len(step.active)
        if self.skips(step):
            return [False] * members
        probabilities = torch.tensor(numbers[:-1]).T
        self.along.append((step.index, probabilities))
        stops = [False] * members
        better = [False] * members
        for i in range(0, members, 2):
            if not step.active[i]:
                continue
            probability = self._sought(probabilities, i)
            is_reached = probability >= self.rule.confidence
            is_kept = self.rule.keeps_class is None or self.rule.keeps_class(probabilities[i + 1])
            settled = is_reached and numbers[-1][i] <= self.rule.tolerance and (is_kept or self._is_largest(i + 1))
            self.settled_since[i] = (self.settled_since[i] or step.index) if settled else 0
            # Kept is the latest average once the class is reached, the most confident one until then.
            if is_reached or probability > self.confident[i] or step.index < self.first_counted:
                better[i] = better[i + 1] = True
                self.confident[i] = 1.0 if is_reached else max(probability, self.confident[i])
            if step.index < self.first_counted:
                self.confident[i] = 0.0
            else:
                self._grow(i, not is_reached)
                self._grow(i + 1, not is_kept)
            ends = bool(self.settled_since[i]) and step.index - self.settled_since[i] >= self.limit
            stops[i] = stops[i + 1] = ends
        self.take(step, [b or self.best is None for b in better])
        self.stopped_at: list[int] = [step.index if s else old for s, old in zip(stops, self.stopped_at, strict=True)]
        self.last_score: list[float] = [self._sought(probabilities, i) for i in range(members)]
        return stops

    def _sought(self, probabilities: torch.Tensor, member: int) -> float:
        """The probability of the target, or of its absence."""
        probability = float(probabilities[member, self.rule.target])
        return 1 - probability if self.rule.absent else probability

    def _is_largest(self, member: int) -> bool:
        return self.factors[member] >= self.rule.largest_factor

    def _grow(self, member: int, is_wanted: bool) -> None:
        if is_wanted and not self._is_largest(member):
            self.factors[member] = self.factors[member] * self.rule.growth or 1.0
            self._set_weights()

    def _set_weights(self) -> None:
        # In place: the problem, and a recorded step (a CUDA graph), hold this very tensor.
        own = self.initial_weights[::2].repeat_interleave(2)  # a reconstruction's is that of its counterfactual
        self.weights.copy_(own * own.new_tensor(self.factors))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._set_weights()

    def reason(self, member: int) -> str:
        pair = member - member % 2
        kept, stopped = self.kept_step[pair], self.stopped_at[pair]
        if stopped:
            return f"the class was reached and the image has settled; kept step {kept}"
        if self.confident[pair] >= 1:
            return f"the class was reached, but the image had not settled at the last step; kept step {kept}: more steps may help"
        return (
            f"a confidence of {self.rule.confidence:g} was not reached{self.rule.counted and f' {self.rule.counted}'}, "
            f"{self.confident[pair]:.2f} at most; kept step {kept}, "
            "the most confident: use more steps or a larger class weight"
        )

    def reason_code(self, member: int) -> str:
        pair = member - member % 2
        return "class-reached" if self.stopped_at[pair] or self.confident[pair] >= 1 else "all-steps"

    def copied(self) -> ClassTracker:
        twin = copy.copy(self)
        twin.weights = self.weights.clone()  # the problem's own stay as they are
        twin.load_state_dict(copy.deepcopy(self.state_dict()))
        return twin

    def status(self) -> str:
        known = self.last_score[0::2]
        return f"target {sum(known) / len(known):.2f}" if known and known[0] == known[0] else ""

    def curve(self, member: int, label: int) -> list[tuple[int, float]]:
        """(step, probability) of a class for one member, at every evaluation."""
        return [(index, float(probabilities[member, label])) for index, probabilities in self.along]
