"""What every rule promises, whatever it looks at, and what two of them make together."""

from __future__ import annotations

import inspect
import io
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from sequences import TOTAL, follow, prepared, step_of, synthetic_fit
from specimens import THIN, fit_of, noisy

from preimage import problem, stopping
from preimage.engine import checkpoint, fit
from preimage.engine import recipe as recipes
from preimage.engine.step import Step
from preimage.errors import InputError
from preimage.problem import Problem
from preimage.restore import denoise, start
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

RULES: dict[str, Callable[[], StoppingRule]] = {
    "after": lambda: after(100),
    "windowed": lambda: windowed_variance(10, 30),
    "moving": lambda: moving_variance(0.2, 30),
    "held out": lambda: held_out(0.1, 30),
    "risk": lambda: risk(0.1, 30),
    "discrepancy": lambda: discrepancy(),
    "plateau": lambda: plateau(20, share=0.05),
    "either": lambda: windowed_variance(10, 30) | discrepancy(factor=0.5),
    "nested": lambda: held_out(0.1, 30) | plateau(20, share=0.05) | after(150),
}
each_rule = pytest.mark.parametrize("make", RULES.values(), ids=RULES.keys())


@pytest.mark.parametrize("order", ["shorter first", "longer first"])
def test_either_stops_at_the_first_and_keeps_what_that_one_kept(order):
    short, long = after(12), windowed_variance(5, 100)
    rule = short | long if order == "shorter first" else long | short
    run = fit_of(noisy(), rule=rule)
    averages = [step.average for step in run]
    assert len(averages) == 12
    assert torch.equal(run.result().image, averages[11])
    assert run.result().reason == short.reason(0)


def test_either_decides_for_each_member():
    class Low(StoppingRule):
        """Member 0's score is least at step 10, member 1's never rises."""

        name = "low"

        def score(self, step):
            return torch.tensor([abs(step.index - 10), -step.index])

    rule = Low(patience=5) | after(30)
    prepared(rule, Problem(torch.zeros(1, 1, 16, 16)), members=2)
    steps = [step_of(i, torch.full((2, 1, 16, 16), float(i))) for i in range(1, 41)]
    assert follow(rule, steps) == [15, 30]
    assert rule.kept_step == [10, 30]
    assert rule.best is not None
    assert rule.best[:, 0, 0, 0].tolist() == [10, 30]
    assert rule.reason(0).startswith("low")
    assert rule.reason(1) == "30 steps were done as asked; kept the last"


@each_rule
def test_a_state_goes_on_as_if_nothing_had_been(make):
    problem, steps = synthetic_fit()
    straight = prepared(make(), problem, members=2)
    for step in steps[:50]:
        straight.look(step)
    buffer = io.BytesIO()
    torch.save(straight.state_dict(), buffer)
    buffer.seek(0)
    resumed = prepared(make(), problem, members=2)
    resumed.load_state_dict(torch.load(buffer, weights_only=True))
    for step in steps[50:]:
        assert straight.look(step) == resumed.look(step)
        assert straight.kept_step == resumed.kept_step
        assert straight.best is not None
        assert torch.equal(straight.best, resumed.best)
    assert [straight.reason(i) for i in range(2)] == [resumed.reason(i) for i in range(2)]
    assert straight.state() == resumed.state()


@each_rule
def test_a_stopped_member_keeps_its_best(make):
    problem, steps = synthetic_fit()
    rule = prepared(make(), problem, members=2)
    for step in steps[:80]:
        rule.look(step)
    assert rule.best is not None
    best, kept, reason = rule.best[0].clone(), rule.kept_step[0], rule.reason(0)
    other = rule.kept_step[1]
    for step in steps[80:]:
        wonderful = replace(step, active=(False, True), terms={"loss": torch.tensor([0.0, 0.0])})
        assert rule.look(wonderful)[0] is False
    assert torch.equal(rule.best[0], best)
    assert rule.kept_step[0] == kept
    assert rule.reason(0) == reason
    assert rule.kept_step[1] >= other


@each_rule
def test_what_was_kept_is_that_average_and_no_later_one_and_the_reason_names_it(make):
    problem, steps = synthetic_fit()
    rule = prepared(make(), problem, members=2)
    stopped = follow(rule, steps)
    assert rule.best is not None
    for member, (kept, end) in enumerate(zip(rule.kept_step, stopped, strict=True)):
        assert 1 <= kept <= (end or TOTAL)
        assert torch.equal(rule.best[member], steps[kept - 1].average[member])
        reason = rule.reason(member)
        assert str(kept) in reason
        assert "kept" in reason
        assert "\n" not in reason


class Given(StoppingRule):
    """Scores as they are listed."""

    name = "given"

    def __init__(self, scores: list[float], **options) -> None:
        super().__init__(**options)
        self.scores = scores

    def score(self, step):
        return torch.tensor([self.scores[step.index - 1]], dtype=torch.float64)


