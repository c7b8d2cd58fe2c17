"""Held-out pixels and the risk estimated from them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sequences import LEVEL, look, started, step_of
from specimens import THIN, fit_of, noisy

from preimage.errors import InputError
from preimage.problem import Problem, join
from preimage.stopping import held_out, risk


def begin(rule, problem, *, members: int = 1, seed: int = 0):
    """The problem that a rule makes of one, and its tracker."""
    return rule.start(problem, members=range(members), total=30, seed=seed)


def test_held_out_pixels_are_left_out_of_the_data_term():
    target = noisy()
    given, tracker = begin(held_out(0.2), Problem(target))
    changed = replace(given, target=torch.where(tracker.mask > 0, 1 - target, target))
    x = torch.rand(1, 3, 32, 32)
    assert torch.equal(given.data_term(x), changed.data_term(x))
    fitted = replace(given, target=torch.where(tracker.mask > 0, target, 1 - target))
    assert not torch.allclose(given.data_term(x), fitted.data_term(x))


def test_no_gradient_comes_from_held_out_pixels():
    given, tracker = begin(held_out(0.2), Problem(noisy()))
    x = torch.rand(1, 3, 32, 32, requires_grad=True)
    given.data_term(x).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad == 0, tracker.mask.expand_as(x) > 0)


@pytest.mark.parametrize("fraction", [0.03, 0.2])
def test_the_fraction_is_held_out_each_member_its_own(fraction):
    problem = Problem(torch.rand(1, 1, 128, 128))
    mask, again, other = (begin(held_out(fraction), problem, members=4, seed=seed)[1].mask for seed in (0, 0, 1))
    assert mask.shape == (4, 1, 128, 128)
    assert mask.flatten(1).mean(1).tolist() == pytest.approx([fraction] * 4, rel=0.15)
    both = (mask[0] * mask[1]).mean()
    assert float(both) == pytest.approx(fraction**2, rel=0.5)
    assert torch.equal(mask, again)
    assert not torch.equal(mask, other)


def test_two_rules_that_are_joined_hold_out_different_pixels():
    """One stream of random numbers each; the first draws what it draws alone."""
    problem = Problem(torch.rand(1, 1, 64, 64))
    _, alone = begin(held_out(0.2), problem)
    _, joined = begin(held_out(0.2) | held_out(0.2), problem)
    first, second = (tracker.mask for tracker in joined.trackers)
    assert torch.equal(first, alone.mask)
    assert not torch.equal(first, second)
    assert float((first * second).mean()) == pytest.approx(0.04, rel=0.3)


@pytest.mark.parametrize("block", [2, 5])
def test_blocks_are_left_out_whole_each_member_its_own(block):
    _, tracker = begin(held_out(0.1, block=block), Problem(torch.rand(1, 1, 200, 203)), members=3)
    mask = tracker.mask
    assert mask.shape == (3, 1, 200, 203)
    assert mask.flatten(1).mean(1).tolist() == pytest.approx([0.1] * 3, rel=0.3)
    whole = mask[..., : 200 // block * block, : 203 // block * block]
    squares = whole.unfold(2, block, block).unfold(3, block, block).flatten(4).mean(-1)
    assert set(squares.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(mask[0], mask[1])


def test_blocks_of_one_pixel_are_pixels():
    pixels, blocks = (begin(rule, Problem(noisy()), members=2)[1] for rule in (held_out(0.1), held_out(0.1, block=1)))
    assert torch.equal(pixels.mask, blocks.mask)


@pytest.mark.parametrize("rule", [held_out(0.2, block=3), risk(0.2, block=3)])
def test_held_out_blocks_resume(rule):
    problem = Problem(noisy(), noise_level=LEVEL)
    tracker, again = (begin(rule, problem)[1] for _ in range(2))
    average = torch.rand(1, 3, 32, 32)
    look(tracker, step_of(3, average))
    again.load_state_dict(tracker.state_dict())
    assert again.best_score == tracker.best_score
    following = step_of(6, average + 0.1)
    assert torch.equal(again.measure(following), tracker.measure(following))


def test_a_neighbor_tells_a_left_out_pixel_of_correlated_noise_and_not_a_block():
    """A smoother that never saw a value predicts shared noise, where the value alone was left out."""
    generator = torch.Generator().manual_seed(3)
    noise = smoothed(torch.randn(1, 1, 192, 192, generator=generator), 1.5)
    problem = Problem(noise / noise.std() * LEVEL**0.5, noise_level=LEVEL)
    errors = {}
    for block in (1, 9):
        tracker = started(held_out(0.1, block=block), problem)
        valid = smoothed(tracker.fitted, 1.0).clamp_min(1e-3)
        guess = smoothed(problem.target * tracker.fitted, 1.0) / valid
        errors[block] = float(problem.data_term(guess, tracker.held_out))
    assert errors[1] < 0.5 * LEVEL
    assert errors[9] > 0.6 * LEVEL


def test_what_is_missing_is_neither_fitted_nor_held_out():
    weight = (torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    _, tracker = begin(held_out(0.3), Problem(noisy(), weight=weight), members=2)
    assert torch.equal(tracker.held_out + tracker.fitted, weight.expand(2, 1, 32, 32))
    assert float((tracker.held_out * tracker.fitted).abs().max()) == 0


def test_it_keeps_the_average_with_the_least_error_on_held_out_pixels():
    target = noisy()
    run = fit_of(target, replace(THIN, steps=90), rule=held_out(0.1, every=3))
    mask = run.tracker.mask.expand_as(target) > 0
    averages = {step.index: step.average for step in run}
    errors = {i: float((x - target)[mask].square().mean()) for i, x in averages.items() if i % 3 == 0}
    best = min(errors, key=lambda i: errors[i])
    assert run.tracker.kept_step == [best]
    assert run.tracker.best_score[0] == pytest.approx(errors[best], rel=1e-4)
    assert torch.equal(run.result().image, averages[best])


def codes_of(calls) -> list[str]:
    found = []
    for call in calls:
        with pytest.raises(InputError) as caught:
            call()
        found.append(caught.value.code)
    return found


def test_nothing_to_hold_out_is_an_error():
    small = Problem(torch.rand(1, 1, 16, 16))
    level = Problem(torch.rand(1, 1, 64, 64), noise_level=LEVEL, weight=torch.zeros(1, 1, 64, 64))
    calls = [
        lambda: started(held_out(1e-6), small),
        lambda: started(held_out() | risk(), level),
        lambda: held_out(block=0),
        lambda: started(held_out(), Problem(torch.rand(1, 10))),
        lambda: started(risk(), Problem(torch.rand(1, 1, 32, 32))),
    ]
    assert codes_of(calls) == ["mask", "mask", "invalid-value", "shape", "noise"]


def smoothed(values: torch.Tensor, width: float) -> torch.Tensor:
    """A Gaussian filter of deviation `width` on a torus: a linear smoother."""
    frequency = torch.fft.fftfreq(values.shape[-1])
    response = torch.exp(-2 * (math.pi * width) ** 2 * (frequency[:, None] ** 2 + frequency**2))
    return torch.fft.ifft2(torch.fft.fft2(values) * response).real


def smoothers(problem: Problem, tracker, widths: torch.Tensor) -> list[torch.Tensor]:
    """What weaker and weaker smoothers make of the values that a fit is given: normalized convolutions."""
    fitted = tracker.fitted
    return [smoothed(problem.target * fitted, float(w)) / smoothed(fitted, float(w)).clamp_min(1e-6) for w in widths]


@pytest.mark.parametrize("given", [1.0, 0.6])
def test_the_estimated_risk_of_linear_smoothers_is_the_true_one(given):
    generator = torch.Generator().manual_seed(2)
    y, x = torch.meshgrid(torch.arange(192), torch.arange(192), indexing="ij")
    picture = (0.5 + 0.15 * torch.sin(x / 5) * torch.cos(y / 7) + 0.15 * ((x // 24 + y // 32) % 2))[None, None]
    target = picture + LEVEL**0.5 * torch.randn(picture.shape, generator=generator)
    weight = None if given == 1 else (torch.rand(picture.shape, generator=generator) < given).float()
    problem = Problem(target, weight=weight, noise_level=LEVEL)
    tracker = started(risk(0.1), problem, members=6)
    assert float(tracker.valid) == pytest.approx(given, abs=0.01)
    widths = torch.linspace(3, 0.7, 12)
    estimated, true = [], []
    for i, average in enumerate(smoothers(problem, tracker, widths), 1):
        estimated.append(float(tracker.score_of(step_of(3 * i, average)).mean()))
        true.append(float((average - picture).square().mean()))
    oracle = int(np.argmin(true))
    assert 0 < oracle < len(widths) - 1
    np.testing.assert_allclose(estimated, true, atol=0.07 * LEVEL)
    assert true[int(np.argmin(estimated))] < 1.1 * true[oracle]


def test_each_image_of_a_batch_is_judged_by_its_own_noise_and_what_is_missing_in_itself():
    generator = torch.Generator().manual_seed(4)
    targets, average = (torch.rand(2, 1, 64, 64, generator=generator) for _ in range(2))
    weights = torch.cat([torch.ones(1, 1, 64, 64), (torch.rand(1, 1, 64, 64, generator=generator) < 0.5).float()])
    problems = [Problem(targets[i : i + 1], weight=weights[i : i + 1], noise_level=LEVEL * (i + 1)) for i in (0, 1)]
    together = started(risk(0.2), join(problems), members=2)
    alone = started(risk(0.2), problems[0])  # member 0 holds out the same pixels in both
    step = step_of(3, average)
    assert float(alone.score_of(step_of(3, average[:1]))) == pytest.approx(float(together.score_of(step)[0]), rel=1e-5)
    assert together.valid[1] < 0.6 < together.valid[0]
