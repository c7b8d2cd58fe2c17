"""Raw files of cameras: the mosaic by its own pattern and levels, or developed; never the thumbnail."""

from __future__ import annotations

import io
import os
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from preimage import demosaic, denoise
from preimage.cli import main
from preimage.errors import InputError, MissingExtra
from preimage.images import read
from preimage.images.samples import upright

pytest.importorskip("rawpy")

MATRIX = (0.6722, -0.0635, -0.0963, -0.4287, 1.2460, 0.2028, -0.0908, 0.2162, 0.5668)
SCENE = np.random.default_rng(4).integers(600, 12_000, (32, 48, 3)).astype(np.uint16)


def fractions(values: tuple[float, ...]) -> list[int]:
    return [part for value in values for part in (round(value * 10_000), 10_000)]


def mosaic_of(scene: NDArray[np.uint16], pattern: str) -> NDArray[np.uint16]:
    found = np.zeros(scene.shape[:2], np.uint16)
    for place, color in enumerate(pattern):
        rows, columns = slice(place // 2, None, 2), slice(place % 2, None, 2)
        found[rows, columns] = scene[rows, columns, "RGB".index(color)]
    return found


def dng(
    pixels: NDArray[Any] | None = None,
    pattern: str = "RGGB",
    *,
    black: tuple[int, ...] = (512,),
    white: int = 16_383,
    orientation: int = 1,
    photometric: int = 32_803,
    thumbnail: bool = False,
) -> bytes:
    """A DNG made of tags; with a thumbnail it is the first page, and the raw values are a page of it."""
    pixels = mosaic_of(SCENE, pattern) if pixels is None else pixels
    raw: list[Any] = [
        (50714, "H", len(black), black if len(black) > 1 else black[0], True),
        (50717, "H", 1, white, True),
    ]
    if photometric == 32_803:
        raw += [(33421, "H", 2, (2, 2), True), (33422, "B", 4, bytes("RGB".index(each) for each in pattern), True)]
    if len(black) > 1:
        raw.append((50713, "H", 2, (2, 2), True))
    first: list[Any] = [
        (50706, "B", 4, b"\1\4\0\0", True),
        (50707, "B", 4, b"\1\1\0\0", True),
        (50708, "s", 0, "Made by code", True),
        (50721, "2i", 9, fractions(MATRIX), True),
        (50728, "2I", 3, fractions((0.5, 1, 0.6)), True),
        (50778, "H", 1, 21, True),
        (271, "s", 0, "Maker", True),
        (272, "s", 0, "Model", True),
        (274, "H", 1, orientation, True),
    ]
    buffer, options = io.BytesIO(), {"metadata": None, "software": False}
    with tifffile.TiffWriter(buffer) as tif:
        if thumbnail:
            small = np.full((16, 24, 3), 200, np.uint8)
            tif.write(small, photometric="rgb", subfiletype=1, subifds=1, extratags=first, **options)
            tif.write(pixels, photometric=photometric, subfiletype=0, extratags=raw, **options)
        else:
            tif.write(pixels, photometric=photometric, extratags=[*first, *raw], **options)
    return buffer.getvalue()


def written(folder: Path, name: str = "a.dng", **options: Any) -> Path:
    (folder / name).write_bytes(dng(**options))
    return folder / name


def refusal(path: Path, code: str, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        read(path, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    assert "LibRaw" not in text
    assert "b'" not in text
    assert caught.value.code == code
    return text


@pytest.mark.parametrize("pattern", ["RGGB", "BGGR", "GRBG", "GBRG"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_mosaic_by_its_own_pattern_and_levels(tmp_path: Path, pattern: str, orientation: int) -> None:
    picture = read(written(tmp_path, pattern=pattern, orientation=orientation), mosaic=True)
    light = np.rint(np.clip((SCENE.astype(float) - 512) / (16_383 - 512), 0, 1) * 65_535)
    seen = upright(light[None], orientation)[0]
    found = picture.to_array(picture.tensor)
    assert picture.dtype == np.uint16
    assert np.abs(found - mosaic_of(seen.astype(np.uint16), picture.metadata.pattern).astype(int)).max() <= 1
    assert any("black level 512 and white level 16383" in remark for remark in picture.remarks)


def test_black_levels_of_each_filter(tmp_path: Path) -> None:
    black = (500, 520, 540, 560)
    picture = read(
        written(tmp_path, pixels=np.tile(np.array([[500, 520], [540, 560]], np.uint16), (16, 20)), black=black),
        mosaic=True,
    )
    assert picture.to_array(picture.tensor).max() == 0  # all of it is black


def test_demosaic_takes_the_pattern_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, pattern="GBRG")
    run = demosaic(str(path), recipe="fast", steps=2)
    assert any("Bayer pattern GBRG, as the file says" in remark for remark in run.remarks)
    assert run.fingerprint["pattern"] == "GBRG"
    result = run.run()
    raw = read(path, mosaic=True)
    found = result.image[0].numpy()
    for place, color in enumerate("GBRG"):
        rows, columns = slice(place // 2, None, 2), slice(place % 2, None, 2)
        np.testing.assert_array_equal(found["RGB".index(color), rows, columns], raw.tensor[0, 0, rows, columns])
    other = demosaic(str(path), pattern="RGGB", recipe="fast", steps=2)
    assert any("Bayer pattern RGGB, while the file says GBRG" in remark for remark in other.remarks)


def test_a_plain_mosaic_is_rggb_as_before(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", mosaic_of(SCENE, "RGGB"), photometric="minisblack")
    run = demosaic(str(tmp_path / "a.tif"), recipe="fast", steps=2)
    assert run.remarks == ("Bayer pattern RGGB: a third of the values is measured",)
    assert run.fingerprint["pattern"] == "RGGB"


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("thumbnail", [False, True])
@pytest.mark.parametrize("name", ["a.dng", "a.tif", "photograph"])
def test_other_tasks_take_the_developed_picture_not_the_thumbnail(
    tmp_path: Path, name: str, thumbnail: bool, orientation: int
) -> None:
    picture = read(written(tmp_path, name, thumbnail=thumbnail, orientation=orientation))
    assert picture.tensor.shape == ((1, 3, 32, 48) if orientation == 1 else (1, 3, 48, 32))
    assert picture.dtype == np.uint16
    assert any(
        "was developed by rawpy: white balance of the camera, 16-bit sRGB" in remark for remark in picture.remarks
    )
    assert b"Maker" in (picture.metadata.exif or b"")
    again = read(picture.write(picture.tensor, tmp_path / "out.png"))
    assert again.tensor.shape == picture.tensor.shape  # upright already: not turned once more
    assert b"Maker" in (again.metadata.exif or b"")


def test_developing_balances_white(tmp_path: Path) -> None:
    gray = np.full((32, 48, 3), 8000, np.uint16)
    gray[..., 0], gray[..., 2] = 512 + (8000 - 512) * 0.5, 512 + (8000 - 512) * 0.6  # AsShotNeutral
    picture = read(written(tmp_path, pixels=mosaic_of(gray, "RGGB")))
    means = (picture.tensor * (picture.high - picture.low) + picture.low).mean((0, 2, 3))
    assert float(means.max() / means.min()) < 1.02


def test_linear_raw_is_developed_and_no_mosaic(tmp_path: Path) -> None:
    path = written(tmp_path, pixels=SCENE, photometric=34_892)
    assert read(path).tensor.shape == (1, 3, 32, 48)
    assert "holds no Bayer mosaic of red, green and blue: another task develops it" in refusal(
        path, "shape", mosaic=True
    )


def test_a_thumbnail_of_another_kind_of_raw_file_is_not_taken_for_the_picture(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:  # as NEF and others are arranged, with no raw values we know
        tif.write(np.zeros((20, 24, 3), np.uint8), photometric="rgb", subfiletype=1, subifds=1)
        tif.write(SCENE[..., 0], photometric="minisblack")
    picture = read(tmp_path / "a.tif")
    assert picture.tensor.shape[2:] == (32, 48)
    assert any("was developed by rawpy" in remark for remark in picture.remarks)


def test_a_picture_with_smaller_versions_is_no_raw_file(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        tif.write(SCENE, photometric="rgb", subifds=1)
        tif.write(SCENE[::2, ::2], photometric="rgb", subfiletype=1)
    np.testing.assert_array_equal(read(tmp_path / "a.tif").to_array(read(tmp_path / "a.tif").tensor), SCENE)


@pytest.mark.parametrize("mosaic", [False, True])
@pytest.mark.parametrize("part", [0.05, 0.2, 0.5, 0.9, 0.99])
def test_truncated(tmp_path: Path, part: float, mosaic: bool) -> None:
    data = dng()
    (tmp_path / "a.dng").write_bytes(data[: int(len(data) * part)])
    assert "is a raw file that cannot be decoded" in refusal(tmp_path / "a.dng", "unreadable", mosaic=mosaic)


@pytest.mark.parametrize(
    "head", [b"FUJIFILMCCD-RAW ", b"IIU\0", b"IIRO", b"FOVb", b"II*\0\x10\0\0\0CR\2\0", b"\0\0\0\x18ftypcrx "]
)
def test_raw_files_of_other_makers_that_hold_nothing(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "a.dat").write_bytes(head.ljust(4000, b"\0"))
    assert "is a raw file that cannot be decoded" in refusal(tmp_path / "a.dat", "unreadable")


@pytest.mark.parametrize("side", [20_001, 60_000])
def test_a_forged_size_is_refused_before_it_takes_memory(tmp_path: Path, side: int) -> None:
    path = written(tmp_path)
    with tifffile.TiffFile(path, mode="r+") as tif:
        for code in (256, 257):
            tif.pages.first.tags[code].overwrite(side)
    with pytest.raises(InputError) as caught:
        read(path)
    assert caught.value.code in ("size", "unreadable")


def test_levels_that_exclude_each_other(tmp_path: Path) -> None:
    path = written(tmp_path, black=(60_000,), white=1000)
    with pytest.raises(InputError) as caught:
        read(path, mosaic=True)
    assert caught.value.code in ("range", "unreadable")


def test_flipped_bytes_are_a_picture_or_a_line(tmp_path: Path) -> None:
    data, path, outcomes = dng(), tmp_path / "a.dng", [0, 0]
    for seed in range(40):
        changed, chosen = bytearray(data), np.random.default_rng(seed)
        for at in chosen.integers(0, len(data) if seed % 2 else 300, 2):
            changed[at] ^= int(chosen.integers(1, 256))
        path.write_bytes(changed)
        try:
            outcomes[0] += bool(read(path, mosaic=True).tensor.isfinite().all())
        except InputError as error:
            outcomes[1] += "\n" not in str(error)
    assert sum(outcomes) == 40
    assert min(outcomes) > 0


def test_pipes(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.dng")
    assert "is a pipe, not a file" in refusal(tmp_path / "a.dng", "unreadable")


@pytest.mark.parametrize("task", ["demosaic", "denoise", "super-resolve"])
def test_without_the_extra_one_line_names_it(
    tmp_path: Path, task: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, thumbnail=True)
    monkeypatch.setitem(sys.modules, "rawpy", None)
    with pytest.raises(MissingExtra, match=r"rawpy is not installed: pip install 'preimage\[raw\]'"):
        denoise(str(path))
    assert main([task, str(path), "--steps", "2", "-o", str(tmp_path / "out.png")]) == 2
    error = capsys.readouterr().err
    assert "pip install 'preimage[raw]'" in error
    assert "Traceback" not in error


@pytest.mark.parametrize("task", ["demosaic", "denoise"])
def test_commands(
    tmp_path: Path, task: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path, "photo.dng", orientation=6)
    monkeypatch.chdir(tmp_path)
    assert main([task, "photo.dng", "--steps", "2"]) == 0
    found = read(f"photo-{task}.png")
    assert (found.tensor.shape, found.dtype) == ((1, 3, 48, 32), np.uint16)
    said = capsys.readouterr().out
    assert ("raw values of" if task == "demosaic" else "was developed by rawpy") in said
    assert struct.unpack(">II", Path(f"photo-{task}.png").read_bytes()[16:24]) == (32, 48)
