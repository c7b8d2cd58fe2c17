"""Faults of batches: what is found out about the first of unlike pictures is used for all of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from faults.parts import THIN, THIN_MASKED, picture

from preimage import deblur, denoise
from preimage.stopping import discrepancy, risk

SIDE = 68  # so large that members are computed one by one: stacked they are equal but for rounding
FAINT, STRONG = picture(SIDE, seed=1, sigma=10), picture(SIDE, seed=2, sigma=50)
BOTH = torch.stack([FAINT, STRONG])


def with_impulses(x: torch.Tensor) -> torch.Tensor:
    """A third of the values black or white."""
    draws = torch.rand(x.shape, generator=torch.Generator().manual_seed(9))
    return torch.where(draws < 1 / 6, 0.0, torch.where(draws > 5 / 6, 1.0, x))


def clipped(x: torch.Tensor) -> torch.Tensor:
    """So bright that much of it is white."""
    return (x + 0.4).clamp(0, 1)


def restored(task, given: torch.Tensor, recipe, **settings):
    return task(given, recipe=recipe, device="cpu", tile=None, **settings).run()


BRIEF, BRIEF_MASKED = replace(THIN, steps=6), replace(THIN_MASKED, steps=6)
RECIPES = {"masked": BRIEF_MASKED, "noise": BRIEF, "of two fits": replace(BRIEF, restarts=2)}
each_recipe = pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
PAIRS = {
    "faint and strong": BOTH,
    "strong and faint": BOTH.flip(0),
    "noise and impulses": torch.stack([FAINT, with_impulses(picture(SIDE, seed=3))]),
    "impulses and noise": torch.stack([with_impulses(picture(SIDE, seed=3)), FAINT]),
}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_every_picture_of_a_batch_is_denoised_as_it_is_alone(pair):
    together = restored(denoise, pair, BRIEF_MASKED)
    for page, given in enumerate(pair):
        alone = restored(denoise, given, BRIEF_MASKED)
        assert torch.equal(together.image[page : page + 1], alone.image), page
        assert together.kept_step[page] == alone.kept_step[0]


@each_recipe
@pytest.mark.parametrize("stop", [None, "risk", "discrepancy"])
def test_every_picture_of_a_batch_is_denoised_as_it_is_alone_by_every_code_and_rule(recipe, stop):
    def rule():
        return {None: None, "risk": risk(0.1), "discrepancy": discrepancy()}[stop]

    together = restored(denoise, BOTH, recipe, noise="gaussian", stop=rule())
    for page, given in enumerate(BOTH):
        alone = restored(denoise, given, recipe, noise="gaussian", stop=rule())
        assert torch.equal(together.image[page : page + 1], alone.image), page


@pytest.mark.parametrize("recipe", [BRIEF, replace(BRIEF, restarts=2)], ids=["one fit", "two fits"])
def test_every_picture_of_a_batch_is_deblurred_as_it_is_alone(recipe):
    together = restored(deblur, BOTH, recipe, kernel="gaussian:1")
    for page, given in enumerate(BOTH):
        alone = restored(deblur, given, recipe, kernel="gaussian:1")
        assert torch.equal(together.image[page : page + 1], alone.image), page


def test_the_first_of_two_pictures_of_one_noise_is_denoised_as_it_is_alone():
    """What the tests above ask for is not out of reach: nothing but the noise and the random numbers of the second differs."""
    alone = restored(denoise, FAINT, BRIEF, noise="gaussian")
    beside = restored(denoise, torch.stack([FAINT, FAINT.flip(-1)]), BRIEF, noise="gaussian")
    assert torch.equal(beside.image[:1], alone.image)


# ---------------------------------------------------------------------- the same, whatever the random numbers of each


def test_a_fit_of_a_batch_stops_each_picture_at_its_own_noise():
    """By the discrepancy principle a fit ends once its error is that of the picture's own noise."""
    recipe = replace(THIN, steps=150, averaging=0.0)
    settings = {"noise": "gaussian", "stop": discrepancy(factor=1.2)}
    assert restored(denoise, STRONG, recipe, **settings).kept_step[0] < 120
    assert restored(denoise, BOTH, recipe, **settings).kept_step[1] < 120


def test_the_first_picture_of_a_batch_does_not_hang_on_whether_the_second_was_clipped():
    alone = restored(denoise, FAINT, BRIEF, noise="gaussian")
    beside = restored(denoise, torch.stack([FAINT, clipped(STRONG)]), BRIEF, noise="gaussian")
    assert torch.equal(beside.image[:1], alone.image)


def test_the_first_picture_of_a_batch_does_not_hang_on_the_brightness_of_the_second():
    given, dark = picture(SIDE, seed=1, sigma=25), 0.2 * picture(SIDE, seed=4)
    settings = {"noise": "speckle", "stop": discrepancy(factor=1.6)}
    alone = restored(denoise, given, replace(THIN, steps=120), **settings)
    beside = restored(denoise, torch.stack([given, dark]), replace(THIN, steps=120), **settings)
    assert alone.kept_step[0] < 120
    assert beside.kept_step[0] == alone.kept_step[0]
    assert torch.equal(beside.image[:1], alone.image)


def test_the_remarks_name_the_noise_of_every_picture():
    pair = torch.stack([FAINT, with_impulses(picture(SIDE, seed=3))])
    words = " ".join(denoise(pair, recipe=THIN, device="cpu", tile=None).remarks).lower()
    assert "gaussian" in words
    assert "impulse" in words
