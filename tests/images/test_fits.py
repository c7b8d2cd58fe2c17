"""FITS: header, depth, scale and blank values are kept; what is damaged, forged or no image is one line in our own words."""

from __future__ import annotations

import gzip
import io
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray

from preimage.cli import main
from preimage.errors import InputError, MissingExtra
from preimage.images import as_picture, read
from preimage.images.fits_reading import is_fits

fits = pytest.importorskip("astropy.io.fits")

SKY = np.clip(np.random.default_rng(5).normal(1200, 30, (32, 40)), 0, None)
SKY[10:13, 20:23] += 300
CARDS = {"OBJECT": "M 31", "EXPTIME": 30.5, "CRPIX1": 20.5, "CRPIX2": 1.0, "CD1_1": -0.002, "CD1_2": 0.0, "A_2_0": 1e-4}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where results without -o go


def image(values: NDArray[Any], cards: dict[str, Any] = CARDS, *, raw: bool = False) -> bytes:
    unit = fits.PrimaryHDU(values, do_not_scale_image_data=raw)
    unit.header.update(cards)
    return written(unit)


def written(*units: Any) -> bytes:
    buffer = io.BytesIO()
    fits.HDUList(list(units)).writeto(buffer, checksum=True)
    return buffer.getvalue()


def scaled(codes: NDArray[Any], **cards: Any) -> bytes:
    """Stored integers as they are, and cards that say what they mean."""
    data = image(codes)
    header = fits.Header.fromstring(data[: len(data) - -(-codes.nbytes // 2880) * 2880])
    header.update(cards)
    return (
        header.tostring().encode() + codes.astype(codes.dtype.newbyteorder(">")).tobytes() + bytes(-codes.nbytes % 2880)
    )


def stored(path: Path, number: int = 0) -> tuple[NDArray[Any], Any]:
    with fits.open(path, do_not_scale_image_data=True, memmap=False) as units:
        return np.array(units[number].data), units[number].header.copy()


def refusal(path: Path, code: str = "unreadable", **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        read(path, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    assert not re.search("astropy|HDU|Error|Verify", text)
    assert caught.value.code == code
    return text


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "float32", "float64"]
)
@pytest.mark.parametrize("suffix", [".fits", ".fit", ".FTS"])
def test_values_depth_and_header_are_kept(tmp_path: Path, dtype: str, suffix: str) -> None:
    values = (
        (SKY / 10 if dtype.endswith("int8") else SKY).clip(0, 127 if dtype.endswith("int8") else None).astype(dtype)
    )
    path = tmp_path / f"a{suffix}"
    path.write_bytes(image(values))
    picture = read(path)
    assert (picture.format, picture.dtype, picture.tensor.shape) == ("FITS", np.dtype(dtype), (1, 1, 32, 40))
    np.testing.assert_allclose(picture.to_array(picture.tensor), values, rtol=1e-6)
    copy = picture.write(picture.tensor, tmp_path / f"copy{suffix}")
    (before, old), (after, new) = stored(path), stored(copy)
    assert after.dtype == before.dtype
    np.testing.assert_allclose(after, before, rtol=1e-6)
    for key in {"DATASUM", "CHECKSUM"} & set(old):
        del old[key]
    assert [tuple(card) for card in new.cards] == [tuple(card) for card in old.cards]
    assert copy.stat().st_size % 2880 == 0
    with fits.open(copy) as units:
        units.verify("exception")
    assert copy.read_bytes() == picture.write(picture.tensor, tmp_path / "again.fits").read_bytes()


def test_rows_stay_in_the_order_of_the_file(tmp_path: Path) -> None:
    values = np.arange(32 * 40, dtype=np.int16).reshape(32, 40)
    (tmp_path / "a.fits").write_bytes(image(values))
    tifffile.imwrite(tmp_path / "a.tif", values)
    assert read(tmp_path / "a.fits").tensor.equal(read(tmp_path / "a.tif").tensor)


@pytest.mark.parametrize(
    ("dtype", "cards", "kind"),
    [
        ("int16", {"BLANK": -32768}, "int16"),
        ("int16", {"BLANK": -32768, "BZERO": 32768, "BSCALE": 1}, "uint16"),
        ("int32", {"BLANK": -99}, "int32"),
        ("uint8", {"BLANK": 255}, "uint8"),
        ("int16", {"BLANK": -32768, "BZERO": 100.0, "BSCALE": 0.25}, "float64"),
        ("int32", {"BLANK": 2**31 - 1, "BZERO": -5.0, "BSCALE": 1e-3}, "float64"),
    ],
)
def test_blank_values_are_missing_and_come_back(tmp_path: Path, dtype: str, cards: dict[str, Any], kind: str) -> None:
    codes = (SKY / 8).astype(dtype)
    holes = np.random.default_rng(1).random(codes.shape) < 0.1
    codes[holes] = cards["BLANK"]
    path = tmp_path / "a.fits"
    path.write_bytes(scaled(codes, **cards))
    picture = read(path, missing=True)
    assert picture.dtype == kind
    assert picture.missing is not None
    np.testing.assert_array_equal(picture.missing[0, 0].numpy(), holes)
    known = codes[~holes].astype(float) * cards.get("BSCALE", 1) + cards.get("BZERO", 0)
    assert picture.units() == ((0, 255) if kind == "uint8" else (known.min(), known.max()))
    sigma = str(5 * cards.get("BSCALE", 1))
    assert main(["denoise", str(path), "--steps", "2", "--sigma", sigma, "-o", str(tmp_path / "out.fits")]) == 0
    after, header = stored(tmp_path / "out.fits")
    assert after.dtype.name == dtype
    np.testing.assert_array_equal(after == cards["BLANK"], holes)
    assert {key: header[key] for key in cards} == cards
    assert header["OBJECT"] == "M 31"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nan_is_missing_and_comes_back(tmp_path: Path, dtype: str) -> None:
    values = SKY.astype(dtype)
    values[3:6, 4:9] = np.nan
    (tmp_path / "a.fits").write_bytes(scaled(values, BLANK=-32768))  # of no meaning for floats
    assert "15 values are NaN" in refusal(tmp_path / "a.fits", "range")
    assert main(["denoise", str(tmp_path / "a.fits"), "--steps", "2", "--sigma", "5"]) == 0
    after, header = stored(tmp_path / "a-denoise.fits")
    assert (after.dtype.name, header["BITPIX"]) == (dtype, -8 * values.itemsize)
    np.testing.assert_array_equal(np.isnan(after), np.isnan(values))


def test_a_scale_is_applied_once_and_undone(tmp_path: Path) -> None:
    codes = np.random.default_rng(3).integers(-30000, 30000, (32, 40), dtype=np.int16)
    path = tmp_path / "a.fits"
    path.write_bytes(scaled(codes, BZERO=1e6, BSCALE=0.001, BLANK=-32768))
    picture = read(path)
    with fits.open(path) as units:
        np.testing.assert_allclose(picture.to_array(picture.tensor), units[0].data, rtol=1e-7)
    copy = picture.write(picture.tensor, tmp_path / "copy.fits")
    np.testing.assert_array_equal(stored(copy)[0], codes)
    below = picture.write(torch.full_like(picture.tensor, -1.0), tmp_path / "below.fits")
    assert (stored(below)[0] == -32767).all()  # clipped, and not taken for missing
    tiff = read(picture.write(picture.tensor, tmp_path / "copy.tif"))
    assert tiff.units() == picture.units()
    floats = scaled(SKY.astype(np.float32), BZERO=10.0, BSCALE=2.0)
    path.write_bytes(floats)
    copy = read(path).write(read(path).tensor, tmp_path / "floats.fits")
    assert "BSCALE" not in stored(copy)[1]
    np.testing.assert_allclose(stored(copy)[0], SKY.astype(np.float32) * 2.0 + 10, rtol=1e-6)


@pytest.mark.parametrize("planes", [2, 3, 5])
def test_planes_are_pages(tmp_path: Path, planes: int) -> None:
    values = np.stack([SKY + 100 * i for i in range(planes)]).astype(np.uint16)
    path = tmp_path / "a.fits"
    path.write_bytes(image(values))
    assert f"has {planes} pages: choose one with --page N" in refusal(path, "option")
    assert f"has {planes} pages, got page 6: choose from 1 to {planes}" in refusal(path, "invalid-value", page=6)
    stack, second = read(path, page="all"), read(path, page=2)
    np.testing.assert_array_equal(stack.to_array(stack.tensor), values)
    np.testing.assert_array_equal(second.to_array(second.tensor), values[1])
    raw, header = stored(stack.write(stack.tensor, tmp_path / "stack.fits"))
    np.testing.assert_array_equal(raw, stored(path)[0])
    assert header["OBJECT"] == "M 31"
    raw, header = stored(second.write(second.tensor, tmp_path / "second.fits"))
    np.testing.assert_array_equal(raw, stored(path)[0][1])
    assert (header["NAXIS"], "NAXIS3" in header) == (2, False)


def test_axes_of_length_one_stay(tmp_path: Path) -> None:
    (tmp_path / "a.fits").write_bytes(image(SKY.astype(np.float32)[None, None]))
    picture = read(tmp_path / "a.fits")
    assert picture.tensor.shape == (1, 1, 32, 40)
    assert stored(picture.write(picture.tensor, tmp_path / "copy.fits"))[0].shape == (1, 1, 32, 40)


def test_the_first_image_of_several_is_read_with_the_header_of_the_file(tmp_path: Path) -> None:
    primary = fits.PrimaryHDU()
    primary.header["TELESCOP"] = "a telescope"
    table = fits.BinTableHDU.from_columns([fits.Column("flux", "E", array=np.arange(9.0))])
    images = [fits.ImageHDU((SKY + i).astype(np.int16), name=f"CHIP{i}") for i in range(2)]
    (tmp_path / "a.fits").write_bytes(written(primary, table, *images))
    picture = read(tmp_path / "a.fits")
    assert picture.remarks == (f"{tmp_path / 'a.fits'} holds 2 images, of which the first is read",)
    copy = picture.write(picture.tensor, tmp_path / "copy.fits")
    with fits.open(copy) as units:
        units.verify("exception")
        assert [len(units), units[0].header["TELESCOP"], units[1].name] == [2, "a telescope", "CHIP0"]
        np.testing.assert_array_equal(units[1].data, SKY.astype(np.int16))


@pytest.mark.parametrize("dtype", ["int16", "uint16", "float32"])
@pytest.mark.parametrize("coding", ["RICE_1", "GZIP_1"])
def test_compressed_tiles(tmp_path: Path, dtype: str, coding: str) -> None:
    unit = fits.CompImageHDU(SKY.astype(dtype), fits.Header(CARDS), compression_type=coding, quantize_level=0)
    if (dtype, coding) == ("float32", "RICE_1"):  # which has no floats, but as integers
        unit = fits.CompImageHDU(SKY.astype(dtype), fits.Header(CARDS), compression_type=coding, quantize_level=64)
    path = tmp_path / "a.fits.fz"
    path.write_bytes(written(fits.PrimaryHDU(), unit))
    picture = read(path)
    assert picture.dtype == dtype
    np.testing.assert_allclose(picture.to_array(picture.tensor), SKY.astype(dtype), atol=1 if dtype == "float32" else 0)
    values, header = stored(picture.write(picture.tensor, tmp_path / "copy.fits"), 1)
    assert (values.shape, header["OBJECT"], "ZIMAGE" in header) == ((32, 40), "M 31", False)
    assert main(["denoise", str(path), "--steps", "2", "--sigma", "5"]) == 0
    assert read(tmp_path / "a-denoise.fits").dtype == dtype


def test_blank_and_scale_of_compressed_tiles(tmp_path: Path) -> None:
    unit = fits.CompImageHDU((SKY / 4).astype(np.int16), fits.Header(CARDS))
    unit.data[3:6, 4:9] = -32768
    data = written(fits.PrimaryHDU(), unit)
    with fits.open(io.BytesIO(data), disable_image_compression=True) as units:
        header = units[1].header.copy()
    length = len(header.tostring())
    header.update({"BLANK": -32768, "BSCALE": 0.5, "BZERO": 3.0})
    (tmp_path / "a.fits.fz").write_bytes(data[:2880] + header.tostring().encode() + data[2880 + length :])
    picture = read(tmp_path / "a.fits.fz", missing=True)
    assert picture.missing is not None
    np.testing.assert_array_equal(np.argwhere(picture.missing[0, 0].numpy()), np.argwhere(unit.data == -32768))
    assert picture.units()[0] == unit.data[unit.data > -32768].min() * 0.5 + 3
    assert main(["denoise", "a.fits.fz", "--steps", "2", "--sigma", "2"]) == 0
    values, after = stored(tmp_path / "a-denoise.fits", 1)
    np.testing.assert_array_equal(values == -32768, unit.data == -32768)
    assert [after[key] for key in ("BITPIX", "BLANK", "BSCALE", "BZERO")] == [16, -32768, 0.5, 3.0]


def test_packed_by_gzip(tmp_path: Path) -> None:
    path = tmp_path / "a.fits.gz"
    path.write_bytes(gzip.compress(image(SKY.astype(np.int16))))
    picture = read(path)
    np.testing.assert_array_equal(picture.to_array(picture.tensor), SKY.astype(np.int16))
    assert main(["denoise", str(path), "--steps", "2", "--sigma", "5"]) == 0
    assert read(tmp_path / "a-denoise.fits").dtype == np.int16
    path.write_bytes(path.read_bytes()[:300])
    refusal(path)
    path.write_bytes(gzip.compress(image(SKY.astype(np.int16)) + bytes(2**27)))
    assert "it holds no picture" in refusal(path, "size")
    assert is_fits(path, b"\x1f\x8b")
    assert not is_fits(tmp_path / "a.tar.gz", b"\x1f\x8b")


def test_other_pictures_become_fits(tmp_path: Path) -> None:
    for dtype in ("uint8", "int8", "uint16", "int32", "float32"):
        values = (SKY / 12).astype(dtype)
        picture = as_picture(values)
        path = picture.write(picture.tensor, tmp_path / f"{dtype}.fits")
        with fits.open(path) as units:
            units.verify("exception")
            np.testing.assert_allclose(units[0].data, values, rtol=1e-6)
        assert read(path).dtype == dtype
    tifffile.imwrite(tmp_path / "a.tif", np.stack([SKY] * 3).astype(np.uint16), photometric="minisblack")
    stack = read(tmp_path / "a.tif", page="all")
    assert read(stack.write(stack.tensor, tmp_path / "stack.fits"), page="all").tensor.equal(stack.tensor)
    color = as_picture(np.zeros((32, 40, 3), np.uint8))
    with pytest.raises(InputError, match=r"FITS cannot hold 3 channels: use \.png"):
        color.check_destination(tmp_path / "out.fits")


def test_world_coordinates_of_an_enlarged_image(tmp_path: Path) -> None:
    (tmp_path / "a.fits").write_bytes(image(SKY.astype(np.float32)))
    picture = read(tmp_path / "a.fits")
    larger = picture.tensor.repeat_interleave(2, 2).repeat_interleave(2, 3)
    _, header = stored(picture.write(larger, tmp_path / "larger.fits"))
    assert [header[key] for key in CARDS] == ["M 31", 30.5, 40.5, 1.5, -0.001, 0.0, 5e-5]


@pytest.mark.parametrize("part", [0.02, 0.3, 0.5, 0.7, 0.99])
@pytest.mark.parametrize("packed", [False, True])
def test_truncated(tmp_path: Path, part: float, packed: bool) -> None:
    noise = np.random.default_rng(0).integers(0, 9999, (64, 64)).astype(np.int16)
    data = written(fits.PrimaryHDU(), fits.CompImageHDU(noise)) if packed else image(noise)
    held = len(data) - (-len(data[5760:]) % 2880) - (2880 - noise.nbytes % 2880 if not packed else 2880)
    (tmp_path / "a.fits").write_bytes(data[: int(held * part)])
    text = refusal(tmp_path / "a.fits")
    assert "damaged or truncated" in text or "holds no image" in text


def test_files_without_an_image(tmp_path: Path) -> None:
    table = fits.BinTableHDU.from_columns([fits.Column("flux", "E", array=np.arange(9.0))])
    path = tmp_path / "a.fits"
    for data in (written(fits.PrimaryHDU(), table), written(fits.PrimaryHDU()), image(SKY[0].astype(np.float32))):
        path.write_bytes(data)
        assert "holds no image of rows and columns, but tables or spectra" in refusal(path)
    path.write_bytes(image(SKY[:15].astype(np.float32)))
    assert "16 x 16 is the least" in refusal(path, "size")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("cards", "code"),
    [
        ({"NAXIS1": 4_000, "NAXIS2": 4_000}, "unreadable"),
        ({"NAXIS1": 2**40, "NAXIS2": 2**40}, "size"),
        ({"NAXIS1": -40}, "unreadable"),
        ({"NAXIS1": 40.5}, "unreadable"),
        ({"NAXIS": 999}, "unreadable"),
        ({"BITPIX": 17}, "unreadable"),
        ({"BSCALE": 0}, "unreadable"),
        ({"BZERO": "much"}, "unreadable"),
        ({"TILE1": 2**40}, "unreadable"),
    ],
)
def test_what_a_header_claims_is_held_against_the_file(
    tmp_path: Path, cards: dict[str, Any], code: str, packed: bool
) -> None:
    data = (
        written(fits.PrimaryHDU(), fits.CompImageHDU(SKY.astype(np.int16))) if packed else image(SKY.astype(np.int16))
    )
    start = 2880 if packed else 0
    end = data.index(b"END     ", start)
    end += -(end - start) % 2880
    header = fits.Header.fromstring(data[start:end].decode())
    for key, value in cards.items():
        header["Z" + key if packed and key.startswith(("NAXIS", "TILE", "BITPIX")) else key] = value
    (tmp_path / "a.fits").write_bytes(data[:start] + header.tostring().encode() + data[end:])
    if "TILE1" in cards and not packed:
        assert read(tmp_path / "a.fits").tensor.shape == (1, 1, 32, 40)  # of no meaning there
        return
    with pytest.raises(InputError) as caught:
        read(tmp_path / "a.fits")
    assert "\n" not in str(caught.value)
    assert caught.value.code == code


def test_a_header_with_other_characters_than_it_may_have(tmp_path: Path) -> None:
    data = image(SKY.astype(np.int16))
    (tmp_path / "a.fits").write_bytes(data.replace(b"'M 31    '", b"'M\xb031\0   '"))
    picture = read(tmp_path / "a.fits")
    assert stored(picture.write(picture.tensor, tmp_path / "copy.fits"))[1]["OBJECT"] == "M?31?"
    (tmp_path / "a.fits").write_bytes(
        data.replace(b"BITPIX  =                   16", b"BITPIX  = '\n\x1b[31m 16'       ")
    )
    refusal(tmp_path / "a.fits")


@pytest.mark.parametrize("packed", [False, True])
def test_flipped_bytes_are_a_picture_or_a_line(tmp_path: Path, packed: bool) -> None:
    sky = SKY.astype(np.int16)
    data = written(fits.PrimaryHDU(), fits.CompImageHDU(sky)) if packed else image(sky)
    outcomes = {"read": 0, "refused": 0}
    for seed in range(60):
        changed, chosen = bytearray(data), np.random.default_rng(seed)
        for at in chosen.integers(0, len(data) if seed % 2 else 800, 3) + (2880 if packed and not seed % 2 else 0):
            changed[at] ^= int(chosen.integers(1, 256))
        (tmp_path / "a.fits").write_bytes(changed)
        try:
            outcomes["read"] += bool(torch.isfinite(read(tmp_path / "a.fits").tensor).all())
        except InputError as error:
            outcomes["refused"] += "\n" not in str(error)
    assert sum(outcomes.values()) == 60
    assert min(outcomes.values()) > 0


def test_a_bright_source_is_not_fitted_and_kept(tmp_path: Path) -> None:
    values = SKY.astype(np.float32)
    values[10:13, 20:23] = 60_000
    (tmp_path / "a.fits").write_bytes(image(values))
    picture = read(tmp_path / "a.fits", missing=True)
    assert picture.bright is not None
    assert picture.units()[1] < 3000
    assert main(["denoise", str(tmp_path / "a.fits"), "--steps", "2", "--sigma", "30"]) == 0
    found = stored(tmp_path / "a-denoise.fits")[0][10:13, 20:23]
    np.testing.assert_allclose(found, values[10:13, 20:23], rtol=1e-6)  # as near as float32 of 0 to 1 comes


def test_without_the_extra_one_line_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.fits"
    path.write_bytes(image(SKY.astype(np.int16)))
    monkeypatch.setitem(sys.modules, "astropy.io.fits", None)
    with pytest.raises(
        MissingExtra, match=r"is a FITS image, and astropy is not installed: pip install 'preimage\[fits\]'"
    ):
        read(path)
    assert main(["denoise", str(path), "--steps", "2"]) == 2
    error = capsys.readouterr().err
    assert "pip install 'preimage[fits]'" in error
    assert "Traceback" not in error
    with pytest.raises(MissingExtra, match=r"out\.fits is to be a FITS image, and astropy is not installed"):
        as_picture(SKY.astype(np.uint16)).check_destination(tmp_path / "out.fits")
