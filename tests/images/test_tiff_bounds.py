"""What a TIFF claims is held against its size: forged shapes are refused at once, planes that are not there are named."""

from __future__ import annotations

import json
import os
import struct
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile

from preimage.errors import InputError
from preimage.images import read

PAGE = np.arange(32 * 32, dtype=np.uint16).reshape(32, 32)
OME = '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:1"><Image ID="I:0">'


def written(path: Path, description: str, pages: int = 1, compression: str | None = None) -> Path:
    with tifffile.TiffWriter(path) as file:
        for number in range(pages):
            text = description if number == 0 else None
            file.write(PAGE, description=text, metadata=None, compression=compression)
    return path


def ome(t: object = 1, z: int = 1, c: int = 1, data: str = "<TiffData/>", more: str = "") -> str:
    sizes = f'SizeX="32" SizeY="32" SizeC="{c}" SizeZ="{z}" SizeT="{t}"'
    pixels = f'<Pixels ID="P:0" DimensionOrder="XYCZT" Type="uint16" {sizes}>{data}</Pixels>'
    return f'<?xml version="1.0" encoding="UTF-8"?>{OME}{pixels}</Image>{more}</OME>'


def shaped(*sides: object) -> str:
    return json.dumps({"shape": sides})


def along(end: str, step: str) -> str:
    of_time = f'<ModuloAlongT Type="phase" Start="0" End="{end}" Step="{step}"/>'
    note = '<XMLAnnotation ID="A:0" Namespace="openmicroscopy.org/omero/dimension/modulo"><Value><Modulo>'
    return f"<StructuredAnnotations>{note}{of_time}</Modulo></Value></XMLAnnotation></StructuredAnnotations>"


def refused(path: Path, **options) -> str:
    begin = time.perf_counter()
    with pytest.raises(InputError) as caught:
        read(path, **options)
    assert time.perf_counter() - begin < 10
    text = str(caught.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("description", "words"),
    [
        (shaped(10**9, 32, 32), "1000000000 planes"),
        (shaped(10**30, 32, 32), "planes"),
        (shaped(3, 32, 32), "3 planes"),
        (shaped(*[1] * 40, 32, 32), "none of pages"),
        (shaped("a", 32, 32), "none of pages"),
        (shaped(32, -32), "none of pages"),
        ('{"shape":' + "[" * 2000 + "]" * 2000 + "}", "cannot be read"),
        ("shape=(99999999,32,32)", "99999999 planes"),
        ("ImageJ=1.53t\nimages=1000000000\nframes=1000000000\n", "planes"),
        ("ImageJ=1.53t\nimages=5\nslices=5\n", "planes"),
        (ome(10**9), "T 1000000000"),
        (ome(10**8, 10**8, 10**8), "planes"),
        (ome(2, data=f'<TiffData IFD="0" PlaneCount="{10**9}"/>'), "1000000000 planes"),
        (ome(2, data=f'<TiffData IFD="{10**12}"/>'), "planes"),
        (ome(-5), "below 1"),
        (ome("1.5"), "cannot be read"),
        (ome(more=along("1", "1e-12")), "planes"),
        (ome(more=along("1", "0")), "cannot be read"),
        (ome(data='<TiffData><UUID FileName="/dev/zero">urn:uuid:2</UUID></TiffData>'), "another folder"),
        (ome(data='<TiffData><UUID FileName="../a.tif">urn:uuid:2</UUID></TiffData>'), "another folder"),
        (ome(2, data='<TiffData><UUID FileName="gone.tif">urn:uuid:2</UUID></TiffData>'), "gone.tif does not exist"),
        (f'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "{"x" * 99}">]>{ome()[38:]}', "entities"),
    ],
)
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_forged_description_is_refused_at_once(tmp_path, description, words, compression):
    assert words in refused(written(tmp_path / "a.ome.tif", description, compression=compression), page="all")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_another_file_of_a_series_that_is_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.tif")
    data = '<TiffData><UUID FileName="pipe.tif">urn:uuid:2</UUID></TiffData>'
    assert "is a pipe" in refused(written(tmp_path / "a.ome.tif", ome(data=data)))


