"""Noise of a camera: sampled, measured in a residual, and told from texture."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from preimage.noise.blend import blend, early_where_settled
from preimage.noise.blocks import from_blocks, from_planes, to_blocks, to_planes
from preimage.noise.camera import CameraNoise, estimate_camera_noise, likely_noise
from preimage.noise.returned import Returned

SIDE = 96


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ramp(channels: int = 3) -> torch.Tensor:
    return torch.linspace(0.2, 0.8, SIDE).expand(1, channels, SIDE, SIDE).clone()


def cameras(planes: int = 3) -> CameraNoise:
    """Noise that grows with brightness, smooth in luma and smoother in chroma."""
    k = torch.arange(16.0)
    squares = k[:, None].square() + k.square()
    spectrum = torch.stack([torch.exp(-squares / width**2) for width in (7.0, 4.0, 4.0)])[:planes]
    spectrum = spectrum / spectrum.flatten(1)[:, 1:].mean(1)[:, None, None]
    brightness = torch.tensor([0.2, 0.8])
    return CameraNoise(brightness, torch.tensor([[4.0, 2.0, 2.0], [16.0, 8.0, 8.0]])[:, :planes] * 1e-4, spectrum)


def psnr(image: torch.Tensor, clean: torch.Tensor) -> float:
    return float(-10 * (image - clean).square().mean().log10())


def test_planes_and_blocks_are_there_and_back():
    image = torch.rand(1, 3, 40, 48, generator=draws())
    assert torch.allclose(from_planes(to_planes(image)), image, atol=1e-6)
    assert to_planes(image).square().sum() == pytest.approx(float(image.square().sum()), rel=1e-5)
    inner = from_blocks(to_blocks(image[0], 8), (40, 48), 8)
    assert torch.allclose(inner[:, 4:-4, 4:-4], image[0, :, 4:-4, 4:-4], atol=1e-5)


def test_a_grey_image_has_one_plane_as_it_is():
    image = torch.rand(1, 1, 32, 32, generator=draws())
    assert torch.equal(to_planes(image), image)


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_sampled_is_measured(channels):
    noise, clean = cameras(channels), ramp(channels)
    found = estimate_camera_noise(clean + noise.sample(clean, draws()), clean)
    assert found is not None
    assert found.sigma(clean) == pytest.approx(noise.sigma(clean), rel=0.1)
    dark, bright = found.variance_at(torch.tensor([0.25, 0.75]))[:, 0]
    assert 1.7 < float(bright / dark) < 4
    if channels == 3:
        luma, chroma = found.sigmas(clean)
        assert (luma, chroma) == (
            pytest.approx(noise.sigmas(clean)[0], rel=0.15),
            pytest.approx(noise.sigmas(clean)[1], rel=0.15),
        )
        assert found.spectrum[1, 0, 2] > found.spectrum[0, 0, 2] > found.spectrum[0, 0, 12]


def test_white_noise_has_a_flat_spectrum():
    noise, clean = CameraNoise.white(0.05, planes=3), ramp()
    sampled = noise.sample(clean, draws())
    assert float(sampled.std()) == pytest.approx(0.05, rel=0.03)
    assert noise.sigma(clean) == pytest.approx(0.05)
    assert noise.certainty == 0.0, "no camera's noise is white"


def test_certainty_falls_from_smooth_noise_to_white():
    assert cameras().certainty == 1.0


def test_scaled_is_of_so_many_times_the_deviation():
    clean = ramp()
    assert cameras().scaled(2.5).sigma(clean) == pytest.approx(2.5 * cameras().sigma(clean))


@pytest.mark.parametrize("taken_up", [0.0, 0.3, 0.6])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_a_fit_has_taken_up_of_the_noise_is_counted(taken_up, channels):
    clean = ramp()[:, :channels]
    noise = 0.03 * torch.randn(clean.shape, generator=draws())
    whole = estimate_camera_noise(clean + noise, clean + taken_up * noise, whole=True)
    left = estimate_camera_noise(clean + noise, clean + taken_up * noise)
    assert whole is not None
    assert left is not None
    assert whole.sigma(clean) == pytest.approx(0.03, rel=0.1)
    assert left.sigma(clean) == pytest.approx((1 - taken_up) * 0.03, rel=0.1)


@pytest.mark.parametrize("size", [(15, 40), (20, 20)])
def test_too_small_an_image_says_nothing(size):
    image = torch.rand(1, 3, *size, generator=draws())
    assert estimate_camera_noise(image, image) is None


def test_a_saturated_image_says_nothing():
    image = torch.ones(1, 3, 64, 64)
    assert estimate_camera_noise(image, 0.9 * image) is None


def test_of_what_cannot_be_measured_the_image_comes_back():
    image = torch.ones(1, 3, 64, 64)
    assert torch.equal(Returned(image)(0.9 * image), image)
    assert torch.equal(Returned(image, sigma=0.1)(0.9 * image), 0.9 * image)


@pytest.mark.parametrize(
    ("early", "late", "likely"), [(0.0, 0.0, 1.0), (0.1, 0.15, 1.0), (0.5, 0.9, 0.0), (0.1, 0.7, 0.0)]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_fitted_fast_is_texture(early, late, likely, channels):
    fine = 0.05 * torch.randn(1, 1, 64, 64, generator=draws()) * torch.tensor([1.0, 0.8, 0.5])[:channels, None, None]
    assert likely_noise(0.5 + fine, 0.5 + early * fine, 0.5 + late * fine) == likely


def test_what_is_fitted_fast_and_is_another_in_each_color_is_noise():
    fine = 0.05 * torch.randn(1, 3, 64, 64, generator=draws())
    assert likely_noise(0.5 + fine, 0.5 + 0.5 * fine, 0.5 + 0.9 * fine) == 1


def test_of_too_small_an_image_nothing_speaks_against_noise():
    image = torch.rand(1, 3, 15, 40, generator=draws())
    assert likely_noise(image, image, image) == 1


def test_a_blend_puts_back_what_the_fit_has_not_reached():
    clean = ramp() + 0.1 * (torch.arange(SIDE) % 16 >= 8).float()
    noise = CameraNoise.white(0.02, planes=3)
    image = clean + noise.sample(clean, draws())
    fitted = F.avg_pool2d(F.pad(clean, (3, 3, 3, 3), mode="reflect"), 7, 1)
    returned = blend(image, fitted, noise)
    assert psnr(returned, clean) > max(psnr(fitted, clean), psnr(image, clean))


def test_a_perfect_fit_stays_nearly_perfect():
    clean = ramp()
    noise = CameraNoise.white(0.05, planes=3)
    image = clean + noise.sample(clean, draws())
    assert psnr(blend(image, clean, noise), clean) > psnr(image, clean) + 8


def test_in_settled_blocks_less_of_the_noise_is_put_back():
    clean, noise = ramp(), cameras()
    image = clean + noise.sample(clean, draws())
    by_coefficient, by_block = (blend(image, clean, noise, settled=settled) for settled in (0.0, 1.0))
    assert psnr(by_block, clean) > psnr(by_coefficient, clean) + 3


@pytest.mark.parametrize("channels", [1, 3])
def test_early_where_settled_is_late_where_more_than_noise_is_left(channels):
    clean = ramp(channels)
    clean[..., : SIDE // 2, :] += 0.2 * (torch.arange(SIDE) % 8 >= 4).float()
    noise = cameras(channels)
    image = clean + noise.sample(clean, draws())
    early, late = ramp(channels), 0.5 * (clean + image)
    kept = early_where_settled(image, early, late, noise, settled=1.0)
    detailed, smooth = kept[..., : SIDE // 2 - 16, :], kept[..., SIDE // 2 + 16 :, :]
    assert psnr(detailed, late[..., : SIDE // 2 - 16, :]) > 30
    assert psnr(smooth, early[..., SIDE // 2 + 16 :, :]) > psnr(smooth, late[..., SIDE // 2 + 16 :, :]) + 3


def test_without_noise_the_image_comes_back():
    image = torch.rand(1, 3, 50, 70, generator=draws())
    nothing = blend(image, torch.zeros_like(image), CameraNoise.white(0.0, planes=3))
    assert torch.allclose(nothing, image, atol=1e-4)


def test_what_is_returned_is_no_further_from_the_image_than_the_noise():
    image = torch.rand(1, 3, 64, 64, generator=draws())
    noise = CameraNoise.white(0.02, planes=3)
    returned = blend(image, torch.full_like(image, 0.5), noise)
    assert float((returned - image).square().mean().sqrt()) <= 0.02


def test_texture_that_is_no_cameras_noise_comes_back():
    image = 0.5 + 0.05 * torch.randn(1, 3, SIDE, SIDE, generator=draws())
    assert torch.allclose(Returned(image)(torch.full_like(image, 0.5)), image, atol=1e-4)
    stated = Returned(image, sigma=0.05)(torch.full_like(image, 0.5))
    assert float((stated - 0.5).std()) < 0.02, "what is stated to be noise is removed"


def test_luma_chroma_and_grain_are_shares_of_the_removed_noise():
    clean = ramp()
    image = clean + cameras().sample(clean, draws())
    removed = {
        name: to_planes(image - Returned(image, **options)(clean))
        for name, options in {
            "all": {},
            "luma": {"luma": 0.25},
            "chroma": {"chroma": 0.0},
            "grain": {"grain": 0.5},
        }.items()
    }
    whole = removed["all"]
    assert torch.allclose(removed["luma"][:, :1], 0.25 * whole[:, :1], atol=1e-5)
    assert torch.allclose(removed["luma"][:, 1:], whole[:, 1:], atol=1e-5)
    assert float(removed["chroma"][:, 1:].abs().max()) < 1e-5
    assert torch.allclose(removed["grain"][:, :1], 0.5 * whole[:, :1], atol=1e-5)


def test_where_values_are_missing_the_fit_is_returned():
    image, clean = ramp(), ramp()
    missing = torch.zeros(1, 1, SIDE, SIDE, dtype=torch.bool)
    missing[..., 40:44, 40:44] = True
    image[..., 40:44, 40:44] = 0
    returned = Returned(image, missing=missing)(clean)
    assert torch.allclose(returned, clean, atol=1e-3)


def test_a_smaller_fit_is_enlarged_before_anything_is_put_back():
    clean = ramp()
    image = clean + cameras().sample(clean, draws())
    small = F.interpolate(clean, size=(SIDE // 2, SIDE // 2), mode="area")
    returned = Returned(image)(small)
    assert returned.shape == image.shape
    assert psnr(returned, clean) > psnr(image, clean) + 3
