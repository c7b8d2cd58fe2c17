"""Fixed steps, discrepancy and plateau."""

from __future__ import annotations

import math

import pytest
import torch
from sequences import TOTAL, follow, started, step_of
from specimens import THIN, fit_of, noisy

from preimage.distances import absolute, squared
from preimage.errors import InputError
from preimage.problem import Problem
from preimage.stopping import after, discrepancy, plateau


@pytest.mark.parametrize("known", ["told", "estimated"])
@pytest.mark.parametrize("factor", [0.95, 0.5])
def test_discrepancy_stops_where_the_error_is_that_of_the_noise(known, factor):
    told = known == "told"
    problem = Problem(torch.zeros(1, 1, 16, 16), noise_level=0.5 if told else 0.04)
    rule = started(discrepancy(0.2 if told else None, factor=factor, every=1), problem)
    steps = [step_of(i, torch.full((1, 1, 16, 16), 2.0 / i)) for i in range(1, TOTAL + 1)]  # E = 4 / i^2
    expected = math.ceil(2 / math.sqrt(factor * 0.04))
    assert follow(rule, steps) == [expected]
    assert rule.kept_step == [expected]
    assert rule.best is not None
    assert float(rule.best.mean()) == pytest.approx(2 / expected)
    assert str(expected) in rule.reason(0)
    assert rule.reason_code(0) == "noise-level"


def test_discrepancy_must_know_sigma_and_says_if_it_was_not_reached():
    with pytest.raises(InputError) as caught:
        started(discrepancy(), Problem(torch.zeros(1, 1, 16, 16)))
    assert caught.value.code == "noise"
    rule = started(discrepancy(0.001), Problem(torch.zeros(1, 1, 16, 16)), total=9)
    assert follow(rule, [step_of(i, torch.ones(1, 1, 16, 16) / i, total=9) for i in range(1, 10)]) == [0]
    assert rule.kept_step == [9]
    assert rule.reason_code(0) == "all-steps"


def test_discrepancy_measures_by_a_distance_of_its_own():
    problem = Problem(torch.zeros(1, 1, 16, 16), distance=absolute, noise_level=0.5)
    steps = [step_of(i, torch.full((1, 1, 16, 16), 2.0 / i)) for i in range(1, TOTAL + 1)]
    rule = started(discrepancy(0.2, factor=1.0, every=1, distance=squared), problem)
    assert follow(rule, steps) == [11]  # 4 / i^2 < 0.04
    with pytest.raises(InputError) as caught:
        discrepancy(distance=squared)
    assert caught.value.code == "option"


def test_plateau_stops_once_the_loss_rests():
    losses = [1.0 / i if i < 60 else 1 / 60 for i in range(1, TOTAL + 1)]
    rule = started(plateau(patience=25, fraction=0.01), Problem(torch.zeros(1, 1, 16, 16)))
    stopped = follow(rule, [step_of(i, torch.zeros(1, 1, 16, 16), loss=v) for i, v in enumerate(losses, 1)])
    assert 60 < rule.kept_step[0] < 120
    assert stopped[0] == rule.kept_step[0] + 25


def test_plateau_goes_on_while_the_loss_falls():
    rule = started(plateau(patience=25, fraction=0.01), Problem(torch.zeros(1, 1, 16, 16)))
    falling = [step_of(i, torch.zeros(1, 1, 16, 16), loss=0.99**i) for i in range(1, TOTAL + 1)]
    assert follow(rule, falling) == [0]


@pytest.mark.parametrize("steps", [1, 17, None])
def test_after_keeps_the_last_of_so_many_steps(steps):
    run = fit_of(noisy(), rule=after(steps))
    last = list(run)[-1]
    assert (last.index, run.tracker.kept_step) == (steps or THIN.steps, [steps or THIN.steps])
    assert torch.equal(run.result().image, last.average)
