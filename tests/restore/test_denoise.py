"""denoise: what each kind of noise makes of the problem, pictures of every sort, and that it does remove noise."""

from __future__ import annotations

import functools
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from PIL import Image
from specimens import THIN, clean, noisy

from preimage.codes import Masked
from preimage.distances import absolute, poisson_nll, squared
from preimage.errors import InputError
from preimage.images import read
from preimage.metrics import psnr
from preimage.networks import SkipNet
from preimage.noise.estimation import Noise, estimate_noise
from preimage.noise.likelihood import noise_problem
from preimage.optimizers import muon
from preimage.recipes import recipe as named
from preimage.regularizers import total_variation
from preimage.restore.denoise import DenoiseOptions, default_rule, denoise, from_noise, recipes
from preimage.stopping import After, HeldOut, MovingVariance, Risk, after, held_out

BRIEF = replace(THIN, steps=3)
FAST, BALANCED, BEST, PAPER = recipes().values()
FROM_NOISE = from_noise(FAST)
# FAST, but for a quarter of its width.
THIN_FAST = replace(
    FAST,
    network=SkipNet.Config((16,) * 5, (16,) * 5, (4,) * 5, upsample="nearest", padding="zeros"),
    restarts=1,
    steps=160,
)


def photograph(side: int = 64) -> torch.Tensor:
    from skimage import data

    window = data.chelsea()[60 : 60 + side, 100 : 100 + side].copy()
    return torch.from_numpy(window).movedim(-1, 0)[None].float() / 255


PICTURES = {"generated": lambda: clean(64), "photograph": photograph}