@pytest.mark.parametrize("data", ["<TiffData/>", '<TiffData IFD="0" PlaneCount="3"/>'])
def test_planes_that_are_not_there_are_named_and_the_others_are_read(tmp_path, data):
    path = written(tmp_path / "a.ome.tif", ome(5, data=data), pages=3)
    assert "2 of 5 planes are not in the file (T 4, T 5)" in refused(path, page="all")
    assert "T 5" in refused(path, page=5)
    assert read(path, page=3).units() == (0, 1023)


def test_files_of_a_series_side_by_side_are_one(tmp_path):
    both = "".join(
        f'<TiffData IFD="0" FirstT="{i}" PlaneCount="1"><UUID FileName="{i}.ome.tif">urn:uuid:{i + 1}</UUID></TiffData>'
        for i in range(2)
    )
    for i in range(2):
        written(
            tmp_path / f"{i}.ome.tif", ome(2, data=both).replace('UUID="urn:uuid:1"', f'UUID="urn:uuid:{i + 1}"', 1)
        )
    assert len(read(tmp_path / "0.ome.tif", page="all").tensor) == 2


def patched(path: Path, tag: int, value: int | None = None, count: int | None = None) -> Path:
    """The same file with another value, or number of values, of a tag of its first page."""
    data = bytearray(path.read_bytes())
    start = struct.unpack_from("<I", data, 4)[0]
    for i in range(struct.unpack_from("<H", data, start)[0]):
        place = start + 2 + 12 * i
        if struct.unpack_from("<H", data, place)[0] == tag:
            if value is not None:
                struct.pack_into("<H", data, place + 2, 4)
                struct.pack_into("<I", data, place + 8, value)
            if count is not None:
                struct.pack_into("<I", data, place + 4, count)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize(
    "change",
    [
        {"tag": 256, "value": 20_000},  # width
        {"tag": 257, "value": 20_000},  # height
        {"tag": 257, "value": 2**31},
        {"tag": 277, "value": 60_000},  # samples
        {"tag": 258, "value": 64_000},  # bits
        {"tag": 273, "value": 2**31},  # offset of a strip
        {"tag": 279, "value": 0},  # its bytes: a strip that is not stored is no black one
        {"tag": 279, "value": 2**31},
    ],
)
def test_a_forged_entry_is_refused_at_once(tmp_path, compression, change):
    refused(patched(written(tmp_path / "a.tif", "a", compression=compression), **change))


def test_strips_that_are_not_listed_are_not_black(tmp_path):
    path = patched(written(tmp_path / "a.tif", "a", compression="zlib"), 278, 1)  # rows of a strip
    assert "1 strips or tiles, and 32 are needed" in refused(path)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("end", ["whole", "loop", "beyond"])
def test_a_chain_of_pages_that_does_not_end_is_said(tmp_path, big, end):
    pages = np.random.default_rng(0).integers(0, 255, (3, 24, 32), dtype=np.uint8)
    path = tmp_path / "pages.tif"
    with tifffile.TiffWriter(path, bigtiff=big) as writer:
        for page in pages:
            writer.write(page, metadata=None, contiguous=False)
    with tifffile.TiffFile(path) as tif:
        tiff, first, second = tif.tiff, tif.pages[0].offset, tif.pages[1].offset
        place = second + tiff.tagnosize + len(tif.pages[1].tags) * tiff.tagsize
    data = bytearray(path.read_bytes())
    target = {"whole": None, "loop": first, "beyond": len(data) + 100}[end]
    if target is not None:
        struct.pack_into(tiff.offsetformat, data, place, target)
    path.write_bytes(data)
    if target is None:
        assert read(path, page="all").tensor.shape[0] == 3
    else:
        with pytest.raises(InputError, match=r"page after page 2|page offset") as caught:
            read(path, page="all")
        assert caught.value.code == "unreadable"
    if end != "beyond":
        assert read(path, page=2).tensor.shape[0] == 1


@pytest.mark.parametrize("value", [0, 3, 65535])
def test_pixels_that_are_arranged_in_no_known_way_are_refused(tmp_path, value):
    path = tmp_path / "a.tif"
    pixels = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    tifffile.imwrite(path, pixels, photometric="rgb", compression="zlib")
    with tifffile.TiffFile(path) as tif:
        place, order = tif.pages.first.tags["PlanarConfiguration"].valueoffset, tif.byteorder
    data = bytearray(path.read_bytes())
    struct.pack_into(f"{order}H", data, place, value)
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read(path)
    assert caught.value.code == "unreadable"
