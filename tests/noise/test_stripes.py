"""Stripes of a sensor: found where all parts of a line agree, taken off as far as they are none of the image's, and else left."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from preimage.errors import InputError
from preimage.images import read
from preimage.noise.stripes import estimate_stripes, find_stripes, remove_stripes
from studies.harness.imaging import center_crop, eight_bit, generated_picture

each_direction = pytest.mark.parametrize("direction", ["rows", "columns"])


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def offsets_of(image: torch.Tensor, direction: str, deviation: float, *, apart: bool = False) -> torch.Tensor:
    channels, (height, width) = image.shape[1] if apart else 1, image.shape[2:]
    shape = (height, 1) if direction == "rows" else (1, width)
    return deviation / 255 * draw(1, channels, *shape, seed=5)


def noisy(image: torch.Tensor, offsets: torch.Tensor | float = 0.0, sigma: float = 10.0) -> torch.Tensor:
    return eight_bit(image + offsets + sigma / 255 * draw(*image.shape))


def picture(side: int = 128) -> torch.Tensor:
    """Shades, an edge and a disc, darker than white and lighter than black."""
    return 0.2 + 0.6 * generated_picture(side)


def structured(kind: str, side: int = 128) -> torch.Tensor:
    """What has lines of its own: (1, 1, side, side)."""
    y = torch.arange(float(side))[:, None].expand(-1, side)
    x = y.T
    horizon = 0.4 + 0.3 * (y > side // 2)
    shutters = 0.5 + 0.2 * torch.sin(2 * torch.pi * y / 9) * ((x > 30) & (x < 80))
    stairs = 0.3 + 0.05 * (y // 16)
    texture = F.avg_pool2d(F.pad(draw(1, 1, side, side), (4, 4, 1, 1), mode="circular"), (3, 9), 1)[0, 0] / 2 + 0.5
    return {"horizon": horizon, "shutters": shutters, "stairs": stairs, "streaks": texture}[kind][None, None].clamp(
        0.02, 0.98
    )


@each_direction
@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("deviation", [2, 4, 8])
def test_offsets_are_found_in_their_direction(direction, apart, deviation):
    image = picture()
    found = find_stripes(noisy(image, offsets_of(image, direction, deviation, apart=apart)))
    assert [each.direction for each in found] == [direction]
    assert 255 * found[0].sigma == pytest.approx(deviation, rel=0.4)


@each_direction
def test_what_is_taken_off_is_the_offset(direction):
    image = picture()
    offsets = offsets_of(image, direction, 8)
    given = noisy(image, offsets)
    left = remove_stripes(given, estimate_stripes(given, direction).offsets) - noisy(image)
    assert float(left.square().mean()) < 0.25 * float(offsets.square().mean())
    error = estimate_stripes(given, direction).offsets - offsets.expand(-1, 3, -1, -1)
    sharp = [values.diff(dim=2 if direction == "rows" else 3).square().mean() for values in (error, offsets)]
    assert float(sharp[0]) < 0.05 * float(sharp[1]), "from one line to the next"


def test_both_directions_are_found():
    image = picture()
    given = noisy(image, offsets_of(image, "rows", 6) + offsets_of(image, "columns", 4))
    assert [each.direction for each in find_stripes(given)] == ["rows", "columns"]


@pytest.mark.parametrize("sigma", [0, 5, 10, 25, 50])
def test_white_noise_has_none(sigma):
    assert find_stripes(noisy(picture(), sigma=sigma)) == ()


@pytest.mark.parametrize("sigma", [0, 10])
@pytest.mark.parametrize("kind", ["horizon", "shutters", "stairs", "streaks"])
def test_lines_of_the_image_are_none(kind, sigma):
    image = structured(kind)
    assert find_stripes(noisy(image, sigma=sigma)) == ()
    assert find_stripes(noisy(image.mT, sigma=sigma)) == ()


@pytest.mark.parametrize("kind", ["horizon", "stairs"])
def test_edges_across_the_image_stay_where_stripes_are_removed(kind):
    """An offset that stays from one row on is an edge."""
    image = structured(kind)
    given = noisy(image, offsets_of(image, "rows", 4))
    assert len(find_stripes(given)) == 1
    error = estimate_stripes(given, "rows").offsets - offsets_of(image, "rows", 4)
    assert 255 * float(error.std()) < 3, "less than the stripes, with steps three times as high"


def test_clean_stripes_of_a_constant_image_are_found_to_a_step():
    offsets = offsets_of(picture(), "rows", 4)
    given = eight_bit(torch.full((1, 1, 128, 128), 0.5) + offsets)
    found = find_stripes(given)
    assert len(found) == 1
    assert 255 * float((found[0].offsets - offsets).std()) < 0.5


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_constant_images_have_none(value):
    image = torch.full((1, 2, 32, 40), value)
    assert find_stripes(image) == ()
    assert float(estimate_stripes(image, "rows").offsets.abs().max()) == 0


def test_white_and_black_stay():
    image = torch.tensor([0.0, 0.01, 0.5, 0.99, 1.0]).repeat(16, 4)[None, None]
    removed = remove_stripes(image, torch.full((1, 1, 16, 1), 0.1))
    assert removed[0, 0, 0, :5].tolist() == pytest.approx([0, 0, 0.4, 0.89, 1])
    assert bool(((removed >= 0) & (removed <= 1)).all())


@each_direction
def test_shapes_are_those_of_the_lines(direction):
    image = torch.rand(1, 3, 20, 33, generator=torch.Generator().manual_seed(0))
    found = estimate_stripes(image, direction)
    assert found.offsets.shape == ((1, 3, 20, 1) if direction == "rows" else (1, 3, 1, 33))
    assert found.sigma == pytest.approx(float(found.offsets.square().mean().sqrt()))


def test_rows_are_the_columns_of_the_transpose():
    image = picture(64)
    given = noisy(image, offsets_of(image, "rows", 6))
    rows, columns = estimate_stripes(given, "rows"), estimate_stripes(given.mT, "columns")
    assert torch.allclose(rows.offsets, columns.offsets.mT, atol=1e-6)


def test_a_wide_image_is_estimated_from_some_of_its_columns():
    image = torch.full((1, 1, 64, 5000), 0.5)
    offsets = offsets_of(image, "rows", 4)
    found = estimate_stripes(noisy(image, offsets), "rows")
    assert 255 * float((found.offsets - offsets).std()) < 1.2


@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 1, 32, 32), (1, 1, 15, 32)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(InputError, match=r"image must be \(1, c, h, w\)") as raised:
        find_stripes(torch.zeros(shape))
    assert raised.value.code == "shape"


PICTURES = ("restoration/kodak24", "restoration/set12", "restoration/urban100_1", "real_noise/cc")


@pytest.mark.data
@pytest.mark.parametrize("folder", PICTURES)
def test_no_photograph_has_any(data: Path, folder):
    names = sorted((data / folder).glob("*_1_real.png" if folder.endswith("cc") else "*.png"))
    assert names
    assert [path.name for path in names if find_stripes(read(path).tensor)] == []


@pytest.mark.data
@each_direction
@pytest.mark.parametrize("deviation", [2, 8])
def test_in_photographs_they_are_found(data: Path, direction, deviation):
    for path in sorted((data / "restoration/kodak24").glob("*.png"))[::4]:
        image = center_crop(read(path).tensor, 256)
        found = find_stripes(noisy(image, offsets_of(image, direction, deviation)))
        assert [each.direction for each in found] == [direction], path.name
