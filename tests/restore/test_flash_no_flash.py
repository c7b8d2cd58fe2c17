"""flash_no_flash: the flash picture is the code, the light is the other's, and the two must belong together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from specimens import THIN, clean, noisy

from preimage.distances import squared
from preimage.errors import InputError
from preimage.images import as_picture
from preimage.networks import SkipNet
from preimage.optimizers import adam, muon
from preimage.prior import reflected
from preimage.restore.flash_no_flash import flash_no_flash, recipes
from preimage.series.options import PRIORS
from preimage.stopping import After, after

BRIEF = replace(THIN, steps=3, jitter=0.0)
FAST, PAPER = recipes()["fast"], recipes()["paper"]


def pair(side: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    """A dim, noisy picture and a sharp, brighter one of the same scene."""
    return 0.5 * noisy(side), clean(side).flip(1)


# ---------------------------------------------------------------------- the problem


def test_the_light_is_that_without_flash():
    image, flash = pair()
    problem = flash_no_flash(image, flash=flash, recipe=BRIEF, device="cpu").problem
    assert torch.equal(problem.target, image)
    assert problem.distance is squared
    assert torch.equal(problem.apply(flash), flash)
    assert problem.weight is None
    assert problem.finish is None


@pytest.mark.parametrize("side", [32, 40, 27])
def test_the_flash_picture_is_the_code_padded_by_reflection(side):
    image, flash = pair(side)
    fit = flash_no_flash(image, flash=flash, restarts=2, recipe=BRIEF, device="cpu")
    for code in fit.prior.codes:
        assert torch.equal(code[..., :side, :side], flash)
        assert torch.equal(code.contiguous(), reflected(flash, *code.shape[-2:]))
        assert code.shape[-1] % 2 == 0
    assert fit.run().image.shape == (1, 3, side, side)


def test_pages_have_their_own_flash():
    images, flashes = torch.cat([noisy(32), clean(32)]), torch.cat([clean(32), noisy(32).flip(-1)])
    fit = flash_no_flash(images, flash=flashes, restarts=2, recipe=BRIEF, device="cpu")
    codes = torch.cat(list(fit.prior.codes))
    assert torch.equal(codes.contiguous(), flashes.repeat_interleave(2, 0))
    assert fit.run().image.shape == (2, 3, 32, 32)


@pytest.mark.parametrize(("own", "other"), [(3, 1), (1, 3), (3, 4)])
def test_channels_may_differ(own, other):
    result = flash_no_flash(noisy(32, own), flash=clean(32, other), recipe=BRIEF, device="cpu").run()
    assert result.image.shape == (1, own, 32, 32)


def test_the_flash_picture_makes_a_difference():
    image, flash = pair()
    first, again, other = (
        flash_no_flash(image, flash=each, recipe=BRIEF, device="cpu").run().image
        for each in (flash, flash, flash.flip(-1))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    identities = [
        flash_no_flash(image, flash=each, recipe=BRIEF, device="cpu").fingerprint for each in (flash, flash.flip(-1))
    ]
    assert identities[0] != identities[1]


def test_its_detail_guides_the_fit():
    """Stripes that both pictures have are found in the noise far sooner than from a code without them."""
    scene = torch.zeros(1, 1, 32, 32)
    scene[..., ::4, :] = 1
    truth = 0.3 + 0.2 * scene
    image = (truth + 0.2 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    recipe = replace(BRIEF, steps=10)
    guided, blind = (
        flash_no_flash(image, flash=flash, recipe=recipe, device="cpu").run().image
        for flash in (scene, scene * 0 + 0.5)
    )
    errors = [float((each - truth).square().mean()) for each in (guided, blind, image)]
    assert errors[0] < 0.4 * errors[1] < 0.4 * errors[2]


# ---------------------------------------------------------------------- settings


def test_the_paper_s_settings():
    """PAPERS.md: skip 5x128/4, up [nearest, nearest, bilinear x3], no jitter, Adam 0.1, 600 steps."""
    network = PAPER.network
    assert isinstance(network, SkipNet.Config)
    assert (network.down, network.up, network.skip) == ((128,) * 5, (128,) * 5, (4,) * 5)
    assert network.upsample == ("nearest", "nearest", "bilinear", "bilinear", "bilinear")
    assert network.padding == "reflect"
    assert (PAPER.jitter, PAPER.optimizer, PAPER.rate, PAPER.steps) == (0, adam, 0.1, 600)
    assert (PAPER.averaging, PAPER.stop, PAPER.restarts) == (0, "steps", 1)


@pytest.mark.parametrize("recipe", [FAST, PAPER], ids=["fast", "paper"])
def test_smoke_of_the_recipes_as_they_are(recipe):
    fit = flash_no_flash(pair(20)[0], flash=pair(20)[1], recipe=replace(recipe, steps=1), device="cpu")
    assert (fit.recipe.optimizer is muon) == (recipe is FAST)
    assert isinstance(fit.rule, After)
    assert fit.run().image.shape == (1, 3, 20, 20)


def test_it_does_the_recipe_s_steps_unless_told():
    own = after(1)
    fit = flash_no_flash(pair()[0], flash=pair()[1], recipe=BRIEF, stop=own, device="cpu")
    assert fit.rule is own
    assert fit.run().steps == 1


@pytest.mark.parametrize("prior", ["deep-decoder", "pixels"])
def test_priors_that_cannot_see_the_flash_picture_are_refused(prior):
    """One would enlarge it 16 to 64 times (25 GB for 128 x 128 pixels), the other has no code at all."""
    with pytest.raises(InputError) as caught:
        flash_no_flash(pair()[0], flash=pair()[1], recipe=replace(FAST, **PRIORS[prior]), device="cpu")
    assert caught.value.code == "option"


# ---------------------------------------------------------------------- files, errors


def test_files_arrays_and_images_are_one(tmp_path):
    arrays = [(each[0].movedim(0, -1) * 255).round().byte().numpy() for each in pair(20)]
    paths = [tmp_path / "ambient.png", tmp_path / "flash.png"]
    for array, path in zip(arrays, paths, strict=True):
        Image.fromarray(array).save(path)
    pairs = (arrays, paths, [str(path) for path in paths], [Image.fromarray(each) for each in arrays])
    images = [flash_no_flash(each[0], flash=each[1], recipe=BRIEF, device="cpu").run().image for each in pairs]
    assert all(torch.equal(image, images[0]) for image in images)
    assert (
        flash_no_flash(paths[0], flash=paths[1], recipe=BRIEF, device="cpu").run().save(tmp_path / "clean.png").exists()
    )


def refused(image, flash) -> InputError:
    """The error for a pair that does not belong together."""
    with pytest.raises(InputError) as caught:
        flash_no_flash(image, flash=flash, recipe=BRIEF, device="cpu")
    assert "\n" not in str(caught.value)
    return caught.value


def test_another_size_is_one_line_that_says_both(tmp_path):
    Image.new("RGB", (24, 20)).save(tmp_path / "flash.png")
    error = refused(noisy(32), tmp_path / "flash.png")
    assert error.code == "shape"
    assert all(size in str(error) for size in ("24 x 20", "32 x 32"))


def test_a_flash_image_serves_all_pages_or_there_are_as_many():
    images, flash = torch.cat([noisy(32), clean(32)]), clean(32)
    one = flash_no_flash(images, flash=flash, recipe=BRIEF, device="cpu").run().image
    both = flash_no_flash(images, flash=torch.cat([flash] * 2), recipe=BRIEF, device="cpu").run().image
    assert torch.equal(one, both)
    error = refused(images, torch.cat([flash] * 3))
    assert error.code == "shape"
    assert all(pages in str(error) for pages in ("3 pages", "2"))


def test_another_depth_is_one_line_that_says_both(tmp_path):
    tifffile.imwrite(tmp_path / "flash.tif", np.zeros((32, 32, 3), np.uint16), photometric="rgb")
    image = (noisy(32)[0].movedim(0, -1) * 255).round().byte().numpy()
    error = refused(image, tmp_path / "flash.tif")
    assert error.code == "type"
    assert all(depth in str(error) for depth in ("uint8", "uint16", "flash.tif"))


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"flash": "no_such_flash.png"}, "not-found"),
        ({"flash": torch.full((3, 32, 32), float("nan"))}, "range"),
        ({"flash": None}, "type"),
        ({"restarts": 0}, "invalid-value"),
        ({"seed": -1}, "invalid-value"),
        ({"device": "abacus"}, "device"),
    ],
)
def test_what_cannot_be_done_is_one_line_before_any_step(options, code):
    with pytest.raises(InputError) as caught:
        flash_no_flash(noisy(32), **({"flash": as_picture(clean(32)), "recipe": BRIEF, "device": "cpu"} | options))
    assert caught.value.code == code
    assert "\n" not in str(caught.value)
