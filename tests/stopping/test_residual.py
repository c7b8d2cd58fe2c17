"""Where the noise of the residual has settled."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from sequences import follow, started, step_of
from torch.nn import functional

from preimage.errors import InputError
from preimage.problem import Problem
from preimage.stopping import by_name, residual_noise

SIDE, TOTAL = 64, 400
NOISE = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
PROBLEM = Problem(0.5 + 0.05 * NOISE)


def steps(left):
    """Averages of which the residual is so many times the noise, by step."""
    return [step_of(i, 0.5 + 0.05 * (1 - left(i)) * NOISE, total=TOTAL) for i in range(1, TOTAL + 1)]


def test_it_stops_where_the_noise_falls_no_longer_and_keeps_the_last():
    rule = started(residual_noise(), PROBLEM, total=TOTAL)
    stopped = follow(rule, steps(lambda i: max(3 - i / 80, 1) - i / 1e5))
    assert stopped == [340]
    assert rule.kept_step == [340]
    assert rule.reason_code(0) == "noise-level"
    assert "luma" in rule.reason(0)


def test_a_rest_before_the_first_judged_step_is_none():
    rule = started(residual_noise(early=0.3), PROBLEM, total=TOTAL)
    assert follow(rule, steps(lambda i: 3.0 if i < 120 else max(3 - (i - 120) / 60, 1)))[0] > 220


def test_noise_that_falls_to_the_end_takes_all_steps():
    rule = started(residual_noise(), PROBLEM, total=TOTAL)
    assert follow(rule, steps(lambda i: math.exp(-i / 100))) == [0]
    assert rule.kept_step == [TOTAL]
    assert rule.reason_code(0) == "all-steps"


def test_what_cannot_be_told_from_texture_is_said_with_the_way_out():
    rule = started(residual_noise(), PROBLEM, total=TOTAL)
    follow(rule, steps(lambda i: 1 - i / 1e5))
    assert "texture" in rule.reason(0)
    assert "specify sigma" in rule.reason(0)


def test_the_spectrum_of_a_reduced_target_says_nothing_of_texture():
    rule = started(residual_noise(tells_texture=False), PROBLEM, total=TOTAL)
    follow(rule, steps(lambda i: 1 - i / 1e5))
    assert "texture" not in rule.reason(0)
    assert "by what the fit leaves" in rule.reason(0)


@pytest.mark.parametrize("tells_texture", [True, False])
def test_what_a_fit_takes_up_fast_is_texture_and_held_as_it_was_given(tells_texture):
    gray = NOISE[:, :1].expand(-1, 3, -1, -1)
    problem = Problem(0.5 + 0.05 * gray)
    rule = started(residual_noise(tells_texture=tells_texture), problem, total=TOTAL)
    follow(rule, [step_of(i, 0.5 + 0.05 * min(i / TOTAL, 0.8) * gray, total=TOTAL) for i in range(1, TOTAL + 1)])
    assert "texture" in rule.reason(0)
    assert torch.equal(rule.best, problem.target)


def test_smooth_parts_are_kept_as_they_were_early_and_details_as_they_are_late():
    detail = torch.zeros(1, 3, SIDE, SIDE)
    detail[..., 32:] = 0.2 * (torch.arange(32) // 2 % 2)
    problem = Problem(0.5 + detail + 0.05 * NOISE)
    coarse = 2 * functional.avg_pool2d(NOISE, 9, 1, 4)  # of a deviation of 0.2

    def averages(i):
        late = i > 0.8 * TOTAL  # the low frequencies of the noise are fitted by then, and the detail
        return 0.5 + (detail + 0.05 * coarse if late else 0.0 * NOISE)

    rule = started(residual_noise(), problem, total=TOTAL)
    follow(rule, [step_of(i, averages(i), total=TOTAL) for i in range(1, TOTAL + 1)])
    error = (rule.best - 0.5 - detail).square().mean((0, 1, 2)).sqrt()
    assert float(error[:24].max()) < 0.005, "half of the late noise at most where nothing is left to be fitted"
    assert float(error[40:].max()) < 0.06, "the detail is there"


def test_an_image_too_small_to_measure_keeps_the_last():
    rule = started(residual_noise(), Problem(torch.zeros(1, 3, 8, 8)), total=150)
    follow(rule, [step_of(i, torch.zeros(1, 3, 8, 8), total=150) for i in range(1, 151)])
    assert rule.kept_step == [150]
    assert "too little of the image" in rule.reason(0)


def test_a_copy_and_a_state_go_on_alike():
    rule = started(residual_noise(), PROBLEM, total=TOTAL)
    some = steps(lambda i: max(3 - i / 80, 1) - i / 1e5)
    follow(rule, some[:160])
    twin = started(residual_noise(), PROBLEM, total=TOTAL)
    twin.load_state_dict(copy.deepcopy(rule.state_dict()))
    assert follow(twin, some[160:]) == follow(rule, some[160:])
    assert twin.reason(0) == rule.reason(0)


def test_by_its_name():
    assert by_name("residual-noise") == residual_noise()


@pytest.mark.parametrize("early", [0.0, 1.5])
def test_early_is_a_share(early):
    with pytest.raises(InputError) as caught:
        residual_noise(early=early)
    assert caught.value.code == "invalid-value"
