"""What an accelerator needs: steps that read nothing from the device, and steps recorded once and replayed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from specimens import THIN, THIN_ADAM, THIN_MASKED, StopApart, fit_of, noisy
from waits import counted

from preimage.engine import cuda_graphs as graphs
from preimage.engine.fit import READ_EVERY, Fit
from preimage.engine.members import Members
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

RULES: dict[str, Callable[[], StoppingRule]] = {
    "after": lambda: after(24),
    "windowed": lambda: windowed_variance(5, patience=6),
    "moving": lambda: moving_variance(0.5, patience=4),
    "held out": lambda: held_out(0.1, patience=6),
    "risk": lambda: risk(0.1, patience=6),
    "discrepancy": lambda: discrepancy(factor=3),
    "plateau": lambda: plateau(patience=5, fraction=0.5),
    "either": lambda: moving_variance(0.5, patience=10) | after(24),
}
RECIPES = {"muon": THIN, "adam": THIN_ADAM, "masked": THIN_MASKED}
each_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
each_recipe = pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())


def fitted(rule: StoppingRule | None = None, recipe=THIN, *, read_every: int = READ_EVERY, restarts: int = 2) -> Fit:
    prior = recipe.prior(3, (32, 32), members=restarts, device="cpu")
    problem = Problem(noisy(), noise_level=0.01)
    fit = Fit(problem, prior, recipe=recipe, rule=rule or after(), restarts=restarts)
    fit.read_every = read_every
    return fit


# ---------------------------------------------------------------------- nothing is waited for


@each_rule
def test_steps_of_every_rule_read_nothing_from_the_device_until_they_are_read_together(rule, monkeypatch):
    fit = fitted(rule())
    steps = iter(fit)
    next(steps)
    with counted(monkeypatch) as waits:
        for _ in range(READ_EVERY - 2):
            next(steps)
    assert not waits.counts
    with counted(monkeypatch) as waits:
        next(steps)
    assert waits.counts["tolist"] == 2  # the guard's and the rule's


@each_recipe
def test_steps_of_every_recipe_read_nothing_from_the_device(recipe, monkeypatch):
    steps = iter(fitted(recipe=recipe))
    next(steps)
    with counted(monkeypatch) as waits:
        for _ in range(READ_EVERY - 2):
            next(steps)
    assert not waits.counts


def test_what_waits_is_counted(monkeypatch):
    """The counting itself: without it the tests above would hold for anything."""
    x = torch.ones(2)
    with counted(monkeypatch) as waits:
        assert float(x[0]) + x.sum().item() + sum(x.tolist()) == 5
        assert torch.tensor([1.0, 2.0]).sum() > 0
    assert waits.counts == {"aten._local_scalar_dense.default": 3, "tolist": 1, "aten.lift_fresh.default": 1}


@each_rule
def test_a_rule_that_is_told_later_keeps_and_says_the_same(rule):
    at_once, later = (fitted(rule(), read_every=every).run() for every in (1, READ_EVERY))
    assert torch.equal(at_once.image, later.image)
    assert (at_once.kept_step, at_once.steps, at_once.reason) == (later.kept_step, later.steps, later.reason)


def test_a_result_asked_for_between_two_readings_knows_every_step():
    fit = fitted(windowed_variance(5, patience=6))
    for step in fit:
        if step.index == READ_EVERY + 3:
            break
    before = fit.tracker.kept_step[0]
    assert fit.result().kept_step[0] > READ_EVERY >= before
    assert fit.state_dict()["judge"]["tracker"]["kept_step"] == fit.result().kept_step
    assert fit.tracker.kept_step[0] == before


@each_rule
def test_looking_at_the_result_between_two_readings_changes_nothing(rule):
    plain, looked_at = (fitted(rule(), read_every=READ_EVERY) for _ in range(2))
    for step in looked_at:
        looked_at.result()
        looked_at.state_dict()
        del step
    expected, result = plain.run(), looked_at.result()
    assert torch.equal(result.image, expected.image)
    assert (result.kept_step, result.steps, result.reason) == (expected.kept_step, expected.steps, expected.reason)
    for ours, theirs in zip(result.weights, expected.weights, strict=True):
        assert all(torch.equal(value, theirs["network"][name]) for name, value in ours["network"].items())


# ---------------------------------------------------------------------- recorded steps


def replayed(fit: Fit, **options) -> graphs.CudaGraphs:
    """Replays by calling again: what a CUDA graph does, without one."""
    fit.graphs = made = graphs.CudaGraphs(fit._move, fit._terms, **{"record": lambda call: call} | options)
    return made


@each_recipe
@pytest.mark.parametrize("restarts", [1, 2])
def test_replayed_steps_are_the_steps(recipe, restarts):
    plain, recorded = (fitted(recipe=recipe, restarts=restarts, read_every=1) for _ in range(2))
    calls = []
    made = replayed(recorded, record=lambda call: calls.append(call) or call)
    assert torch.equal(plain.run().image, recorded.run().image)
    assert not made.plainly
    assert len(calls) == (1 if plain.members.stacked else restarts)
    assert not made.recorded  # let go of at the end, for it holds memory of its own


def test_what_is_handed_out_is_not_overwritten_by_the_next_replay():
    fit = fitted(restarts=1)
    held: list[torch.Tensor] = []

    def record(call):
        outputs: list[torch.Tensor] = []

        def replay():
            now = call()
            outputs[:] = outputs or [value.clone() for value in now]
            for place, value in zip(outputs, now, strict=True):
                place.copy_(value)
            return outputs[0], outputs[1]

        return replay

    replayed(fit, record=record)
    for step in fit:
        held.append(step.image)
        assert all(not torch.equal(step.image, other) for other in held[:-1])


def test_a_step_that_cannot_be_recorded_is_computed_plainly():
    def record(call):
        raise RuntimeError("operation not permitted when stream is capturing")

    plain, refused = fitted(), fitted()
    made = replayed(refused, record=record)
    assert torch.equal(plain.run().image, refused.run().image)
    assert made.plainly


def test_a_replay_that_gives_another_loss_is_not_trusted():
    fit = fitted(restarts=1)

    def record(call):
        def replay():
            terms, x = call()
            return 2 * terms, x

        return replay

    made = replayed(fit, record=record)
    fit.run()
    assert made.plainly


def test_a_state_that_is_put_back_is_recorded_anew():
    fit = fit_of(noisy(), rule=after(20))
    made = replayed(fit)
    steps = iter(fit)
    for _ in range(10):
        next(steps)
    state = fit.state_dict()
    assert made.recorded
    fit.load_state_dict(state)
    assert not made.recorded
    result, straight = fit.run(), fit_of(noisy(), rule=after(20)).run()
    assert torch.equal(result.image, straight.image)


def test_members_that_stop_leave_the_recording():
    fit = fitted(StopApart(10, 20), restarts=3, read_every=1)
    fit.members = Members(fit.prior, stacked=True)
    made = replayed(fit)
    *_, before, _ = ([*made.recorded] for _ in fit)
    assert fit.stopped == [10, 20, 20]
    assert before == [(1, 2)]
