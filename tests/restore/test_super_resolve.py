"""super_resolve: sizes, kernels, the published settings, and that the result made small again is what was given."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from specimens import THIN, clean

from preimage.codes import Noise
from preimage.distances import squared
from preimage.errors import InputError
from preimage.images import read
from preimage.networks import SkipNet
from preimage.operators import Downsample, bicubic, box, lanczos2
from preimage.optimizers import adam, muon
from preimage.recipes import recipe as named
from preimage.regularizers import total_variation
from preimage.restore.super_resolve import adapted, down_kernel, recipes, super_resolve
from preimage.stopping import After, after

BRIEF = replace(THIN, steps=2)
FAST, PAPER = recipes()["fast"], recipes()["paper"]
PAPER_X8 = adapted("paper", PAPER, 8)
FACTORS = (2, 3, 4, 8)
each_factor = pytest.mark.parametrize("factor", FACTORS)


def small(height: int = 16, width: int = 16, channels: int = 3) -> torch.Tensor:
    return torch.nn.functional.interpolate(clean(32, channels), (height, width), mode="area")


# ---------------------------------------------------------------------- the problem


@pytest.mark.parametrize("size", [(16, 16), (17, 23)])
@pytest.mark.parametrize("factor", [*FACTORS, 5])
def test_the_result_is_factor_times_as_large(factor, size):
    result = super_resolve(small(*size), factor=factor, recipe=BRIEF, device="cpu").run()
    assert result.image.shape == (1, 3, factor * size[0], factor * size[1])
    assert bool(result.image.isfinite().all())


@each_factor
def test_made_small_again_it_comes_closer_to_the_input(factor):
    given, shrink = small(), Downsample(lanczos2(factor), factor)
    fit = super_resolve(given, factor=factor, recipe=replace(THIN, steps=20), device="cpu")
    errors = [float(squared(shrink(step.mean), given).mean()) for step in fit if step.index in (1, 5, 20)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.5 * errors[0]
    assert errors[2] == pytest.approx(float(squared(shrink(fit.result().image), given).mean()))


@each_factor
def test_what_is_minimized_is_the_error_of_the_small_picture(factor):
    """Equation 1 of the paper's section 3.2: E(x; y) = || d(x) - y ||^2, here as a mean."""
    given, x = small(), torch.rand(1, 3, 16 * factor, 16 * factor, generator=torch.Generator().manual_seed(0))
    problem = super_resolve(given, factor=factor, recipe=BRIEF, device="cpu").problem
    ((_, value),) = problem.terms(x)
    assert float(value) == pytest.approx(float((Downsample(lanczos2(factor), factor)(x) - given).square().mean()))
    assert problem.weight is None
    assert problem.finish is None


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_it_sees_with_the_published_down_sampler(golden: Path, factor):
    stored = np.load(golden / "lanczos2_downsample.npz")
    problem = super_resolve(small(), factor=factor, recipe=BRIEF, device="cpu").problem
    seen = problem.apply(torch.from_numpy(stored[f"x{factor}/input"]))
    np.testing.assert_allclose(seen.numpy(), stored[f"x{factor}/output"], rtol=0, atol=1e-5)


def test_a_total_variation_penalty_is_of_the_large_picture():
    fit = super_resolve(small(), factor=2, tv=0.02, recipe=BRIEF, device="cpu")
    x = torch.rand(1, 3, 32, 32)
    assert float(dict(fit.problem.terms(x))["total_variation"]) == pytest.approx(0.02 * float(total_variation(x)))


# ---------------------------------------------------------------------- kernels


@each_factor
@pytest.mark.parametrize(("name", "make"), [("lanczos2", lanczos2), ("bicubic", bicubic), ("box", box)])
def test_kernels_by_name(name, make, factor):
    weights, fitted = down_kernel(name, factor)
    assert torch.equal(weights, make(factor))
    assert not fitted


@pytest.mark.parametrize("factor", range(2, 17))
@pytest.mark.parametrize("sigma", [0.4, 1.6, 3.0])
def test_a_gaussian_has_its_sigma_and_the_factor_s_parity(sigma, factor):
    weights, fitted = down_kernel(f"gaussian:{sigma}", factor)
    assert not fitted
    assert weights.shape[0] == weights.shape[1]
    assert (weights.shape[0] - factor) % 2 == 0
    assert weights.shape[0] >= max(factor, 6 * sigma - 1)
    assert float(weights.sum()) == pytest.approx(1, abs=1e-5)
    places = torch.arange(weights.shape[0]) - (weights.shape[0] - 1) / 2
    if sigma > 1:  # a narrower one is too coarsely sampled, and wider ones lose their tails
        assert float((weights.sum(0) * places.square()).sum()) == pytest.approx(sigma**2, rel=0.05)


