"""Resampling against Pillow, filter by filter: reduced and enlarged, of odd sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from preimage.classifiers.filters import resampled

FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
    "nearest": Image.Resampling.NEAREST,
}
SIZES = (((61, 83), (20, 33)), ((40, 24), (64, 64)), ((31, 97), (50, 40)))


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(("had", "wanted"), SIZES)
@pytest.mark.parametrize("name", FILTERS)
def test_it_is_pillow_s_within_its_rounding(name, had, wanted):
    image = noise(*had)
    pillow = np.asarray(Image.fromarray(image).resize(wanted[::-1], FILTERS[name]), np.float32) / 255
    x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    found = resampled(x, wanted, name)[0].permute(1, 2, 0).numpy()
    assert found.shape == pillow.shape
    # Both passes of Pillow round to 8 bits, the first before the kernel's negative lobes.
    assert np.abs(found - pillow).max() < 2.1 / 255
    assert np.abs(found - pillow).mean() < 0.5 / 255


@pytest.mark.parametrize("name", FILTERS)
def test_it_is_differentiable_and_keeps_what_has_the_size(name):
    x = torch.rand(2, 3, 24, 30, requires_grad=True)
    assert resampled(x, (24, 30), name) is x
    resampled(x, (12, 16), name).sum().backward()
    assert x.grad is not None
    assert float(x.grad.abs().sum()) > 0


@pytest.mark.parametrize("name", ["bicubic", "lanczos"])
def test_overshoot_is_cut_but_noise_beyond_black_and_white_is_not(name):
    edge = torch.zeros(1, 1, 40, 40)
    edge[..., 20:] = 1
    found = resampled(edge, (27, 27), name)
    assert (float(found.min()), float(found.max())) == (0, 1)
    beyond = resampled(3 * edge - 1, (27, 27), name)
    assert (float(beyond.min()), float(beyond.max())) == (-1, 2)


def test_images_of_a_batch_are_cut_each_by_its_own_values():
    edge = torch.zeros(1, 1, 40, 40)
    edge[..., 20:] = 1
    together = resampled(torch.cat([edge, 3 * edge - 1]), (27, 27), "bicubic")
    assert torch.equal(together[:1], resampled(edge, (27, 27), "bicubic"))
