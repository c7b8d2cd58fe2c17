"""A step that is undone, as one whose recording is not trusted, leaves weights and optimizers as they were."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from specimens import THIN, THIN_ADAM, fit_of, noisy
from torch.utils._pytree import tree_leaves

from preimage.engine.fit import Fit


def state_of(fit: Fit) -> list[Any]:
    leaves = tree_leaves([fit.theta.of(i) for i in range(2)])
    return [each.clone() if isinstance(each, torch.Tensor) else each for each in leaves]


def same(first: list[Any], second: list[Any]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in zip(first, second, strict=True)
    )


@pytest.mark.parametrize("recipe", [THIN, THIN_ADAM], ids=["muon", "adam"])
@pytest.mark.parametrize("steps", [1, 3])
def test_a_step_that_is_undone_leaves_everything_as_it_was(recipe, steps):
    fit = fit_of(noisy(), recipe, restarts=2)
    running = iter(fit)
    for _ in range(steps):
        next(running)
    groups, before = fit.members.groups([0, 1]), state_of(fit)
    held = fit.descent.held(groups)
    fit.descent(groups)
    assert not same(state_of(fit), before)
    fit.descent.put_back(held)
    assert same(state_of(fit), before)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_member_is_slowed_down_by_a_share_of_its_rate(factor):
    fit = fit_of(noisy(), restarts=2)
    next(iter(fit))
    assert fit.theta.slow_down(1, factor) == pytest.approx(THIN.rate * factor)