def test_kernels_of_one_s_own_from_arrays_and_files(tmp_path):
    own = np.outer([1, 3, 3, 1], [1, 2, 2, 1]).astype(np.float64)
    np.save(tmp_path / "kernel.npy", own)
    np.savetxt(tmp_path / "kernel.csv", own, delimiter=",")
    Image.fromarray((own * 20).astype(np.uint8)).save(tmp_path / "kernel.png")
    expected = torch.from_numpy(own / own.sum()).float()
    files = (tmp_path / f"kernel.{end}" for end in ("npy", "csv", "png"))
    for kernel in (own, torch.from_numpy(own), *files, str(tmp_path / "kernel.npy")):
        operator = super_resolve(small(), factor=2, kernel=kernel, recipe=BRIEF, device="cpu").problem.operator
        assert isinstance(operator, Downsample)
        assert torch.allclose(operator.kernel, expected, atol=1e-6)


@pytest.mark.parametrize("kernel", ["bicubic", "gaussian:1.2"])
def test_the_kernel_is_what_the_picture_is_seen_with(kernel):
    """A result is told from another by the kernel alone, and its name is said."""
    fits = [super_resolve(small(), factor=2, kernel=each, recipe=BRIEF, device="cpu") for each in ("lanczos2", kernel)]
    images = [fit.run().image for fit in fits]
    assert not torch.equal(images[0], images[1])
    assert f"kernel {kernel}" in fits[1].remarks[0]


@pytest.mark.parametrize("factor", [2, 3])
def test_an_estimated_kernel_is_fitted_by_each_restart(factor):
    recipe = replace(THIN, steps=15, restarts=2)
    result = super_resolve(small(), factor=factor, kernel="estimate", recipe=recipe, device="cpu").run()
    begin, _ = down_kernel("estimate", factor)
    kernels = [operator.kernel.detach() for operator in result.operators if isinstance(operator, Downsample)]
    assert len(kernels) == 2
    for kernel in kernels:
        assert kernel.shape == begin.shape
        assert float(kernel.sum()) == pytest.approx(1, abs=1e-5)
        assert float(kernel.min()) >= 0
        assert float((kernel - begin).abs().max()) > 0.01 * float(begin.max())
    assert not torch.equal(kernels[0], kernels[1])


def test_a_known_kernel_is_not_fitted():
    result = super_resolve(small(), factor=2, recipe=BRIEF, device="cpu").run()
    assert result.operators == []


# ---------------------------------------------------------------------- settings


@pytest.mark.parametrize(("recipe", "steps", "jitter"), [(PAPER, 2000, 0.03), (PAPER_X8, 4000, 0.05)])
def test_the_paper_s_settings(golden: Path, recipe, steps, jitter):
    """PAPERS.md: skip 5x128/4, noise 32, jitter 0.03 / 0.05, Adam 0.01, 2000 / 4000 steps; the last output, no average."""
    network = recipe.network
    assert isinstance(network, SkipNet.Config)
    assert (network.down, network.up, network.skip) == ((128,) * 5, (128,) * 5, (4,) * 5)
    assert (network.upsample, network.padding, network.downsample) == ("bilinear", "reflect", "stride")
    assert (recipe.code, recipe.jitter, recipe.jitter_pool) == (Noise(32, 0.1), jitter, None)
    assert (recipe.optimizer, recipe.rate, recipe.steps) == (adam, 0.01, steps)
    assert (recipe.averaging, recipe.stop, recipe.restarts) == (0, "steps", 1)
    counts = json.loads((golden / "parameter_counts.json").read_text())
    with torch.device("meta"):
        parameters = sum(p.numel() for p in network(32, 3, 512, 512).parameters())
    assert parameters == counts["denoise / super-resolution: 5x128, skip 4, input 32"]


@pytest.mark.parametrize(("factor", "expected"), [(2, PAPER), (4, PAPER), (7, PAPER), (8, PAPER_X8), (16, PAPER_X8)])
def test_the_factor_chooses_the_paper_s_settings(factor, expected):
    assert super_resolve(small(), factor=factor, recipe="paper", device="cpu").recipe == expected
    assert super_resolve(small(), factor=factor, recipe=PAPER, device="cpu").recipe == PAPER