def spoiled(picture: torch.Tensor, kind: str, level: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(picture.shape, generator=generator)
    chance = torch.rand(picture.shape, generator=generator)
    return {
        "gaussian": picture + level * normal,
        "poisson": torch.poisson(picture / level, generator=generator) * level,
        "speckle": picture * (1 + level * normal),
        "impulse": torch.where(chance < level, (chance < level / 2).float(), picture),
    }[kind].clamp(0, 1)


LEVELS = {"gaussian": 25 / 255, "poisson": 1 / 30, "speckle": 0.35, "impulse": 0.2}
each_kind = pytest.mark.parametrize("kind", LEVELS)
each_picture = pytest.mark.parametrize("picture", PICTURES.values(), ids=PICTURES.keys())


# ---------------------------------------------------------------------- the problem


@each_kind
def test_the_kind_of_noise_chooses_distance_weight_and_rule(kind):
    fit = denoise(spoiled(clean(64), kind, LEVELS[kind]), noise=kind, recipe=BRIEF, device="cpu")
    distance = fit.problem.distance
    expected = {"gaussian": squared, "speckle": squared, "impulse": absolute, "poisson": poisson_nll}[kind]
    assert getattr(distance, "func", distance) is expected
    assert isinstance(fit.rule, Risk)
    if kind == "poisson":
        assert isinstance(distance, functools.partial)
        assert distance.keywords["gain"] == pytest.approx(LEVELS[kind], rel=0.15)


@each_kind
@each_picture
def test_the_kind_is_found_as_if_it_had_been_told(kind, picture):
    image = spoiled(picture(), kind, LEVELS[kind])
    found = denoise(image, recipe=BRIEF, device="cpu")
    told = denoise(image, noise=kind, recipe=BRIEF, device="cpu")
    assert found.remarks == told.remarks
    assert found.problem.noise_level == told.problem.noise_level


@pytest.mark.parametrize("kind", ["gaussian", "poisson", "speckle"])
@each_picture
def test_the_noise_level_is_the_data_term_of_the_clean_picture(kind, picture):
    target = spoiled(picture(), kind, LEVELS[kind])
    problem = noise_problem(target, estimate_noise(target, kind=kind))
    assert problem.noise_level == pytest.approx(float(problem.data_term(picture())), rel=0.15)


@pytest.mark.parametrize("strength", [0.5, 1, 2])
@pytest.mark.parametrize("kind", ["gaussian", "poisson", "speckle"])
@each_picture
def test_so_it_is_where_the_strength_is_known(kind, strength, picture):
    level = strength * LEVELS[kind]
    target = spoiled(picture(), kind, level)
    problem = noise_problem(target, Noise(kind, level, level, ""))
    assert problem.noise_level == pytest.approx(float(problem.data_term(picture())), rel=0.12)


def test_speckle_counts_bright_places_less():
    target = spoiled(clean(64), "speckle", 0.35)
    weight = noise_problem(target, estimate_noise(target, kind="speckle")).weight
    assert weight is not None
    dark, bright = clean(64) < 0.35, (clean(64) > 0.6) & (clean(64) < 0.8)
    assert float(weight[dark].mean()) > 2 * float(weight[bright].mean())
    assert 0 < float(weight.min()) <= float(weight.max()) <= 10


def test_impulses_are_left_out_and_nothing_else():
    picture = photograph()
    target = spoiled(picture, "impulse", 0.2)
    problem = noise_problem(target, estimate_noise(target))
    weight = problem.weight
    assert weight is not None
    assert set(weight.unique().tolist()) == {0.0, 1.0}
    replaced = target != picture
    assert float(weight[replaced].mean()) < 0.05
    assert float(weight[~replaced].mean()) > 0.95
    assert problem.noise_level == 0
    assert float(problem.data_term(picture)) < 0.002


def test_impulses_are_marked_on_each_page_by_itself():
    pages = torch.cat([spoiled(clean(32), "impulse", 0.2), spoiled(clean(32), "impulse", 0.2).flip(-1)])
    weight = noise_problem(pages, estimate_noise(pages[:1])).weight
    assert weight is not None
    assert torch.equal(weight[0], weight[1].flip(-1))


def test_restarts_are_the_recipe_s():
    recipe = replace(BRIEF, restarts=3)
    for kind, level in LEVELS.items():
        image = spoiled(clean(32), kind, level)
        assert len(denoise(image, noise=kind, recipe=recipe, device="cpu").prior) == 3
        assert len(denoise(image, noise=kind, recipe=recipe, restarts=2, device="cpu").prior) == 2


def test_the_rule_is_the_recipe_s_the_noise_s_or_the_caller_s():
    found, silent = (noise_problem(noisy(), Noise("gaussian", sigma, sigma, "")) for sigma in (0.1, 0.0))
    assert isinstance(default_rule(found, FROM_NOISE), Risk)
    assert isinstance(default_rule(found, FAST), MovingVariance)
    assert isinstance(default_rule(found, PAPER), After)
    assert type(default_rule(silent, FROM_NOISE)) is HeldOut
    own = after(2)
    assert denoise(noisy(), recipe=BRIEF, stop=own, device="cpu").rule is own


@pytest.mark.parametrize("kind", ["auto", *LEVELS])
@pytest.mark.parametrize("recipe", [BRIEF, replace(BRIEF, stop="steps")], ids=["blind", "steps"])
def test_a_picture_without_noise_is_fitted_all_the_same(recipe, kind):
    result = denoise(torch.full((3, 20, 20), 0.5), noise=kind, recipe=recipe, device="cpu").run()
    assert bool(result.image.isfinite().all())
    assert bool(result.history["loss"].isfinite().all())
    assert result.history.events == []


def test_a_total_variation_penalty_is_a_term_of_its_own():
    fit = denoise(noisy(), tv=0.02, recipe=BRIEF, device="cpu")
    assert fit.problem.regularizers == ((0.02, total_variation),)
    assert denoise(noisy(), recipe=BRIEF, device="cpu").problem.regularizers == ()


# ---------------------------------------------------------------------- units and kinds of pictures


def test_sigma_is_in_units_of_the_input():
    eight = (noisy(20) * 255).round().byte()
    array = eight[0].movedim(0, -1).numpy()
    sixteen = array.astype(np.uint16) * 257
    runs = [
        denoise(image, sigma=sigma, noise="gaussian", recipe=BRIEF, device="cpu")
        for image, sigma in ((array, 25), (eight / 255, 25 / 255), (Image.fromarray(array), 25.0))
    ]
    assert runs[0].problem.noise_level == pytest.approx((25 / 255) ** 2, rel=0.15)
    assert [run.problem.noise_level for run in runs] == pytest.approx([runs[0].problem.noise_level] * 3, rel=1e-5)
    assert "sigma is 25 in units of the input, 0.0980 in 0..1" in runs[0].remarks
    results = [run.run().image for run in runs]
    assert torch.allclose(results[0], results[1], atol=1e-4)
    assert torch.equal(results[0], results[2])
    low, high = read_units(sixteen)
    other = denoise(sixteen, sigma=25 * 257, noise="gaussian", recipe=BRIEF, device="cpu")
    assert f"sigma is 6425 in units of the input, {25 * 257 / (high - low):.4f} in 0..1" in other.remarks


def read_units(array: np.ndarray) -> tuple[float, float]:
    from preimage.images import as_picture

    return as_picture(array).units()


def test_sigma_is_estimated_and_reported_in_both_units():
    array = (spoiled(photograph(), "gaussian", 25 / 255)[0].movedim(0, -1) * 255).round().byte().numpy()
    said = denoise(array, noise="gaussian", recipe=BRIEF, device="cpu").remarks[1]
    units, unit = float(said.split()[2]), float(said.split()[-3])
    assert units == pytest.approx(25, rel=0.1)
    assert unit == pytest.approx(units / 255, rel=1e-2)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("size", [(16, 16), (17, 31), (40, 23)])
def test_any_size_and_number_of_channels(channels, size):
    image = torch.nn.functional.interpolate(noisy(32, channels), size)
    result = denoise(image, recipe=BRIEF, device="cpu").run()
    assert result.image.shape == (1, channels, *size)
    assert bool(result.image.isfinite().all())
    assert 0 <= float(result.image.min()) <= float(result.image.max()) <= 1


@pytest.mark.parametrize("layout", ["hw", "chw", "bchw"])
def test_tensors_of_any_layout(layout):
    image = {"hw": noisy(20, 1)[0, 0], "chw": noisy(20)[0], "bchw": torch.cat([noisy(20), clean(20)])}[layout]
    result = denoise(image, recipe=BRIEF, device="cpu").run()
    assert result.to_array().shape == tuple(image.shape)
    assert len(result.image) == (2 if layout == "bchw" else 1)


def test_array_image_path_and_picture_are_one(tmp_path):
    array = (noisy(20)[0].movedim(0, -1) * 255).round().byte().numpy()
    path = tmp_path / "noisy.png"
    Image.fromarray(array).save(path)
    inputs = (array, Image.fromarray(array), path, str(path), read(path))
    images = [denoise(image, recipe=BRIEF, device="cpu").run().image for image in inputs]
    assert all(torch.equal(image, images[0]) for image in images)


# ---------------------------------------------------------------------- blindness, errors, and that it works


def test_the_truth_is_nowhere_to_be_given():
    assert {each.name for each in fields(DenoiseOptions)} == {
        "noise", "sigma", "stripes", "luma", "chroma", "grain", "tv", "recipe", "steps",
        "prior", "stop", "restarts", "initial", "warm_start", "seed", "device",
        "tile", "tile_overlap",
    }  # fmt: skip


def test_nothing_is_computed_before_the_run():
    fit = denoise(noisy(), recipe=BRIEF, device="cpu")
    assert (fit.index, fit.seconds, len(fit.history)) == (0, 0, 0)
    assert fit.task == "denoise"


@pytest.mark.parametrize(
    ("image", "options", "code"),
    [
        (torch.zeros(3, 15, 40), {}, "size"),
        (torch.zeros(17, 20, 20), {}, "shape"),
        (torch.full((3, 20, 20), float("nan")), {}, "range"),
        (np.zeros((4,), np.uint8), {}, "shape"),
        ("no_such_file.png", {}, "not-found"),
        (noisy(20), {"noise": "rain"}, "invalid-value"),
        (noisy(20), {"sigma": -0.1}, "invalid-value"),
        (noisy(20), {"sigma": 25}, "invalid-value"),
        (noisy(20), {"sigma": 0.1, "noise": "poisson"}, "invalid-value"),
        (noisy(20), {"restarts": 0}, "invalid-value"),
        (noisy(20), {"seed": -1}, "invalid-value"),
        (noisy(20), {"device": "abacus"}, "device"),
    ],
)
def test_what_cannot_be_done_is_one_line_before_any_step(image, options, code):
    with pytest.raises(InputError) as caught:
        denoise(image, **({"recipe": BRIEF, "device": "cpu"} | options))
    assert caught.value.code == code
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["gaussian", "impulse"])
def test_it_removes_noise_blindly(kind):
    """Told nothing; the picture is looked at only afterwards."""
    picture = clean(64)
    image = spoiled(picture, kind, LEVELS[kind])
    result = denoise(image, recipe=THIN_FAST, device="cpu").run()
    assert float(psnr(result.image, picture)) > float(psnr(image, picture)) + 3


