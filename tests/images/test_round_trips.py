"""Reading and writing unchanged gives identical pixels: every format, depth and number of channels, and alpha."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image

from preimage.images import read

Array = NDArray[Any]
RNG = np.random.default_rng(0)


def noise(shape: tuple[int, ...], dtype: str) -> Array:
    """Values over the whole range of dtype, with its ends."""
    if np.dtype(dtype).kind == "f":
        return (RNG.normal(size=shape) * 300).astype(dtype)
    limits = np.iinfo(dtype)
    values = RNG.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    values.flat[:2] = limits.min, limits.max
    return values


def save(path: Path, pixels: Array) -> None:
    """By the libraries, not by our writer: (h, w) or (h, w, c), two and four channels being with alpha."""
    if pixels.dtype == np.uint16:
        order = [2, 1, 0, 3][: pixels.shape[2]] if pixels.ndim == 3 else None
        cv2.imwrite(str(path), pixels if order is None else pixels[..., order])
    else:
        Image.fromarray(pixels).save(path, lossless=True, exact=True)


def assert_identical_after_copy(path: Path, expected: Array) -> None:
    picture = read(path)
    assert picture.tensor.min() >= 0
    assert picture.tensor.max() <= 1
    assert picture.tensor.dtype == torch.float32
    np.testing.assert_array_equal(picture.to_array(picture.tensor), expected)
    assert picture.to_array(picture.tensor).dtype == expected.dtype
    copy = picture.write(picture.tensor, path.with_name(f"copy{path.suffix}"))
    again = read(copy)
    np.testing.assert_array_equal(again.to_array(again.tensor), expected)
    assert again.units() == picture.units()
    twice = again.write(again.tensor, path.with_name(f"twice{path.suffix}"))
    assert twice.read_bytes() == copy.read_bytes()


@pytest.mark.parametrize("shape", [(20, 24), (20, 24, 2), (20, 24, 3), (20, 24, 4)])
def test_png_of_8_bits(tmp_path: Path, shape: tuple[int, ...]) -> None:
    pixels = noise(shape, "uint8")
    save(tmp_path / "a.png", pixels)
    assert_identical_after_copy(tmp_path / "a.png", pixels)


@pytest.mark.parametrize("shape", [(20, 24), (20, 24, 3), (20, 24, 4)])
def test_png_of_16_bits(tmp_path: Path, shape: tuple[int, ...]) -> None:
    pixels = noise(shape, "uint16")
    save(tmp_path / "a.png", pixels)
    assert_identical_after_copy(tmp_path / "a.png", pixels)


@pytest.mark.parametrize("channels", [3, 4])
def test_webp_is_written_without_loss(tmp_path: Path, channels: int) -> None:
    pixels = noise((20, 24, channels), "uint8")
    save(tmp_path / "a.webp", pixels)
    assert_identical_after_copy(tmp_path / "a.webp", pixels)


@pytest.mark.parametrize("shape", [(20, 24), (20, 24, 3)])
def test_bmp(tmp_path: Path, shape: tuple[int, ...]) -> None:
    pixels = noise(shape, "uint8")
    save(tmp_path / "a.bmp", pixels)
    assert_identical_after_copy(tmp_path / "a.bmp", pixels)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int8", "int16"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7, 16])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_tiff_of_integers(tmp_path: Path, dtype: str, channels: int, byteorder: Any) -> None:
    pixels = noise((20, 24, channels), dtype)
    pixels = pixels[..., 0] if channels == 1 else pixels
    extra = None if channels in (1, 3) else (0,) * (channels - 1)
    photometric = "rgb" if channels == 3 else "minisblack"
    planar = None if channels == 1 else "contig"
    tifffile.imwrite(
        tmp_path / "a.tif",
        pixels,
        byteorder=byteorder,
        photometric=photometric,
        planarconfig=planar,
        extrasamples=extra,
        metadata=None,
    )
    assert_identical_after_copy(tmp_path / "a.tif", pixels)
    with tifffile.TiffFile(tmp_path / "copy.tif") as tif:
        assert tif.byteorder == byteorder


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_tiff_of_floats_comes_back_to_seven_digits_of_its_range(
    tmp_path: Path, dtype: str, channels: int, byteorder: Any
) -> None:
    pixels = noise((20, 24, channels), dtype)
    photometric = "rgb" if channels == 3 else "minisblack"
    planar = None if channels == 1 else "contig"
    tifffile.imwrite(tmp_path / "a.tif", pixels, byteorder=byteorder, photometric=photometric, planarconfig=planar)
    picture = read(tmp_path / "a.tif")
    copy = read(picture.write(picture.tensor, tmp_path / "copy.tif"))
    low, high = picture.units()
    found = copy.to_array(copy.tensor)
    assert found.dtype == np.dtype(dtype)
    resolution = np.finfo(dtype).eps * np.abs(pixels.astype(float))
    error = np.abs(found.astype(float) - pixels.reshape(found.shape).astype(float))
    assert (error <= (high - low) * 2.0**-23 + resolution.reshape(found.shape)).all()


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_tiff_alpha_is_kept_apart(tmp_path: Path, channels: int, dtype: str) -> None:
    pixels = noise((20, 24, channels), dtype)
    photometric = "rgb" if channels == 4 else "minisblack"
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric=photometric, extrasamples=[2], planarconfig="contig")
    picture = read(tmp_path / "a.tif")
    assert picture.tensor.shape == (1, channels - 1, 20, 24)
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha[0], pixels[..., -1])
    picture.write(picture.tensor, tmp_path / "copy.tif")
    with tifffile.TiffFile(tmp_path / "copy.tif") as tif:
        assert [int(kind) for kind in tif.series[0].keyframe.extrasamples] == [2]
        np.testing.assert_array_equal(tif.asarray()[..., -1], pixels[..., -1])


def test_jpeg_is_written_with_quality_95_and_full_color_resolution(tmp_path: Path) -> None:
    pixels = cv2.GaussianBlur(noise((64, 64, 3), "uint8"), (0, 0), 3)
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=75)
    picture = read(tmp_path / "a.jpg")
    copy = read(picture.write(picture.tensor, tmp_path / "copy.jpg"))
    assert (copy.tensor - picture.tensor).abs().max() < 6 / 255
    with Image.open(tmp_path / "copy.jpg") as image:
        assert image.layer[0][1:3] == (1, 1)  # type: ignore[attr-defined]
        assert max(image.quantization[0]) <= 12  # type: ignore[attr-defined]


def test_palette_becomes_rgb_and_transparency_alpha(tmp_path: Path) -> None:
    rgb = Image.fromarray(noise((20, 24, 3), "uint8")).quantize(7)
    rgb.save(tmp_path / "p.png", transparency=3)
    picture = read(tmp_path / "p.png")
    assert picture.tensor.shape == (1, 3, 20, 24)
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha[0] == 0, np.asarray(rgb) == 3)
    rgb.save(tmp_path / "q.png")
    assert_identical_after_copy(tmp_path / "q.png", np.asarray(rgb.convert("RGB")))


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_the_one_transparent_color_of_a_png_becomes_alpha(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(noise((20, 24, 3), "uint8")).convert(mode)
    pixels = np.asarray(image)
    color = image.getpixel((5, 6))
    image.save(tmp_path / "a.png", transparency=color)
    picture = read(tmp_path / "a.png")
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha[0] == 0, (pixels == color) if mode == "L" else (pixels == color).all(2))
    assert_identical_after_copy(tmp_path / "a.png", picture.to_array(picture.tensor))


def test_one_bit_png_becomes_grey(tmp_path: Path) -> None:
    bits = noise((20, 24), "uint8") > 127
    Image.fromarray(bits).save(tmp_path / "a.png")
    assert_identical_after_copy(tmp_path / "a.png", bits.astype(np.uint8) * 255)


def test_value_range_is_the_range_of_the_tensor(tmp_path: Path) -> None:
    pixels = noise((20, 24), "uint16") // 32
    save(tmp_path / "a.png", pixels)
    picture = read(tmp_path / "a.png", value_range=(0, 4095))
    assert picture.units() == (0, 4095)
    np.testing.assert_allclose(picture.tensor[0, 0].numpy(), pixels / 4095, atol=1e-7)
    np.testing.assert_array_equal(picture.to_array(picture.tensor), pixels)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
def test_a_constant_picture_stays_what_it_is(tmp_path: Path, dtype: str) -> None:
    pixels = np.full((20, 24), 250, dtype)
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    assert_identical_after_copy(tmp_path / "a.tif", pixels)


def test_results_outside_the_range_are_rounded_and_clipped(tmp_path: Path) -> None:
    pixels = noise((20, 24), "uint8")
    save(tmp_path / "a.png", pixels)
    picture = read(tmp_path / "a.png")
    tensor = torch.full_like(picture.tensor, 1.2)
    tensor[..., 0], tensor[..., 1] = -0.2, 100.6 / 255
    array = picture.to_array(tensor)
    assert (array[:, 0] == 0).all()
    assert (array[:, 1] == 101).all()
    assert (array[:, 2] == 255).all()


def test_an_enlarged_result_has_enlarged_alpha(tmp_path: Path) -> None:
    pixels = noise((20, 24, 4), "uint8")
    pixels[..., 3] = 77
    save(tmp_path / "a.png", pixels)
    picture = read(tmp_path / "a.png")
    large = torch.nn.functional.interpolate(picture.tensor, scale_factor=2)
    copy = read(picture.write(large, tmp_path / "large.png"))
    assert copy.tensor.shape == (1, 3, 40, 48)
    assert copy.alpha is not None
    assert (copy.alpha == 77).all()
    assert copy.alpha.shape == (1, 40, 48)
