"""What every rule promises, whatever it looks at, and what two of them make together."""

from __future__ import annotations

import inspect
import io
import math
from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, field, replace

import numpy as np
import pytest
import torch
from sequences import TOTAL, follow, look, started, step_of, synthetic_fit
from specimens import THIN, fit_of, noisy

from preimage import problem, stopping
from preimage.engine import checkpoint, fit
from preimage.engine import recipe as recipes
from preimage.engine.step import Step
from preimage.errors import InputError
from preimage.problem import Problem
from preimage.restore import denoise
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
    "windowed": lambda: windowed_variance(10, patience=30),
    "moving": lambda: moving_variance(0.2, patience=30),
    "held out": lambda: held_out(0.1, patience=30),
    "risk": lambda: risk(0.1, patience=30),
    "discrepancy": lambda: discrepancy(),
    "plateau": lambda: plateau(patience=20, fraction=0.05),
    "either": lambda: windowed_variance(10, patience=30) | discrepancy(factor=0.5),
    "nested": lambda: held_out(0.1, patience=30) | plateau(patience=20, fraction=0.05) | after(150),
}
each_rule = pytest.mark.parametrize("make", RULES.values(), ids=RULES.keys())


@pytest.mark.parametrize("order", ["shorter first", "longer first"])
def test_either_stops_at_the_first_and_keeps_what_that_one_kept(order):
    short, long = after(12), windowed_variance(5, patience=100)
    rule = short | long if order == "shorter first" else long | short
    run = fit_of(noisy(), rule=rule)
    averages = [step.average for step in run]
    assert len(averages) == 12
    assert torch.equal(run.result().image, averages[11])
    assert run.result().reason_code == "steps-done"
    assert "12" in run.result().reason


def test_either_decides_for_each_member():
    class Low(StoppingRule):
        """Member 0's score is least at step 10, member 1's never rises."""

        name = "low"

        def score(self, step):
            return torch.tensor([abs(step.index - 10), -step.index])

    rule = started(Low(patience=5) | after(30), Problem(torch.zeros(1, 1, 16, 16)), members=2)
    steps = [step_of(i, torch.full((2, 1, 16, 16), float(i))) for i in range(1, 41)]
    assert follow(rule, steps) == [15, 30]
    assert rule.kept_step == [10, 30]
    assert rule.best is not None
    assert rule.best[:, 0, 0, 0].tolist() == [10, 30]
    assert rule.reason(0).startswith("low")
    assert (rule.reason_code(0), rule.reason_code(1)) == ("patience", "steps-done")


@each_rule
def test_a_state_goes_on_as_if_nothing_had_been(make):
    problem, steps = synthetic_fit()
    straight = started(make(), problem, members=2)
    for step in steps[:50]:
        look(straight, step)
    buffer = io.BytesIO()
    torch.save(straight.state_dict(), buffer)
    buffer.seek(0)
    resumed = started(make(), problem, members=2)
    resumed.load_state_dict(torch.load(buffer, weights_only=True))
    for step in steps[50:]:
        assert look(straight, step) == look(resumed, step)
        assert straight.kept_step == resumed.kept_step
        assert straight.best is not None
        assert torch.equal(straight.best, resumed.best)
    assert [straight.reason(i) for i in range(2)] == [resumed.reason(i) for i in range(2)]
    assert straight.status() == resumed.status()


@each_rule
def test_a_stopped_member_keeps_its_best(make):
    problem, steps = synthetic_fit()
    rule = started(make(), problem, members=2)
    for step in steps[:80]:
        look(rule, step)
    assert rule.best is not None
    best, kept, reason = rule.best[0].clone(), rule.kept_step[0], rule.reason(0)
    other = rule.kept_step[1]
    for step in steps[80:]:
        wonderful = replace(step, active=(False, True), terms={"loss": torch.tensor([0.0, 0.0])})
        assert look(rule, wonderful)[0] is False
    assert torch.equal(rule.best[0], best)
    assert rule.kept_step[0] == kept
    assert rule.reason(0) == reason
    assert rule.kept_step[1] >= other


@each_rule
def test_what_was_kept_is_that_average_and_no_later_one_and_the_reason_names_it(make):
    problem, steps = synthetic_fit()
    rule = started(make(), problem, members=2)
    stopped = follow(rule, steps)
    assert rule.best is not None
    for member, (kept, end) in enumerate(zip(rule.kept_step, stopped, strict=True)):
        assert 1 <= kept <= (end or TOTAL)
        assert torch.equal(rule.best[member], steps[kept - 1].average[member])
        reason = rule.reason(member)
        assert str(kept) in reason
        assert "kept" in reason
        assert "\n" not in reason


