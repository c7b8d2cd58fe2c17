"""Tracker: all that changes while a stopping rule follows one fit. The rule itself is a value and remembers nothing."""

from __future__ import annotations

import copy
import math
from itertools import compress
from typing import TYPE_CHECKING, Any, Protocol

import torch

from preimage.engine.devices import wide
from preimage.engine.step import Step

if TYPE_CHECKING:
    from preimage.stopping.rule import EitherRule, StoppingRule


class Tracker(Protocol):
    """What a Fit needs of the tracker that `rule.start` makes for it.

    A step is evaluated in two parts, so that no step waits for a GPU: `measure` computes a few numbers on the device of the
    images, `decide` gets the numbers of several steps at once, later.
    """

    best: torch.Tensor | None  # the average that each member keeps, (b, c, h, w)
    kept_step: list[int]  # the step that it came from, of each member; 0 before the first

    def measure(self, step: Step) -> torch.Tensor:
        """(n_statistics, b), on the device, without waiting for it."""
        ...

    def decide(self, step: Step, numbers: list[list[float]]) -> list[bool]:
        """Which members to stop at a step at which these numbers were measured; inactive ones are left alone."""
        ...

    def score(self, step: int) -> float | None:
        """The score that it decides by, the mean over members; None if none was computed at this step."""
        ...

    def reason(self, member: int) -> str:
        """Why a member stopped and what was kept, as advice."""
        ...

    def reason_code(self, member: int) -> str:
        """The same in one stable word: "patience", "steps-done", "all-steps", "noise-level", ..."""
        ...

    def status(self) -> str:
        """A few words for a progress line."""
        ...

    def copied(self) -> Tracker:
        """A tracker in the same state that shares nothing that changes."""
        ...

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class ScoreTracker:
    """Keeps the average of the lowest score of each member, and stops a member when its patience ends.

    A member stops when its last improvement (by more than the fraction `min_delta` of the score) is older than `patience` steps
    and than `patience_ratio` times its own age. A rule that needs more than its own `score(step)` has a subclass.

    Args:
        rule: the configuration.
        members, total: of the fit: how many members and the maximum number of steps.
        patience: steps, where the rule has none of its own; None: a third of the total.
    """

    n_statistics = 2
    remembers: tuple[str, ...] = ()  # attributes of a subclass that its state consists of

    def __init__(self, rule: StoppingRule, *, members: int, total: int, patience: int | None = None) -> None:
        self.rule = rule
        self.best: torch.Tensor | None = None
        self.kept_step: list[int] = [0] * members
        self.stopped_at: list[int] = [0] * members
        self.best_score: list[float] = [math.inf] * members
        self.last_improvement: list[tuple[int, float]] = [(0, math.inf)] * members  # its step and score
        self.last_score: list[float] = [math.nan] * members
        self.last_loss: list[float] = [math.nan] * members
        self.scored_at: int = 0  # the latest step with a score
        self.limit: int = rule.patience or patience or max(1, total // 3)

    def score_of(self, step: Step) -> torch.Tensor:
        """A number for each member, (b,), the lower the better; NaN where nothing is known yet."""
        return self.rule.score(step)

    def measure(self, step: Step) -> torch.Tensor:
        """(2, b): score and loss of each member; NaN at steps between two that are judged."""
        if self.skips(step):
            return wide(step.loss.new_full((2, len(step.active)), math.nan))
        score = wide(self.score_of(step).to(step.loss.device))
        return torch.stack([score, step.loss.to(score)])

    def decide(self, step: Step, numbers: list[list[float]]) -> list[bool]:
        """Which members to stop, by score and loss of each."""
        begun = [since > 0 for since, _ in self.last_improvement]
        self.take(step, [active and not b for active, b in zip(step.active, begun, strict=True)])
        if self.skips(step):
            return [False] * len(step.active)
        scores, self.last_loss = numbers
        self.last_score, self.scored_at = self.smoothed(scores), step.index
        better = [
            active and self.accepts(step, i) and score < self.best_score[i]
            for i, (active, score) in enumerate(zip(step.active, self.last_score, strict=True))
        ]
        self.take(step, better)
        for i in compress(range(len(better)), better):
            self.improve(step, i)
        stops = [active and self.patience_ends(step, i) for i, active in enumerate(step.active)]
        self.stopped_at = [step.index if stop else old for stop, old in zip(stops, self.stopped_at, strict=True)]
        return stops

    def skips(self, step: Step) -> bool:
        """Whether a step is between two that are judged."""
        return step.index % self.rule.every > 0 and step.index < step.total

    def smoothed(self, scores: list[float]) -> list[float]:
        """The scores as they are compared and shown."""
        return scores

    def accepts(self, step: Step, member: int) -> bool:
        """Whether a score counts at this step (a guard against minima that come too early)."""
        return True

    def patience_ends(self, step: Step, member: int) -> bool:
        """Whether the last improvement of a member is too long ago."""
        since, _ = self.last_improvement[member]
        return since > 0 and step.index - since >= max(self.limit, self.rule.patience_ratio * since)

    def improve(self, step: Step, member: int) -> None:
        """Take over the latest score of a member as its best."""
        score = self.best_score[member] = self.last_score[member]
        before = self.last_improvement[member][1]
        if math.isinf(before) or score < before - self.rule.min_delta * abs(before):
            self.last_improvement[member] = (step.index, score)

    def take(self, step: Step, members: list[bool]) -> None:
        """Hold the averages of some members: the latest until a first score is known, then the best."""
        if any(members):
            # Member by member rather than by a mask, which would have to go to the device.
            chosen = zip(members, step.average, step.average if self.best is None else self.best, strict=True)
            self.best = (
                step.average.clone() if all(members) else torch.stack([new if c else old for c, new, old in chosen])
            )
            self.kept_step = [step.index if c else kept for c, kept in zip(members, self.kept_step, strict=True)]

    def score(self, step: int) -> float | None:
        """The latest score, the mean over members, if it is of this step."""
        known = [score for score in self.last_score if math.isfinite(score)]
        return sum(known) / len(known) if known and self.scored_at == step else None

    def reason(self, member: int) -> str:
        """Why this member stopped and what was kept, as advice."""
        rule, kept, stopped = self.rule, self.kept_step[member], self.stopped_at[member]
        if not stopped:
            seen = f"all steps were done before {rule.name} saw {rule.meaning} pass"
            return f"{seen}; kept step {kept}: more steps may help"
        return f"{rule.name}: {rule.meaning} was at step {kept}, nothing better until {stopped}; kept step {kept}"

    def reason_code(self, member: int) -> str:
        """ "patience" or "all-steps"."""
        return "patience" if self.stopped_at[member] else "all-steps"

    def status(self) -> str:
        """Name and score."""
        known = [score for score in self.last_score if score == score]
        return f"{self.rule.name} {sum(known) / len(known):.3g}" if known else self.rule.name

    def state_dict(self) -> dict[str, Any]:
        """All that has changed since the start: plain containers and tensors."""
        own = ("best", "kept_step", "best_score", "last_improvement", "last_score", "scored_at", "stopped_at")
        return {name: getattr(self, name) for name in (*own, *self.remembers)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        for name in self.state_dict():
            setattr(self, name, state[name])

    def copied(self) -> ScoreTracker:
        """A tracker in the same state that shares nothing that changes."""
        twin = copy.copy(self)
        twin.load_state_dict(copy.deepcopy(self.state_dict()))
        return twin


class EitherTracker:
    """The trackers of two rules: a member stops at whichever stops it first, and keeps what that one kept."""

    def __init__(self, rule: EitherRule, trackers: tuple[Any, Any], members: int) -> None:
        self.rule = rule
        self.trackers = trackers
        self.n_statistics: int = sum(tracker.n_statistics for tracker in trackers)
        self.best: torch.Tensor | None = None
        self.kept_step: list[int] = [0] * members
        self.chosen: list[int] = [0] * members

    def measure(self, step: Step) -> torch.Tensor:
        return torch.cat([tracker.measure(step) for tracker in self.trackers])

    def decide(self, step: Step, numbers: list[list[float]]) -> list[bool]:
        first, second = self.trackers
        split = first.n_statistics
        answers = [first.decide(step, numbers[:split]), second.decide(step, numbers[split:])]
        self.chosen = [
            (0 if a else 1 if b else old) if active else old
            for a, b, old, active in zip(*answers, self.chosen, step.active, strict=True)
        ]
        self.kept_step = [self.trackers[rule].kept_step[i] for i, rule in enumerate(self.chosen)]
        bests = [tracker.best for tracker in self.trackers]
        if all(best is not None for best in bests):
            self.best = torch.stack([b[i] for i, rule in enumerate(self.chosen) if (b := bests[rule]) is not None])
        return [a or b for a, b in zip(*answers, strict=True)]

    def score(self, step: int) -> float | None:
        """Of the first of the two that has one."""
        found = (tracker.score(step) for tracker in self.trackers)
        return next((score for score in found if score is not None), None)

    def reason(self, member: int) -> str:
        return self.trackers[self.chosen[member]].reason(member)

    def reason_code(self, member: int) -> str:
        return self.trackers[self.chosen[member]].reason_code(member)

    def status(self) -> str:
        return ", ".join(words for tracker in self.trackers if (words := tracker.status()))

    def state_dict(self) -> dict[str, Any]:
        trackers = [tracker.state_dict() for tracker in self.trackers]
        return {"best": self.best, "kept_step": self.kept_step, "chosen": self.chosen, "trackers": trackers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.kept_step, self.chosen = state["best"], state["kept_step"], state["chosen"]
        for tracker, saved in zip(self.trackers, state["trackers"], strict=True):
            tracker.load_state_dict(saved)

    def copied(self) -> EitherTracker:
        twin = copy.copy(self)
        twin.trackers = (self.trackers[0].copied(), self.trackers[1].copied())
        twin.kept_step, twin.chosen = list(self.kept_step), list(self.chosen)
        return twin
