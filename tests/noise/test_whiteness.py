"""White noise by the highest frequencies: measured in chroma, and told from texture by how even it is."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from preimage.noise.whiteness import white_sigma


def noise(channels: int = 3, side: int = 96) -> torch.Tensor:
    return torch.randn(1, channels, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("sigma", [0.01, 0.1])
def test_it_is_measured(channels, sigma):
    assert white_sigma(0.5 + sigma * noise(channels)) == pytest.approx(sigma, rel=0.08)


def test_noise_that_grows_with_brightness_is_even_at_one_brightness():
    bright = torch.linspace(0.1, 0.9, 96).expand(1, 3, 96, 96)
    found = white_sigma(bright + 0.1 * bright * noise())
    assert found == pytest.approx(float((0.1 * bright).square().mean().sqrt()), rel=0.25)


def test_luma_texture_of_a_color_image_does_not_count():
    texture = 0.1 * noise(1).expand(-1, 3, -1, -1)
    assert white_sigma(0.5 + texture + 0.02 * noise()) == pytest.approx(0.02, rel=0.1)


def test_uneven_texture_is_no_noise():
    patches = F.interpolate(torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(1)), 96)
    assert white_sigma(0.5 + 0.1 * patches * noise(1)) == 0.0


def test_noise_that_neighbors_share_is_not_white():
    smooth = F.avg_pool2d(F.pad(noise(), (3, 3, 3, 3), mode="circular"), 7, 1)
    assert (white_sigma(0.5 + 0.1 * smooth / smooth.std()) or 0) < 0.01


def test_a_small_image_and_a_saturated_one_say_nothing():
    assert white_sigma(noise(3, 40)) is None
    assert white_sigma(torch.ones(1, 3, 96, 96)) is None
