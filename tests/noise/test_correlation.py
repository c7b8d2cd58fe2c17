"""Noise that neighboring pixels share: told from white noise, from texture and from clean pictures, and measured."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from specimens import THIN, clean
from torch import Tensor
from torch.nn import functional

from preimage.distances import squared
from preimage.noise.correlation import estimate_correlation, rough_length, whitening
from preimage.noise.estimation import estimate_noise
from preimage.restore.denoise import denoise, recipes
from preimage.stopping import After, Discrepancy, Risk, held_out

BRIEF = replace(THIN, steps=3)
FAST, PAPER = recipes()["fast"], recipes()["paper"]
DISTANCE = {0.6: 1.7, 1.0: 3.0, 1.5: 4.6}  # pixels to where exp(-d^2 / 4 w^2), the autocorrelation, falls to 0.1


def noise_of(shape: tuple[int, ...], width: float, sigma: float, seed: int = 0) -> Tensor:
    """White noise (width 0), or the same through a Gaussian filter, of deviation `sigma`."""
    b, c, h, w = shape
    noise = torch.randn(b, c, h + 16, w + 16, generator=torch.Generator().manual_seed(seed))
    if width:
        kernel = torch.exp(-torch.arange(-8, 9).square() / (2 * width**2))
        kernel = torch.outer(kernel, kernel)
        kernel = (kernel / kernel.square().sum().sqrt())[None, None]
        return sigma * functional.conv2d(noise.transpose(0, 1), kernel).transpose(0, 1)
    return sigma * noise[..., 8:-8, 8:-8]


def spoiled(width: float, sigma: float = 0.1, *, side: int = 64, channels: int = 3) -> Tensor:
    picture = soft(side, channels)
    return (picture + noise_of(tuple(picture.shape), width, sigma)).clamp(0, 1)


def soft(side: int = 64, channels: int = 3) -> Tensor:
    """Shades so gentle that they add little to the variance of a window."""
    return 0.35 + 0.3 * clean(side, channels)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("sigma", [0.05, 0.1])
@pytest.mark.parametrize("width", [0.6, 1.0, 1.5])
def test_smoothed_noise_is_told_and_measured(width: float, sigma: float, channels: int) -> None:
    side = 128 if channels == 1 else 96  # one channel has fewer flat windows to tell it from
    found = estimate_correlation(spoiled(width, sigma, side=side, channels=channels))
    assert found is not None
    assert found.sigma == pytest.approx(sigma, rel=0.35)
    assert found.length == pytest.approx(DISTANCE[width], rel=0.35)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("sigma", [0.0, 0.02, 0.05, 0.1, 0.2])
def test_white_noise_and_none_are_not(sigma: float, channels: int) -> None:
    assert estimate_correlation(spoiled(0, sigma, channels=channels)) is None


def test_a_ramp_is_not_noise() -> None:
    assert estimate_correlation(clean(64)) is None


def test_texture_is_not_noise() -> None:
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    weave = 0.5 + 0.1 * torch.sin(x / 1.5) * torch.sin(y / 2) * (0.2 + (x / 64))
    assert estimate_correlation(weave.expand(1, 3, 64, 64)) is None


@pytest.mark.parametrize("side", [128, 256])
@pytest.mark.parametrize("name", ["chelsea", "astronaut", "coffee"])
def test_clean_photographs_are_not(name: str, side: int) -> None:
    from skimage import data

    array = getattr(data, name)()
    top, left = (array.shape[0] - side) // 2, (array.shape[1] - side) // 2
    window = torch.from_numpy(array[top : top + side, left : left + side].copy())
    assert not estimate_noise(window.permute(2, 0, 1)[None].float() / 255).length


@pytest.mark.parametrize("size", [(16, 16), (16, 40), (17, 70)])
def test_pictures_of_few_windows_have_an_answer(size: tuple[int, int]) -> None:
    found = estimate_noise((0.5 + noise_of((1, 3, *size), 0, 0.1)).clamp(0, 1))
    assert (found.kind, found.length) == ("gaussian", 0.0)


def test_brightness_does_not_change_it() -> None:
    noisy = spoiled(1.0, 0.05)
    found, darker = estimate_correlation(noisy), estimate_correlation(noisy / 2)
    assert found is not None
    assert darker is not None
    assert darker.sigma == pytest.approx(found.sigma / 2, rel=1e-4)
    assert darker.length == pytest.approx(found.length, rel=1e-4)


def test_the_noise_says_so() -> None:
    found, white = estimate_noise(spoiled(1.0)), estimate_noise(spoiled(0))
    assert found.kind == "gaussian"
    assert found.level == found.sigma == pytest.approx(0.1, rel=0.2)
    assert "correlated over about 3 pixels" in found.explanation
    assert white.length == 0
    assert "correlated" not in white.explanation


def test_a_stated_sigma_is_the_total_and_the_picture_tells_the_rest() -> None:
    found, white = estimate_noise(spoiled(1.0), sigma=0.12), estimate_noise(spoiled(0), sigma=0.12)
    assert (found.level, found.sigma) == (0.12, 0.12)
    assert found.length == pytest.approx(3, rel=0.35)
    assert (white.sigma, white.length) == (0.12, 0.0)
    assert rough_length(torch.full((1, 1, 32, 32), 0.5)) == 0


def test_whitening_makes_the_noise_whiter() -> None:
    noise = noise_of((1, 1, 128, 96), 1.0, 0.1)
    response, share = whitening(3.0, (128, 96))
    assert response.shape == (128, 49)
    white = torch.fft.irfft2(torch.fft.rfft2(noise) * response, s=(128, 96))
    assert float(white.square().mean()) == pytest.approx(share * 0.01, rel=0.15)

    def beside(x: Tensor) -> float:
        return float((x[..., 1:] * x[..., :-1]).mean() / x.square().mean())

    assert beside(noise) > 0.7
    assert beside(white) < 0.85 * beside(noise)


# ---------------------------------------------------------------------- what denoise makes of it


def test_denoise_chooses_the_error_and_says_so() -> None:
    run, white = (denoise(spoiled(width), recipe=BRIEF, device="cpu") for width in (1.0, 0))
    assert isinstance(run.rule, Discrepancy)
    assert (run.rule.factor, run.rule.distance) == (0.8, squared)
    assert len(run.remarks) == 3
    assert next(iter(run.problem.term_names())) == "filtered"
    assert isinstance(white.rule, Risk)
    assert len(white.remarks) == 2
    assert white.problem.term_names() == ["squared"]


def test_the_users_rule_and_the_published_settings_stay() -> None:
    noisy = spoiled(1.0)
    run = denoise(noisy, recipe=BRIEF, stop=held_out(), device="cpu")
    assert run.problem.term_names() == ["squared"]  # left-out pixels judge an error that does not mix pixels
    published = denoise(noisy, recipe=replace(PAPER, steps=2), device="cpu")
    assert isinstance(published.rule, After)
    assert published.problem.term_names() == ["squared"]


def test_the_filtered_error_of_the_clean_picture_is_the_noise_level() -> None:
    picture = soft()
    noisy = picture + noise_of(tuple(picture.shape), 1.0, 0.05)
    run = denoise(noisy.clamp(0, 1), recipe=BRIEF, device="cpu")
    assert run.problem.noise_level == pytest.approx(float(run.problem.data_term(picture)), rel=0.6)


def test_it_removes_correlated_noise() -> None:
    picture, noisy = soft(), spoiled(1.0)
    result = denoise(noisy, recipe=replace(FAST, network=THIN.network, restarts=1, steps=200), device="cpu").run()
    before, after = ((x - picture).square().mean() for x in (noisy, result.image))
    assert "fell to that of the noise" in str(result.reason)
    assert float(after) < 0.5 * float(before), math.sqrt(float(after))
