"""Windowed and moving variance: the published numbers, and minima that come before anything was learned."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sequences import TOTAL, follow, started, step_of

from preimage.engine.step import Step
from preimage.problem import Problem
from preimage.stopping import StoppingRule, moving_variance, windowed_variance


@pytest.fixture(scope="module")
def published(golden: Path) -> tuple[torch.Tensor, int, np.ndarray]:
    stored = np.load(golden / "windowed_variance.npz")
    return torch.from_numpy(stored["sequence"]), int(stored["window"]), stored["variance"]


def scores_of(rule: StoppingRule, sequence: torch.Tensor) -> np.ndarray:
    tracker = started(rule, Problem(sequence[:1]), total=len(sequence))
    return np.array([float(tracker.score_of(step_of(i, x[None]))) for i, x in enumerate(sequence, 1)])


def test_windowed_variance_is_the_published_one(published):
    sequence, window, expected = published
    scores = scores_of(windowed_variance(window, values=None), sequence)
    assert np.isnan(scores[: window - 1]).all()
    np.testing.assert_allclose(scores[window - 1 :], expected, rtol=1e-5)


def test_a_subset_of_the_values_says_nearly_the_same(published):
    sequence, window, _ = published
    wide = sequence.repeat(1, 1, 8, 8) + 0.02 * torch.randn(260, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    full = scores_of(windowed_variance(window, values=None), wide)[window - 1 :]
    subset = scores_of(windowed_variance(window, values=2048), wide)[window - 1 :]
    np.testing.assert_allclose(subset, full, rtol=0.06)
    assert not np.array_equal(subset, full)


def test_windowed_variance_of_any_window_and_of_each_member(published):
    sequence, _, _ = published
    pair = torch.stack([sequence[:60], sequence[60:120]], 1)  # (steps, members, ...)
    rule = started(windowed_variance(7, values=None), Problem(sequence[:1]), members=2)
    for i, images in enumerate(pair, 1):
        score = rule.score_of(step_of(i, images))
        if i >= 7:
            expected = pair[i - 7 : i].double().var(0, correction=0).flatten(1).mean(1)
            torch.testing.assert_close(score, expected, rtol=1e-5, atol=0)


def test_moving_variance_is_algorithm_2_of_wang_et_al(published):
    """EMA <- (1 - a) EMA + a x;  EMV <- (1 - a) EMV + a (1 - a) |x - EMA_old|^2, per value."""
    sequence, _, _ = published
    alpha = 0.1
    scores = scores_of(moving_variance(alpha, values=None), sequence)
    mean, variance, expected = sequence[0].double().numpy(), 0.0, [math.nan]
    for x in sequence[1:].double().numpy():
        variance = (1 - alpha) * variance + alpha * (1 - alpha) * ((x - mean) ** 2).mean()
        mean = (1 - alpha) * mean + alpha * x
        expected.append(variance)
    known = ~np.isnan(scores)
    assert known[31:].all()
    np.testing.assert_allclose(scores[known], np.array(expected)[known], rtol=1e-9)


def early_flat_phase() -> list[Step]:
    """Hardly moving while the loss is high; then learning; rest, a little restless; then on towards the noise."""
    generator = torch.Generator().manual_seed(1)
    steps, place = [], torch.zeros(1, 1, 16, 16)
    for index in range(1, TOTAL + 1):
        phase = 0 if index <= 40 else 1 if index <= 100 else 2 if index <= 150 else 3
        place = place + (0.0, 0.02, 0.0, 0.01)[phase]
        wiggle = (0.001, 0.005, 0.005, 0.005)[phase] * torch.randn(place.shape, generator=generator)
        loss = (1.0, 1.0 - 0.8 * (index - 40) / 60, 0.2, 0.2 - 0.04 * (index - 150) / 90)[phase]
        steps.append(step_of(index, place + wiggle, loss=loss))
    return steps


VARIANCES = {
    "windowed": lambda guard: windowed_variance(10, patience=60, guard=guard),
    "moving": lambda guard: moving_variance(0.2, patience=60, guard=guard),
}


@pytest.mark.parametrize("make", VARIANCES.values(), ids=VARIANCES.keys())
def test_the_guard_passes_a_minimum_before_anything_was_learned(make):
    steps = early_flat_phase()
    guarded, unguarded = (started(make(guard), Problem(torch.zeros(1, 1, 16, 16))) for guard in (0.7, 0.0))
    ends = follow(guarded, steps), follow(unguarded, steps)
    assert unguarded.kept_step[0] <= 41
    assert ends[1] == [unguarded.kept_step[0] + 60]
    assert 105 < guarded.kept_step[0] <= 152
    assert ends[0] == [guarded.kept_step[0] + 60]
    assert guarded.best is not None
    assert torch.equal(guarded.best, steps[guarded.kept_step[0] - 1].average)


@pytest.mark.parametrize(("deviation", "kept"), [(0.1, range(40, 61)), (0.02, range(190, 201))])
def test_nothing_counts_once_strong_noise_of_a_known_level_is_fitted(deviation, kept):
    """Outputs that vary ever less while they fit the noise: its error is below 3/4 of the noise's from step 58 on."""
    noise = deviation * torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    level = float(noise.square().mean())
    rule = started(moving_variance(patience=30), Problem(0.5 + noise, noise_level=level), total=200)
    outputs = [0.5 + (-0.98) ** i * noise for i in range(1, 201)]
    averages = [0.5 + (1 - (1 - 1 / 400) ** i) * noise for i in range(1, 201)]
    both = enumerate(zip(averages, outputs, strict=True), 1)
    follow(rule, [step_of(i, average, image=output, total=200) for i, (average, output) in both])
    assert rule.kept_step[0] in kept
