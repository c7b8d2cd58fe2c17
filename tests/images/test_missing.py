"""NaN as values that are not known, and alpha as a mask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from preimage.errors import InputError
from preimage.images import Picture, as_picture, read

RNG = np.random.default_rng(7)


def with_holes(shape: tuple[int, ...], dtype: str = "float32", part: float = 0.2) -> NDArray[Any]:
    """Values from 100 to 900 and NaN."""
    values = RNG.uniform(100, 900, shape)
    values[RNG.random(shape) < part] = np.nan
    return values.astype(dtype)


def assert_filled(picture: Picture, values: NDArray[Any]) -> None:
    """values is (b, c, h, w), in file units, upright."""
    assert picture.missing is not None
    assert picture.missing.dtype == torch.bool
    assert picture.missing.shape == picture.tensor.shape
    np.testing.assert_array_equal(picture.missing.numpy(), np.isnan(values))
    low, high = picture.units()
    assert (low, high) == (np.nanmin(values), np.nanmax(values))
    assert picture.tensor.isfinite().all()
    unit = (values.astype(np.float64) - low) / (high - low)
    expected = np.where(np.isnan(unit), np.nanmean(unit, axis=(2, 3), keepdims=True), unit)
    np.testing.assert_allclose(picture.tensor.numpy(), expected, rtol=0, atol=2e-7)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
@pytest.mark.parametrize("channels", [1, 3])
def test_nan_of_an_array(dtype: str, channels: int) -> None:
    values = with_holes((20, 24, channels), dtype)
    before = values.copy()
    picture = as_picture(values, missing=True)
    assert_filled(picture, values.transpose(2, 0, 1)[None])
    np.testing.assert_array_equal(values, before)
    with pytest.raises(
        InputError, match=r"the array: \d+ values are NaN and 0 are infinite, of .*\(inpaint fills NaN\)"
    ):
        as_picture(values)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_nan_of_a_tensor(dtype: torch.dtype) -> None:
    values = torch.from_numpy(with_holes((2, 3, 20, 24)) / 1000).to(dtype)
    picture = as_picture(values, missing=True)
    assert picture.units() == (0, 1)
    assert picture.missing is not None
    assert torch.equal(picture.missing, values.isnan())
    known = ~values.isnan()
    torch.testing.assert_close(picture.tensor[known], values[known].float())
    assert picture.tensor.isfinite().all()
    with pytest.raises(InputError, match="values are NaN and 0 are infinite"):
        as_picture(values)
    with pytest.raises(InputError, match="and 0 to 1 is expected: give value_range"):
        as_picture(values * 3, missing=True)


@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
def test_nan_of_a_tiff_file_upright(tmp_path: Path, orientation: int) -> None:
    values = with_holes((20, 24))
    tags = [(274, 3, 1, orientation, False)]
    tifffile.imwrite(tmp_path / "a.tif", values, extratags=tags, metadata=None)
    picture = read(tmp_path / "a.tif", missing=True)
    marks = Image.fromarray(values)
    marks.getexif()[274] = orientation
    assert_filled(picture, np.asarray(ImageOps.exif_transpose(marks))[None, None])
    assert torch.equal(as_picture(tmp_path / "a.tif", missing=True).tensor, picture.tensor)
    again = read(picture.write(picture.tensor, tmp_path / "copy.tif"), missing=True)
    assert again.missing is None
    torch.testing.assert_close(again.tensor, picture.tensor)
    with pytest.raises(InputError, match=r"a\.tif: .*\(inpaint fills NaN\)"):
        read(tmp_path / "a.tif")


def test_nan_of_a_pillow_image() -> None:
    values = with_holes((20, 24))
    assert_filled(as_picture(Image.fromarray(values), missing=True), values[None, None])


def test_each_page_and_channel_has_its_own_stand_in(tmp_path: Path) -> None:
    values = with_holes((3, 20, 24))
    values[1] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", metadata={"axes": "ZYX"})
    picture = read(tmp_path / "a.tif", page="all", missing=True)
    assert (picture.tensor[1] == 0.5).all()
    assert picture.missing is not None
    assert picture.missing[1].all()
    for page in (0, 2):
        known = picture.tensor[page][~picture.missing[page]]
        torch.testing.assert_close(picture.tensor[page][picture.missing[page]].unique(), known.mean()[None])
    with pytest.raises(InputError, match=r"a\.tif: all 480 values are NaN, none is known: give a picture"):
        read(tmp_path / "a.tif", page=2, missing=True)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "int16", "float32"])
def test_a_picture_without_nan_is_as_without_the_option(dtype: str) -> None:
    values = (RNG.random((20, 24, 3)) * 250).astype(dtype)
    picture, expected = as_picture(values, missing=True), as_picture(values)
    assert picture.missing is None
    assert expected.missing is None
    assert picture.units() == expected.units()
    assert torch.equal(picture.tensor, expected.tensor)


def test_a_value_range_holds_the_known_values() -> None:
    values = with_holes((20, 24))
    picture = as_picture(values, value_range=(0, 1000), missing=True)
    assert picture.units() == (0, 1000)
    with pytest.raises(InputError, match="outside the value range 0 to 500"):
        as_picture(values, value_range=(0, 500), missing=True)


def test_known_values_that_are_all_equal() -> None:
    values = np.where(np.isnan(with_holes((20, 24))), np.nan, 7.0)
    picture = as_picture(values, missing=True)
    assert (picture.tensor == 0).all()
    assert (picture.to_array(picture.tensor) == 7).all()


def test_infinite_values_stay_an_error(tmp_path: Path) -> None:
    values = with_holes((20, 24))
    values[3, 4:6] = np.inf, -np.inf
    tifffile.imwrite(tmp_path / "a.tif", values)
    expected = r": 2 values are infinite, of 480: replace them first, by NaN if they are missing"
    with pytest.raises(InputError, match=r"a\.tif" + expected):
        read(tmp_path / "a.tif", missing=True)
    for thing in (values, torch.from_numpy(values)):
        with pytest.raises(InputError, match=expected):
            as_picture(thing, missing=True)
    with pytest.raises(InputError, match="not real numbers"):
        as_picture(values.astype(complex), missing=True)


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_nothing_known(kind: Any) -> None:
    with pytest.raises(InputError, match="all 480 values are NaN, none is known"):
        as_picture(kind(np.full((20, 24), np.nan)), missing=True)


def test_a_signaling_nan_is_no_warning() -> None:
    values = RNG.random((20, 24), dtype=np.float32)
    values.view(np.uint32)[3, 4] = 0x7F800001
    assert as_picture(values, missing=True).missing is not None


def test_a_picture_with_missing_values_is_not_taken_for_a_whole_one() -> None:
    picture = as_picture(with_holes((20, 24)), missing=True)
    assert as_picture(picture, missing=True) is picture
    with pytest.raises(InputError, match=r"the array has \d+ missing values, of 480: fill them first \(inpaint does\)"):
        as_picture(picture)


def rgba(dtype: str, full: float) -> NDArray[Any]:
    """Opaque but for a few rows: transparent, half transparent, nearly opaque."""
    pixels = (RNG.random((20, 24, 4)) * full).astype(dtype)
    pixels[..., 3] = full
    pixels[2:5, 3:9, 3] = 0
    pixels[7, 8, 3] = full / 2
    pixels[9, 1, 3] = np.nextafter(np.float32(full), np.float32(0)) if full == 1 else full - 1
    return pixels


def save_rgba(path: Path, pixels: NDArray[Any]) -> None:
    if path.suffix == ".tif":
        tifffile.imwrite(path, pixels, photometric="rgb", extrasamples=[2])
    else:
        Image.fromarray(pixels).save(path, lossless=True, exact=True)


@pytest.mark.parametrize(
    ("name", "dtype", "full"),
    [
        ("a.png", "uint8", 255),
        ("a.webp", "uint8", 255),
        ("a.tif", "uint8", 255),
        ("a.tif", "uint16", 65535),
        ("a.tif", "int16", 32767),
        ("a.tif", "float32", 1),
    ],
)
def test_what_is_not_opaque_is_transparent(tmp_path: Path, name: str, dtype: str, full: float) -> None:
    pixels = rgba(dtype, full)
    save_rgba(tmp_path / name, pixels)
    picture = read(tmp_path / name)
    holes = picture.transparent()
    assert holes is not None
    assert (holes.shape, holes.dtype) == ((1, 1, 20, 24), torch.bool)
    np.testing.assert_array_equal(holes[0, 0].numpy(), pixels[..., 3] != full)
    whole = picture.opaque()
    assert whole.transparent() is None
    assert torch.equal(whole.tensor, picture.tensor)
    again = read(whole.write(whole.tensor, tmp_path / f"whole{Path(name).suffix}"))
    if again.format != "WebP":  # whose encoder leaves out alpha that says nothing
        assert again.alpha is not None
        assert (again.alpha == full).all()
        assert again.alpha.dtype == dtype
    assert again.transparent() is None
    np.testing.assert_array_equal(again.to_array(again.tensor)[..., :3], picture.to_array(picture.tensor)[..., :3])
    assert picture.transparent() is not None  # the picture itself has not changed


def test_the_mask_is_upright(tmp_path: Path) -> None:
    pixels = rgba("uint8", 255)
    tags = Image.Exif()
    tags[274] = 6
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=tags)
    holes = read(tmp_path / "a.png").transparent()
    assert holes is not None
    seen = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.png")))
    np.testing.assert_array_equal(holes[0, 0].numpy(), seen[..., 3] < 255)


def test_pictures_without_alpha_or_without_a_hole(tmp_path: Path) -> None:
    pixels = rgba("uint8", 255)
    picture = as_picture(pixels)  # all channels of an array are data
    assert picture.transparent() is None
    assert picture.opaque() is picture
    pixels[..., 3] = 255
    save_rgba(tmp_path / "a.png", pixels)
    assert read(tmp_path / "a.png").transparent() is None


def test_float_alpha_that_counts_to_255(tmp_path: Path) -> None:
    pixels = rgba("float32", 255)
    save_rgba(tmp_path / "a.tif", pixels)
    picture = read(tmp_path / "a.tif")
    holes = picture.transparent()
    assert holes is not None
    np.testing.assert_array_equal(holes[0, 0].numpy(), pixels[..., 3] == 0)
    alpha = picture.opaque().alpha
    assert alpha is not None
    assert (alpha == 255).all()


def test_each_page_has_its_own_mask(tmp_path: Path) -> None:
    stack = np.stack([np.roll(rgba("uint8", 255), page, 0) for page in range(2)])
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="rgb", extrasamples=[2])
    holes = read(tmp_path / "a.tif", page="all").transparent()
    assert holes is not None
    np.testing.assert_array_equal(holes[:, 0].numpy(), stack[..., 3] < 255)
