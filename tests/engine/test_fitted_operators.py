"""Operators with parameters of their own are fitted with the image, by each member for itself."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
import torch
from specimens import THIN, clean, fit_of, noisy

from preimage.engine.fit import Fit
from preimage.problem import Problem
from preimage.stopping import after


class Brightness(torch.nn.Module):
    """A trainable operator: one unknown factor."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        return self.factor * x


def test_a_trainable_operator_is_fitted_by_each_member_for_itself():
    operator = Brightness()
    recipe = replace(THIN, steps=40, rate=0.05)
    fit = Fit(
        Problem(2 * clean(), operator=operator), recipe.prior(3, (32, 32), members=2, device="cpu"), recipe=recipe
    )
    fit.run()
    factors = [float(own.state_dict()["factor"]) for own in fit.theta.operators]
    assert float(operator.factor.detach()) == 1.0
    assert min(factors) > 1.2
    assert factors[0] != factors[1]
    assert fit.state_dict()["theta"]["members"][0]["operator"]["factor"].item() == factors[0]


def brightness_fit(members: int, target: torch.Tensor, *, restarts: int | None = None, seed: int = 0) -> Fit:
    recipe = replace(THIN, steps=8, rate=0.05)
    prior = recipe.prior(3, (32, 32), members=members, seed=seed, device="cpu")
    problem = Problem(target, operator=Brightness())
    return Fit(problem, prior, recipe=recipe, restarts=restarts or members, seed=seed)


def test_the_fitted_operators_are_in_the_result_one_for_each_member():
    result = brightness_fit(3, 2 * clean()).run()
    factors = [float(operator.state_dict()["factor"]) for operator in result.operators]
    assert len(set(factors)) == 3
    assert min(factors) > 1
    assert [float(weights["operator"]["factor"]) for weights in result.weights] == factors
    assert fit_of(noisy()).run().operators == []


def test_the_operators_of_a_result_are_not_changed_by_going_on():
    fit = brightness_fit(1, 2 * clean())
    for step in fit:
        if step.index == 4:
            break
    early = fit.result()
    before = float(early.operators[0].state_dict()["factor"])
    late = fit.run()
    assert float(early.operators[0].state_dict()["factor"]) == before
    assert float(late.operators[0].state_dict()["factor"]) != before


def test_restarts_do_not_mix_their_operators():
    """Of two members the first has the operator that it has alone; rounding grows over a fit."""
    alone, both = (brightness_fit(members, 2 * clean()).run() for members in (1, 2))
    first, second = (float(operator.state_dict()["factor"]) for operator in both.operators)
    expected = float(alone.operators[0].state_dict()["factor"])
    assert first == pytest.approx(expected, rel=0.02)
    assert abs(second - first) > 3 * abs(first - expected)


def test_pictures_do_not_mix_their_operators():
    """One twice as bright as it can be, and one that is as it is."""
    result = brightness_fit(2, torch.cat([2 * clean(), 0.4 * clean()]), restarts=1).run()
    bright, dark = (float(operator.state_dict()["factor"]) for operator in result.operators)
    assert bright > 1.03
    assert dark < 0.99


def test_resuming_goes_on_with_the_operators_as_they_were():
    expected = brightness_fit(2, 2 * clean()).run()
    first = brightness_fit(2, 2 * clean())
    for step in first:
        if step.index == 5:
            break
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    second = brightness_fit(2, 2 * clean())
    second.load_state_dict(torch.load(buffer, weights_only=True))
    resumed = second.run()
    assert torch.equal(resumed.image, expected.image)
    for operator, other in zip(resumed.operators, expected.operators, strict=True):
        assert torch.equal(operator.state_dict()["factor"], other.state_dict()["factor"])


def test_a_fitted_operator_starts_the_next_fit():
    first = brightness_fit(2, 2 * clean()).run()
    prior = THIN.prior(3, (32, 32), members=2, device="cpu")
    warm = Fit(Problem(2 * clean(), operator=Brightness()), prior, recipe=THIN, restarts=2, initial=first)
    for operator, other in zip(warm.theta.operators, first.operators, strict=True):
        assert torch.equal(operator.state_dict()["factor"], other.state_dict()["factor"])
        assert float(operator.state_dict()["factor"]) != 1


def test_what_goes_on_has_an_operator_of_its_own():
    fit = brightness_fit(1, 2 * clean())
    before = [float(own.state_dict()["factor"]) for own in fit.run().operators]
    other = fit.extended(after(12), steps=12)
    assert other.problem.operator is not fit.problem.operator
    other.run()
    assert [float(own.state_dict()["factor"]) for own in fit.result().operators] == before
