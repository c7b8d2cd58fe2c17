"""What an accelerator needs: steps that read nothing from the device, and steps recorded once and replayed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from engine.fake_cuda import Stream, captured, fake_cuda, log
from specimens import THIN, THIN_ADAM, THIN_MASKED, StopApart, fit_of, noisy
from waits import counted

from preimage.engine import cuda_graphs as graphs
from preimage.engine import replay
from preimage.engine.fit import READ_EVERY, Fit
from preimage.engine.members import Members, stacking_pays
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


@pytest.mark.long
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


@pytest.fixture
def cuda() -> Iterator[None]:
    with fake_cuda():
        yield


def replayed(fit: Fit, **options) -> graphs.CudaGraphs:
    """A fit whose steps are recorded."""
    fit.graphs = made = graphs.CudaGraphs(fit.descent, **options)
    return made


def apart(fit: Fit) -> Fit:
    """A fit whose members are computed apart, as larger ones are."""
    fit.members = fit.descent.members = Members(fit.prior, stacked=False)
    return fit


@each_recipe
@pytest.mark.parametrize("restarts", [1, 3])
@pytest.mark.parametrize("stacked", [True, False])
def test_replayed_steps_are_the_steps(recipe, restarts, stacked, cuda):
    plain, recorded = (fitted(recipe=recipe, restarts=restarts, read_every=1) for _ in range(2))
    if not stacked:
        plain, recorded = apart(plain), apart(recorded)
    made = replayed(recorded)
    assert torch.equal(plain.run().image, recorded.run().image)
    assert not made.plainly
    assert [each.replays for each in captured] == [recorded.index - replay.WARM_STEPS] == [made.replays]
    assert not made.recorded  # let go of at the end, for it holds memory of its own


@each_recipe
def test_what_is_random_is_drawn_within_the_recording(recipe, cuda):
    fit = fitted(recipe=recipe, restarts=1)
    replayed(fit)
    steps = iter(fit)
    for _ in range(6):
        next(steps)
    generators = fit.prior.jitter.generators
    assert captured[0].known == (generators if fit.prior.jitter.on_device else [])
    draw, drawn = fit.prior.inputs, []
    fit.prior.inputs = lambda group: drawn.append(group) or draw(group)  # type: ignore[method-assign]
    next(steps)
    assert bool(drawn) != fit.prior.jitter.on_device


def test_members_are_branches_beside_each_other_that_are_waited_for(cuda):
    fit = apart(fitted(restarts=3))
    replayed(fit)
    steps = iter(fit)
    for _ in range(replay.WARM_STEPS):
        next(steps)
    log.clear()
    next(steps)
    trunk = Stream.current
    branches = [each[1] for each in log if each[0] == "new"]
    assert len(branches) == 3
    forked = [("wait", branch, trunk) for branch in branches]
    assert log[3:] == [*forked, *(("on", branch) for branch in branches), *(("wait", trunk, each) for each in branches)]


def test_of_many_members_several_follow_each_other_in_a_branch(cuda):
    fit = apart(fitted(restarts=replay.BRANCHES + 2))
    made = replayed(fit)
    steps = iter(fit)
    for _ in range(replay.WARM_STEPS):
        next(steps)
    log.clear()
    next(steps)
    entered = [each[1] for each in log if each[0] == "on"]
    assert len(entered) == replay.BRANCHES + 2
    assert len(set(map(id, entered))) == replay.BRANCHES
    assert made.recorded


def test_what_is_handed_out_is_not_overwritten_by_the_next_replay(cuda):
    fit = fitted(restarts=1)
    replayed(fit)
    held: list[torch.Tensor] = []
    for step in fit:
        held.append(step.image)
        assert all(not torch.equal(step.image, other) for other in held[:-1])


def refusing(*ways: str):
    """A recorder that cannot record in these ways."""

    def record(calls, generators, way):
        if way in ways:
            raise RuntimeError("operation not permitted when stream is capturing")
        return replay.record_on_cuda(calls, generators, way)

    return record


@pytest.mark.parametrize(("refused", "left"), [(["branches"], ["in a row"]), (["branches", "in a row"], [])])
def test_a_step_that_cannot_be_recorded_is_recorded_in_another_way_or_computed_plainly(refused, left, cuda):
    plain, refusal = (apart(fitted()) for _ in range(2))
    made = replayed(refusal, record=refusing(*refused))
    assert torch.equal(plain.run().image, refusal.run().image)
    assert made.ways == left
    assert made.plainly == (not left)


@pytest.mark.parametrize(("wrong", "left"), [(["branches"], ["in a row"]), (["branches", "in a row"], [])])
def test_a_replay_that_gives_another_loss_is_undone(wrong, left, cuda):
    plain, fit = (apart(fitted()) for _ in range(2))

    def record(calls, generators, way):
        again = replay.record_on_cuda(calls, generators, way)
        factor = 2 if way in wrong else 1
        return lambda: [(factor * terms, x) for terms, x in again()]

    made = replayed(fit, record=record)
    expected, found = plain.run(), fit.run()
    assert made.ways == left
    if fit.prior.jitter.on_device:  # what the undone replay drew is gone
        assert torch.allclose(found.history["loss"][:4], expected.history["loss"][:4], rtol=1e-4)


def test_a_number_read_from_the_device_cannot_be_recorded(cuda):
    fit = fitted(restarts=1)
    made = replayed(fit)
    expected = fit.descent.expected
    fit.descent.expected = lambda group, inputs: (float(inputs.codes[0].sum()), expected(group, inputs))[1]  # type: ignore[method-assign]
    fit.run()
    assert made.plainly


def test_a_state_that_is_put_back_is_recorded_anew(cuda):
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


@pytest.mark.parametrize("stacked", [True, False])
def test_members_that_stop_leave_the_recording(stacked, cuda):
    fit = fitted(StopApart(10, 20), restarts=3, read_every=1)
    fit.members = fit.descent.members = Members(fit.prior, stacked=stacked)
    made = replayed(fit)
    *_, before, _ = (made.key for _ in fit)
    assert fit.stopped == [10, 20, 20]
    assert before == (((1, 2),) if stacked else ((1,), (2,)))


@pytest.mark.parametrize(("side", "stacked"), [(64, True), (96, False)])
def test_on_a_gpu_only_small_images_are_computed_in_one_call(side, stacked):
    prior = THIN.prior(3, (side, side), members=2, device="cpu")
    prior.device = torch.device("cuda")
    assert stacking_pays(prior) == stacked


def test_a_fit_that_has_ended_holds_no_recording(cuda):
    fit = fitted(after(12))
    made = replayed(fit)
    fit.run()
    assert made.replays > 2
    assert made.recorded is None
