"""Altered copies of an image: what they are, and what seeks a class in all of them."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from classifiers.small import tiny
from explain.small import BRIEF, THIN, estimated, picture

from preimage.explain.class_term import ClassTerm, ClassTerms, cross_entropy, of_pairs
from preimage.explain.copies import Alteration, Copies
from preimage.explain.counterfactual import counterfactual
from preimage.explain.forward import CachedForward
from preimage.networks import SkipNet
from preimage.recipes import recipe

NOTHING = {"noise": 0.0, "shift": 0.0, "scale": 0.0, "turn": 0.0, "color": 0.0}
SIZES = [(32, 32), (24, 40), (41, 17)]


def copies(size=(32, 32), count: int = 3, **alteration: float) -> Copies:
    return Copies(Alteration(count, **{**NOTHING, **alteration}), 3, size)


@pytest.mark.parametrize("size", SIZES)
def test_without_alteration_they_are_the_image(size):
    x = torch.stack([picture(*size), 1 - picture(*size)])
    found = copies(size)(x)
    assert found.shape == (6, 3, *size)
    torch.testing.assert_close(found, x.repeat_interleave(3, 0), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", SIZES)
def test_noise_and_colors_stay_within_what_is_stated(size):
    x = picture(*size)[None]
    noisy = copies(size, 8, noise=0.2)
    noisy.set_step(3)
    deviations = (noisy(x) - x).flatten(1).std(1)
    assert 0 < float(deviations.min()) < float(deviations.max()) < 0.22
    tinted = copies(size, 8, color=0.3)(x)
    low, high = 0.7 * x - 0.15, 1.3 * x + 0.15
    assert bool(((tinted >= low - 1e-5) & (tinted <= high + 1e-5)).all())
    assert not torch.allclose(tinted[0], tinted[1])


@pytest.mark.parametrize("size", SIZES)
def test_a_turn_keeps_lengths_whatever_the_proportions(size):
    height, width = size
    disc = torch.hypot(*torch.meshgrid(*(torch.arange(n) - (n - 1) / 2 for n in size), indexing="ij")) < min(size) / 3
    turned = copies(size, 6, turn=20.0)(disc.float().expand(1, 3, height, width))
    assert float((turned - disc.float()).abs().mean()) < 0.04


def test_a_step_always_has_the_same_and_another_step_others():
    one, x = copies(noise=0.2, shift=0.1), picture()[None]
    shown = {}
    for step in (0, 1, 0, None):
        one.set_step(step)
        shown.setdefault(step, []).append(one(x))
    assert torch.equal(*shown[0])
    assert not torch.allclose(shown[0][0], shown[1][0])
    assert torch.equal(one.fixed(x), one.fixed(x))
    assert one.fixed(torch.cat([x, x])).shape[0] == 2 * 2 * 3


def test_the_term_of_a_class_is_the_mean_over_copies_and_that_of_the_reconstruction_of_itself():
    classifier, x = tiny(), torch.stack([picture(), 1 - picture()])
    made = copies(noise=0.1, color=0.2)
    forward = CachedForward(classifier, copies=made)
    term, kept = (ClassTerm(forward, partial(cross_entropy, 1), altered) for altered in (True, False))
    wanted = torch.stack([-classifier(made(each[None])).log_softmax(1)[:, 1].mean() for each in x])
    plain = -classifier(x).log_softmax(1)[:, 1]
    torch.testing.assert_close(term(x), wanted)
    torch.testing.assert_close(kept(x), plain)
    torch.testing.assert_close(ClassTerms([term, kept])(x), torch.stack([wanted[0], plain[1]]))
    assert ClassTerms([term, kept] * 2).chosen([3]) is kept
    torch.testing.assert_close(ClassTerms([term, kept] * 2).chosen([2, 3])(x), torch.stack([wanted[0], plain[1]]))
    without = ClassTerm(CachedForward(classifier), partial(cross_entropy, 1))
    torch.testing.assert_close(without(x), plain)


def test_probabilities_of_pairs_are_over_copies_for_the_counterfactuals_alone():
    made, x = copies(noise=0.1), torch.stack([picture(), 1 - picture()] * 2)
    found = of_pairs(CachedForward(tiny(), copies=made), (), x)
    torch.testing.assert_close(found[1::2], tiny().probabilities(x[1::2]))
    of_copies, own = CachedForward(tiny(), copies=made).probabilities(x[::2]), tiny().probabilities(x[::2])
    torch.testing.assert_close(found[::2], torch.minimum(of_copies, own))  # both are to be reached
    absent = of_pairs(CachedForward(tiny(), copies=made), (), x, absent=True)
    torch.testing.assert_close(absent[::2], torch.maximum(of_copies, own))
    torch.testing.assert_close(of_pairs(CachedForward(tiny()), (), x), tiny().probabilities(x))


def test_probabilities_are_those_of_fixed_copies():
    made = copies(noise=0.1)
    forward, x = CachedForward(tiny(), copies=made), torch.stack([picture(), 1 - picture()])
    wanted = tiny().probabilities(made.fixed(x)).unflatten(0, (2, -1)).mean(1)
    torch.testing.assert_close(forward.probabilities(x), wanted)
    forward.set_step(7)
    torch.testing.assert_close(forward.probabilities(x), wanted)


@pytest.mark.parametrize("count", [1, 2])
def test_a_counterfactual_of_copies_raises_the_target(count):
    options = {"classifier": tiny(), "recipe": THIN, "device": "cpu", "layer": "block1", "uncertainty": "none"}
    found = counterfactual(picture(), copies=2, class_weight=1.0, count=count, **options).run()
    assert len(found.others) == count - 1
    for one in (found, *found.others):
        after, before = (one.probabilities[name][one.target] for name in ("counterfactual", "reconstruction"))
        assert after > before
    plain = counterfactual(picture(), class_weight=1.0, count=count, **options).run()
    assert not torch.allclose(found.changed, plain.changed, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, 4),
        ({"prior": "tv", "recipe": recipe("fast", steps=3)}, 4),
        ({"classifier": estimated()}, 0),
        ({"recipe": recipe("paper", steps=3)}, 0),
        ({"prior": "none", "recipe": recipe("fast", steps=3)}, 0),
        ({"copies": 2, "classifier": estimated()}, 2),
        ({"copies": 0}, 0),
    ],
)
def test_by_default_there_are_copies_where_nothing_else_keeps_the_change_from_a_pattern(options, wanted):
    run = counterfactual(picture(), **{"classifier": tiny(), "recipe": BRIEF, "device": "cpu"} | options)
    assert (0 if run.forward.copies is None else len(run.forward.copies)) == wanted
    assert (f"{wanted} altered copies a step" in run.remarks[0]) == (wanted > 0)
    assert run.rule.confidence == (0.6 if wanted else 0.9)
    assert run.fingerprint["copies"] == wanted
    assert (
        counterfactual(picture(), **{"classifier": tiny(), "device": "cpu", "confidence": 0.7}).rule.confidence == 0.7
    )


def test_the_reconstruction_does_not_see_the_copies():
    options = {"classifier": tiny(), "recipe": BRIEF, "device": "cpu", "layer": "block1", "uncertainty": "none"}
    one, other = (counterfactual(picture(), copies=k, **options).run().reconstruction for k in (0, 3))
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, "tv"),
        ({"steps": 2}, "tv"),
        ({"prior": "deep"}, "deep"),
        ({"recipe": "paper", "steps": 2}, "deep"),
        ({"recipe": recipe("fast", steps=2)}, "tv"),
        ({"recipe": recipe("fast", network=SkipNet.Config())}, "deep"),
        ({"recipe": BRIEF}, "deep"),
        ({"classifier": estimated()}, "deep"),
        ({"classifier": estimated(), "prior": "none"}, "none"),
    ],
)
def test_by_default_pixels_are_fitted_where_there_is_no_m(options, wanted):
    run = counterfactual(picture(), **{"classifier": tiny(), "device": "cpu"} | options)
    assert run.fingerprint["prior"] == wanted
