"""Arrays, tensors and Pillow images come back as they came."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from preimage.errors import InputError
from preimage.images import as_picture, read

RNG = np.random.default_rng(4)


@pytest.mark.parametrize("shape", [(20, 24), (20, 24, 1), (20, 24, 2), (20, 24, 3), (20, 24, 4), (20, 24, 7)])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "int16", "float32"])
def test_numpy_arrays(shape: tuple[int, ...], dtype: str) -> None:
    array = (RNG.random(shape) * 2).astype(dtype) if dtype == "bool" else (RNG.random(shape) * 250).astype(dtype)
    picture = as_picture(array)
    assert picture.tensor.shape == (1, 1 if len(shape) == 2 else shape[2], 20, 24)
    assert picture.alpha is None
    found = picture.to_array(picture.tensor)
    assert (found.shape, found.dtype) == (array.shape, array.dtype)
    np.testing.assert_allclose(found, array, rtol=0, atol=0 if dtype != "float32" else 250 * 2.0**-23)


def test_arrays_of_any_strides_and_byte_order() -> None:
    array = RNG.integers(0, 65536, (3, 24, 20), dtype=np.uint16).T[::-1].astype(">u2")
    picture = as_picture(array)
    np.testing.assert_array_equal(picture.to_array(picture.tensor), array)


def test_the_array_is_not_shared() -> None:
    array = RNG.random((20, 24)).astype(np.float32)
    tensor = torch.from_numpy(array.copy())
    pictures = [as_picture(array), as_picture(tensor)]
    before = [picture.tensor.clone() for picture in pictures]
    array[:] = 0
    tensor[:] = 0
    for picture, expected in zip(pictures, before, strict=True):
        assert torch.equal(picture.tensor, expected)


@pytest.mark.parametrize("shape", [(20, 24), (1, 20, 24), (3, 20, 24), (2, 3, 20, 24)])
@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.uint8, torch.bool]
)
def test_tensors(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    values = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    tensor = (
        (values * 255).to(dtype)
        if dtype == torch.uint8
        else (values > 0.5)
        if dtype == torch.bool
        else values.to(dtype)
    )
    picture = as_picture(tensor)
    assert picture.tensor.shape == (1,) * (4 - len(shape)) + shape
    assert picture.tensor.dtype == torch.float32
    assert picture.units() == ((0, 255) if dtype == torch.uint8 else (0, 1))
    found = picture.to_array(picture.tensor)
    assert found.shape == shape
    np.testing.assert_allclose(found.astype(float), tensor.double().numpy(), atol=2e-7)


def test_tensors_need_the_range_of_the_prior_or_a_value_range() -> None:
    tensor = torch.linspace(-1, 1, 480).reshape(1, 20, 24)
    with pytest.raises(InputError, match=r"values go from -1 to 1, and 0 to 1 is expected: give value_range"):
        as_picture(tensor)
    picture = as_picture(tensor, value_range=(-1, 1))
    torch.testing.assert_close(picture.tensor[0], (tensor + 1) / 2)
    np.testing.assert_allclose(picture.to_array(picture.tensor), tensor.numpy(), atol=1e-6)


def test_a_tensor_that_requires_gradients() -> None:
    assert not as_picture(torch.rand(3, 20, 24, requires_grad=True)).tensor.requires_grad


def test_a_float_tensor_may_be_written_as_png_and_a_float_array_may_not(tmp_path: Path) -> None:
    tensor = torch.linspace(0, 1, 480).reshape(1, 20, 24)
    picture = as_picture(tensor)
    written = read(picture.write(picture.tensor, tmp_path / "a.png"))
    assert written.dtype == np.uint8
    assert (written.tensor[0] - tensor).abs().max() <= 0.5 / 255 + 1e-6
    exact = read(picture.write(picture.tensor, tmp_path / "a.tif"))
    assert exact.dtype == np.float32
    np.testing.assert_array_equal(exact.to_array(exact.tensor), tensor[0].numpy())
    with pytest.raises(InputError, match=r"PNG cannot hold float32 values: use \.tif or \.tiff"):
        as_picture(tensor.numpy()[0]).write(picture.tensor, tmp_path / "b.png")


def test_bool_is_written_as_black_and_white(tmp_path: Path) -> None:
    mask = RNG.random((20, 24)) > 0.5
    picture = as_picture(mask)
    for suffix in (".png", ".tif"):
        written = read(picture.write(picture.tensor, tmp_path / f"a{suffix}"))
        np.testing.assert_array_equal(written.to_array(written.tensor), mask.astype(np.uint8) * 255)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "I;16", "I", "F", "P"])
def test_pillow_images(mode: str) -> None:
    image = Image.fromarray(RNG.integers(0, 256, (20, 24, 3), dtype=np.uint8))
    image = image.convert("L").convert(mode) if mode in ("I;16", "I", "F") else image.convert(mode)
    picture = as_picture(image)
    found = picture.to_array(picture.tensor)
    expected = np.asarray(image.convert({"1": "L", "P": "RGB"}.get(mode, mode)))
    np.testing.assert_allclose(found, expected, atol=1e-4 if mode == "F" else 0)
    assert found.dtype == expected.dtype


def test_a_pillow_image_from_a_file_stands_upright(tmp_path: Path) -> None:
    tags = Image.Exif()
    tags[274] = 6
    Image.fromarray(RNG.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(tmp_path / "a.png", exif=tags)
    with Image.open(tmp_path / "a.png") as image:
        assert torch.equal(as_picture(image).tensor, read(tmp_path / "a.png").tensor)


def test_paths_and_pictures(tmp_path: Path) -> None:
    Image.fromarray(RNG.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    picture = as_picture(tmp_path / "a.png")
    assert picture.name == str(tmp_path / "a.png")
    assert as_picture(picture) is picture
    assert torch.equal(as_picture(str(tmp_path / "a.png")).tensor, picture.tensor)
    with pytest.raises(InputError, match="has its value range already"):
        as_picture(picture, value_range=(0, 1))


@pytest.mark.parametrize(
    "thing",
    [3, None, [[1, 2]], np.zeros(20), np.zeros((2, 20, 24, 3)), np.zeros((0, 20)), np.array("a"), torch.zeros(20)],
)
def test_what_is_no_picture(thing: Any) -> None:
    with pytest.raises(InputError, match="expected a"):
        as_picture(thing)


@pytest.mark.parametrize(
    "array", [np.zeros((20, 24), complex), np.full((20, 24), "a"), np.zeros((20, 24), "datetime64[s]")]
)
def test_values_that_are_no_numbers(array: Any) -> None:
    with pytest.raises(InputError, match="not real numbers"):
        as_picture(array)


def test_channels_are_the_last_axis_of_an_array() -> None:
    with pytest.raises(InputError, match="the array has 24 channels, and 16 is the most"):
        as_picture(np.zeros((20, 20, 24), np.uint8))


def test_results_of_another_shape_are_refused() -> None:
    picture = as_picture(np.zeros((20, 24, 3), np.uint8))
    for wrong in (torch.zeros(1, 1, 20, 24), torch.zeros(2, 3, 20, 24), torch.zeros(20, 24)):
        with pytest.raises(InputError, match="expected a result of 1 pages and 3 channels"):
            picture.to_array(wrong)
    result = torch.zeros(1, 3, 20, 24)
    result[0, 0, 0, :4] = float("nan")
    with pytest.raises(InputError, match="has 4 values that are not finite, of 1440"):
        picture.to_array(result)


def test_extreme_floats() -> None:
    for low, high in ((1e300, 1.5e300), (0.0, 1e-310), (-1e-30, 1e-30)):
        array = np.linspace(low, high, 480).reshape(20, 24)
        picture = as_picture(array)
        np.testing.assert_allclose(picture.to_array(picture.tensor), array, rtol=0, atol=(high - low) * 2.0**-23)
    with pytest.raises(InputError, match="too wide to compute with"):
        as_picture(np.linspace(-1.0, 1.0, 480).reshape(20, 24) * 1.7e308)


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 16, 20), (4, 20, 17), (16, 32, 32), (2, 16, 16), (3, 20, 16)])
def test_an_array_with_channels_first_is_told_as_that(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError) as caught:
        as_picture(np.zeros(shape, np.uint8))
    assert caught.value.code == "shape"
    assert all(word in str(caught.value) for word in (str(shape), "(c, h, w)", "numpy.moveaxis(array, 0, -1)"))
    moved = as_picture(np.moveaxis(np.zeros(shape, np.uint8), 0, -1))
    assert tuple(moved.tensor.shape) == (1, *shape)


@pytest.mark.parametrize("shape", [(64, 64, 3), (20, 17, 1), (2, 20, 32, 3)])
def test_a_tensor_with_channels_last_is_told_as_that(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError) as caught:
        as_picture(torch.zeros(shape))
    assert caught.value.code == "shape"
    assert all(word in str(caught.value) for word in (str(shape), "h, w, c)", "permute("))


@pytest.mark.parametrize("shape", [(16, 20, 3), (16, 16, 16), (20, 16, 4), (17, 18)])
def test_shapes_that_can_be_meant_are_taken_as_they_are(shape: tuple[int, ...]) -> None:
    assert as_picture(np.zeros(shape, np.uint8)).tensor.shape[-2:] == shape[:2]
