"""The stopping rule of a counterfactual, with scripted class probabilities."""

from __future__ import annotations

import pytest
import torch

from preimage.engine.step import Step
from preimage.errors import InputError
from preimage.explain.class_schedule import ClassReached, ClassTracker
from preimage.explain.class_term import counted
from preimage.problem import Problem


def step(index: int, value: float, total: int = 100) -> Step:
    image = torch.full((2, 1, 4, 4), value)
    return Step(index, total, 0.0, image, image, {"squared": torch.zeros(2)}, active=(True, True))


def started(probability, **settings) -> tuple[Problem, ClassTracker]:
    """`probability(value)` is that of class 1 for an image of that value."""
    rule = ClassReached(
        lambda x: torch.tensor([[1 - probability(float(v)), probability(float(v))] for v in x.mean((1, 2, 3))]),
        1,
        **{"wait": 10} | settings,
    )
    problem = Problem(torch.zeros(1, 1, 4, 4), regularizers=((torch.tensor([0.1, 0.0]), lambda x: x.mean((1, 2, 3))),))
    problem, tracker = rule.start(problem, members=range(2), total=100)
    assert isinstance(tracker, ClassTracker)
    return problem, tracker


def evaluate(tracker: ClassTracker, given: Step) -> list[bool]:
    return tracker.decide(given, tracker.measure(given).tolist())


def stops(tracker: ClassTracker, value) -> int | None:
    return next((i for i in range(1, 101) if all(evaluate(tracker, step(i, value(i))))), None)


def test_it_stops_once_the_class_is_reached_and_the_image_has_settled():
    _, tracker = started(lambda v: 0.95)
    assert stops(tracker, lambda i: min(i, 30) / 100) == 45  # settled from the evaluation at 35 on, for ten steps
    assert tracker.kept_step == [45, 45]
    assert tracker.reason_code(0) == "class-reached"


def test_it_goes_on_while_the_image_changes():
    assert stops(started(lambda v: 0.95)[1], lambda i: i / 100) is None


def test_a_class_never_reached_keeps_the_most_confident_of_the_later_steps():
    _, tracker = started(lambda v: v)
    values = {i: 0.8 if i == 10 else 0.6 if i == 50 else 0.2 for i in range(1, 101)}
    assert stops(tracker, values.__getitem__) is None
    assert tracker.kept_step == [50, 50]
    assert tracker.reason_code(0) == "all-steps"
    assert tracker.reason(0).startswith("a confidence of 0.9 was not reached, 0.60 at most; kept step 50")


def test_it_is_said_whose_confidence_was_not_reached():
    _, tracker = started(lambda v: 0.6, counted=counted(4, 1))
    stops(tracker, lambda i: 0.2)
    assert "reached by the mean over altered copies and classifiers and by the image as it is, 0.60" in tracker.reason(
        0
    )
    assert counted(4, 0) == "by the mean over altered copies and by the image as it is"
    assert counted(0, 2) == "by the mean over classifiers"
    assert not counted(0, 0)


def test_the_class_weight_grows_only_while_the_class_is_not_reached():
    problem, tracker = started(lambda v: v, growth=2.0, largest_factor=8.0)
    stops(tracker, lambda i: 0.2 if i < 65 else 0.95)
    assert problem.regularizers[0][0].tolist() == pytest.approx([0.1 * 8, 0.0])
    problem, tracker = started(lambda v: 0.95)
    stops(tracker, lambda i: i / 100)
    assert problem.regularizers[0][0].tolist() == pytest.approx([0.1, 0.0])


def test_a_reconstruction_that_loses_its_class_gets_a_weight_that_grows_until_it_is_back():
    back_at = 60
    shown = {"step": 0}
    settings = {"growth": 2.0, "largest_factor": 8.0, "keeps_class": lambda row: shown["step"] >= back_at}
    problem, tracker = started(lambda v: 0.95, **settings)
    seen = {}
    for index in range(1, 101):
        shown["step"] = index
        evaluate(tracker, step(index, index / 100))
        seen[index] = problem.regularizers[0][0].tolist()
    assert seen[34] == pytest.approx([0.1, 0.0])  # a third of the steps
    assert seen[35] == pytest.approx([0.1, 0.1])
    assert seen[40] == pytest.approx([0.1, 0.2])
    assert seen[59] == seen[100] == pytest.approx([0.1, 0.8])


def test_a_pair_whose_reconstruction_has_lost_its_class_goes_on_until_no_weight_helps():
    assert stops(started(lambda v: 0.95, keeps_class=lambda row: True)[1], lambda i: 0.3) == 15
    assert stops(started(lambda v: 0.95, keeps_class=lambda row: False)[1], lambda i: 0.3) is None
    lost = started(lambda v: 0.95, keeps_class=lambda row: False, growth=10.0)[1]
    assert stops(lost, lambda i: 0.3) == 60  # a factor of 100 at the evaluation of step 45


def test_its_state_is_all_of_it():
    (of_whole, whole), (_, first), (of_second, second) = (started(lambda v: v) for _ in range(3))
    for i in range(1, 61):
        (evaluate(whole, step(i, 0.3)), evaluate(first, step(i, 0.3)))
    second.load_state_dict(first.state_dict())
    for i in range(61, 101):
        (evaluate(whole, step(i, 0.4)), evaluate(second, step(i, 0.4)))
    assert whole.kept_step == second.kept_step
    assert torch.equal(of_whole.regularizers[0][0], of_second.regularizers[0][0])
    assert whole.curve(0, 1) == second.curve(0, 1)


def test_one_rule_serves_several_fits():
    rule = ClassReached(lambda x: torch.tensor([[0.05, 0.95]] * len(x)), 1, wait=10)
    problem = Problem(torch.zeros(1, 1, 4, 4))
    (_, first), (_, second) = (rule.start(problem, members=range(2), total=100) for _ in range(2))
    assert isinstance(first, ClassTracker)
    stops(first, lambda i: 0.5)
    assert first.kept_step != second.kept_step


@pytest.mark.parametrize("confidence", [0.0, 1.0, 1.5])
def test_a_confidence_that_cannot_be(confidence):
    with pytest.raises(InputError, match="between 0 and 1"):
        started(lambda v: v, confidence=confidence)
