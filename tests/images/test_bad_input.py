"""Each bad file is one clear line: the file, what was wrong, the value and the way out."""

from __future__ import annotations

import io
import logging
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from PIL.PngImagePlugin import putchunk

from preimage.errors import InputError
from preimage.images import as_picture, read

PIXELS = np.random.default_rng(3).integers(0, 256, (40, 48, 3), dtype=np.uint8)


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        read(path, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    assert ": " in text
    return text


def test_missing_file(tmp_path: Path) -> None:
    assert "does not exist: check the name" in refusal(tmp_path / "a.png")


def test_name_too_long(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(tmp_path / ("a" * 300 + ".png"))


def test_folder(tmp_path: Path) -> None:
    assert "is a folder: give the name of a file in it" in refusal(tmp_path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tif"])
def test_empty_file(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a{suffix}").touch()
    assert "is empty (0 bytes)" in refusal(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("content", [b"x", b"hello, I am a text\n" * 40, b"II*\0", b"MM\0*hello", b"\x89PNG\r\n\x1a\n"])
def test_no_picture(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    refusal(tmp_path / "a.png")


def encoded() -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for form in ("PNG", "JPEG", "WEBP", "BMP", "GIF"):
        buffer = io.BytesIO()
        Image.fromarray(PIXELS).save(buffer, form)
        found[form] = buffer.getvalue()
    found["PNG of 16 bits"] = cv2.imencode(".png", PIXELS.astype(np.uint16) * 257)[1].tobytes()
    found["TIFF LZW"] = cv2.imencode(".tif", PIXELS)[1].tobytes()
    found["TIFF LZW of 16 bits"] = cv2.imencode(".tif", PIXELS.astype(np.uint16) * 257)[1].tobytes()
    for name, options in {
        "TIFF": {},
        "TIFF Deflate": {"compression": "zlib"},
        "TIFF tiles": {"tile": (16, 16)},
    }.items():
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, PIXELS, photometric="rgb", **options)
        found[name] = buffer.getvalue()
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, PIXELS.transpose(2, 0, 1), photometric="minisblack", metadata=None)
    found["TIFF pages"] = buffer.getvalue()
    return found


@pytest.mark.parametrize("form", list(encoded()))
@pytest.mark.parametrize("part", [0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97])
def test_truncated_file(
    tmp_path: Path, form: str, part: float, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    data = encoded()[form]
    (tmp_path / "whole").write_bytes(data)
    (tmp_path / "cut").write_bytes(data[: int(len(data) * part)])
    read(tmp_path / "whole", page="all")
    refusal(tmp_path / "cut", page="all")
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("form", list(encoded()))
def test_a_file_whose_last_bytes_are_missing_is_whole_or_refused(tmp_path: Path, form: str) -> None:
    data = encoded()[form]
    (tmp_path / "whole").write_bytes(data)
    whole = read(tmp_path / "whole", page="all")
    for missing in (1, 2, 5, 8, 12, 20, 40):
        (tmp_path / "cut").write_bytes(data[:-missing])
        try:
            found = read(tmp_path / "cut", page="all")
        except InputError:
            continue
        assert torch.equal(found.tensor, whole.tensor)


def test_damaged_pixels_of_png(tmp_path: Path) -> None:
    data = bytearray(encoded()["PNG"])
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "a.png").write_bytes(data)
    assert "is damaged or truncated" in refusal(tmp_path / "a.png")


@pytest.mark.parametrize("mode", ["LAB", "YCbCr", "HSV"])
def test_colors_that_are_not_rgb(tmp_path: Path, mode: str) -> None:
    image = Image.new(mode, (40, 48))
    if mode == "LAB":
        image.save(tmp_path / "a.tif")
        assert "neither grey nor RGB: convert it to RGB first" in refusal(tmp_path / "a.tif")
        for photometric in (9, 10):  # ICCLab, ITULab
            with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as tif:
                tif.pages.first.tags[262].overwrite(photometric)
            assert "neither grey nor RGB: convert it to RGB first" in refusal(tmp_path / "a.tif")
    with pytest.raises(InputError, match="convert it to RGB first"):
        as_picture(image)


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_animation(tmp_path: Path, form: str) -> None:
    frames = [Image.fromarray(np.roll(PIXELS, i, 0)) for i in range(3)]
    path = tmp_path / f"a.{form.lower()}"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert "is an animation of 3 frames: save the frame" in refusal(path)


def test_page_of_a_picture_without_pages(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    assert "has 1 page, got page 2" in refusal(tmp_path / "a.png", page=2)
    assert read(tmp_path / "a.png", page=1).tensor.shape == (1, 3, 40, 48)
    assert read(tmp_path / "a.png", page="all").tensor.shape == (1, 3, 40, 48)
    for page in (0, -1, True, "first"):
        with pytest.raises(InputError, match='page must be a number from 1 or "all"'):
            read(tmp_path / "a.png", page=page)  # type: ignore[arg-type]


def test_values_that_are_not_finite(tmp_path: Path) -> None:
    values = np.ones((20, 24), np.float32)
    values[0, :3], values[1, 1] = np.nan, -np.inf
    tifffile.imwrite(tmp_path / "a.tif", values)
    text = refusal(tmp_path / "a.tif")
    assert "3 values are NaN and 1 are infinite, of 480: replace them first" in text
    with pytest.raises(InputError, match="3 values are NaN and 1 are infinite"):
        as_picture(values)
    with pytest.raises(InputError, match="3 values are NaN and 1 are infinite"):
        as_picture(torch.from_numpy(values))


def png_header(width: int, height: int) -> bytes:
    file = io.BytesIO()
    file.write(b"\x89PNG\r\n\x1a\n")
    putchunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    putchunk(file, b"IDAT", b"x\x9c\x03\x00\x00\x00\x00\x01")
    putchunk(file, b"IEND", b"")
    return file.getvalue()


def test_decompression_bomb(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_header(20_000, 20_000))
    assert "is 20000 x 20000 = 400000000 pixels, more than the 200000000" in refusal(tmp_path / "a.png")
    bmp = bytearray(encoded()["BMP"])
    bmp[18:26] = struct.pack("<ii", 20_000, 20_000)
    (tmp_path / "a.bmp").write_bytes(bmp)
    assert "is 20000 x 20000" in refusal(tmp_path / "a.bmp")
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, photometric="rgb")
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as tif:
        for code in (256, 257):
            tif.pages[0].aspage().tags[code].overwrite(20_000)
    assert "is 20000 x 20000" in refusal(tmp_path / "a.tif")


def test_a_header_of_a_real_big_picture_is_no_bomb(tmp_path: Path) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    (tmp_path / "a.png").write_bytes(png_header(20_000, 10_000) + bytes(30_000))
    assert "is damaged or truncated" in refusal(tmp_path / "a.png")
    assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("chunk", [b"IDAT", b"IEND"])
def test_a_chunk_that_says_to_be_longer_than_the_file_takes_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: bytes
) -> None:
    file, deep = io.BytesIO(), PIXELS[..., 0].astype(np.uint16) * 257
    Image.fromarray(deep).save(file, "png")
    data = bytearray(file.getvalue())
    (tmp_path / "more.png").write_bytes(data + b"what follows the end")
    whole = read(tmp_path / "more.png")
    np.testing.assert_array_equal(whole.to_array(whole.tensor), deep)
    at = data.index(chunk) - 4
    data[at : at + 4] = struct.pack(">I", 2**31 + 2**24)
    (tmp_path / "deep.png").write_bytes(data)
    monkeypatch.setattr(cv2, "imdecode", None)  # it would ask for two gigabytes
    assert "a part of it is longer than the file" in refusal(tmp_path / "deep.png")


def test_small_sides_and_many_channels(tmp_path: Path) -> None:
    Image.fromarray(PIXELS[:15]).save(tmp_path / "a.png")
    assert "is 48 x 15 pixels, and 16 x 16 is the least: give a larger picture" in refusal(tmp_path / "a.png")
    Image.fromarray(PIXELS[:16, :16]).save(tmp_path / "b.png")
    assert read(tmp_path / "b.png").tensor.shape == (1, 3, 16, 16)
    tifffile.imwrite(tmp_path / "c.tif", np.zeros((17, 20, 24), np.uint8), metadata={"axes": "CYX"})
    assert "has 17 channels, and 16 is the most" in refusal(tmp_path / "c.tif")


def test_complex_values(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.ones((20, 24), np.complex64))
    assert "holds complex64 values, not real numbers: give its magnitude" in refusal(tmp_path / "a.tif")


@pytest.mark.parametrize("value_range", [(5, 5), (9, 3), (0, float("nan")), (0, float("inf"))])
def test_empty_value_range(value_range: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="value_range must be two finite numbers, low < high"):
        as_picture(PIXELS, value_range=value_range)


def test_values_outside_the_value_range(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.arange(480, dtype=np.uint16).reshape(20, 24))
    text = refusal(tmp_path / "a.tif", value_range=(0, 255))
    assert "its values go from 0 to 479, outside the value range 0 to 255" in text


def test_lost_pages_of_a_truncated_stack_are_noticed(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for page in np.zeros((4, 40, 48), np.uint8):
            tif.write(page, metadata=None)
    data = (tmp_path / "a.tif").read_bytes()
    for part in (0.4, 0.6, 0.8):
        (tmp_path / "cut.tif").write_bytes(data[: int(len(data) * part)])
        assert "is damaged or truncated" in refusal(tmp_path / "cut.tif", page="all")


def test_a_png_of_colors_by_number_without_its_palette_is_damaged(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(np.arange(1024, dtype=np.uint8).reshape(32, 32)).convert("P").save(buffer, "PNG")
    whole = buffer.getvalue()
    at = whole.index(b"PLTE") - 4
    length = int.from_bytes(whole[at : at + 4], "big") + 12
    path = tmp_path / "a.png"
    path.write_bytes(whole[:at] + whole[at + length :])
    with pytest.raises(InputError, match="palette") as caught:
        read(path)
    assert caught.value.code == "unreadable"


def test_reading_changes_nothing_of_the_reader_s_logger_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    data = encoded()["TIFF LZW"]
    (tmp_path / "cut").write_bytes(data[: len(data) // 10])
    logger, opened = logging.getLogger("tifffile"), tifffile.TiffFile

    def open_while_another_thread_warns(*args: Any, **options: Any) -> Any:
        assert (logger.propagate, logger.handlers) == before
        with ThreadPoolExecutor(1) as another:
            another.submit(logger.warning, "of another file").result()
        return opened(*args, **options)

    before = logger.propagate, list(logger.handlers)
    monkeypatch.setattr(tifffile, "TiffFile", open_while_another_thread_warns)
    refusal(tmp_path / "cut")
    logger.warning("afterwards")
    assert [record.getMessage() for record in caplog.records] == ["of another file", "afterwards"]