@pytest.mark.parametrize("seed", range(5))
def test_a_rule_never_stops_before_its_minimum(seed):
    """A rough valley: as long as no pause in its descent is longer than the patience, the lowest point is kept."""
    generator = np.random.default_rng(seed)
    lowest = int(generator.integers(40, 180))
    scores = np.abs(np.arange(1, TOTAL + 1) - lowest) + generator.uniform(0, 10, TOTAL)
    rule = prepared(Given(scores.tolist(), patience=25), Problem(torch.zeros(1, 1, 16, 16)))
    stopped = follow(rule, [step_of(i, torch.full((1, 1, 16, 16), float(i))) for i in range(1, TOTAL + 1)])
    assert rule.kept_step == [int(scores.argmin()) + 1]
    assert stopped == [rule.kept_step[0] + 25]
    assert rule.best is not None
    assert float(rule.best.mean()) == rule.kept_step[0]


def test_patience_defaults_to_a_share_of_the_steps_and_every_looks_less_often():
    scores = [1.0] + [2.0] * (TOTAL - 1)
    steps = [step_of(i, torch.zeros(1, 1, 16, 16)) for i in range(1, TOTAL + 1)]
    assert follow(prepared(Given(scores), Problem(torch.zeros(1, 1, 16, 16))), steps) == [1 + TOTAL // 3]
    scores = [1.0 if i % 4 else 2.0 for i in range(1, TOTAL + 1)]
    rule = prepared(Given(scores, every=4), Problem(torch.zeros(1, 1, 16, 16)))
    assert follow(rule, steps) == [4 + TOTAL // 3]
    assert rule.best_score == [2.0]


@pytest.mark.parametrize(
    "make", [lambda: windowed_variance(50), lambda: moving_variance(0.01), lambda: held_out(every=9)]
)
def test_until_a_first_score_the_latest_average_is_the_best(make):
    run = fit_of(noisy(), rule=make())
    for step in run:
        assert torch.equal(run.result().image, step.average)
        assert f"step {step.index}" in run.result().reason
        if step.index == 8:
            break


def leaves(rule: StoppingRule) -> list[StoppingRule]:
    return [leaf for part in rule.rules for leaf in leaves(part)] if isinstance(rule, stopping.Either) else [rule]


@each_rule
def test_steps_that_diverged_are_survived(make):
    """A fit goes back by itself; until it does, its spoiled steps must neither be kept nor blind a rule for good."""
    problem, steps = synthetic_fit()
    rule = prepared(make(), problem, members=2)
    spoiled = torch.full_like(steps[0].average, math.nan)
    for step in steps[:100]:
        bad = 40 < step.index <= 55
        rule.look(step_of(step.index, spoiled, loss=math.nan) if bad else step)
        if bad:
            assert rule.best is not None
            assert make is RULES["after"] or not any(40 < kept <= 55 for kept in rule.kept_step)
    for leaf in leaves(rule):
        assert all(math.isfinite(score) for score in leaf.last_score)


def test_prepare_forgets_what_was_seen():
    problem, steps = synthetic_fit()
    rule, fresh = windowed_variance(10, 30), windowed_variance(10, 30)
    follow(prepared(rule, problem, members=2), steps)
    assert follow(prepared(rule, problem, members=2), steps) == follow(prepared(fresh, problem, members=2), steps)
    assert rule.kept_step == fresh.kept_step


def test_your_own_rule_takes_five_lines():
    class Quiet(StoppingRule):
        name = "quiet"

        def score(self, step):
            return step.loss

    run = fit_of(noisy(), replace(THIN, steps=60), rule=(rule := Quiet(patience=60)))
    losses = [float(step.loss) for step in run]
    assert rule.kept_step == [losses.index(min(losses)) + 1]
    assert "quiet" in run.result().reason
    with pytest.raises(TypeError, match=r"StoppingRule must define score"):
        StoppingRule().score(step_of(1, torch.zeros(1, 1, 16, 16)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: after(0), "steps must be at least 1, got 0"),
        (lambda: windowed_variance(1), "window must be at least 2 steps, got 1"),
        (lambda: windowed_variance(10, 0), "patience must be at least 1 step, got 0"),
        (lambda: moving_variance(0.0), "alpha must be between 0 and 1, got 0.0"),
        (lambda: moving_variance(1.0), "alpha must be between 0 and 1, got 1.0"),
        (lambda: held_out(0), "above 0 and at most 0.5, got 0"),
        (lambda: risk(0.6), "above 0 and at most 0.5, got 0.6"),
        (lambda: discrepancy(0), "sigma must be above 0, got 0"),
        (lambda: plateau(-1), "patience must be at least 1 step, got -1"),
    ],
)
def test_arguments_that_cannot_be_are_said(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_the_truth_is_no_argument_anywhere():
    truths = {"clean", "reference", "truth", "ground_truth", "original", "true", "gt"}
    for module in (stopping, fit, problem, recipes, checkpoint, denoise, start):
        for name, member in vars(module).items():
            if inspect.isfunction(member) or inspect.isclass(member):
                functions = [member, *(f for f in vars(member).values() if inspect.isfunction(f))]
                for function in functions if inspect.isclass(member) else [member]:
                    try:
                        arguments = set(inspect.signature(function).parameters)
                    except ValueError:
                        continue
                    assert not arguments & truths, f"{module.__name__}.{name}"
    assert not truths & (set(Step.__dataclass_fields__) | set(Problem.__dataclass_fields__))
