"""The spectrum of an image as parameters: gray at first, within 0 to 1, every frequency alike."""

from __future__ import annotations

import pytest
import torch

from preimage.networks.spectrum import Spectrum, amplitudes, coefficients_of, image_of

SIZES = [(16, 16), (24, 40), (33, 17)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_it_begins_gray_and_stays_within_0_to_1(size, channels):
    network = Spectrum.Config()(1, channels, *size)
    torch.testing.assert_close(network(torch.empty(0)), torch.full((1, channels, *size), 0.5))
    with torch.no_grad():
        network.coefficients.normal_(generator=torch.Generator().manual_seed(0)).mul_(5)
    found = network(torch.empty(0))
    assert found.shape == (1, channels, *size)
    assert 0 <= float(found.detach().min()) < 0.2 < 0.8 < float(found.detach().max()) <= 1


@pytest.mark.parametrize("size", SIZES)
def test_amplitudes_fall_with_frequency_and_are_1_in_the_mean(size):
    found = amplitudes(size)
    assert found.shape == (size[0], size[1] // 2 + 1)
    assert float(found.square().mean()) == pytest.approx(1, rel=1e-5)
    assert bool((found[0, 1:].diff() <= 0).all())


def test_colors_of_photographs_vary_less_than_their_light():
    random = torch.randn(8, 3, 32, 17, 2, generator=torch.Generator().manual_seed(0))
    x = image_of(random, amplitudes((32, 32)), (32, 32))
    light, color = x.mean(1), x - x.mean(1, keepdim=True)
    assert float(color.var()) < 0.5 * float(light.var())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_coefficients_of_an_image_are_found_again(size, channels):
    x = torch.rand(2, channels, *size, generator=torch.Generator().manual_seed(0))
    x[0, 0, 0, :3] = torch.tensor([0.0, 1.0, 0.5])
    torch.testing.assert_close(image_of(coefficients_of(x), amplitudes(size), size), x, rtol=0, atol=0.003)
