"""Properties of stopping rules on any curve: within range, blind to the future, and unmoved by scale where that is promised."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from properties import examples
from sequences import follow, look, started, step_of

from preimage.engine.step import Step
from preimage.problem import Problem
from preimage.stopping import (
    StoppingRule,
    after,
    discrepancy,
    held_out,
    moving_variance,
    plateau,
    risk,
    windowed_variance,
)

SIDE = 6
Curve = list[tuple[float, float]]  # loss, and where the output is, at each step


@dataclass(frozen=True)
class Given(StoppingRule):
    """Scores as they are listed."""

    scores: tuple[float, ...] = field(kw_only=False)

    name = "given"

    def score(self, step: Step) -> torch.Tensor:
        return torch.full((len(step.active),), self.scores[step.index - 1], dtype=torch.float64)


RULES: dict[str, Callable[[], StoppingRule]] = {
    "after": lambda: after(7),
    "windowed": lambda: windowed_variance(3, patience=4),
    "moving": lambda: moving_variance(0.3, patience=4),
    "held out": lambda: held_out(0.2, patience=4),
    "risk": lambda: risk(0.2, patience=4),
    "discrepancy": lambda: discrepancy(0.1),
    "plateau": lambda: plateau(patience=3, fraction=0.05),
    "every third": lambda: held_out(0.2, patience=4, every=3),
    "either": lambda: windowed_variance(3, patience=4) | discrepancy(0.05) | after(12),
}
each_rule = pytest.mark.parametrize("make", RULES.values(), ids=RULES.keys())
losses = st.floats(0, 4, width=32)
curves = st.lists(st.tuples(losses, st.floats(-1, 2, width=32)), min_size=1, max_size=24)


def target(size: int = SIDE) -> torch.Tensor:
    return torch.rand(1, 1, size, size, generator=torch.Generator().manual_seed(3))


def steps_of(curve: Curve, *, total: int | None = None, factor: float = 1.0) -> list[Step]:
    """A fit whose output moves along a line through images, as the curve says."""
    pattern = torch.linspace(-1, 1, SIDE * SIDE).reshape(1, 1, SIDE, SIDE)
    return [
        step_of(i, factor * (0.5 + place * pattern), loss=factor**2 * loss, total=total or len(curve))
        for i, (loss, place) in enumerate(curve, 1)
    ]


def problem() -> Problem:
    return Problem(target(), noise_level=0.01)


@each_rule
def test_it_stops_within_the_fit_and_keeps_a_step_that_was_there(make: Callable[[], StoppingRule]) -> None:
    @examples(25)
    @given(curves)
    def holds(curve: Curve) -> None:
        tracker = started(make(), problem(), total=len(curve))
        steps = steps_of(curve)
        (stopped,) = follow(tracker, steps)
        last = stopped or len(curve)
        assert 0 <= stopped <= len(curve)
        assert 1 <= tracker.kept_step[0] <= last
        assert torch.equal(tracker.best, steps[tracker.kept_step[0] - 1].average)
        assert "\n" not in tracker.reason(0)
        assert tracker.reason_code(0)
        score = tracker.score(last)
        assert score is None or math.isfinite(score)

    holds()


@each_rule
def test_it_never_sees_the_future(make: Callable[[], StoppingRule]) -> None:
    """Two fits that begin alike are judged alike for as long as they are."""

    @examples(25)
    @given(curves, curves, curves)
    def holds(begun: Curve, one: Curve, other: Curve) -> None:
        total = len(begun) + max(len(one), len(other))
        first, second = (started(make(), problem(), total=total) for _ in range(2))
        pairs = zip(steps_of(begun + one, total=total), steps_of(begun + other, total=total), strict=False)
        for step, twin in list(pairs)[: len(begun)]:
            assert look(first, step) == look(second, twin)
            assert first.kept_step == second.kept_step
            assert first.reason(0) == second.reason(0)
            assert (first.best is None) == (second.best is None)
            assert first.best is None or torch.equal(first.best, second.best)

    holds()


@each_rule
def test_a_state_in_the_midst_goes_on_the_same(make: Callable[[], StoppingRule]) -> None:
    @examples(15)
    @given(curves, st.integers(0, 24))
    def holds(curve: Curve, cut: int) -> None:
        steps = steps_of(curve)
        straight = started(make(), problem(), total=len(curve))
        for step in steps[:cut]:
            look(straight, step)
        resumed, twin = started(make(), problem(), total=len(curve)), straight.copied()
        resumed.load_state_dict(copy.deepcopy(straight.state_dict()))  # as from a file
        for step in steps[cut:]:
            assert look(straight, step) == look(resumed, step) == look(twin, step)
            assert straight.kept_step == resumed.kept_step == twin.kept_step

    holds()


whole = st.integers(-1000, 1000)


@examples(60)
@given(st.lists(whole, min_size=1, max_size=40), st.integers(1, 9), st.integers(-6, 6), whole)
def test_a_score_may_be_scaled_and_shifted(scores: list[int], patience: int, power: int, shift: int) -> None:
    """Only the order of scores counts, where no min_delta is stated. (Whole numbers and powers of two: exact in floats.)"""
    changed = tuple((score + shift) * 2.0**power for score in scores)
    found = []
    for values in (tuple(map(float, scores)), changed):
        tracker = started(Given(values, patience=patience), problem(), total=len(scores))
        found.append((follow(tracker, steps_of([(1.0, 0.0)] * len(scores))), tracker.kept_step))
    assert found[0] == found[1]
    stopped, (kept,) = found[0][0][0] or len(scores), found[0][1]
    assert kept == scores.index(min(scores[:stopped])) + 1  # the first of the lowest


@examples(60)
@given(st.lists(st.integers(1, 1000), min_size=1, max_size=40), st.floats(0, 0.5), st.floats(0, 2), st.integers(-6, 6))
def test_a_score_with_min_delta_may_be_scaled(scores: list[int], delta: float, ratio: float, power: int) -> None:
    found = []
    for factor in (1.0, 2.0**power):
        rule = Given(tuple(factor * score for score in scores), patience=5, min_delta=delta, patience_ratio=ratio)
        tracker = started(rule, problem(), total=len(scores))
        found.append((follow(tracker, steps_of([(1.0, 0.0)] * len(scores))), tracker.kept_step))
    assert found[0] == found[1]


@pytest.mark.parametrize("name", ["after", "plateau", "moving", "windowed"])
@pytest.mark.parametrize("power", [-3, 4])
def test_rules_without_a_level_do_not_depend_on_the_unit(name: str, power: int) -> None:
    """A fit of values that are so many times larger is stopped at the same step."""

    @examples(20)
    @given(st.lists(st.tuples(st.floats(0.125, 4, width=16), st.floats(-1, 2, width=16)), min_size=1, max_size=24))
    def holds(curve: Curve) -> None:
        found: list[Any] = []
        for factor in (1.0, 2.0**power):
            tracker = started(RULES[name](), Problem(factor * target()), total=len(curve))
            found.append((follow(tracker, steps_of(curve, factor=factor)), tracker.kept_step))
        assert found[0] == found[1]

    holds()


@examples(40)
@given(st.lists(whole, min_size=1, max_size=40), st.integers(1, 9))
def test_patience_is_kept_to_the_step(scores: list[int], patience: int) -> None:
    tracker = started(Given(tuple(map(float, scores)), patience=patience), problem(), total=len(scores))
    (stopped,) = follow(tracker, steps_of([(1.0, 0.0)] * len(scores)))
    best, since = math.inf, 0
    expected = 0
    for index, score in enumerate(scores, 1):
        if score < best:
            best, since = score, index
        if index - since >= patience:
            expected = index
            break
    assert stopped == expected