@pytest.mark.parametrize("changes", [{"steps": 7}, {"rate": 0.02, "restarts": 2}, {"jitter": 0.0}])
def test_what_a_user_changes_holds_for_either(changes):
    fit = super_resolve(small(), factor=8, recipe=named("paper", **changes), device="cpu")
    assert fit.recipe == replace(PAPER_X8, **changes)


@pytest.mark.parametrize("recipe", [FAST, THIN])
def test_other_recipes_stay_as_they_are(recipe):
    assert super_resolve(small(), factor=8, recipe=recipe, device="cpu").recipe == recipe


def test_it_does_the_recipe_s_steps_unless_told():
    assert isinstance(super_resolve(small(), factor=2, recipe=FAST, device="cpu").rule, After)
    own = after(1)
    fit = super_resolve(small(), factor=2, recipe=BRIEF, stop=own, device="cpu")
    assert fit.rule is own
    assert fit.run().steps == 1


@pytest.mark.parametrize("recipe", [FAST, PAPER], ids=["fast", "paper"])
def test_smoke_of_the_recipes_as_they_are(recipe):
    fit = super_resolve(small(), factor=2, recipe=replace(recipe, steps=1), device="cpu")
    assert (fit.recipe.optimizer is muon) == (recipe is FAST)
    assert fit.run().image.shape == (1, 3, 32, 32)


# ---------------------------------------------------------------------- kinds of pictures, errors


def test_it_is_written_in_kind_and_large(tmp_path):
    pixels = (small(20, 24)[0].movedim(0, -1) * 255).round().byte().numpy()
    alpha = np.full((20, 24, 1), 255, np.uint8)
    alpha[:10] = 0
    Image.fromarray(np.concatenate([pixels, alpha], 2)).save(tmp_path / "small.png")
    result = super_resolve(tmp_path / "small.png", factor=3, recipe=BRIEF, device="cpu").run()
    large = np.asarray(Image.open(result.save(tmp_path / "large.png")))
    assert large.shape == (60, 72, 4)
    assert (large[:27, :, 3] == 0).all()
    assert (large[33:, :, 3] == 255).all()
    assert torch.allclose(read(tmp_path / "large.png").tensor, result.image, atol=0.51 / 255)
    array = super_resolve(pixels.astype(np.uint16) * 200, factor=2, recipe=BRIEF, device="cpu").run().to_array()
    assert (array.shape, array.dtype) == ((40, 48, 3), np.dtype(np.uint16))


def test_pages_become_large_pages():
    pages = torch.cat([small(), small().flip(-1)])
    result = super_resolve(pages, factor=2, restarts=2, recipe=BRIEF, device="cpu").run()
    assert result.image.shape == (2, 3, 32, 32)
    assert result.uncertainty is not None
    assert result.uncertainty.shape == (2, 3, 32, 32)


def test_sizes_are_said():
    (said,) = super_resolve(small(17, 23), factor=3, recipe=BRIEF, device="cpu").remarks
    assert said == "3 times as large: 69 x 51 pixels, kernel lanczos2"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        *(({"factor": factor}, "invalid-value") for factor in (0, 1, 17, -4)),
        *(({"factor": factor}, "invalid-value") for factor in (2.5, True, "4")),
        ({"factor": 4, "kernel": np.ones((3, 3))}, "kernel"),
        ({"factor": 3, "kernel": np.ones((4, 4))}, "kernel"),
        ({"factor": 2, "kernel": np.ones((4, 3))}, "kernel"),
        ({"factor": 2, "kernel": np.ones((34, 34))}, "kernel"),
        ({"factor": 2, "kernel": "gaussian:9"}, "kernel"),
        ({"kernel": np.ones(4)}, "kernel"),
        ({"kernel": np.zeros((4, 4))}, "kernel"),
        ({"kernel": np.full((4, 4), np.nan)}, "kernel"),
        ({"kernel": "gaussian:wide"}, "kernel"),
        ({"kernel": "gaussian:-1"}, "kernel"),
        ({"kernel": "gaussian:nan"}, "kernel"),
        ({"kernel": "no_such_kernel.npy"}, "not-found"),
        ({"kernel": "lanczos3"}, "not-found"),
        ({"restarts": 0}, "invalid-value"),
        ({"seed": -1}, "invalid-value"),
        ({"device": "abacus"}, "device"),
    ],
)
def test_what_cannot_be_done_is_one_line_before_any_step(options, code):
    with pytest.raises(InputError) as caught:
        super_resolve(small(), **({"recipe": BRIEF, "device": "cpu"} | options))
    assert caught.value.code == code
    assert "\n" not in str(caught.value)
