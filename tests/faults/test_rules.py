"""Faults of stopping rules: a rule is a value, and one value may serve any number of fits."""

from __future__ import annotations

import copy
import pickle
from functools import cache
from itertools import zip_longest

import pytest
import torch
from classifiers.small import tiny
from faults.parts import INVERTING, THIN, THIN_MASKED, fit_of, picture, problem

from preimage import StoppingRule, deblur, denoise, invert
from preimage.stopping import after, discrepancy, held_out, moving_variance, plateau, risk, windowed_variance

SHARED = "fault 2: a rule is changed by the fit that it serves, and shared by all of them"


class Quiet(StoppingRule):
    """A rule of a user."""

    name = "quiet"

    def score(self, step):
        return step.loss


RULES = {
    "held_out": lambda: held_out(0.1, patience=4),
    "risk": lambda: risk(0.1, patience=4),
    "windowed_variance": lambda: windowed_variance(5, patience=4),
    "moving_variance": lambda: moving_variance(0.5, patience=4),
    "discrepancy": lambda: discrepancy(),
    "plateau": lambda: plateau(patience=4),
    "after": lambda: after(15),
    "joined": lambda: held_out(0.1, patience=4) | plateau(patience=12),
    "of a user": lambda: Quiet(patience=5),
}
each_rule = pytest.mark.parametrize("made", RULES.values(), ids=RULES)
FAINT, STRONG = picture(seed=1, sigma=8), picture(seed=2, sigma=50)


def cleaned(given: torch.Tensor, rule, **settings):
    return denoise(given, stop=rule, recipe=THIN, noise="gaussian", device="cpu", tile=None, **settings)


@cache
def alone(made, given: torch.Tensor):
    """The result of a fit by a rule that serves no other, made once."""
    return cleaned(given, made()).run()


def same(one, other) -> bool:
    return one.kept_step == other.kept_step and torch.equal(one.image, other.image) and one.reason == other.reason


@each_rule
def test_one_rule_serves_two_fits_at_once(made):
    rule = made()
    a, b = cleaned(FAINT, rule), cleaned(STRONG, rule)
    for _ in zip_longest(a, b):
        pass
    assert same(a.result(), alone(made, FAINT))
    assert same(b.result(), alone(made, STRONG))


@each_rule
def test_a_result_stands_when_its_rule_serves_another_fit(made):
    rule = made()
    a = cleaned(FAINT, rule)
    a.run()
    cleaned(STRONG, rule).run()
    assert same(a.result(), alone(made, FAINT))


@pytest.mark.parametrize("made", [pytest.param(RULES[name], id=name) for name in ("held_out", "risk", "joined")])
def test_no_fit_is_judged_by_the_picture_of_one_that_was_made_after_it(made):
    rule = made()
    a = cleaned(FAINT, rule)
    cleaned(STRONG, rule)
    assert same(a.run(), alone(made, FAINT))


def test_one_rule_serves_fits_of_other_sizes_and_of_more_members():
    rule = RULES["held_out"]()
    a, b = cleaned(FAINT, rule), cleaned(torch.stack([picture(32), picture(32, seed=3)]), rule, restarts=2)
    for _ in zip_longest(a, b):
        pass
    assert same(a.result(), alone(RULES["held_out"], FAINT))


@each_rule
def test_a_fit_leaves_its_rule_as_it_was(made):
    rule = made()
    before = pickle.dumps(rule)
    cleaned(FAINT, rule).run()
    assert pickle.dumps(rule) == before


@pytest.mark.parametrize("made", [pytest.param(RULES[name], id=name) for name in RULES if name != "of a user"])
def test_rules_of_the_same_settings_are_equal(made):
    assert made() == made()
    assert copy.deepcopy(made()) == made()


# ---------------------------------------------------------------------- the same inside the library


def test_looking_at_the_result_in_the_midst_of_tiles_changes_nothing():
    def tiles():
        rule = windowed_variance(5, patience=4)
        kernel = {"kernel": "unknown", "kernel_size": 3}
        return deblur(picture(40, sigma=20), **kernel, stop=rule, recipe=THIN, tile=(24, 8), device="cpu")

    looked, whole = tiles(), tiles()
    for step in looked:
        if step.index % 10 == 0:
            looked.result()
    assert same(looked.result(), whole.run())


def test_looking_at_the_result_in_the_midst_of_tiles_that_share_no_kernel_changes_nothing():
    def tiles():
        rule = windowed_variance(5, patience=4)
        return denoise(picture(40, sigma=20), sigma=20 / 255, stop=rule, recipe=THIN, tile=(24, 8), device="cpu")

    looked, whole = tiles(), tiles()
    for step in looked:
        if step.index % 10 == 0:
            looked.result()
    assert same(looked.result(), whole.run())


def test_every_layer_of_a_sheet_is_judged_by_itself():
    x, layers = picture(32), ["block1", "block2", "head"]
    settings = {"classifier": tiny(), "recipe": INVERTING, "device": "cpu"}
    sheet = invert(x, layers=layers, stop=windowed_variance(4, patience=3), **settings)
    sheet.run()
    shown = sheet.result().panels
    for layer in layers:
        own = invert(x, layers=layer, stop=windowed_variance(4, patience=3), **settings).run().panels
        (title,) = (name for name in own if name != "input")
        assert torch.equal(shown[title], own[title]), layer


# ---------------------------------------------------------------------- 13: two rules, two streams of random numbers

STREAM = "fault 13: two rules that are joined draw from one stream of random numbers"


@pytest.mark.parametrize("second", [lambda: held_out(0.1), lambda: risk(0.1)], ids=["held_out", "risk"])
def test_two_rules_that_hold_out_pixels_hold_out_others(second):
    result = cleaned(STRONG, held_out(0.1) | second()).run()
    assert torch.isfinite(result.image).all()


def test_the_second_of_two_rules_holds_out_its_share_of_what_the_first_left():
    """Of a picture of 64 x 64 the second rule holds out a fifth of the rest, give or take five deviations.

    A loss of 1 at each fitted pixel and 0 elsewhere tells how many are fitted: 0.9 * 0.8 of them."""
    fitted: list[float] = []

    def counted(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        error = (x - y).square()
        if x.requires_grad:
            error.register_hook(lambda gradient: fitted.append(float((gradient != 0).float().mean())))
        return error

    next(iter(fit_of(problem(picture(64), distance=counted), rule=held_out(0.1) | held_out(0.2))))
    assert fitted[0] == pytest.approx(0.72, abs=0.035)


def test_masked_codes_are_served_by_a_shared_rule_in_turn():
    """One after another a rule serves as many fits as it likes, today too."""
    rule = moving_variance(0.5, patience=4)
    settings = {"recipe": THIN_MASKED, "noise": "gaussian", "device": "cpu"}
    found = [denoise(given, stop=rule, **settings).run() for given in (FAINT, STRONG, FAINT)]
    assert torch.equal(found[0].image, found[2].image)
