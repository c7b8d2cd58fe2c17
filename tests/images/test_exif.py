"""What a camera says of a photograph goes with it, from every format to every other, and its orientation is applied once."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from preimage.images import as_picture, read
from preimage.images.exif import HEADER, append_directories, block_of, of_block, of_tiff

PIXELS = np.random.default_rng(1).integers(0, 256, (20, 28, 3), dtype=np.uint8)
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf/></x:xmpmeta>'
EXPOSURE, PLACE, LENS, NOTE = 33434, 2, 42036, 37500


def exif(orientation: int = 1, order: str = "<") -> bytes:
    """A camera's block: texts, a fraction, a place, an entry whose type nobody guesses."""
    tags = Image.Exif()
    tags.endian = order
    tags[271], tags[272], tags[306], tags[33432] = "A camera", "Model 3", "2026:11:28 13:00:00", "Somebody"
    tags[270] = "A hill"
    if orientation != 1:
        tags[274] = orientation
    exposure = tags.get_ifd(34665)
    exposure[EXPOSURE], exposure[LENS], exposure[NOTE] = 1 / 125, "A lens", b"own entries of the maker"
    place = tags.get_ifd(34853)
    place[1], place[PLACE] = "N", (47.0, 22.0, 1.5)
    return tags.tobytes()


def said(path: Path) -> dict[str, Any]:
    """What Pillow finds in a file of any format, independently."""
    with Image.open(path) as image:
        tags = image.getexif()
        exposure, place = tags.get_ifd(34665), tags.get_ifd(34853)
        return {
            "camera": [str(tags.get(tag, "")).rstrip("\0") for tag in (271, 272, 306, 33432)],
            "exposure": round(1 / float(exposure[EXPOSURE])),
            "lens": exposure[LENS],
            "note": exposure[NOTE],
            "place": [float(each) for each in place[PLACE]],
            "orientation": tags.get(274, 1),
        }


EXPECTED = {
    "camera": ["A camera", "Model 3", "2026:11:28 13:00:00", "Somebody"],
    "exposure": 125,
    "lens": "A lens",
    "note": b"own entries of the maker",
    "place": [47.0, 22.0, 1.5],
}


def photograph(path: Path, orientation: int, order: str = "<") -> Path:
    """A file of the suffix's format with the camera's block; of a TIFF made by tifffile, the directories by hand."""
    if path.suffix != ".tif":
        Image.fromarray(PIXELS).save(path, exif=exif(orientation, order), lossless=True, quality=95)
        return path
    found = of_block(exif(orientation, order))
    assert found is not None
    texts = [
        (tag, "s", 0, {e.tag: e.value for e in found.main}[tag].rstrip(b"\0").decode(), True)
        for tag in (271, 272, 306, 33432)
    ]
    buffer = io.BytesIO()
    tags: Any = [*texts, (274, "H", 1, orientation, True)]
    big = order == ">"
    tifffile.imwrite(buffer, PIXELS, photometric="rgb", byteorder=order, bigtiff=big, extratags=tags, software=False)  # type: ignore[arg-type]
    append_directories(buffer, exif(orientation, "<"), order, big=big)
    path.write_bytes(buffer.getvalue())
    return path


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("source", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("target", [".png", ".jpg", ".webp", ".tif"])
def test_what_a_camera_says_goes_everywhere(tmp_path: Path, source: str, target: str, orientation: int) -> None:
    path = photograph(tmp_path / f"a{source}", orientation)
    picture = read(path)
    copy = picture.write(picture.tensor, tmp_path / f"copy{target}")
    found = said(copy)
    assert found.pop("orientation") == (orientation if source == target else 1), "another format is written upright"
    assert found == EXPECTED
    with Image.open(copy) as image:
        seen = np.asarray(ImageOps.exif_transpose(image)).astype(int)
    difference = np.abs(seen - picture.to_array(picture.tensor)).max()
    assert difference <= (60 if target == ".jpg" else 0)  # random pixels
    assert seen.shape == (*picture.tensor.shape[2:], 3)
    again = read(copy)
    assert again.tensor.shape == picture.tensor.shape


def test_a_big_file_of_another_byte_order(tmp_path: Path) -> None:
    path = photograph(tmp_path / "a.tif", 8, ">")
    picture = read(path)
    copy = picture.write(picture.tensor, tmp_path / "copy.tif")
    for each in (path, copy):
        with tifffile.TiffFile(each) as tif:
            assert (tif.is_bigtiff, tif.byteorder, len(tif.pages)) == (True, ">", 1)
            np.testing.assert_array_equal(tif.asarray(), PIXELS)
            tags = tif.pages.first.tags
            assert tags[34665].value["ExposureTime"] == pytest.approx(1 / 125)
            assert tags[34853].value["GPSLatitude"] == (47, 1, 22, 1, 3, 2)
            assert (tags[271].value, tags[274].value) == ("A camera", 8)
    found = said(picture.write(picture.tensor, tmp_path / "copy.jpg"))
    assert found == {**EXPECTED, "orientation": 1}


def test_pages_of_a_stack_keep_one_block(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.stack([PIXELS] * 3), photometric="rgb", metadata=None)
    append_directories(buffer, exif(), "<", big=False)
    (tmp_path / "a.tif").write_bytes(buffer.getvalue())
    picture = read(tmp_path / "a.tif", page="all")
    with tifffile.TiffFile(picture.write(picture.tensor, tmp_path / "copy.tif")) as tif:
        assert len(tif.pages) == 3
        np.testing.assert_array_equal(tif.asarray(key=range(3)), np.stack([PIXELS] * 3))
        assert tif.pages.first.tags[34665].value["ExposureTime"] == pytest.approx(1 / 125)


def test_an_enlarged_photograph_counts_its_pixels_anew(tmp_path: Path) -> None:
    tags = Image.Exif()
    tags[271] = "A camera"
    tags.get_ifd(34665).update({40962: 28, 40963: 20})
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg", exif=tags)
    picture = read(tmp_path / "a.jpg")
    large = picture.tensor.repeat_interleave(2, 2).repeat_interleave(2, 3)
    with Image.open(picture.write(large, tmp_path / "large.tif")) as image:
        found = image.getexif().get_ifd(34665)
    assert (found[40962], found[40963]) == (56, 40)


def test_the_description_of_a_photograph_is_that_of_a_tiff(tmp_path: Path) -> None:
    picture = read(photograph(tmp_path / "a.jpg", 1))
    with tifffile.TiffFile(picture.write(picture.tensor, tmp_path / "copy.tif")) as tif:
        assert tif.pages.first.description == "A hill"


def test_a_measurement_without_camera_has_no_block(tmp_path: Path) -> None:
    tags: Any = [(306, "s", 0, "2026:11:28 13:00:00", True)]
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, photometric="rgb", software="a microscope", extratags=tags)
    assert read(tmp_path / "a.tif").metadata.exif is None


