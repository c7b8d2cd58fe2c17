"""inpaint: known pixels stay as they are to the last bit, only they are fitted, and the gap chooses the settings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from specimens import THIN, clean, noisy

from preimage.codes import Mesh, Noise
from preimage.engine.recipe import Recipe
from preimage.errors import InputError
from preimage.metrics import psnr
from preimage.networks import SkipNet
from preimage.optimizers import adam, muon
from preimage.recipes import recipe as named
from preimage.regularizers import total_variation
from preimage.restore.inpaint import fast_recipes, inpaint, paper_recipes, recipes
from preimage.stopping import After, Risk, after

BRIEF = replace(THIN, steps=4)
FASTS, PAPERS = fast_recipes(), paper_recipes()
FAST, PAPER = recipes()["fast"], recipes()["paper"]
KINDS = ("text", "region", "hole", "scattered", "sparse")
each_kind = pytest.mark.parametrize("kind", KINDS)


def gap(side: int = 32) -> torch.Tensor:
    """(side, side) True in a rectangle off the center."""
    mask = torch.zeros(side, side, dtype=torch.bool)
    mask[4:12, 6:24] = True
    return mask


def filled(image=None, **options):
    """A brief fit of a picture with a gap."""
    settings = {"mask": gap(), "mask_white": "missing", "recipe": BRIEF, "device": "cpu"} | options
    return inpaint(clean(32) if image is None else image, **settings)


# ---------------------------------------------------------------------- known pixels


@pytest.mark.parametrize("restarts", [1, 2, 3, 5])
def test_known_pixels_are_returned_to_the_last_bit_and_are_certain(restarts):
    given = noisy(32)
    result = filled(given, restarts=restarts).run()
    assert torch.equal(result.image[..., ~gap()], given[..., ~gap()])
    assert not torch.equal(result.image[..., gap()], given[..., gap()])
    if restarts > 1:
        assert result.uncertainty is not None
        assert float(result.uncertainty[..., ~gap()].max()) == 0
        assert float(result.uncertainty[..., gap()].min()) > 0


@pytest.mark.parametrize(("dtype", "scale"), [(np.uint8, 255), (np.uint16, 40_000), (np.float32, 7.3)])
def test_so_they_are_in_the_file_that_is_written(tmp_path, dtype, scale):
    values = noisy(32)[0].movedim(0, -1).numpy() * scale
    name = {np.uint8: "a.png"}.get(dtype, "a.tif")
    values = values.astype(dtype)
    if name == "a.png":
        Image.fromarray(values).save(tmp_path / name)
    else:
        tifffile.imwrite(tmp_path / name, values, photometric="rgb")
    result = filled(tmp_path / name, restarts=2).run()
    written = result.save(tmp_path / f"out{Path(name).suffix}")
    found = np.asarray(Image.open(written)) if name == "a.png" else tifffile.imread(written)
    known = ~gap().numpy()
    assert found.dtype == dtype
    if dtype == np.float32:  # a float32 picture is computed with in units of its range
        np.testing.assert_allclose(found[known], values[known], rtol=0, atol=scale * 2**-23)
    else:
        assert (found[known] == values[known]).all()
    assert not (found[~known] == values[~known]).all()


def test_fit_valid_returns_the_fit_everywhere():
    given = noisy(32)
    fit = filled(given, fit_valid=True)
    assert fit.problem.finish is None
    result = fit.run()
    assert not torch.equal(result.image[..., ~gap()], given[..., ~gap()])
    assert torch.equal(result.image, fit.outputs.averages[0])


def test_what_is_missing_does_not_matter():
    """Whatever stands in the gap, the result is the same: it is never looked at."""
    other = clean(32).clone()
    other[..., gap()] = 0.123
    first, second = (filled(image).run() for image in (clean(32), other))
    assert torch.equal(first.image, second.image)
    assert torch.equal(first.history["loss"], second.history["loss"])


def test_what_is_minimized_is_the_error_of_the_known_pixels():
    x, given = noisy(32), clean(32)
    problem = filled(given, stop=after(1)).problem
    ((_, value),) = problem.terms(x)
    assert float(value) == pytest.approx(float((x - given)[..., ~gap()].square().mean()), rel=1e-5)
    assert problem.noise_level == 0


@pytest.mark.parametrize("known", ["mask", "complement"])
def test_both_ways_to_say_white_are_complementary(known):
    mask = gap() if known == "mask" else ~gap()
    one = filled(mask=mask, mask_white="missing")
    other = filled(mask=~mask, mask_white="valid")
    assert one.remarks == other.remarks
    assert torch.equal(one.run().image, other.run().image)
    opposite = filled(mask=mask, mask_white="valid").run().image
    assert torch.equal(opposite[..., mask], clean(32)[..., mask])
    assert not torch.equal(opposite[..., ~mask], clean(32)[..., ~mask])


def test_the_gap_is_filled_better_than_by_the_mean():
    picture = clean(32)
    mask = torch.zeros(32, 32, dtype=torch.bool)
    mask[13:15, :] = mask[:, 20:22] = True
    result = filled(picture, mask=mask, recipe=replace(THIN, steps=40)).run()
    mean = torch.where(mask, picture[..., ~mask].mean(), picture)
    assert float(psnr(result.image, picture)) > float(psnr(mean, picture)) + 3


# ---------------------------------------------------------------------- inputs with gaps of their own


def test_a_transparent_part_is_filled_and_written_opaque(tmp_path):
    pixels = (clean(32)[0].movedim(0, -1) * 255).round().byte().numpy()
    alpha = np.where(gap().numpy(), 0, 255).astype(np.uint8)[..., None]
    Image.fromarray(np.concatenate([pixels, alpha], 2)).save(tmp_path / "hole.png")
    result = filled(tmp_path / "hole.png", mask=None, mask_white=None).run()
    written = np.asarray(Image.open(result.save(tmp_path / "whole.png")))
    assert written.shape == (32, 32, 4)
    assert (written[..., 3] == 255).all()
    known = ~gap().numpy()
    assert (written[known][:, :3] == pixels[known]).all()
    assert len(np.unique(written[~known][:, :3])) > 1


def test_nans_of_a_float_file_are_filled(tmp_path):
    values = clean(32, 1)[0, 0].numpy() * 30 - 4
    values[gap().numpy()] = np.nan
    tifffile.imwrite(tmp_path / "nan.tif", values)
    result = filled(tmp_path / "nan.tif", mask=None, mask_white=None).run()
    written = tifffile.imread(result.save(tmp_path / "whole.tif"))
    assert written.dtype == np.float32
    assert np.isfinite(written).all()
    np.testing.assert_allclose(written[~gap().numpy()], values[~gap().numpy()], rtol=0, atol=1e-5)
    array = filled(values, mask=None, mask_white=None).run().to_array()
    assert np.isfinite(array).all()


def test_nans_of_one_channel_are_filled_there_alone():
    values = clean(32)
    values[0, 1, gap()] = float("nan")
    result = filled(values, mask=None, mask_white=None).run()
    assert torch.equal(result.image[:, ::2], values[:, ::2])
    assert bool(result.image.isfinite().all())


def test_pages_share_a_mask_or_have_their_own():
    pages = torch.cat([clean(32), noisy(32)])
    own = torch.stack([gap(), gap().T])[:, None]
    for mask, of_each in ((gap(), [gap(), gap()]), (own, [gap(), gap().T])):
        result = filled(pages, mask=mask, restarts=2).run()
        assert result.image.shape == (2, 3, 32, 32)
        for i, missing in enumerate(of_each):
            assert torch.equal(result.image[i][..., ~missing], pages[i][..., ~missing])
            assert not torch.equal(result.image[i][..., missing], pages[i][..., missing])


# ---------------------------------------------------------------------- settings

TABLE = {  # PAPERS.md, line by line: widths, skip, upsample, code, jitter, rate, steps
    "text": ((128,) * 5, (128,) * 5, "nearest", Noise(32), 0.03, 0.01, 6000),
    "region": ((128,) * 5, (0,) * 5, "nearest", Mesh(), 0.03, 0.01, 5000),
    "hole": ((16, 32, 64, 128, 128, 128), (0,) * 6, "nearest", Noise(1), 0.0, 0.01, 3000),
    "scattered": ((128,) * 5, (4,) * 5, "bilinear", Noise(32), 0.03, 0.001, 11000),
    "sparse": ((16, 32, 64, 128, 128), (0,) * 5, "bilinear", Noise(32), 0.0, 0.01, 1000),
}


@each_kind
def test_the_paper_s_settings(kind):
    recipe = PAPERS[kind]
    network = recipe.network
    assert isinstance(network, SkipNet.Config)
    widths, skip, upsample, code, jitter, rate, steps = TABLE[kind]
    assert (network.down, network.up, network.skip, network.upsample) == (widths, widths, skip, upsample)
    assert (network.down_kernel, network.pointwise) == ((5, False) if kind == "hole" else (3, True))
    assert network.downsample == ("average" if kind == "sparse" else "stride")
    assert (network.padding, network.up_kernel, network.output) == ("reflect", 3, "sigmoid")
    assert (recipe.code, recipe.jitter, recipe.jitter_pool) == (code, jitter, None)
    assert (recipe.optimizer, recipe.rate, recipe.steps, recipe.stop) == (adam, rate, steps, "steps")
    assert (recipe.averaging, recipe.restarts) == (0, 1)


@pytest.mark.parametrize(("kind", "name"), [("text", "text inpainting"), ("region", "region"), ("hole", "large hole")])
def test_the_paper_s_networks_have_the_published_number_of_parameters(golden: Path, kind, name):
    counts = json.loads((golden / "parameter_counts.json").read_text())
    (published,) = (count for key, count in counts.items() if key.startswith(name))
    with torch.device("meta"):
        network = PAPERS[kind].network(PAPERS[kind].code.channels, 3, 512, 512)
    assert sum(p.numel() for p in network.parameters()) == published


@each_kind
@pytest.mark.parametrize(("name", "of_kinds"), [("fast", FASTS), ("paper", PAPERS)])
def test_the_gap_chooses_what_a_name_means_and_a_value_stays_as_it_is(name, of_kinds, kind):
    assert filled(gap=kind, recipe=name).recipe == of_kinds[kind]
    changes = {"steps": 3, "restarts": 2}
    changed = replace(of_kinds[kind], **changes)
    assert filled(gap=kind, recipe=named(name, **changes)).recipe == changed
    assert filled(gap=kind, recipe=name, **changes).recipe == changed
    for value in (FAST, PAPER, BRIEF, of_kinds[kind]):
        assert filled(gap=kind, recipe=value).recipe == value


@pytest.mark.parametrize(
    ("missing", "kind"),
    [
        (gap(64), "text"),
        (torch.nn.functional.pad(torch.ones(40, 40), (10, 14, 10, 14)) > 0, "region"),
        (torch.rand(64, 64, generator=torch.Generator().manual_seed(0)) < 0.5, "scattered"),
        (torch.rand(64, 64, generator=torch.Generator().manual_seed(0)) < 0.98, "sparse"),
    ],
)
def test_the_kind_is_told_from_the_mask(missing, kind):
    fit = filled(clean(64), mask=missing, recipe="paper")
    assert fit.recipe == PAPERS[kind]
    assert kind in fit.remarks[0]


@each_kind
def test_the_rule_is_the_recipe_s_or_the_caller_s(kind):
    assert isinstance(filled(gap=kind, recipe="paper").rule, After)
    assert isinstance(filled(gap=kind, recipe="fast").rule, After if FASTS[kind].stop == "steps" else Risk)
    assert isinstance(filled(gap=kind, recipe=BRIEF).rule, Risk)
    own = after(2)
    assert filled(gap=kind, stop=own).rule is own


@each_kind
@pytest.mark.parametrize("recipes", [FASTS, PAPERS], ids=["fast", "paper"])
def test_smoke_of_the_recipes_as_they_are(recipes, kind):
    fit = filled(clean(20), mask=gap()[:20, :20], gap=kind, recipe=replace(recipes[kind], steps=1))
    assert (fit.recipe.optimizer is muon) == (recipes is FASTS)
    assert fit.run().image.shape == (1, 3, 20, 20)


def test_half_of_the_pixels_ends_by_itself_under_a_rule():
    missing = torch.rand(32, 32, generator=torch.Generator().manual_seed(0)) < 0.5
    fit = filled(mask=missing, recipe=replace(BRIEF, steps=20))
    assert isinstance(fit.rule, Risk)
    result = fit.run()
    assert torch.equal(result.image[..., ~missing], clean(32)[..., ~missing])


def test_the_share_is_said_and_more_than_half_warned_of():
    share = 100 * float(gap().float().mean())
    (said,) = filled().remarks
    assert said.startswith(f"{share:.1f} % ")
    said, warning = filled(mask_white="valid").remarks
    assert said.startswith(f"{100 - share:.1f} % ")
    assert warning.startswith("warning:")


def test_a_total_variation_penalty_is_a_term_of_its_own():
    assert filled(tv=0.02).problem.regularizers == ((0.02, total_variation),)
    assert filled().problem.regularizers == ()


# ---------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"mask": None, "mask_white": None}, "mask"),
        ({"mask_white": None}, "option"),
        ({"mask": None}, "option"),
        ({"mask": gap()[:20]}, "shape"),
        ({"mask": torch.zeros(32, 32)}, "mask"),
        ({"mask": torch.ones(32, 32)}, "mask"),
        ({"mask": "no_such_mask.png"}, "not-found"),
        ({"gap": "blob"}, "option"),
        ({"restarts": 0}, "invalid-value"),
        ({"device": "abacus"}, "device"),
        ({"image": torch.zeros(3, 15, 40)}, "size"),
    ],
)
def test_what_cannot_be_done_is_one_line_before_any_step(options, code):
    with pytest.raises(InputError) as caught:
        filled(**options)
    assert caught.value.code == code
    assert "\n" not in str(caught.value)


def test_a_recipe_of_each_kind_is_there():
    assert set(PAPERS) == set(FASTS) == set(KINDS)
    assert all(isinstance(recipe, Recipe) for recipe in (*PAPERS.values(), *FASTS.values()))
