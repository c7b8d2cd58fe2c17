"""A picture that is cut off is refused, or read as far as it goes with a warning; a whole one is never taken for one."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from cli.tiny import ENVIRONMENT
from PIL import Image

from preimage.errors import InputError, SalvageWarning
from preimage.images import read
from preimage.images.salvage import jpeg_lacks, png_lacks

RANDOM = np.random.default_rng(0)
ROWS, COLUMNS = np.mgrid[:120, :200]
PHOTO = np.stack([ROWS, COLUMNS, (ROWS + COLUMNS) // 2], -1).astype(np.uint8)
PHOTO = np.clip(PHOTO + RANDOM.normal(0, 8, PHOTO.shape), 0, 255).astype(np.uint8)
GRAY = np.full((120, 200, 3), 128, np.uint8)
KINDS = {
    "baseline": {"quality": 80},
    "4:4:4": {"quality": 80, "subsampling": 0},
    "progressive": {"quality": 80, "progressive": True},
    "restarts": {"quality": 80, "restart_marker_rows": 1},
    "blocks": {"quality": 80, "restart_marker_blocks": 5, "subsampling": 1},
}


def jpeg(pixels: np.ndarray = PHOTO, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", [0.3, 0.5, 0.7, 0.9, 0.95])
@pytest.mark.parametrize("end", [b"", b"\xff\xd9"], ids=["cut", "with an end"])
def test_a_jpeg_that_is_cut_off_is_refused_or_salvaged(tmp_path, kind, part, end):
    whole = jpeg(**KINDS[kind])
    path = tmp_path / "a.jpg"
    path.write_bytes(whole[: int(len(whole) * part)].rstrip(b"\xff") + end)
    with pytest.raises(InputError, match=r"damaged or truncated.*--salvage, salvage=True") as caught:
        read(path)
    assert caught.value.code == "unreadable"
    with pytest.warns(SalvageWarning, match="is cut off"):
        picture = read(path, salvage=True)
    assert picture.tensor.shape == (1, 3, 120, 200)
    assert picture.remarks
    top = (picture.tensor[0, :, :16] * 255).numpy().transpose(1, 2, 0)
    if kind != "progressive":
        assert abs(top - PHOTO[:16]).mean() < 8


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pixels", [PHOTO, GRAY, GRAY[..., 0], PHOTO[:17, :33], PHOTO[:16, :16, 0]])
def test_a_whole_jpeg_lacks_nothing(kind, pixels):
    data = jpeg(pixels, **({} if pixels.ndim == 2 else KINDS[kind]))
    assert jpeg_lacks(data) == ""
    assert jpeg_lacks(data + b"behind its end") == ""
    shaded = pixels.copy()
    shaded[-16:, -16:] = 128
    assert jpeg_lacks(jpeg(shaded, **({} if pixels.ndim == 2 else KINDS[kind]))) == ""


def cut(form: str, keep: float) -> bytes:
    if form == "PNG of 16 bits":
        data = cv2.imencode(".png", PHOTO[..., ::-1].astype(np.uint16) * 257)[1].tobytes()
    else:
        buffer = io.BytesIO()
        Image.fromarray(PHOTO).save(buffer, form)
        data = buffer.getvalue()
    return data[: int(len(data) * keep)]


@pytest.mark.parametrize("form", ["PNG", "PNG of 16 bits", "BMP"])
def test_what_is_there_of_other_formats(tmp_path, form):
    (tmp_path / "a").write_bytes(cut(form, 0.6))
    with pytest.raises(InputError, match="--salvage"):
        read(tmp_path / "a")
    with pytest.warns(SalvageWarning):
        picture = read(tmp_path / "a", salvage=True, value_range=(0, 65535 if "16" in form else 255))
    found = (picture.tensor[0] * 255).round().numpy().transpose(1, 2, 0)
    rows = slice(60, None) if form == "BMP" else slice(0, 60)  # a BMP begins at the bottom
    assert np.array_equal(found[rows], PHOTO[rows].astype(float))


@pytest.mark.parametrize("form", ["WEBP", "GIF"])
def test_formats_of_which_nothing_can_be_made_do_not_promise_it(tmp_path, form):
    (tmp_path / "a").write_bytes(cut(form, 0.6))
    for salvage in (False, True):
        with pytest.raises(InputError) as caught:
            read(tmp_path / "a", salvage=salvage)
        assert "salvage" not in str(caught.value)


def huge(form: str) -> bytes:
    """A few bytes that claim nearly as many pixels as are read."""
    if form == "WEBP":
        buffer = io.BytesIO()
        Image.new("RGB", (16_383, 12_000)).save(buffer, "WEBP", lossless=True, method=0, quality=0)
        return buffer.getvalue()
    data = bytearray(jpeg(PHOTO[:16, :16]))
    place = data.index(b"\xff\xc0")
    data[place + 5 : place + 9] = (3000).to_bytes(2, "big") + (65_500).to_bytes(2, "big")
    return bytes(data)


@pytest.mark.skipif(sys.platform == "win32", reason="the peak of POSIX")
@pytest.mark.parametrize("form", ["JPEG", "WEBP"])
def test_a_file_that_holds_no_picture_is_refused_before_it_takes_memory(tmp_path, form):
    path = tmp_path / "a"
    path.write_bytes(huge(form))
    code = "import resource, sys\nfrom preimage.images import read\nfrom preimage.errors import InputError\n"
    code += "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\nbefore = peak()\n"
    code += "try: read(sys.argv[1])\nexcept InputError as error: print(error.code, peak() - before)\n"
    ran = subprocess.run(
        [sys.executable, "-c", code, path], env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    code, kilobytes = ran.stdout.split()
    assert code in ("size", "unreadable")
    assert int(kilobytes) < 200_000


def test_what_does_not_fit_into_memory_is_said_before_decoding(tmp_path: Path, monkeypatch):
    Image.fromarray(np.zeros((600, 600, 3), np.uint8)).save(tmp_path / "a.png")
    monkeypatch.setattr("preimage.memory.free_memory", lambda: 1000)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    with pytest.raises(InputError, match=r"a.png needs about") as caught:
        read(tmp_path / "a.png")
    assert caught.value.code == "memory"


def with_rows(data: bytes, rows: int) -> bytes:
    """A PNG whose header counts so many rows."""
    size = data[16:20] + struct.pack(">I", rows) + data[24:29]
    return data[:16] + size + struct.pack(">I", zlib.crc32(b"IHDR" + size)) + data[33:]


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "I;16"])
@pytest.mark.parametrize("more", [0, 1, 7])
def test_a_png_with_fewer_rows_than_its_header_counts_is_refused(tmp_path, mode, more):
    pixels = Image.fromarray(PHOTO[:40, :48, 0].astype(np.uint16) if mode == "I;16" else PHOTO[:40, :48])
    buffer = io.BytesIO()
    (pixels if mode == "I;16" else pixels.convert(mode)).save(buffer, "PNG")
    data = with_rows(buffer.getvalue(), 40 + more)
    path = tmp_path / "a.png"
    path.write_bytes(data)
    assert bool(png_lacks(data)) == bool(more)
    if more:
        with pytest.raises(InputError, match="its header counts") as caught:
            read(path)
        assert caught.value.code == "unreadable"
        with pytest.warns(SalvageWarning, match="is cut off"):
            assert read(path, salvage=True).tensor.shape[-2:] == (40 + more, 48)