@dataclass(frozen=True)
class Given(StoppingRule):
    """Scores as they are listed."""

    scores: list[float] = field(kw_only=False)

    name = "given"

    def score(self, step):
        return torch.tensor([self.scores[step.index - 1]], dtype=torch.float64)


@pytest.mark.parametrize("seed", range(5))
def test_a_rule_never_stops_before_its_minimum(seed):
    """A rough valley: as long as no pause in its descent is longer than the patience, the lowest point is kept."""
    generator = np.random.default_rng(seed)
    lowest = int(generator.integers(40, 180))
    scores = np.abs(np.arange(1, TOTAL + 1) - lowest) + generator.uniform(0, 10, TOTAL)
    rule = started(Given(scores.tolist(), patience=25), Problem(torch.zeros(1, 1, 16, 16)))
    stopped = follow(rule, [step_of(i, torch.full((1, 1, 16, 16), float(i))) for i in range(1, TOTAL + 1)])
    assert rule.kept_step == [int(scores.argmin()) + 1]
    assert stopped == [rule.kept_step[0] + 25]
    assert rule.best is not None
    assert float(rule.best.mean()) == rule.kept_step[0]


def test_patience_defaults_to_a_share_of_the_steps_and_every_looks_less_often():
    scores = [1.0] + [2.0] * (TOTAL - 1)
    steps = [step_of(i, torch.zeros(1, 1, 16, 16)) for i in range(1, TOTAL + 1)]
    assert follow(started(Given(scores), Problem(torch.zeros(1, 1, 16, 16))), steps) == [1 + TOTAL // 3]
    scores = [1.0 if i % 4 else 2.0 for i in range(1, TOTAL + 1)]
    rule = started(Given(scores, every=4), Problem(torch.zeros(1, 1, 16, 16)))
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


def leaves(tracker) -> list:
    return [leaf for part in tracker.trackers for leaf in leaves(part)] if hasattr(tracker, "trackers") else [tracker]


@each_rule
def test_steps_that_diverged_are_survived(make):
    """A fit goes back by itself; until it does, its spoiled steps must neither be kept nor blind a rule for good."""
    problem, steps = synthetic_fit()
    rule = started(make(), problem, members=2)
    spoiled = torch.full_like(steps[0].average, math.nan)
    for step in steps[:100]:
        bad = 40 < step.index <= 55
        look(rule, step_of(step.index, spoiled, loss=math.nan) if bad else step)
        if bad:
            assert rule.best is not None
            assert make is RULES["after"] or not any(40 < kept <= 55 for kept in rule.kept_step)
    for leaf in leaves(rule):
        assert all(math.isfinite(score) for score in leaf.last_score)


@each_rule
def test_a_rule_is_a_value_that_any_number_of_fits_share(make):
    """Followed by turns, two trackers of one rule do what each does alone; the rule itself is what it was."""
    rule = make()
    problem, steps = synthetic_fit()
    other, other_steps = synthetic_fit(members=1)
    alone = [follow(started(make(), problem, members=2), steps), follow(started(make(), other), other_steps)]
    first, second = started(rule, problem, members=2), started(rule, other)
    stopped = [[0, 0], [0]]
    for step, other_step in zip(steps, other_steps, strict=True):
        for tracker, one, ends in ((first, step, stopped[0]), (second, other_step, stopped[1])):
            if not all(ends):
                stops = look(tracker, replace(one, active=tuple(not end for end in ends)))
                ends[:] = [end or (one.index if stop else 0) for end, stop in zip(ends, stops, strict=True)]
    assert stopped == alone
    assert rule == make()
    assert hash(rule) == hash(make())
    assert rule == make()
    with pytest.raises(FrozenInstanceError):
        rule.patience = 3


@each_rule
def test_a_copied_tracker_shares_nothing_that_changes(make):
    problem, steps = synthetic_fit()
    tracker, untouched = started(make(), problem, members=2), started(make(), problem, members=2)
    for step in steps[:50]:
        assert look(tracker, step) == look(untouched, step)
    twin = tracker.copied()
    for step in steps[50:90]:
        look(twin, step)
    for step in steps[50:]:
        assert look(tracker, step) == look(untouched, step)
        assert tracker.kept_step == untouched.kept_step


def test_names_on_the_command_line():
    assert {stopping.by_name(name).name for name in stopping.NAMES} >= {"steps", "risk", "held out", "plateau"}
    with pytest.raises(InputError) as caught:
        stopping.by_name("soon")
    assert caught.value.code == "invalid-value"


def test_your_own_rule_takes_five_lines():
    class Quiet(StoppingRule):
        name = "quiet"

        def score(self, step):
            return step.loss

    run = fit_of(noisy(), replace(THIN, steps=60), rule=Quiet(patience=60))
    losses = [float(step.loss) for step in run]
    assert run.tracker.kept_step == [losses.index(min(losses)) + 1]
    assert "quiet" in run.result().reason
    with pytest.raises(TypeError, match=r"StoppingRule must define score"):
        StoppingRule().score(step_of(1, torch.zeros(1, 1, 16, 16)))


@pytest.mark.parametrize(
    ("make", "value"),
    [
        (lambda: after(0), "0"),
        (lambda: windowed_variance(1), "1"),
        (lambda: windowed_variance(10, patience=0), "0"),
        (lambda: moving_variance(0.0), "0.0"),
        (lambda: moving_variance(1.0), "1.0"),
        (lambda: held_out(0), "0"),
        (lambda: held_out(every=0), "0"),
        (lambda: held_out(min_delta=-1), "-1"),
        (lambda: risk(0.6), "0.6"),
        (lambda: discrepancy(0), "0"),
        (lambda: plateau(patience=-1), "-1"),
    ],
)
def test_arguments_out_of_range_are_one_line_with_the_value(make, value):
    with pytest.raises(InputError) as caught:
        make()
    assert caught.value.code == "invalid-value"
    assert str(caught.value).endswith(f"got {value}")


def test_the_truth_is_no_argument_anywhere():
    truths = {"clean", "reference", "truth", "ground_truth", "original", "true", "gt"}
    for module in (stopping, fit, problem, recipes, checkpoint, denoise):
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


def test_the_state_of_two_rules_is_of_two():
    tracker = started(after(5) | after(9), Problem(torch.zeros(1, 1, 16, 16)))
    state = tracker.state_dict()
    tracker.load_state_dict(state)
    with pytest.raises(ValueError, match="shorter"):
        tracker.load_state_dict({**state, "trackers": state["trackers"][:1]})


def stops_at(rule: StoppingRule, scores: Callable[[int], float]) -> int:
    """The step at which scripted scores stop it; 0: they do not."""

    class Scripted(StoppingRule):
        name = "scripted"

        def score(self, step):
            return torch.tensor([scores(step.index)])

    scripted = Scripted(**{each: getattr(rule, each) for each in ("patience", "min_delta", "patience_ratio")})
    tracker = started(scripted, Problem(torch.zeros(1, 1, 16, 16)))
    stopped = follow(tracker, [step_of(i, torch.zeros(1, 1, 16, 16)) for i in range(1, 101)])[0]
    assert tracker.reason_code(0) == ("patience" if stopped else "all-steps")
    assert tracker.reason(0).startswith("scripted: " if stopped else "all steps were done before scripted")
    return stopped


@pytest.mark.parametrize(
    ("settings", "scores", "at"),
    [
        ({}, lambda i: 10.0 if i < 2 else 9.5, 7),
        ({"min_delta": 0.1}, lambda i: 10.0 if i < 2 else 9.5, 6),
        ({"min_delta": 0.1}, lambda i: 10.0 if i < 2 else 8.5, 7),
        ({"min_delta": 0.1}, lambda i: -10.0 if i < 2 else -10.5, 6),
        ({"patience_ratio": 2.0}, lambda i: float(abs(i - 10)), 30),
        ({"patience_ratio": 0.2}, lambda i: float(abs(i - 10)), 15),
        ({}, lambda i: -float(i), 0),
        ({}, lambda i: 1.0, 6),
    ],
)
def test_patience_and_what_counts_as_an_improvement(settings, scores, at):
    assert stops_at(StoppingRule(patience=5, **settings), scores) == at


def test_a_score_is_shown_where_there_is_one_and_asked_for_now_and_then():
    class Counted(StoppingRule):
        name = "counted"

        def score(self, step):
            asked.append(step.index)
            return torch.tensor([step.index / 4, step.index / 2, math.nan])

    asked: list[int] = []
    rule = Counted(patience=50, every=4)
    tracker = started(rule, Problem(torch.zeros(3, 1, 16, 16)), members=3, total=10)
    assert tracker.status() == "counted"
    for index in range(1, 11):
        look(tracker, replace(step_of(index, torch.zeros(3, 1, 16, 16)), total=10))
        if index == 8:
            assert tracker.score(8) == 3.0
            assert tracker.score(7) is None
            assert tracker.status() == "counted 3"
    assert asked == [4, 8, 10]
    assert (rule | after(3)).name == "counted | steps"
