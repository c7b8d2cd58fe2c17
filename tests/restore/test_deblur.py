"""deblur: the picture is as large as the input though more was fitted, kernels of every kind, and it does sharpen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from specimens import THIN, clean, noisy
from torch.nn import functional

from preimage.codes import Noise
from preimage.engine.recipe import Recipe
from preimage.errors import InputError
from preimage.metrics import psnr
from preimage.networks import Pixels, SkipNet
from preimage.operators import Blur, gaussian, motion
from preimage.optimizers import muon
from preimage.problem import Problem
from preimage.regularizers import total_variation
from preimage.restore.deblur import blur_kernel, deblur, recipes
from preimage.stopping import After, after, discrepancy, held_out, risk, windowed_variance

BRIEF = replace(THIN, steps=3)
FAST, PAPER = recipes()["fast"], recipes()["paper"]
DELTA = np.pad(np.ones((1, 1)), 2)


def window(kernel: torch.Tensor, side: int = 32, sigma: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """What a camera sees of a larger scene through a kernel, and the sharp picture of the same window."""
    rows, columns = kernel.shape[0] // 2, kernel.shape[1] // 2
    most = max(rows, columns)
    scene = clean(side + 2 * most)[..., most - rows : side + most + rows, most - columns : side + most + columns]
    noise = sigma * torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    sharp = scene[..., rows : rows + side, columns : columns + side]
    return (Blur(kernel)(scene) + noise).clamp(0, 1), sharp


# ---------------------------------------------------------------------- the problem


@pytest.mark.parametrize("size", [(32, 32), (33, 45)])
@pytest.mark.parametrize("kernel", ["gaussian:1.6", "motion:9,30", np.ones((1, 7)), "unknown"])
def test_the_result_is_as_large_as_the_input(kernel, size):
    image = functional.interpolate(noisy(32), size)
    fit = deblur(image, kernel=kernel, recipe=replace(BRIEF, restarts=2), device="cpu")
    step = next(iter(fit))
    weights, _ = blur_kernel(kernel, 15)
    assert step.image.shape[-2:] == (size[0] + weights.shape[0] - 1, size[1] + weights.shape[1] - 1)
    assert step.picture.shape == (1, 3, *size)
    result = fit.run()
    assert result.image.shape == (1, 3, *size)
    assert result.uncertainty is not None
    assert result.uncertainty.shape == (1, 3, *size)


@pytest.mark.parametrize("kernel", [gaussian(1.6), motion(7, 20), torch.tensor([[0.2, 0.8, 0.0]])])
def test_the_window_of_the_result_is_the_input_s(kernel):
    """The sharp scene, margin and all, explains the blurred window without any error, and is cut to it."""
    image, sharp = window(kernel, side=24)
    fit = deblur(image, kernel=kernel, recipe=BRIEF, stop=after(1), device="cpu")
    rows, columns = kernel.shape[0] // 2, kernel.shape[1] // 2
    most = max(rows, columns)
    scene = clean(24 + 2 * most)[..., most - rows : 24 + most + rows, most - columns : 24 + most + columns]
    assert float(dict(fit.problem.terms(scene))["filtered"]) == pytest.approx(0, abs=1e-9)
    assert fit.problem.finish is not None
    assert torch.equal(fit.problem.finish(scene), sharp)


@pytest.mark.parametrize("kernel", [np.ones((1, 1)), DELTA, "motion:1,0"])
def test_a_kernel_that_blurs_nothing_is_denoising(kernel):
    image = noisy(32)
    problem = deblur(image, kernel=kernel, recipe=BRIEF, stop=after(1), device="cpu").problem
    margin = (np.shape(kernel)[0] - 1) // 2 if isinstance(kernel, np.ndarray) else 0
    x = torch.rand(1, 3, 32 + 2 * margin, 32 + 2 * margin, generator=torch.Generator().manual_seed(1))
    assert problem.finish is not None
    cut = problem.finish(x)
    assert torch.allclose(problem.apply(x), cut, atol=1e-6)
    ((_, value),), ((_, expected),) = problem.terms(x), Problem(image).terms(cut)
    assert float(value) == pytest.approx(float(expected), rel=1e-4)


def test_the_loss_falls():
    image, _ = window(gaussian(1.6), side=24)
    recipe = replace(THIN, steps=15)
    loss = deblur(image, kernel="gaussian:1.6", recipe=recipe, stop=after(), device="cpu").run().history["loss"]
    assert float(loss[-1]) < 0.5 * float(loss[0])


def test_it_sharpens():
    """Without a network, which needs more steps to get there."""
    image, sharp = window(gaussian(2.0))
    recipe = Recipe(network=Pixels.Config(), jitter=0.0, rate=0.1, steps=150, averaging=0.0)
    result = deblur(image, kernel="gaussian:2", recipe=recipe, stop=after(), device="cpu").run()
    assert float(psnr(result.image, sharp)) > float(psnr(image, sharp)) + 0.8


@pytest.mark.parametrize("sigma", [0.05, 0.1])
def test_the_noise_is_estimated_or_told(sigma):
    """In the blurred picture, whose own detail is gone, and in units of the input."""
    image, _ = window(gaussian(1.6), side=64, sigma=sigma)
    found = deblur(image, kernel=DELTA, recipe=BRIEF, device="cpu")
    assert found.problem.noise_level == pytest.approx(sigma**2, rel=0.3)
    assert "Gaussian noise of standard deviation" in found.remarks[1]
    eight = (image[0].movedim(0, -1) * 255).round().byte().numpy()
    told = deblur(eight, kernel=DELTA, sigma=20, recipe=BRIEF, device="cpu")
    assert told.problem.noise_level == pytest.approx((20 / 255) ** 2, rel=1e-3)


@pytest.mark.parametrize("kernel", ["gaussian:1.6", "unknown"])
def test_the_noise_level_is_the_data_term_of_the_sharp_scene(kernel):
    """Whatever the distance is, rules that ask are told what the truth would leave."""
    true = gaussian(15 / 6, 15) if kernel == "unknown" else gaussian(1.6)
    reach = true.shape[0] // 2
    scene = clean(64 + 2 * reach)
    image = Blur(true)(scene) + 0.05 * torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    fit = deblur(image.clamp(0, 1), kernel=kernel, sigma=0.05, recipe=BRIEF, stop=after(1), device="cpu")
    value = fit.problem.terms(scene)[0][1]
    assert fit.problem.noise_level == pytest.approx(float(value.detach()), rel=0.15)


def test_a_total_variation_penalty_is_a_term_of_its_own():
    fit = deblur(noisy(), kernel="gaussian:1", tv=0.02, recipe=BRIEF, device="cpu")
    assert fit.problem.regularizers == ((0.02, total_variation),)


# ---------------------------------------------------------------------- kernels


@pytest.mark.parametrize(
    ("name", "expected"),
    [("gaussian:1.6", gaussian(1.6)), ("motion:9,30", motion(9, 30)), ("motion:15,-45", motion(15, -45))],
)
def test_kernels_by_name(name, expected):
    weights, fitted = blur_kernel(name, 15)
    assert torch.equal(weights, expected)
    assert not fitted


def test_kernels_of_one_s_own_from_arrays_and_files(tmp_path):
    own = np.outer([1, 4, 2], [1, 2, 8, 2, 3]).astype(np.float64)
    np.save(tmp_path / "kernel.npy", own)
    np.savetxt(tmp_path / "kernel.txt", own)
    Image.fromarray((own * 7).astype(np.uint8)).save(tmp_path / "kernel.png")
    expected = torch.from_numpy(own / own.sum()).float()
    files = (tmp_path / f"kernel.{end}" for end in ("npy", "txt", "png"))
    for kernel in (own, torch.from_numpy(own), *files, str(tmp_path / "kernel.npy")):
        fit = deblur(noisy(), kernel=kernel, recipe=BRIEF, device="cpu")
        assert isinstance(fit.problem.operator, Blur)
        assert torch.allclose(fit.problem.operator.kernel, expected, atol=1e-6)
        assert "blur kernel of 5 x 3 pixels" in fit.remarks[0]


def test_an_unknown_kernel_is_fitted_by_each_restart():
    image, _ = window(gaussian(1.5))
    recipe = replace(THIN, steps=15)
    result = deblur(image, kernel="unknown", kernel_size=5, restarts=2, recipe=recipe, stop=after(), device="cpu").run()
    begin, fitted = blur_kernel("unknown", 5)
    assert fitted
    kernels = [operator.kernel.detach() for operator in result.operators if isinstance(operator, Blur)]
    assert len(kernels) == 2
    for kernel in kernels:
        assert kernel.shape == (5, 5)
        assert float(kernel.sum()) == pytest.approx(1, abs=1e-5)
        assert float(kernel.min()) >= 0
        assert float((kernel - begin).abs().max()) > 0.01 * float(begin.max())
    assert not torch.equal(kernels[0], kernels[1])


def test_a_fitted_kernel_starts_the_next_fit():
    image, _ = window(gaussian(1.5))
    options = {"kernel": "unknown", "kernel_size": 5, "recipe": BRIEF, "device": "cpu"}
    first = deblur(image, **options).run()
    (kernel,) = (operator.kernel for operator in first.operators if isinstance(operator, Blur))
    warm = deblur(image, initial=first, **options)
    begin = warm.theta.operators[0].kernel
    assert torch.equal(begin, kernel)


# ---------------------------------------------------------------------- settings, errors


def test_the_settings_without_a_table_are_those_of_super_resolution():
    """The paper does not deblur; PAPERS.md: 5x128/4, noise 32, jitter 0.03, Adam 0.01, 2000 steps."""
    assert PAPER.network == SkipNet.Config((128,) * 5, (128,) * 5, (4,) * 5)
    assert (PAPER.code, PAPER.jitter, PAPER.rate, PAPER.steps) == (Noise(32), 0.03, 0.01, 2000)
    assert isinstance(deblur(noisy(), kernel="gaussian:1", recipe=PAPER, device="cpu").rule, After)


@pytest.mark.parametrize("kernel", ["gaussian:1", "unknown"])
@pytest.mark.parametrize("rule", [risk, held_out, discrepancy, windowed_variance], ids=lambda rule: rule.__name__)
def test_every_rule_can_judge_it(rule, kernel):
    own = rule()
    fit = deblur(noisy(), kernel=kernel, restarts=2, recipe=BRIEF, stop=own, device="cpu")
    assert fit.rule is own
    assert fit.run().image.shape == (1, 3, 32, 32)


def test_rules_that_hold_pixels_out_see_each_pixel_by_itself():
    """Also as one of two: an error that is spread over its neighbors would show what was left out."""
    for rule in (held_out(), risk(), held_out() | after(2)):
        fit = deblur(noisy(), kernel="gaussian:1.6", recipe=BRIEF, stop=rule, device="cpu")
        assert fit.problem.weight is not None
        x = torch.rand(1, 3, 42, 42, generator=torch.Generator().manual_seed(0))
        seen = fit.problem.apply(x).requires_grad_()
        fit.problem.data_term(seen).sum().backward()
        assert seen.grad is not None
        assert float(seen.grad[(fit.problem.weight == 0).expand_as(seen.grad)].abs().max()) == 0


@pytest.mark.parametrize("recipe", [FAST, PAPER], ids=["fast", "paper"])
def test_smoke_of_the_recipes_as_they_are(recipe):
    fit = deblur(noisy(20), kernel="gaussian:1", recipe=replace(recipe, steps=1), device="cpu")
    assert (fit.recipe.optimizer is muon) == (recipe is FAST)
    assert fit.run().image.shape == (1, 3, 20, 20)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"kernel": np.ones((4, 4))}, "kernel"),
        ({"kernel": np.ones((3, 4))}, "kernel"),
        ({"kernel": np.ones((33, 3))}, "kernel"),
        ({"kernel": "gaussian:20"}, "kernel"),
        ({"kernel": "unknown", "kernel_size": 33}, "kernel"),
        *(({"kernel": "unknown", "kernel_size": n}, "kernel") for n in (4, 5.0, True)),
        *(({"kernel": "unknown", "kernel_size": n}, "invalid-value") for n in (1, -3)),
        ({"kernel": "gaussian:"}, "kernel"),
        ({"kernel": "gaussian:wide"}, "kernel"),
        ({"kernel": "gaussian:1,2"}, "kernel"),
        ({"kernel": "gaussian:0"}, "invalid-value"),
        ({"kernel": "gaussian:nan"}, "invalid-value"),
        ({"kernel": "motion:9"}, "kernel"),
        ({"kernel": "motion:9,north"}, "kernel"),
        ({"kernel": "motion:0.2,30"}, "invalid-value"),
        ({"kernel": np.zeros((3, 3))}, "kernel"),
        ({"kernel": np.full((3, 3), np.nan)}, "kernel"),
        ({"kernel": np.ones((3, 3, 3))}, "kernel"),
        ({"kernel": "no_such_kernel.npy"}, "not-found"),
        ({"kernel": "fuzzy"}, "not-found"),
        ({"sigma": -1}, "invalid-value"),
        ({"restarts": 0}, "invalid-value"),
        ({"device": "abacus"}, "device"),
    ],
)
def test_what_cannot_be_done_is_one_line_before_any_step(options, code):
    with pytest.raises(InputError) as caught:
        deblur(noisy(), **({"kernel": "gaussian:1", "recipe": BRIEF, "device": "cpu"} | options))
    assert caught.value.code == code
    assert "\n" not in str(caught.value)


def test_a_start_from_a_kernel_of_another_size_is_one_line():
    options = {"kernel": "unknown", "recipe": BRIEF, "device": "cpu"}
    first = deblur(noisy(20), kernel_size=5, **options).run()
    with pytest.raises(InputError) as caught:
        deblur(noisy(20), kernel_size=3, initial=first, **options)
    assert "\n" not in str(caught.value)
