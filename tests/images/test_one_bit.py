"""Pages in 1 bit, of any coding: read as black and white, and written in 1 bit again as long as they are that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from preimage.errors import InputError
from preimage.images import read

CODINGS = [None, "group3", "group4", "tiff_ccitt", "tiff_lzw", "packbits", "tiff_adobe_deflate"]


def drawn(height: int = 40, width: int = 53) -> np.ndarray:
    """(h, w) True where it is white; no width of whole bytes."""
    page = np.ones((height, width), bool)
    page[5:9, 3:40], page[12:30, 20:24], page[33, 50] = False, False, False
    return page


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("white_is_zero", [False, True])
@pytest.mark.parametrize("orientation", [1, 6])
def test_tiff_of_one_bit(tmp_path: Path, coding: str | None, white_is_zero: bool, orientation: int) -> None:
    tags = {262: 0} if white_is_zero else {}
    page = Image.fromarray(drawn())
    page.save(tmp_path / "a.tif", compression=coding, tiffinfo={**tags, 274: orientation}, dpi=(300, 300))
    with Image.open(tmp_path / "a.tif") as image:
        assert image.mode == "1"
    picture = read(tmp_path / "a.tif")
    upright = np.rot90(drawn(), -1) if orientation == 6 else drawn()
    assert (picture.to_array(picture.tensor) == upright * np.uint8(255)).all()
    assert picture.dtype == np.uint8
    with Image.open(picture.write(picture.tensor, tmp_path / "b.tif")) as image:
        assert image.mode == "1"
    with tifffile.TiffFile(tmp_path / "b.tif") as tif:
        first = tif.pages.first
        assert (first.bitspersample, first.tags.valueof(274, 1)) == (1, orientation)
    again = read(tmp_path / "b.tif")
    assert torch.equal(again.tensor, picture.tensor)
    assert again.metadata.dpi == pytest.approx((300, 300))


@pytest.mark.parametrize("coding", ["group4", "tiff_lzw"])
def test_pages_of_one_bit(tmp_path: Path, coding: str) -> None:
    pages = [Image.fromarray(each) for each in (drawn(), ~drawn(), drawn()[::-1].copy())]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:], compression=coding)
    picture = read(tmp_path / "a.tif", page="all")
    assert (picture.to_array(picture.tensor) == np.stack([np.asarray(each) for each in pages]) * np.uint8(255)).all()
    written = tifffile.imread(picture.write(picture.tensor, tmp_path / "b.tif"))
    assert (written == np.stack([np.asarray(each) for each in pages])).all()
    second = read(tmp_path / "a.tif", page=2)
    assert (second.to_array(second.tensor) == ~drawn() * np.uint8(255)).all()


@pytest.mark.parametrize("source", [".png", ".bmp", ".tif"])
@pytest.mark.parametrize("target", [".png", ".bmp", ".tif", ".jpg", ".webp"])
def test_another_format_has_one_bit_if_it_can(tmp_path: Path, source: str, target: str) -> None:
    Image.fromarray(drawn()).save(tmp_path / f"a{source}")
    picture = read(tmp_path / f"a{source}")
    with Image.open(picture.write(picture.tensor, tmp_path / f"b{target}")) as image:
        assert (image.mode == "1") == (target in (".png", ".bmp", ".tif"))
        assert ((np.asarray(image.convert("L")) > 127) == drawn()).all()


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_shades_are_written_in_8_bits(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(drawn()).save(tmp_path / f"a{suffix}")
    picture = read(tmp_path / f"a{suffix}")
    shades = picture.tensor * 0.5
    with Image.open(picture.write(shades, tmp_path / f"b{suffix}")) as image:
        assert image.mode == "L"
        assert np.abs(np.asarray(image) - drawn() * 127.5).max() <= 0.5
    Image.fromarray(drawn() * np.uint8(255)).save(tmp_path / f"c{suffix}")
    eight = read(tmp_path / f"c{suffix}")
    with Image.open(eight.write(eight.tensor, tmp_path / f"d{suffix}")) as image:
        assert image.mode == "L"  # as it was


def test_a_blank_page_of_fax_coding_is_no_bomb(tmp_path: Path) -> None:
    """A row of nothing has one bit: 6,000 pixels of it, 48,000 in each byte."""
    page = np.ones((7000, 6000), bool)
    page[100:130, 100:400] = False
    Image.fromarray(page).save(tmp_path / "a.tif", compression="group4")
    assert (tmp_path / "a.tif").stat().st_size < page.size / 10_000
    assert read(tmp_path / "a.tif").tensor.mean() > 0.99


def test_a_damaged_page_of_fax_coding_is_one_line(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).random((64, 64)) < 0.5).save(tmp_path / "a.tif", compression="group4")
    whole = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "b.tif").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError) as caught:
        read(tmp_path / "b.tif")
    assert "\n" not in str(caught.value)
