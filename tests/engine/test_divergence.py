"""A fit that diverges goes back to its last good state at a lower rate, and is given up after some tries."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from specimens import THIN, fit_of, noisy

from preimage.engine.divergence import SNAPSHOT_EVERY, TRIES
from preimage.engine.fit import Fit
from preimage.problem import Each, Problem


class Spoiled:
    """An operator that ruins chosen calls: NaN, or a picture far off."""

    def __init__(self, calls: range, value: float) -> None:
        self.calls, self.value, self.count = calls, value, 0

    def __call__(self, x):
        self.count += 1
        return x + self.value if self.count in self.calls else x


@pytest.mark.parametrize(("value", "members"), [(float("nan"), 1), (3.0, 1), (3.0, 3)])
def test_divergence_rolls_back_lowers_the_rate_and_goes_on(value, members):
    recipe = replace(THIN, steps=60)
    prior = recipe.prior(3, (32, 32), members=members, device="cpu")
    fit = Fit(Problem(noisy(), operator=Spoiled(range(40, 42), value)), prior, recipe=recipe, restarts=1)
    assert fit.members.stacked == (members > 1)
    result = fit.run()
    assert len(result.history.events) == 2 * members
    assert "back to the last good state, rate 0.01" in result.history.events[0]
    assert bool(torch.isfinite(result.image).all())
    assert bool((result.history["loss"][-1] < result.history["loss"][0]).all())
    rates = {group["lr"] for own in fit.theta.optimizers for optimizer in own for group in optimizer.param_groups}
    assert rates == {recipe.rate / 4}


@pytest.mark.parametrize("members", [1, 3])
def test_what_is_gone_back_to_is_the_state_of_its_step(members):
    """Also where it is put into the place of the former one: weights that move on do not take it along."""
    fit = fit_of(noisy(), replace(THIN, steps=2 * SNAPSHOT_EVERY + 2), restarts=members)
    for step in fit:
        if step.index == 2 * SNAPSHOT_EVERY:
            weights = [{k: v.clone() for k, v in network.state_dict().items()} for network in fit.prior.networks]
            momenta = [fit.theta.optimizers[i][0].state_dict()["momenta"][0].clone() for i in range(members)]
    for i, snapshot in enumerate(fit.guard.snapshots):
        assert snapshot["count"] == 2 * SNAPSHOT_EVERY
        # Of its own, and no more than that: stacked members' weights are rows of what belongs to all.
        assert all(x.untyped_storage().nbytes() == x.nbytes for x in snapshot["network"].values())
        assert all(torch.equal(snapshot["network"][name], value) for name, value in weights[i].items())
        assert torch.equal(snapshot["optimizers"][0]["momenta"][0], momenta[i])
        assert not all(torch.equal(fit.prior.networks[i].state_dict()[k], v) for k, v in weights[i].items())


def test_a_fit_that_keeps_diverging_is_given_up_with_its_best():
    recipe = replace(THIN, steps=100)
    prior = recipe.prior(3, (32, 32), device="cpu")
    fit = Fit(Problem(noisy(), operator=Spoiled(range(30, 200), float("nan"))), prior, recipe=recipe)
    result = fit.run()
    assert result.steps == 30 + TRIES
    assert bool(torch.isfinite(result.image).all())
    assert result.reason_code == "diverged"
    assert "lower rate" in result.reason


class Noisy:
    """A term that is now and then a hundred times what it was, as the class term of altered copies."""

    def __init__(self, is_random: bool) -> None:
        self.is_random, self.count = is_random, 0

    def __call__(self, x):
        self.count += 1
        return x.square().flatten(1).mean(1) * (100 if self.count > 30 and self.count % 3 else 0.01)


@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("is_random", [True, False])
def test_what_a_random_term_jumps_by_is_no_divergence(is_random, members):
    recipe = replace(THIN, steps=60)
    prior = recipe.prior(3, (32, 32), members=members, device="cpu")
    term = Noisy(is_random) if members == 1 else Each([Noisy(is_random), Noisy(is_random)])
    fit = Fit(Problem(noisy(), regularizers=((0.01, term),)), prior, recipe=recipe, restarts=1)
    result = fit.run()
    assert (result.reason_code != "diverged") is is_random
    assert bool(result.history.events) is not is_random


def test_of_a_random_term_what_is_not_finite_is_a_divergence():
    def broken(x):
        return x.flatten(1).mean(1) * float("nan")

    broken.is_random = True
    recipe = replace(THIN, steps=20)
    result = Fit(
        Problem(noisy(), regularizers=((1.0, broken),)), recipe.prior(3, (32, 32), device="cpu"), recipe=recipe
    ).run()
    assert result.reason_code == "diverged"