def test_the_clean_picture_does_not_matter():
    """The same noisy picture gives the same result, whatever it was made from; the rule asks only for what was given."""
    first = denoise(noisy(20), recipe=BRIEF, device="cpu").run()
    again = denoise(noisy(20).clone(), recipe=BRIEF, device="cpu").run()
    other = denoise(clean(20), recipe=BRIEF, device="cpu").run()
    assert torch.equal(first.image, again.image)
    assert not torch.equal(first.image, other.image)


def test_a_result_starts_the_next_frame():
    first = denoise(noisy(), recipe=replace(THIN, steps=40), device="cpu").run()
    warm = denoise(noisy(), recipe=BRIEF, stop=held_out(), initial=first, device="cpu")
    fresh = denoise(noisy(), recipe=BRIEF, stop=held_out(), device="cpu")
    assert float(next(iter(warm)).loss) < 0.5 * float(next(iter(fresh)).loss)


@pytest.mark.parametrize(
    ("recipe", "members"), [(FAST, 1), (BALANCED, 3), (BEST, 8), (FROM_NOISE, 3), (PAPER, 1)],
    ids=["fast", "balanced", "best", "unmasked", "paper"],
)  # fmt: skip
def test_smoke_of_the_recipes_as_they_are(recipe, members):
    fit = denoise(noisy(20), recipe=replace(recipe, steps=2), device="cpu")
    assert (len(fit.prior), fit.recipe.optimizer is muon) == (members, recipe is not PAPER)
    result = fit.run()
    assert result.steps == 2
    assert bool(result.image.isfinite().all())


