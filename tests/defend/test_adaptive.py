"""Attackers who know of the defence: within eps, stronger than those who do not, and honest about what they know."""

from __future__ import annotations

import pytest
import torch
from defend.small import BRIEF, Detached, Shifted, accuracy, pictures, trained

from preimage.defend.adaptive import PERTURBATION, bpda_eot, prior_perturbation
from preimage.defend.defence import DefendedClassifier, Purification
from preimage.errors import InputError

IMAGES, LABELS = pictures(6, seed=3)


def shifted(reach: float = 0.02) -> DefendedClassifier:
    return DefendedClassifier(trained(), defence=Shifted(reach))


def within(found: torch.Tensor, eps: float) -> bool:
    apart = float((found.double() - IMAGES.double()).abs().max())
    return apart <= eps / 255 and 0 <= float(found.min()) <= float(found.max()) <= 1


def test_bpda_stays_within_eps_and_works():
    found = bpda_eot(shifted(), IMAGES, LABELS, 14, steps=5, samples=2, seed=1)
    assert within(found, 14)
    assert accuracy(shifted(), found, LABELS) <= accuracy(shifted(), IMAGES, LABELS) - 0.5


def test_bpda_goes_through_purification():
    defended = DefendedClassifier(trained(), recipe=BRIEF)
    found = bpda_eot(defended, IMAGES[:2], LABELS[:2], 8, steps=2, samples=1, seed=1)
    assert 0 < float((found - IMAGES[:2]).abs().max()) <= 8 / 255 + 1e-7


class Watched(Shifted):
    """Remembers with which random numbers it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[int | None, tuple[int, ...]]] = []

    def __call__(self, images, seed=None, streams=None):
        self.asked.append((seed, tuple(streams)))
        return super().__call__(images, seed, streams)


@pytest.mark.parametrize("known", [True, False])
def test_what_the_attacker_knows_of_the_seed(known):
    cleaning = Watched()
    defended = DefendedClassifier(trained(), defence=cleaning)
    bpda_eot(defended, IMAGES[:2], LABELS[:2], 8, steps=3, samples=2, seed=7, streams=[5, 9], known=known)
    if known:
        assert cleaning.asked == [(7, (5, 9))] * 3
    else:
        streams = [stream for _, each in cleaning.asked for stream in each]
        assert len(streams) == len(set(streams)) == 12


def test_a_perturbation_of_the_prior_stays_within_eps_and_works():
    found = prior_perturbation(trained(), IMAGES, LABELS, 14, steps=25, seed=1)
    assert within(found, 14)
    assert accuracy(trained(), found, LABELS) <= accuracy(trained(), IMAGES, LABELS) - 0.5


def test_each_perturbation_is_that_of_its_picture_alone():
    found = prior_perturbation(trained(), IMAGES[:2], LABELS[:2], 8, steps=3, seed=1, streams=[3, 4])
    alone = prior_perturbation(trained(), IMAGES[1:2], LABELS[1:2], 8, steps=3, seed=1, streams=[4])
    torch.testing.assert_close(found[1:], alone, atol=1e-3, rtol=0)
    assert PERTURBATION.network(32, 3, 32, 32)(torch.rand(1, 32, 32, 32)).min() < 0  # tanh has both signs to bound


def test_it_works_where_no_gradient_is_wanted():
    with torch.inference_mode():
        assert within(prior_perturbation(trained(), IMAGES, LABELS, 4, steps=1, seed=1), 4)
        bpda_eot(shifted(), IMAGES, LABELS, 4, steps=1, samples=1, seed=1)


def test_eps_of_nothing_changes_nothing():
    assert torch.equal(bpda_eot(shifted(), IMAGES, LABELS, 0), IMAGES)
    assert torch.equal(prior_perturbation(trained(), IMAGES, LABELS, 0), IMAGES)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"eps": -2}, "invalid-value"),
        ({"steps": 0}, "invalid-value"),
        ({"labels": LABELS + 3}, "class"),
        ({"images": IMAGES[:, :, :4]}, "invalid-value"),
        ({"images": 2 * IMAGES}, "range"),
        ({"seed": -1}, "invalid-value"),
    ],
)
def test_bad_input_is_one_line(options, code):
    given = {"images": IMAGES, "labels": LABELS, "eps": 8, "steps": 1} | options
    with pytest.raises(InputError) as raised:
        prior_perturbation(trained(), **given)
    assert (raised.value.code, "\n" in str(raised.value)) == (code, False)
    defended = DefendedClassifier(trained(), defence=Purification(BRIEF))
    with pytest.raises(InputError) as raised:
        bpda_eot(defended, samples=1, **given)
    assert (raised.value.code, "\n" in str(raised.value)) == (code, False)


def test_what_cannot_be_attacked():
    with pytest.raises(InputError, match="no gradient"):
        prior_perturbation(Detached(), IMAGES, LABELS, 8)
    with pytest.raises(InputError, match="no gradient"):
        bpda_eot(DefendedClassifier(Detached(), defence=Shifted()), IMAGES, LABELS, 8)
    with pytest.raises(InputError, match="give seed"):
        bpda_eot(shifted(), IMAGES, LABELS, 8, known=True)
    with pytest.raises(InputError, match="samples must be"):
        bpda_eot(shifted(), IMAGES, LABELS, 8, samples=0)
