"""The rule of a counterfactual, told what a classifier says by a script."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sequences import look

from preimage.engine.step import Step
from preimage.errors import InputError
from preimage.explain.class_schedule import ClassReached
from preimage.problem import Problem


def step(index: int, value: float, total: int = 100) -> Step:
    image = torch.full((2, 1, 4, 4), value)
    return Step(index, total, 0.0, image, image, {"squared": torch.zeros(2)}, active=(True, True))


def prepared(chance, **settings):
    """The tracker of a rule; `chance(value)` is the probability of class 1 for a picture of that value."""
    rule = ClassReached(
        lambda x: torch.stack([torch.tensor([1 - chance(float(v)), chance(float(v))]) for v in x.mean((1, 2, 3))]),
        1,
        **{"wait": 10} | settings,
    )
    problem = Problem(torch.zeros(1, 1, 4, 4), regularizers=((torch.tensor([0.1, 0.0]), lambda x: x.mean((1, 2, 3))),))
    tracker: Any = rule.start(problem, members=2, total=100)[1]
    tracker.problem = problem
    return tracker


def stops(rule, value) -> int | None:
    return next((i for i in range(1, 101) if all(look(rule, step(i, value(i))))), None)


def test_it_ends_once_the_class_is_there_and_the_picture_rests():
    rule = prepared(lambda v: 0.95)
    assert stops(rule, lambda i: min(i, 30) / 100) == 45  # quiet from the look at 35 on, ten steps long
    assert rule.kept_step == [45, 45]
    assert "settled" in rule.reason(0)


def test_it_goes_on_while_the_picture_moves():
    assert stops(prepared(lambda v: 0.95), lambda i: i / 100) is None


def test_a_class_never_reached_keeps_the_best_attempt_of_the_later_steps():
    rule = prepared(lambda v: v)
    values = {i: 0.8 if i == 10 else 0.6 if i == 50 else 0.2 for i in range(1, 101)}
    assert stops(rule, values.__getitem__) is None
    assert rule.kept_step == [50, 50]
    assert "0.60 at most" in rule.reason(0)


def test_the_weight_of_the_class_grows_only_while_it_is_not_reached():
    rule = prepared(lambda v: v, push=2.0, most=8.0)
    stops(rule, lambda i: 0.2 if i < 65 else 0.95)
    weights = rule.problem.regularizers[0][0]
    assert weights.tolist() == pytest.approx([0.1 * 8, 0.0])
    still = prepared(lambda v: 0.95)
    stops(still, lambda i: i / 100)
    assert still.problem.regularizers[0][0].tolist() == pytest.approx([0.1, 0.0])


def test_its_state_is_all_of_it():
    whole, first, second = (prepared(lambda v: v) for _ in range(3))
    for i in range(1, 61):
        (look(whole, step(i, 0.3)), look(first, step(i, 0.3)))
    second.load_state_dict(first.state_dict())
    for i in range(61, 101):
        (look(whole, step(i, 0.4)), look(second, step(i, 0.4)))
    assert whole.kept_step == second.kept_step
    assert torch.equal(whole.strengths, second.strengths)
    assert whole.curve(0, 1) == second.curve(0, 1)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 1.5])
def test_a_confidence_that_cannot_be(confidence):
    with pytest.raises(InputError, match="between 0 and 1"):
        prepared(lambda v: v, confidence=confidence)