def test_a_grey_picture_shows_less_of_itself():
    for channels, keep in ((1, 0.4), (3, 0.85)):
        assert denoise(noisy(20, channels), device="cpu").recipe.code == Masked(keep, filled=True)
        assert denoise(noisy(20, channels), recipe=FAST, device="cpu").recipe == FAST
    own = named("fast", code=Masked(0.6))
    assert denoise(noisy(20, 1), recipe=own, device="cpu").recipe.code == Masked(0.6)


@pytest.mark.parametrize("kind", ["gaussian", "speckle", "poisson"])
def test_where_noise_was_cut_off_the_fit_knows_it(kind):
    """A bright picture is not made darker: what is fitted is what clipping makes of it."""
    bright = 0.75 + 0.25 * clean(64)
    image = spoiled(bright, kind, LEVELS[kind])
    problem = noise_problem(image, Noise(kind, LEVELS[kind], 0.1, ""), clipped=True)
    assert float(problem.apply(bright).mean()) == pytest.approx(float(image.mean()), abs=0.005)
    assert float(problem.apply(bright).mean()) < float(bright.mean()) - 0.005
    middling = 0.4 + 0.2 * clean(64)
    unclipped = spoiled(middling, kind, 0.3 * LEVELS[kind])
    for picture, recipe, knows in ((image, BRIEF, True), (image, PAPER, False), (unclipped, BRIEF, False)):
        fit = denoise(picture, noise=kind, recipe=recipe, device="cpu")
        assert torch.equal(fit.problem.apply(bright), bright) is not knows


@pytest.mark.parametrize(("name", "restarts"), [("fast", 1), ("best", 8)])
def test_impulses_are_gaps_among_exact_values(name, restarts):
    image = spoiled(clean(32), "impulse", LEVELS["impulse"])
    gaps = denoise(image, noise="impulse", recipe=name, steps=70, device="cpu")
    expected = replace(FROM_NOISE, network=FAST.network, steps=70, restarts=restarts, stop="steps")
    assert gaps.recipe == expected
    assert isinstance(gaps.rule, After)


def test_impulses_and_held_out_values_are_never_shown():
    image = spoiled(clean(32), "impulse", LEVELS["impulse"])
    fit = denoise(image, noise="impulse", recipe=replace(BRIEF, code=Masked(0.9), jitter=0.0), device="cpu")
    assert fit.problem.weight is not None
    left_out = fit.problem.weight[0] == 0
    shown = fit.prior.inputs([0]).codes[0][0, 3:, :32, :32] > 0
    assert bool(left_out.any())
    assert not bool((shown & left_out).any())


def test_hardly_any_noise_is_said_with_the_way_out():
    quiet = 0.5 + 1e-4 * clean(32)
    said = denoise(quiet, recipe=THIN, device="cpu").remarks
    told = denoise(quiet, sigma=0.001, recipe=THIN, device="cpu").remarks
    assert "sigma" in said[-1]
    assert len(said) == len(told) + 1
