"""Faults of recipes: one that was given as a value is used exactly as it is."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from classifiers.small import tiny
from faults.parts import picture
from faults.test_batches import with_impulses

from preimage import denoise, inpaint, invert, purify, super_resolve
from preimage.codes import Masked
from preimage.defend import purification
from preimage.explain.recipes import FAST_INVERSION, PAPER_INVERSION
from preimage.restore import denoise as denoising
from preimage.restore import inpaint as inpainting
from preimage.restore import super_resolve as enlarging

FAST, BEST = denoising.recipes()["fast"], denoising.recipes()["best"]
GREY, COLOR = picture(24, sigma=25, channels=1), picture(24, sigma=25)


def brief(recipe):
    return replace(recipe, steps=2, precision="float32")


def used(run):
    """The recipe of a run, from what it returns."""
    next(iter(run))
    return run.result().recipe


def correlated() -> torch.Tensor:
    """Noise of deviation 0.1 that neighboring pixels share."""
    noise = torch.randn(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.avg_pool2d(noise, 5, 1, 2)[0]
    return (picture(48) + 0.1 * smooth / smooth.std()).clamp(0, 1)


DENOISING = {
    "grey": (GREY, replace(brief(FAST), code=Masked(0.85))),
    "grey, the default itself": (GREY, brief(FAST)),
    "impulses": (with_impulses(COLOR), brief(FAST)),
    "impulses, the best": (with_impulses(COLOR), replace(brief(BEST), restarts=1)),
}


@pytest.mark.parametrize(("given", "recipe"), DENOISING.values(), ids=DENOISING)
def test_a_recipe_is_used_as_it_is_whatever_the_noise(given, recipe):
    assert used(denoise(given, recipe=recipe, device="cpu", tile=None)) == recipe


def test_a_recipe_is_used_as_it_is_where_neighboring_pixels_share_the_noise():
    recipe = brief(FAST)
    run = denoise(correlated(), sigma=0.1, recipe=recipe, device="cpu", tile=None)
    assert any("correlated" in remark for remark in run.remarks), "the picture is not what it should be"
    assert used(run) == recipe


def test_another_code_is_used_as_it_is():
    recipe = replace(brief(FAST), code=Masked(0.7))
    assert used(denoise(GREY, recipe=recipe, device="cpu", tile=None)) == recipe


def masks() -> dict[str, torch.Tensor]:
    """Missing pixels of several kinds, 1 where one is known."""
    scattered = (torch.rand(1, 32, 32, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    hole = torch.ones(1, 32, 32)
    hole[:, 10:24, 8:24] = 0
    return {"scattered": scattered, "hole": hole}


@pytest.mark.parametrize("recipe", [inpainting.recipes()["fast"], inpainting.recipes()["paper"]], ids=["fast", "paper"])
@pytest.mark.parametrize("kind", ["scattered", "hole"])
def test_a_recipe_is_used_as_it_is_whatever_is_missing(kind, recipe):
    recipe = brief(recipe)
    settings = {"mask": masks()[kind], "mask_white": "valid", "gap": kind}
    run = inpaint(picture(32), **settings, recipe=recipe, device="cpu", tile=None)
    assert used(run) == recipe


def test_a_recipe_is_used_as_it_is_whatever_the_factor():
    recipe = brief(enlarging.recipes()["paper"])
    assert used(super_resolve(picture(16), factor=8, recipe=recipe, device="cpu", tile=None)) == recipe


def test_a_recipe_for_purification_is_used_as_it_is_whatever_the_size():
    recipe = replace(purification.FAST, precision="float32")
    assert used(purify(picture(40), recipe=recipe, device="cpu", tile=None)) == recipe


def test_what_an_explanation_does_hangs_on_no_equality_with_a_published_recipe():
    """Two recipes with one network under two names, of which one equals the published: both fits are the same."""

    def network(c_in, c_out, height, width):
        return PAPER_INVERSION.network(c_in, c_out, height, width)

    given, published = picture(32), replace(brief(FAST_INVERSION), network=PAPER_INVERSION.network)
    settings = {"classifier": tiny(), "layers": "block2", "device": "cpu"}
    one, other = (
        invert(given, recipe=recipe, **settings).run() for recipe in (published, replace(published, network=network))
    )
    assert torch.equal(one.image, other.image)
