"""Troughs and peaks of a mean curve: found where they are, not shown where there is noise alone."""

from __future__ import annotations

import math

import numpy as np
import pytest

from studies.harness.stats import band_of, largest_fall, peak, trough

STEPS = np.linspace(0, 1, 40)


def noisy(curve: np.ndarray, pictures: int = 40, seed: int = 0, sigma: float = 0.2) -> np.ndarray:
    return curve + np.random.default_rng(seed).normal(0, sigma, (pictures, len(curve)))


def test_a_trough_and_then_a_peak_are_shown_where_they_are():
    curves = noisy(0.5 - 0.4 * np.sin(2 * np.pi * STEPS))  # deepest at a quarter, highest at three quarters
    low, high = trough(curves), peak(curves)
    assert (low.verdict(), high.verdict()) == ("yes", "yes")
    assert STEPS[low.place] == pytest.approx(0.25, abs=0.1)
    assert STEPS[high.place] == pytest.approx(0.75, abs=0.1)
    assert low.after.mean == pytest.approx(0.8, abs=0.15)
    assert largest_fall(curves).verdict(0.05) == "yes"


def test_a_rise_has_neither():
    curves = noisy(STEPS)
    assert trough(curves).verdict() != "yes"
    assert peak(curves).verdict() != "yes"
    assert largest_fall(curves).verdict(0.1) == "no"
    exact = np.tile(STEPS, (6, 1))
    assert (trough(exact).verdict(), peak(exact).verdict()) == ("no", "no")
    assert largest_fall(exact).mean == 0


def test_noise_alone_shows_nothing_more_often_than_it_may():
    """The mean of noise has its lowest point: by itself it would always look like a trough."""
    flat = [noisy(np.zeros(30), 20, seed) for seed in range(16)]
    assert np.mean([trough(curves).before.mean for curves in flat]) == pytest.approx(0, abs=0.05)
    assert sum(trough(curves).verdict() == "yes" for curves in flat) <= 1
    assert sum(peak(curves).verdict() == "yes" for curves in flat) <= 1


def test_one_picture_shows_nothing():
    assert trough(np.array([[0.5, 0.1, 0.5]])).verdict() == "not measured"
    assert math.isnan(largest_fall(np.array([[0.5, 0.1]])).mean)


def test_the_band_is_around_the_mean_and_as_wide_as_its_error():
    curves = noisy(STEPS, 100)
    mean, low, high = band_of(curves)
    assert np.allclose(mean, curves.mean(0))
    assert (low < mean).all()
    assert (mean < high).all()
    assert np.mean(high - low) == pytest.approx(2 * 1.96 * 0.2 / 10, rel=0.1)
