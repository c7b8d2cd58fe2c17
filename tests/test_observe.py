"""Observers: they note what they are for, and the run is as if nobody looked on."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from specimens import THIN, clean, fit_of, noisy

from preimage.images import as_picture
from preimage.metrics import psnr
from preimage.observe import Curves, Film, OraclePeak, observe
from preimage.restore.denoise import denoise
from preimage.series.frames import Frames
from preimage.stopping import after, held_out

RECIPE = replace(THIN, steps=20)
known_noise = partial(denoise, noise="gaussian", sigma=0.1, recipe=RECIPE, device="cpu", tile=None)
PAGES = torch.cat([noisy(), clean(), noisy(sigma=0.2)])


def in_turn(page: int, initial: Any) -> Any:
    return known_noise(PAGES[page : page + 1], stop=after(6), initial=initial)


RUNS = {
    "fit": (lambda: fit_of(noisy(), RECIPE, rule=held_out(0.1, patience=4), restarts=2), clean()),
    "frames": (
        lambda: Frames(
            in_turn,
            as_picture(PAGES),
            fingerprints=[{}] * 3,
            remarks=[()] * 3,
        ),
        torch.cat([clean()] * 3),
    ),
    "tiles": (
        lambda: denoise(noisy(48), sigma=0.1, recipe=RECIPE, stop=after(5), device="cpu", tile=(32, 8)),
        clean(48),
    ),
}
each_run = pytest.mark.parametrize(("make", "truth"), RUNS.values(), ids=RUNS.keys())


@each_run
def test_a_run_that_is_watched_ends_as_one_that_is_not(make, truth):
    expected = make().run()
    run = make()
    observers = (OraclePeak(truth, lookahead=1.5), Curves(truth), Film(3))
    steps = list(observe(run, *observers))
    result = run.result()
    assert torch.equal(result.image, expected.image)
    assert (result.reason, result.kept_step, result.steps) == (expected.reason, expected.kept_step, expected.steps)
    assert len(steps) == result.steps
    assert observers[0].peak is not None


@each_run
def test_the_peak_is_no_lower_than_that_of_the_steps_and_later_ones_are_seen(make, truth):
    plain, ahead = OraclePeak(truth, lookahead=1), OraclePeak(truth, lookahead=2)
    for oracle in (plain, ahead):
        list(observe(make(), oracle))
    assert plain.peak is not None
    assert ahead.peak is not None
    assert ahead.peak[0] >= plain.peak[0]
    assert len(ahead.curve) > len(plain.curve)
    assert {step for step, _ in plain.curve} < {step for step, _ in ahead.curve}


def test_the_curve_is_the_psnr_of_what_each_step_would_return():
    oracle, curves = OraclePeak(clean(), lookahead=1), Curves(clean())
    fit = fit_of(noisy(), RECIPE)
    expected = [float(psnr(step.picture.clamp(0, 1), clean())) for step in observe(fit, oracle, curves)]
    for curve in (oracle.curve, curves.psnr):
        assert [index for index, _ in curve] == list(range(1, 21))
        assert [value for _, value in curve] == pytest.approx(expected)
    assert oracle.peak == pytest.approx((max(expected), 1 + expected.index(max(expected))))


def test_looking_ahead_ends_early_below_the_margin():
    """Once a step is so far below the peak."""
    patient, hasty = OraclePeak(clean(), lookahead=3), OraclePeak(clean(), lookahead=3, margin=-100)
    for oracle in (patient, hasty):
        list(observe(fit_of(noisy(), RECIPE, rule=after(10)), oracle))
    assert (len(patient.curve), len(hasty.curve)) == (30, 11)


def test_scores_are_the_rule_s_at_steps_that_have_one():
    curves = Curves()
    fit = fit_of(noisy(), RECIPE, rule=held_out(0.1, every=4))
    list(observe(fit, curves))
    assert [index for index, _ in curves.score] == [4, 8, 12, 16, 20]
    assert curves.score[-1][1] == pytest.approx(fit.tracker.last_score[0])
    number = Curves()
    list(observe(fit_of(noisy(), RECIPE, rule=after(3)), number))
    assert number.score == []


def test_nothing_joins_the_curves_of_two_pages():
    curves = Curves(torch.cat([clean()] * 2))
    run = known_noise(torch.cat([noisy(), clean()]), stop=after(3), warm_start=True)
    list(observe(run, curves))
    assert [index for index, _ in curves.psnr] == [1, 2, 3, 0, 1, 2, 3]
    assert math.isnan(curves.psnr[3][1])


def test_a_part_of_the_result_is_blended_with_the_input():
    oracle = OraclePeak(clean(), lookahead=1, strength=0.0, input=noisy())
    list(observe(fit_of(noisy(), RECIPE, rule=after(2)), oracle))
    assert oracle.peak is not None
    assert oracle.peak[0] == pytest.approx(float(psnr(noisy().clamp(0, 1), clean())))


@pytest.mark.parametrize(("side", "channels", "expected"), [(48, 3, (24, 24, 3)), (20, 1, (20, 20, 3))])
def test_frames_are_small_pictures_of_every_so_many_steps(side, channels, expected):
    film = Film(8, side=24, display=(0.0, 0.5))
    steps = list(observe(fit_of(noisy(side, channels), RECIPE), film))
    assert [tuple(frame.shape) for frame in film.frames] == [expected] * 3  # of steps 1, 8 and 16
    assert film.frames[0].dtype == torch.uint8
    assert torch.equal(film.frames[1], film.frame(steps[7].picture[0]))
    assert int(film.frame(torch.full((channels, side, side), 0.5)).min()) == 255
