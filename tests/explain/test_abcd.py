"""The ABCD signs: shapes whose asymmetry, border, colors and diameter are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from preimage.errors import InputError
from preimage.explain.abcd import (
    COLORS,
    abcd,
    asymmetry,
    border_irregularity,
    color_names,
    color_spread,
    diameter,
    lesion_region,
)

SIDE = 64
SKIN, BROWN = (0.85, 0.65, 0.6), (0.45, 0.25, 0.15)


def disc(radius: float = 18, center: tuple[float, float] = (31.5, 31.5)) -> np.ndarray:
    y, x = np.mgrid[:SIDE, :SIDE]
    return (y - center[0]) ** 2 + (x - center[1]) ** 2 <= radius**2


def half_disc() -> np.ndarray:
    return disc(24) & (np.arange(SIDE) < 32)[:, None]


def angle() -> np.ndarray:
    region = np.zeros((SIDE, SIDE), bool)
    region[12:52, 16:26] = region[42:52, 16:46] = True
    return region


def lesion(region: np.ndarray, color: tuple[float, ...] = BROWN) -> torch.Tensor:
    picture = np.where(region[..., None], color, SKIN)
    return torch.tensor(picture, dtype=torch.float32).permute(2, 0, 1)


@pytest.mark.parametrize("center", [(31.5, 31.5), (28.3, 34.9)])
def test_a_disc_equals_its_mirror_images(center):
    assert asymmetry(disc(18, center)) < 0.03


def test_half_a_disc_is_less_symmetric_and_an_angle_less_still():
    assert asymmetry(disc()) + 0.05 < asymmetry(half_disc()) < asymmetry(angle()) < 1


def test_asymmetry_does_not_depend_on_the_direction():
    assert asymmetry(np.rot90(angle())) == pytest.approx(asymmetry(angle()), abs=0.01)


@pytest.mark.parametrize("radius", [8, 18, 30])
def test_a_disc_has_the_least_border(radius):
    assert border_irregularity(disc(radius)) == pytest.approx(1, abs=0.05)


def test_an_irregular_border_is_more():
    y, x = np.mgrid[:SIDE, :SIDE] - 31.5
    star = np.hypot(y, x) < 18 + 6 * np.cos(7 * np.arctan2(y, x))
    assert border_irregularity(disc()) + 0.2 < border_irregularity(half_disc())
    assert border_irregularity(star) > 1.8


def test_a_border_at_the_edge_of_the_picture_counts():
    assert border_irregularity(np.ones((32, 32), bool)) > 1


@pytest.mark.parametrize("count", [1, 2, 4, 6])
def test_every_dermoscopic_color_is_told(count):
    wanted = list(COLORS)[:count]
    pixels = np.repeat([COLORS[name] for name in wanted], 100, axis=0) / 255
    assert color_names(pixels) == wanted


def test_a_color_of_few_pixels_does_not_count():
    pixels = np.array([COLORS["black"]] * 97 + [COLORS["white"]] * 3) / 255
    assert color_names(pixels) == ["black"]


def test_color_spread_grows_with_the_difference():
    brown = np.full((100, 3), BROWN)
    slightly, strongly = brown.copy(), brown.copy()
    slightly[:50] += 0.05
    strongly[:50] = (0.45, 0.42, 0.55)
    assert color_spread(brown) == pytest.approx(0, abs=1e-6)
    assert 0 < color_spread(slightly) < color_spread(strongly)


def test_diameter_is_a_share_of_the_diagonal():
    assert diameter(disc(18)) == pytest.approx(37 / math.hypot(SIDE, SIDE), abs=0.02)


def test_the_region_is_found_by_its_threshold():
    found = lesion_region(lesion(disc()))
    assert found is not None
    assert (found & disc()).sum() / (found | disc()).sum() > 0.95


def test_black_corners_are_not_taken_for_the_region():
    picture = lesion(disc(12))
    y, x = np.mgrid[:SIDE, :SIDE] - 31.5
    picture[:, torch.from_numpy(np.hypot(y, x) > 33)] = 0
    found = lesion_region(picture)
    assert found is not None
    assert (found & disc(12)).sum() / (found | disc(12)).sum() > 0.9


def test_the_central_one_of_two_is_taken():
    found = lesion_region(lesion(disc(10) | disc(8, (20, 10))))
    assert found is not None
    assert found[31, 31]
    assert not found[20, 10]


def test_holes_are_filled():
    found = lesion_region(lesion(disc(18) & ~disc(5)))
    assert found is not None
    assert found[31, 31]


def test_plain_skin_has_no_region():
    nothing = abcd(torch.full((3, SIDE, SIDE), 0.8))
    assert not nothing.found
    assert math.isnan(nothing.asymmetry)


def test_signs_of_a_picture_and_of_a_given_region_agree():
    picture = lesion(disc())
    found, given = abcd(picture[None]), abcd(picture, torch.from_numpy(disc()))
    assert found.found
    assert found.colors == given.colors == 1
    for name in ("asymmetry", "border", "diameter", "area"):
        assert getattr(found, name) == pytest.approx(getattr(given, name), abs=0.03)


def test_more_colors_are_more_variety():
    picture = lesion(disc())
    picture[:, :, :32] = torch.where(torch.from_numpy(disc()[:, :32]), torch.tensor(0.12), picture[:, :, :32])
    assert abcd(picture).colors > abcd(lesion(disc())).colors
    assert abcd(picture).color_spread > abcd(lesion(disc())).color_spread + 5


@pytest.mark.parametrize("shape", [(1, 64, 64), (2, 3, 64, 64), (64, 64)])
def test_errors_of_shapes(shape):
    with pytest.raises(InputError, match="one color picture"):
        abcd(torch.zeros(shape))


def test_error_of_a_mask_of_another_size():
    with pytest.raises(InputError, match="the mask is"):
        abcd(torch.zeros(3, 64, 64), torch.ones(32, 32, dtype=torch.bool))
