"""ClassReached: stops a counterfactual once the class is reached and the image has settled; before, raises the class weight."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from preimage.engine.step import Step
from preimage.errors import InputError
from preimage.explain.checks import is_number
from preimage.problem import Problem
from preimage.stopping import StoppingRule

Probabilities = Callable[[torch.Tensor], torch.Tensor]


class ClassReached(StoppingRule):
    """Evaluates pairs of members, the counterfactual and its reconstruction, which stop together.

    A pair stops when at every evaluation of the last `patience` steps the target had the confidence or more and the average
    changed by no more than `tolerance`. If it has not after a third of the steps, the class weight grows by `growth` at every
    evaluation until it does. If it never does, the most confident average from then on is kept.

    Args:
        probabilities: (n, c, h, w) in 0 to 1 -> (n, classes), of the classifier.
        target: index of the class.
        confidence: the probability to be reached, between 0 and 1.
        patience: steps; None: a fifth of the recipe's.
        tolerance: root mean square by which the average may change between evaluations, in 0 to 1 of the image.
        every: steps between two evaluations.
        growth: factor of the class weight (the problem's regularizer whose weight is a tensor); 1: it is constant.
        largest_factor: maximum of all these factors together.
    """

    name = "reached"
    remembers = ("along", "previous", "settled_since", "confident", "factors")

    def __init__(
        self,
        probabilities: Probabilities,
        target: int,
        *,
        confidence: float = 0.9,
        patience: int | None = None,
        tolerance: float = 0.002,
        every: int = 5,
        growth: float = 1.25,
        largest_factor: float = 100.0,
    ) -> None:
        if not (is_number(confidence) and 0 < confidence < 1):
            raise InputError(f"confidence must be between 0 and 1, got {confidence!r}")
        super().__init__(patience=patience, every=every)
        self.probabilities, self.target, self.confidence, self.tolerance = probabilities, target, confidence, tolerance
        self.growth, self.largest_factor = growth, largest_factor

    def prepare(self, problem: Problem, *, members: int, size: tuple[int, int], total: int, seed: int) -> Problem:
        problem = super().prepare(problem, members=members, size=size, total=total, seed=seed)
        self.limit = self.patience or max(1, total // 5)
        self.along: list[tuple[int, torch.Tensor]] = []  # (step, (members, classes))
        self.previous: torch.Tensor | None = None
        self.rows = 0  # not known yet
        self.settled_since = [0] * members
        self.confident = [0.0] * members
        self.factors = [1.0] * members
        self.first_counted = max(1, total // 3)
        weights = [weight for weight, _ in problem.regularizers if isinstance(weight, torch.Tensor)]
        self.weights = weights[0] if weights else torch.zeros(members)
        self.initial_weights = self.weights.clone()
        return problem

    def measured(self, step: Step) -> torch.Tensor:
        """(classes + 1, b): the class probabilities, and the change of the average since the last evaluation; NaN in between.

        As many rows at every step, for on an accelerator those of several steps are read as one tensor.
        """
        if self.rows and self._passes_over(step):
            return step.loss.new_full((self.rows, len(step.active)), float("nan"))
        with torch.no_grad():
            probabilities = self.probabilities(step.average.clamp(0, 1)).float()
        self.rows = probabilities.shape[1] + 1
        if self._passes_over(step):
            return probabilities.new_full((self.rows, len(step.active)), float("nan"))
        before = step.average if self.previous is None else self.previous
        change = (step.average - before).square().flatten(1).mean(1).sqrt()
        self.previous = step.average
        return torch.cat([probabilities.T, change[None].to(probabilities)])

    def decide(self, step: Step, numbers: list[list[float]]) -> list[bool]:
        members = len(step.active)
        if self._passes_over(step):
            return [False] * members
        probabilities = torch.tensor(numbers[:-1]).T
        self.along.append((step.index, probabilities))
        stops = [False] * members
        better = [False] * members
        for i in range(0, members, 2):
            if not step.active[i]:
                continue
            probability = float(probabilities[i, self.target])
            is_reached = probability >= self.confidence
            settled = is_reached and numbers[-1][i] <= self.tolerance
            self.settled_since[i] = (self.settled_since[i] or step.index) if settled else 0
            # Kept is the latest average once the class is reached, the most confident one until then.
            if is_reached or probability > self.confident[i] or step.index < self.first_counted:
                better[i] = better[i + 1] = True
                self.confident[i] = 1.0 if is_reached else max(probability, self.confident[i])
            if step.index < self.first_counted:
                self.confident[i] = 0.0
            elif not is_reached and self.factors[i] < self.largest_factor:
                self.factors[i] *= self.growth
                self._set_weights()
            ends = bool(self.settled_since[i]) and step.index - self.settled_since[i] >= self.limit
            stops[i] = stops[i + 1] = ends
        self.take(step, [b or self.best is None for b in better])
        self.stopped_at = [step.index if s else old for s, old in zip(stops, self.stopped_at, strict=True)]
        self.last_score = [float(probabilities[i, self.target]) for i in range(members)]
        return stops

    def _set_weights(self) -> None:
        # In place: the problem, and a recorded step (a CUDA graph), hold this very tensor.
        self.weights.copy_(self.initial_weights * self.initial_weights.new_tensor(self.factors))

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
            f"a confidence of {self.confidence:g} was not reached, {self.confident[pair]:.2f} at most; kept step {kept}, the "
            "most confident: use more steps or a larger class weight"
        )

    def state(self) -> str:
        known = self.last_score[0::2]
        return f"target {sum(known) / len(known):.2f}" if known and known[0] == known[0] else ""

    def curve(self, member: int, label: int) -> list[tuple[int, float]]:
        """(step, probability) of a class for one member, at every evaluation."""
        return [(index, float(probabilities[member, label])) for index, probabilities in self.along]
