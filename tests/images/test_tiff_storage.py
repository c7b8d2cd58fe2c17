"""TIFF samples of every storage: compressions tifffile leaves to others, tiles, bits, palettes, premultiplied alpha."""

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

RNG = np.random.default_rng(6)


def noise(*shape: int, dtype: str = "uint16") -> NDArray[Any]:
    return RNG.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def copy_of(path: Path, name: str = "copy.tif", **options: Any) -> Path:
    picture = read(path, **options)
    return picture.write(picture.tensor, path.with_name(name))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_lzw_compression(tmp_path: Path, channels: int, dtype: str) -> None:
    pixels = noise(20, 24, channels, dtype=dtype).squeeze()
    cv2.imwrite(str(tmp_path / "a.tif"), pixels[..., ::-1] if channels == 3 else pixels)
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert tif.pages[0].aspage().compression == 5
    picture = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(picture.to_array(picture.tensor), pixels)
    np.testing.assert_array_equal(tifffile.imread(copy_of(tmp_path / "a.tif")), pixels)


def test_lzw_pages_and_alpha(tmp_path: Path) -> None:
    first, second = (Image.fromarray(noise(20, 24, 4, dtype="uint8")) for _ in range(2))
    first.save(tmp_path / "a.tif", compression="tiff_lzw", save_all=True, append_images=[second])
    picture = read(tmp_path / "a.tif", page=2)
    np.testing.assert_array_equal(picture.to_array(picture.tensor), np.asarray(second))
    assert picture.tensor.shape == (1, 3, 20, 24)


def test_jpeg_compression(tmp_path: Path) -> None:
    smooth = cv2.GaussianBlur(noise(32, 48, 3, dtype="uint8"), (0, 0), 4)
    Image.fromarray(smooth).save(tmp_path / "a.tif", compression="jpeg", quality=95)
    picture = read(tmp_path / "a.tif")
    assert np.abs(picture.to_array(picture.tensor).astype(int) - smooth).max() < 25
    again = read(copy_of(tmp_path / "a.tif"))
    assert torch.equal(again.tensor, picture.tensor)


def test_white_at_zero_is_shown_as_it_looks_and_written_as_it_was(tmp_path: Path) -> None:
    pixels = noise(20, 24, dtype="uint8")
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="miniswhite")
    picture = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(picture.to_array(picture.tensor), 255 - pixels)
    with tifffile.TiffFile(copy_of(tmp_path / "a.tif")) as tif:
        assert tif.pages[0].aspage().photometric == 0
        np.testing.assert_array_equal(tif.asarray(), pixels)


def test_palette(tmp_path: Path) -> None:
    indexed = Image.fromarray(noise(20, 24, 3, dtype="uint8")).quantize(9)
    indexed.save(tmp_path / "a.tif")
    picture = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(picture.to_array(picture.tensor), np.asarray(indexed.convert("RGB")))
    again = read(copy_of(tmp_path / "a.tif"))
    assert torch.equal(again.tensor, picture.tensor)


def test_bits(tmp_path: Path) -> None:
    bits = noise(20, 24, dtype="uint8") > 127
    tifffile.imwrite(tmp_path / "a.tif", bits)
    picture = read(tmp_path / "a.tif")
    assert picture.units() == (0, 255)
    np.testing.assert_array_equal(tifffile.imread(copy_of(tmp_path / "a.tif")), bits)


def test_tiles(tmp_path: Path) -> None:
    pixels = noise(50, 70, 3)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", tile=(16, 16), compression="zlib")
    np.testing.assert_array_equal(tifffile.imread(copy_of(tmp_path / "a.tif")), pixels)


@pytest.mark.parametrize("compression", [5, 8, 32946])
def test_compressed_floats(tmp_path: Path, compression: int) -> None:
    values = RNG.random((20, 24)).astype(np.float32)
    cv2.imwrite(str(tmp_path / "a.tif"), values, [cv2.IMWRITE_TIFF_COMPRESSION, compression])
    picture = read(tmp_path / "a.tif")
    np.testing.assert_allclose(picture.to_array(picture.tensor), values, atol=2e-7)


def test_premultiplied_alpha_is_kept(tmp_path: Path) -> None:
    alpha = noise(20, 24, 1, dtype="uint8")
    pixels = np.dstack([np.minimum(noise(20, 24, 3, dtype="uint8"), alpha), alpha])
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=["assocalpha"])
    assert read(tmp_path / "a.tif").tensor.shape == (1, 3, 20, 24)
    with tifffile.TiffFile(copy_of(tmp_path / "a.tif")) as tif:
        assert [int(kind) for kind in tif.pages[0].aspage().extrasamples] == [1]
        np.testing.assert_array_equal(tif.asarray(), pixels)
