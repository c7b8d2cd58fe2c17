"""Color that no one sees: it is replaced by the visible one beside it, with its noise, and nothing else is changed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from preimage.images import Picture, as_picture
from preimage.images.alpha import unit_alpha, with_alpha, without_hidden_color
from preimage.noise.estimation import estimate_noise

SHAPES = ("disc", "half", "corner", "dot", "holes")


def hidden(shape: str, side: int = 64) -> np.ndarray:
    rows, columns = np.indices((side, side))
    return {
        "disc": np.hypot(rows - side / 2, columns - side / 2) > side / 3,
        "half": rows < side / 2,
        "corner": (rows > side / 4) | (columns > side / 4),
        "dot": np.hypot(rows - 20, columns - 40) > 3,
        "holes": (rows % 16 < 9) & (columns % 16 < 9),
    }[shape]


def seen_through(colors: np.ndarray, alpha: np.ndarray, below: object = 0) -> Picture:
    pixels = colors.copy()
    pixels[alpha == 0] = below
    return as_picture(Image.fromarray(np.dstack([pixels, alpha.astype(np.uint8)])))


@pytest.mark.parametrize("shape", SHAPES)
def test_one_color_is_one_color_everywhere(shape):
    colors = np.full((64, 64, 3), (200, 30, 90), np.uint8)
    found = without_hidden_color(seen_through(colors, np.where(hidden(shape), 0, 255)))
    assert torch.equal(found.tensor, as_picture(colors).tensor)
    assert (np.asarray(found.alpha) == np.where(hidden(shape), 0, 255)).all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("gray", [True, False])
def test_what_is_hidden_does_not_matter_and_what_is_seen_stays(shape, gray):
    draw = np.random.default_rng(0)
    colors = draw.integers(0, 255, (64, 64, 1 if gray else 3), np.uint8)
    alpha = np.where(hidden(shape), 0, draw.integers(20, 256, (64, 64)))
    one, other = (without_hidden_color(seen_through(colors, alpha, below)) for below in (0, 255))
    assert torch.equal(one.tensor, other.tensor)
    seen = torch.from_numpy(~hidden(shape))
    assert torch.equal(one.tensor[..., seen], as_picture(colors).tensor[..., seen])
    kept = {tuple(each) for each in colors[~hidden(shape)]}
    assert {tuple(each) for each in one.to_array(one.tensor)[..., :-1][hidden(shape)]} <= kept


@pytest.mark.parametrize("shape", ["disc", "half", "corner"])
def test_noise_is_estimated_as_without_transparency(shape):
    noisy = np.clip(np.random.default_rng(0).normal(120, 15, (64, 64, 3)).round(), 0, 255).astype(np.uint8)
    found = without_hidden_color(seen_through(noisy, np.where(hidden(shape), 0, 255)))
    assert estimate_noise(found.tensor).sigma * 255 == pytest.approx(15, rel=0.15)


def test_pages_have_their_own_transparency():
    colors = np.stack([np.full((32, 32, 3), value, np.uint8) for value in (40, 180)])
    alpha = np.zeros((2, 32, 32), np.uint8)
    alpha[0, :8], alpha[1, 20:] = 255, 255
    tensor = torch.from_numpy(colors * (alpha > 0)[..., None]).movedim(-1, 1) / 255
    picture = Picture(tensor.float(), 0, 255, np.dtype(np.uint8), "TIFF", alpha=alpha)
    found = without_hidden_color(picture).tensor
    assert torch.allclose(found, torch.from_numpy(colors).movedim(-1, 1) / 255)


@pytest.mark.parametrize("alpha", [None, 255, 0, 128])
def test_pictures_with_nothing_hidden_or_nothing_else_are_as_they_are(alpha):
    colors = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    picture = as_picture(colors) if alpha is None else seen_through(colors, np.full((32, 32), alpha))
    found = without_hidden_color(picture)
    assert torch.equal(found.tensor, picture.tensor)
    if alpha != 0:
        assert found is picture


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_alpha_in_units_of_opaque_and_back(dtype):
    full = 1 if dtype == np.float32 else np.iinfo(dtype).max
    alpha = np.linspace(0, full, 32 * 32).reshape(1, 32, 32).astype(dtype)
    picture = Picture(torch.zeros(1, 3, 32, 32), 0, 1, np.dtype(dtype), "TIFF", alpha=alpha)
    unit = unit_alpha(picture)
    assert unit is not None
    assert (float(unit.min()), float(unit.max())) == (0, 1)
    again = with_alpha(picture, unit).alpha
    assert again is not None
    assert again.dtype == dtype
    np.testing.assert_allclose(again, alpha, atol=1e-6 * full)
    assert unit_alpha(picture.opaque()) is None