@pytest.mark.parametrize("kind", ["cut", "far", "loop", "many", "long", "type"])
def test_directories_that_cannot_be_read_cost_no_picture(tmp_path: Path, kind: str) -> None:
    path = photograph(tmp_path / "a.tif", 1)
    data = bytearray(path.read_bytes())
    place = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, place)[0]
    at = next(
        place + 2 + 12 * i for i in range(count) if struct.unpack_from("<H", data, place + 2 + 12 * i)[0] == 34665
    )
    exposure = struct.unpack_from("<I", data, at + 8)[0]
    if kind == "cut":
        struct.pack_into("<I", data, at + 8, len(data) - 1)
    elif kind == "far":
        struct.pack_into("<I", data, at + 8, 2**32 - 2)
    elif kind == "loop":
        struct.pack_into("<I", data, at + 8, place)
    elif kind == "many":
        struct.pack_into("<H", data, exposure, 65535)
    elif kind == "long":
        struct.pack_into("<I", data, exposure + 2 + 4, 2**31)
    else:
        struct.pack_into("<H", data, exposure + 2 + 2, 200)
    path.write_bytes(data)
    picture = read(path)
    np.testing.assert_array_equal(picture.to_array(picture.tensor), PIXELS)
    for suffix in (".tif", ".jpg", ".png"):
        assert read(picture.write(picture.tensor, tmp_path / f"copy{suffix}")).tensor.shape == picture.tensor.shape


@pytest.mark.parametrize(
    "block", [b"", HEADER, HEADER + b"II*\0", HEADER + b"MM\0*\xff\xff\xff\xff", b"no block at all"]
)
def test_a_block_that_cannot_be_read_is_none(block: bytes) -> None:
    assert of_block(block) is None
    picture = as_picture(PIXELS)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, PIXELS, photometric="rgb")
    before = buffer.getvalue()
    append_directories(buffer, block, "<", big=False)
    assert buffer.getvalue() == before
    assert picture.metadata.exif is None


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_block_of_directories_has_the_same_entries(order: str) -> None:
    found = of_block(exif(1, order))
    assert found is not None
    again = of_block(block_of(found) or b"")
    assert again is not None
    assert again.further == found.further
    assert {entry.tag for entry in again.main} == {271, 272, 306, 33432}
    assert of_tiff(io.BytesIO(exif(1, order)[6:]), 8, order) == found


@pytest.mark.parametrize("source", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("target", [".png", ".jpg", ".webp", ".tif"])
def test_xmp_goes_everywhere(tmp_path: Path, source: str, target: str) -> None:
    first = as_picture(PIXELS)
    Image.fromarray(PIXELS).save(tmp_path / "first.jpg", xmp=XMP)
    first = read(tmp_path / "first.jpg")
    picture = read(first.write(first.tensor, tmp_path / f"a{source}"))
    again = read(picture.write(picture.tensor, tmp_path / f"b{target}"))
    assert again.metadata.xmp == XMP
