"""The defended classifier: an nn.Module whose gradient passes the defense, with seeds that nobody knows or that repeat it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from defend.small import BRIEF, Detached, Shifted, pictures, trained
from torch import nn

from preimage.defend.attacks import attack
from preimage.defend.defence import DefendedClassifier, Purification, random_source, straight_through
from preimage.defend.purify import purify
from preimage.errors import InputError

IMAGES, LABELS = pictures(3, seed=2)


def defended(**options) -> DefendedClassifier:
    return DefendedClassifier(trained(), **{"recipe": BRIEF, "seed": 5} | options)


def test_pictures_in_and_logits_of_the_purified_ones_out():
    model = defended()
    seen = model.purified(IMAGES)
    assert seen.shape == IMAGES.shape
    assert 0 <= float(seen.min()) <= float(seen.max()) <= 1
    torch.testing.assert_close(model(IMAGES), trained()(seen))


def test_with_a_seed_each_picture_is_purified_as_if_it_were_alone():
    # One step: Muon makes of the rounding of stacked members up to 2e-3 in three, on some processors.
    once = replace(BRIEF, steps=1)
    seen = defended(recipe=once).purified(IMAGES)
    alone = purify(IMAGES[1], recipe=once, seed=5, device="cpu").run().image
    torch.testing.assert_close(seen[1:2], alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(seen, defended(recipe=once, batch=2).purified(IMAGES), atol=1e-5, rtol=0)
    assert torch.equal(defended().purified(IMAGES), defended().purified(IMAGES))


def test_without_a_seed_every_call_and_every_picture_has_other_random_numbers():
    model = defended(seed=None)
    twice = IMAGES[:1].expand(2, -1, -1, -1)
    first, again = model.purified(twice), model.purified(twice)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, again)


def test_the_gradient_is_that_of_the_classifier_at_the_purified_pictures():
    model = defended()
    asked, seen = IMAGES.clone().requires_grad_(), model.purified(IMAGES).requires_grad_()
    slope = torch.autograd.grad(nn.functional.cross_entropy(model(asked), LABELS), asked)[0]
    expected = torch.autograd.grad(nn.functional.cross_entropy(trained()(seen), LABELS), seen)[0]
    torch.testing.assert_close(slope, expected)


def test_samples_average_logits_of_different_purifications():
    model = defended(samples=2)
    seen = model.purified(IMAGES)
    assert len(seen) == 6
    assert not torch.equal(seen[0], seen[1])
    torch.testing.assert_close(model(IMAGES), trained()(seen).unflatten(0, (3, 2)).mean(1))
    torch.testing.assert_close(seen[0], defended().purified(IMAGES)[0], atol=1e-3, rtol=0)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_works_where_no_gradient_is_wanted(mode):
    expected = defended()(IMAGES).detach()
    with mode():
        found = defended()(IMAGES.clone())
    assert not found.requires_grad
    torch.testing.assert_close(found, expected)


def test_it_is_a_module_like_any_other():
    model = defended()
    assert set(model.state_dict()) == {f"model.{name}" for name in trained().state_dict()}
    assert not model.train().eval().training
    before = torch.get_rng_state()
    model(IMAGES)
    assert torch.equal(torch.get_rng_state(), before)


def test_attacks_of_the_toolbox_take_it_as_it_is():
    found = attack("fgsm", defended(), IMAGES, LABELS, 8)
    assert float((found - IMAGES).abs().max()) == pytest.approx(8 / 255, abs=1e-6)


def test_gray_pictures_are_purified_too():
    gray = IMAGES.mean(1, keepdim=True)
    assert Purification(BRIEF)(gray, 0).shape == gray.shape


def test_another_defense_may_stand_in():
    model = defended(defence=Shifted(), samples=2)
    assert model.purified(IMAGES).shape == (6, 3, 16, 16)
    assert model(IMAGES).shape == (3, 3)


def test_a_defense_that_changes_the_size_must_have_a_gradient_of_its_own():
    with pytest.raises(InputError, match="differentiable = True"):
        straight_through(IMAGES.clone().requires_grad_(), torch.zeros(3, 3, 20, 20))
    assert straight_through(IMAGES, torch.zeros(3, 3, 20, 20)).shape == (3, 3, 20, 20)


def test_settings_can_be_written_down():
    described = Purification(BRIEF, steps=7, batch=3).describe()
    assert described["recipe"]["steps"] == 7
    assert described == Purification(BRIEF, steps=7, batch=9).describe()


def test_random_sources():
    assert random_source(3, 4) == (4, [0, 0, 0])
    assert random_source(2, 4, [7, 9]) == (4, [7, 9])
    drawn = {random_source(2)[0] for _ in range(8)}
    assert len(drawn) > 1
    assert random_source(3)[1] == [0, 1, 2]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"samples": 0}, "invalid-value"),
        ({"samples": 1.5}, "invalid-value"),
        ({"steps": 0}, "invalid-value"),
        ({"batch": 0}, "invalid-value"),
        ({"seed": -1}, "invalid-value"),
        ({"seed": 2**31}, "invalid-value"),
        ({"recipe": "slow"}, "invalid-value"),
    ],
)
def test_bad_settings_are_one_line(options, code):
    with pytest.raises(InputError) as raised:
        defended(**options)
    assert (raised.value.code, "\n" in str(raised.value)) == (code, False)


@pytest.mark.parametrize(
    ("images", "code"),
    [
        (IMAGES[0], "shape"),
        (3 * IMAGES, "range"),
        (torch.rand(1, 3, 12, 40), "invalid-value"),
    ],
)
def test_bad_images_are_one_line(images, code):
    with pytest.raises(InputError) as raised:
        defended()(images)
    assert (raised.value.code, "\n" in str(raised.value)) == (code, False)


def test_a_text_is_not_a_classifier():
    with pytest.raises(InputError) as raised:
        DefendedClassifier("lesions.pt")  # pyright: ignore[reportArgumentType]
    assert raised.value.code == "type"


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_pictures_of_any_precision_are_taken(dtype):
    asked = IMAGES.to(dtype).requires_grad_()
    found = defended()(asked)
    torch.testing.assert_close(found, trained()(defended().purified(asked)))
    found.sum().backward()
    assert asked.grad is not None
    assert asked.grad.dtype == dtype


def test_streams_are_one_for_each_picture():
    with pytest.raises(InputError, match="one for each of 3 images, got 2"):
        Purification(BRIEF)(IMAGES, 0, [1, 2])


def test_a_model_without_gradient_can_be_defended_but_not_attacked():
    model = DefendedClassifier(Detached(), recipe=BRIEF)
    assert model(IMAGES).shape == (3, 3)
    with pytest.raises(InputError, match="no gradient"):
        attack("pgd", model, IMAGES, LABELS, 8)
