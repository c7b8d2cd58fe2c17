"""Blind noise estimation: simulated noise of known kind and strength is found again, and none where none is."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from preimage.errors import InputError
from preimage.noise.estimation import Kind, Noise, estimate_noise, is_clipped
from preimage.noise.impulses import impulse_mask


def scene(channels: int = 3, size: int = 128) -> Tensor:
    """Smooth from dark to bright, with a textured quarter and a step: flat parts exist, edges and texture too."""
    y, x = torch.meshgrid(torch.linspace(0, 1, size), torch.linspace(0, 1, size), indexing="ij")
    smooth = 0.08 + 0.8 * x
    texture = 0.1 * torch.sin(90 * x) * torch.sin(70 * y) * ((x > 0.5) & (y > 0.5))
    step = 0.1 * (y < 0.3)
    planes = [(smooth + texture - step).roll(k * size // 5, 0) for k in range(channels)]
    return torch.stack(planes)[None].clamp(0.04, 0.96)


def photograph(size: int = 128) -> Tensor:
    from skimage import data

    picture = torch.from_numpy(data.chelsea()[60 : 60 + size, 100 : 100 + size].copy())
    return picture.permute(2, 0, 1)[None].float() / 255


def with_noise(clean: Tensor, kind: Kind, level: float, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(clean.shape, generator=generator)
    chance = torch.rand(clean.shape, generator=generator)
    noisy = {
        "gaussian": clean + level * normal,
        "poisson": torch.poisson(clean / level, generator=generator) * level,
        "speckle": clean * (1 + level * normal),
        "impulse": torch.where(chance < level, (chance < level / 2).float(), clean),
    }[kind]
    return (noisy.clamp(0, 1) * 255).round() / 255


CASES: list[tuple[Kind, float]] = [
    ("gaussian", 10 / 255),
    ("gaussian", 25 / 255),
    ("gaussian", 50 / 255),
    ("poisson", 1 / 10),
    ("poisson", 1 / 30),
    ("poisson", 1 / 100),
    ("speckle", 0.1),
    ("speckle", 0.35),
    ("speckle", 0.5),
    ("impulse", 0.05),
    ("impulse", 0.3),
    ("impulse", 0.5),
]


@pytest.mark.parametrize(("kind", "level"), CASES)
@pytest.mark.parametrize("channels", [1, 3, 7])
def test_kind_and_level_are_found(kind: Kind, level: float, channels: int) -> None:
    noise = estimate_noise(with_noise(scene(channels), kind, level))
    assert noise.kind == kind, noise.explanation
    assert noise.level == pytest.approx(level, rel=0.15)


@pytest.mark.parametrize(("kind", "level"), CASES)
def test_sigma_is_the_deviation_of_the_noise_over_the_picture(kind: Kind, level: float) -> None:
    clean = scene()
    noise = estimate_noise(with_noise(clean, kind, level), kind=kind)
    assert noise.sigma == pytest.approx(math.sqrt(Noise(kind, level, 0, "").variance(clean).mean()), rel=0.15)


@pytest.mark.parametrize("sigma", [10 / 255, 25 / 255, 50 / 255])
def test_a_photograph_is_measured_better_than_by_wavelets(sigma: float) -> None:
    from skimage.restoration import estimate_sigma

    noisy = with_noise(photograph(), "gaussian", sigma)
    ours = estimate_noise(noisy)
    wavelets = float(estimate_sigma(noisy[0].permute(1, 2, 0).numpy(), channel_axis=-1, average_sigmas=True))
    assert ours.kind == "gaussian"
    assert ours.level == pytest.approx(sigma, rel=0.1)
    assert abs(ours.level - sigma) < abs(wavelets - sigma)


def test_a_clean_picture_has_faint_gaussian_noise() -> None:
    noise = estimate_noise(photograph())
    assert noise.kind == "gaussian"
    assert noise.level < 5 / 255


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("kind", ["auto", "gaussian", "poisson", "speckle", "impulse"])
def test_a_constant_picture_has_none(value: float, kind: Kind) -> None:
    noise = estimate_noise(torch.full((1, 3, 32, 32), value), kind=kind)
    assert (noise.level, noise.sigma) == (0.0, 0.0)
    assert not impulse_mask(torch.full((1, 3, 32, 32), value))[..., 3:-3, 3:-3].any()


def test_half_the_contrast_is_half_the_sigma() -> None:
    noisy = with_noise(scene(), "gaussian", 0.1)
    whole, half = estimate_noise(noisy), estimate_noise(0.25 + noisy / 2)
    assert half.level == pytest.approx(whole.level / 2, rel=0.1)  # the half one was clipped before it was scaled


def test_the_order_of_channels_does_not_matter() -> None:
    noisy = with_noise(scene(), "poisson", 0.02)
    assert estimate_noise(noisy.flip(1)).level == pytest.approx(estimate_noise(noisy).level, rel=1e-6)


@pytest.mark.parametrize("size", [(16, 16), (16, 40), (17, 700), (700, 500), (16, 12_000)])
def test_any_size_from_sixteen(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(1)
    noisy = (0.5 + 0.1 * torch.randn((1, 1, *size), generator=generator)).clamp(0, 1)
    assert estimate_noise(noisy).level == pytest.approx(0.1, rel=0.25)
    assert impulse_mask(noisy).shape == noisy.shape


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5])
def test_salt_and_pepper_is_marked(share: float) -> None:
    clean = scene()
    clean[:, :, 40:70, 20:50] = 0.0  # black of its own, which no one replaced
    noisy = with_noise(clean, "impulse", share)
    replaced, marked = noisy != (clean * 255).round() / 255, impulse_mask(noisy)
    assert marked.dtype == torch.bool
    assert (marked & replaced).sum() > 0.97 * replaced.sum()
    assert (marked & replaced).sum() > 0.93 * marked.sum()


def test_random_values_are_counted_and_the_far_ones_marked() -> None:
    clean, generator = scene(), torch.Generator().manual_seed(2)
    replaced = torch.rand(clean.shape, generator=generator) < 0.1
    noisy = torch.where(replaced, torch.rand(clean.shape, generator=generator), clean)
    noise, marked = estimate_noise(noisy), impulse_mask(noisy)
    assert noise.kind == "impulse"
    assert noise.level == pytest.approx(0.1, rel=0.1)
    assert (marked & replaced).sum() > 0.98 * marked.sum()
    assert marked.sum() > 0.5 * replaced.sum()


def test_one_hot_pixel_is_marked_and_does_not_make_a_kind() -> None:
    noisy = with_noise(scene(1), "gaussian", 0.02)
    noisy[0, 0, 20, 30] = 1.0
    assert impulse_mask(noisy)[0, 0, 20, 30]
    assert estimate_noise(noisy).kind == "gaussian"


def ruled(period: int, *, dashed: bool = False) -> Tensor:
    """Lines of one pixel on paper, (1, 1, 64, 64)."""
    at = torch.arange(64)
    lines = (at % period == 0)[None, :] | (at % period == 0)[:, None]
    if dashed:
        lines &= (at[None, :] + at[:, None]) % 6 < 4
    return torch.where(lines, 0.15, 0.85)[None, None]


def lettered() -> Tensor:
    """Small letters on paper, (1, 1, 48, 64)."""
    page = Image.new("L", (64, 48), 225)
    for row, words in enumerate(("quick brown", "fox jumps", "over the", "lazy dog")):
        ImageDraw.Draw(page).text((2, 2 + 11 * row), words, fill=30 + 20 * row)
    return torch.from_numpy(np.array(page))[None, None].float() / 255


@pytest.mark.parametrize("sigma", [0.0, 2.0, 5.0])
@pytest.mark.parametrize("picture", [ruled(8), ruled(10, dashed=True), lettered()], ids=["grid", "dashes", "letters"])
def test_thin_lines_and_small_letters_are_no_impulses(picture: Tensor, sigma: float) -> None:
    assert estimate_noise(with_noise(picture, "gaussian", sigma / 255)).kind != "impulse"


def test_a_stated_sigma_is_taken() -> None:
    noise = estimate_noise(with_noise(scene(), "speckle", 0.3), sigma=0.07)
    assert (noise.kind, noise.level, noise.sigma) == ("gaussian", 0.07, 0.07)


def test_variance_follows_the_signal() -> None:
    signal = torch.tensor([0.0, 0.5, 1.0])
    assert Noise("gaussian", 0.2, 0.2, "").variance(signal).tolist() == pytest.approx([0.04] * 3)
    assert Noise("poisson", 0.2, 0.2, "").variance(signal).tolist() == pytest.approx([0, 0.1, 0.2])
    assert Noise("speckle", 0.2, 0.2, "").variance(signal).tolist() == pytest.approx([0, 0.01, 0.04])
    assert Noise("impulse", 0.2, 0.2, "").variance(signal).tolist() == pytest.approx([0.1, 0.05, 0.1])


@pytest.mark.parametrize(
    ("image", "options", "said"),
    [
        (torch.zeros(3, 32, 32), {}, "image must be"),
        (torch.zeros(2, 3, 32, 32), {}, "image must be"),
        (torch.zeros(1, 17, 32, 32), {}, "image must be"),
        (torch.zeros(1, 3, 15, 32), {}, "image must be"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), {}, "floats"),
        (torch.full((1, 3, 32, 32), 2.0), {}, "0..1"),
        (torch.full((1, 3, 32, 32), math.nan), {}, "nan"),
        (torch.zeros(1, 3, 32, 32), {"kind": "rain"}, "kind must be"),
        (torch.zeros(1, 3, 32, 32), {"sigma": 25.0}, "255"),
        (torch.zeros(1, 3, 32, 32), {"sigma": 0.1, "kind": "poisson"}, "sigma"),
    ],
)
def test_what_cannot_be_used_is_said(image: Tensor, options: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        estimate_noise(image, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "level"), [("gaussian", 0.1), ("speckle", 0.35), ("poisson", 1 / 30)])
def test_clipping_takes_from_the_brightest_and_gives_to_the_darkest(kind, level):
    noise = Noise(kind, level, 0.1, "")
    signal = torch.tensor([0.02, 0.3, 0.5, 0.9, 1.0])
    drawn = torch.randn(200_000, 5, generator=torch.Generator().manual_seed(0)) * noise.variance(signal).sqrt()
    expected = (signal + drawn).clamp(0, 1).mean(0)
    assert torch.allclose(noise.clipped_mean(signal), expected, atol=2e-3)
    assert float(noise.clipped_mean(signal)[-1]) < 0.97


def test_a_picture_is_clipped_where_many_values_are_at_a_limit():
    picture = torch.full((1, 3, 40, 40), 0.5)
    picture[0, 0, 0, 0] = 1
    assert not is_clipped(picture)
    picture[..., :2, :] = 0
    assert is_clipped(picture)
