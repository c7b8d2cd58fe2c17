"""Held-out pixels and the risk estimated from them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sequences import LEVEL, prepared, step_of
from specimens import THIN, fit_of, noisy

from preimage import stopping
from preimage.errors import InputError
from preimage.problem import Problem
from preimage.stopping import held_out, risk


def test_held_out_pixels_are_left_out_of_the_data_term():
    target = noisy()
    rule = held_out(0.2)
    given = rule.prepare(Problem(target), members=1, size=(32, 32), total=30, seed=0)
    changed = replace(given, target=torch.where(rule.mask > 0, 1 - target, target))
    x = torch.rand(1, 3, 32, 32)
    assert torch.equal(given.data_term(x), changed.data_term(x))
    seen = replace(given, target=torch.where(rule.mask > 0, target, 1 - target))
    assert not torch.allclose(given.data_term(x), seen.data_term(x))


def test_no_gradient_comes_from_held_out_pixels():
    rule = held_out(0.2)
    given = rule.prepare(Problem(noisy()), members=1, size=(32, 32), total=30, seed=0)
    x = torch.rand(1, 3, 32, 32, requires_grad=True)
    given.data_term(x).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad == 0, rule.mask.expand_as(x) > 0)


@pytest.mark.parametrize("share", [0.03, 0.2])
def test_the_share_is_held_out_each_member_its_own(share):
    rule = held_out(share)
    rule.prepare(Problem(torch.rand(1, 1, 128, 128)), members=4, size=(128, 128), total=30, seed=0)
    assert rule.mask.shape == (4, 1, 128, 128)
    assert rule.mask.flatten(1).mean(1).tolist() == pytest.approx([share] * 4, rel=0.15)
    both = (rule.mask[0] * rule.mask[1]).mean()
    assert float(both) == pytest.approx(share**2, rel=0.5)
    again, other = held_out(share), held_out(share)
    again.prepare(Problem(torch.rand(1, 1, 128, 128)), members=4, size=(128, 128), total=30, seed=0)
    other.prepare(Problem(torch.rand(1, 1, 128, 128)), members=4, size=(128, 128), total=30, seed=1)
    assert torch.equal(rule.mask, again.mask)
    assert not torch.equal(rule.mask, other.mask)


@pytest.mark.parametrize("block", [2, 5])
def test_blocks_are_left_out_whole_each_member_its_own(block):
    rule = held_out(0.1, block=block)
    rule.prepare(Problem(torch.rand(1, 1, 200, 203)), members=3, size=(200, 203), total=30, seed=0)
    assert rule.mask.shape == (3, 1, 200, 203)
    assert rule.mask.flatten(1).mean(1).tolist() == pytest.approx([0.1] * 3, rel=0.3)
    whole = rule.mask[..., : 200 // block * block, : 203 // block * block]
    squares = whole.unfold(2, block, block).unfold(3, block, block).flatten(4).mean(-1)
    assert set(squares.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(rule.mask[0], rule.mask[1])


def test_blocks_of_one_pixel_are_pixels():
    pixels, blocks = held_out(0.1), held_out(0.1, block=1)
    for rule in (pixels, blocks):
        rule.prepare(Problem(noisy()), members=2, size=(32, 32), total=30, seed=0)
    assert torch.equal(pixels.mask, blocks.mask)


@pytest.mark.parametrize("rule", [held_out, risk])
def test_held_out_blocks_resume(rule):
    target = noisy()
    given = {"recipe": replace(THIN, steps=12), "rule": rule(0.2, block=3)}
    given["rule"].prepare(Problem(target, noise_level=LEVEL), members=1, size=(32, 32), total=12, seed=0)
    again = rule(0.2, block=3)
    again.prepare(Problem(target, noise_level=LEVEL), members=1, size=(32, 32), total=12, seed=0)
    average = torch.rand(1, 3, 32, 32)
    given["rule"].look(step_of(3, average))
    again.load_state_dict(given["rule"].state_dict())
    assert again.best_score == given["rule"].best_score
    following = step_of(6, average + 0.1)
    assert torch.equal(again.score(following), given["rule"].score(following))


def test_a_neighbor_tells_a_left_out_pixel_of_correlated_noise_and_not_a_block():
    """A smoother that never saw a value predicts shared noise, where the value alone was left out."""
    generator = torch.Generator().manual_seed(3)
    noise = smoothed(torch.randn(1, 1, 192, 192, generator=generator), 1.5)
    problem = Problem(noise / noise.std() * LEVEL**0.5, noise_level=LEVEL)
    errors = {}
    for block in (1, 9):
        rule = held_out(0.1, block=block)
        prepared(rule, problem)
        known = smoothed(rule.fitted, 1.0).clamp_min(1e-3)
        guess = smoothed(problem.target * rule.fitted, 1.0) / known
        errors[block] = float(problem.data_term(guess, rule.watched))
    assert errors[1] < 0.5 * LEVEL
    assert errors[9] > 0.6 * LEVEL


def test_what_was_not_given_is_neither_fitted_nor_watched():
    weight = (torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    rule = held_out(0.3)
    rule.prepare(Problem(noisy(), weight=weight), members=2, size=(32, 32), total=30, seed=0)
    assert torch.equal(rule.watched + rule.fitted, weight.expand(2, 1, 32, 32))
    assert float((rule.watched * rule.fitted).abs().max()) == 0


def test_it_keeps_the_average_with_the_least_error_on_held_out_pixels():
    target = noisy()
    run = fit_of(target, replace(THIN, steps=90), rule=(rule := held_out(0.1, every=3)))
    mask = rule.mask.expand_as(target) > 0
    seen = {step.index: step.average for step in run}
    errors = {i: float((x - target)[mask].square().mean()) for i, x in seen.items() if i % 3 == 0}
    best = min(errors, key=lambda i: errors[i])
    assert rule.kept_step == [best]
    assert rule.best_score[0] == pytest.approx(errors[best], rel=1e-4)
    assert torch.equal(run.result().image, seen[best])


def test_nothing_to_hold_out_is_said():
    with pytest.raises(InputError, match="take a larger share"):
        prepared(held_out(1e-6), Problem(torch.rand(1, 1, 16, 16)))
    with pytest.raises(InputError, match="only one rule that holds out"):
        prepared(held_out() | risk(), Problem(torch.rand(1, 1, 64, 64), noise_level=LEVEL))
    with pytest.raises(InputError, match="at least 1 pixel"):
        held_out(block=0)
    with pytest.raises(InputError, match=r"target \(b, c, h, w\)"):
        held_out().prepare(Problem(torch.rand(1, 10)), members=1, size=(16, 16), total=10, seed=0)


def smoothed(values: torch.Tensor, width: float) -> torch.Tensor:
    """A Gaussian filter of deviation `width` on a torus: a linear smoother."""
    frequency = torch.fft.fftfreq(values.shape[-1])
    response = torch.exp(-2 * (math.pi * width) ** 2 * (frequency[:, None] ** 2 + frequency**2))
    return torch.fft.ifft2(torch.fft.fft2(values) * response).real


def smoothers(problem: Problem, rule: stopping.Risk, widths: torch.Tensor) -> list[torch.Tensor]:
    """What weaker and weaker smoothers make of the values that a fit is given: normalized convolutions."""
    fitted = rule.fitted
    return [smoothed(problem.target * fitted, float(w)) / smoothed(fitted, float(w)).clamp_min(1e-6) for w in widths]


@pytest.mark.parametrize("given", [1.0, 0.6])
def test_the_estimated_risk_of_linear_smoothers_is_the_true_one(given):
    generator = torch.Generator().manual_seed(2)
    y, x = torch.meshgrid(torch.arange(192), torch.arange(192), indexing="ij")
    picture = (0.5 + 0.15 * torch.sin(x / 5) * torch.cos(y / 7) + 0.15 * ((x // 24 + y // 32) % 2))[None, None]
    target = picture + LEVEL**0.5 * torch.randn(picture.shape, generator=generator)
    weight = None if given == 1 else (torch.rand(picture.shape, generator=generator) < given).float()
    problem = Problem(target, weight=weight, noise_level=LEVEL)
    rule = risk(0.1)
    prepared(rule, problem, members=6)
    assert rule.given == pytest.approx(given, abs=0.01)
    widths = torch.linspace(3, 0.7, 12)
    estimated, true = [], []
    for i, average in enumerate(smoothers(problem, rule, widths), 1):
        estimated.append(float(rule.score(step_of(3 * i, average)).mean()))
        true.append(float((average - picture).square().mean()))
    oracle = int(np.argmin(true))
    assert 0 < oracle < len(widths) - 1
    np.testing.assert_allclose(estimated, true, atol=0.07 * LEVEL)
    assert true[int(np.argmin(estimated))] < 1.1 * true[oracle]


def test_risk_must_know_the_noise():
    with pytest.raises(InputError, match=r"noise_level, or take held_out"):
        prepared(risk(), Problem(torch.rand(1, 1, 32, 32)))
