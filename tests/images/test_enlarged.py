"""Results larger than the picture: everything that counts in pixels is converted, and the rest stays."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image

from preimage.errors import InputError
from preimage.images import Picture, as_picture, read
from preimage.images.pixel_size import enlarged_exif, rational

RNG = np.random.default_rng(10)
ROWS, COLUMNS = 3, 2
"""How many times the rows and columns of a stored page are multiplied."""


def noise(*shape: int, dtype: str = "uint8") -> NDArray[Any]:
    return RNG.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def enlarged(picture: Picture, rows: int = ROWS, columns: int = COLUMNS) -> torch.Tensor:
    if picture.orientation >= 5:
        rows, columns = columns, rows
    return picture.tensor.repeat_interleave(rows, 2).repeat_interleave(columns, 3)


def enlarged_copy(path: Path, suffix: str | None = None, **options: Any) -> Path:
    picture = read(path, **options)
    return picture.write(enlarged(picture), path.with_name(f"large{suffix or path.suffix}"))


def repeated(array: NDArray[Any], rows: int, columns: int) -> NDArray[Any]:
    return array.repeat(ROWS, rows).repeat(COLUMNS, columns)


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("source", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize("target", [".png", ".jpg", ".bmp", ".tif"])
def test_dots_per_inch(tmp_path: Path, source: str, target: str, orientation: int) -> None:
    tags = Image.Exif()
    tags[274] = orientation
    Image.fromarray(noise(20, 24, 3)).save(tmp_path / f"a{source}", exif=tags, dpi=(300, 100))
    picture = read(tmp_path / f"a{source}")
    again = read(enlarged_copy(tmp_path / f"a{source}", target))
    expected = (300 * COLUMNS, 100 * ROWS)
    if picture.orientation == 6 and again.orientation == 1:  # written upright
        expected = expected[::-1]
    assert again.metadata.dpi == pytest.approx(expected, abs=0.02)
    assert again.tensor.shape == enlarged(picture).shape
    if target != ".jpg":
        assert torch.equal(again.tensor, enlarged(picture))


def camera_exif(order: str, orientation: int = 1, kind: str = "H") -> bytes:
    """Orientation, resolutions that share their place, a maker's note, and sizes in pixels."""
    number, short = {"H": (3, 2), "I": (4, 4)}[kind]

    def entry(tag: int, kind: int, count: int, value: bytes) -> bytes:
        return struct.pack(f"{order}HHI", tag, kind, count) + value.ljust(4, b"\0")

    def long(value: int) -> bytes:
        return struct.pack(f"{order}I", value)

    def size(value: int) -> bytes:
        return struct.pack(f"{order}{kind}", value).ljust(short, b"\0")

    first_end = 8 + 2 + 5 * 12 + 4
    further = first_end + 8
    further_end = further + 2 + 4 * 12 + 4
    parts = [
        (b"II*\0" if order == "<" else b"MM\0*") + long(8),
        struct.pack(f"{order}H", 5),
        entry(0x0112, 3, 1, struct.pack(f"{order}H", orientation)),
        entry(0x011A, 5, 1, long(first_end)),
        entry(0x011B, 5, 1, long(first_end)),
        entry(0x0128, 3, 1, struct.pack(f"{order}H", 2)),
        entry(0x8769, 4, 1, long(further)),
        long(0),
        struct.pack(f"{order}II", 300, 1),
        struct.pack(f"{order}H", 4),
        entry(0x927C, 7, 12, long(further_end)),
        entry(0xA002, number, 1, size(24)),
        entry(0xA003, number, 1, size(20)),
        entry(0xA20E, 5, 1, long(further_end + 12)),
        long(0),
        b"maker's note",
        struct.pack(f"{order}II", 5000, 3),
    ]
    return b"Exif\0\0" + b"".join(parts)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["H", "I"])
@pytest.mark.parametrize("header", [b"Exif\0\0", b""])
def test_exif_counts_the_new_pixels(order: str, kind: str, header: bytes) -> None:
    exif = header + camera_exif(order, kind=kind)[6:]
    changed = enlarged_exif(exif, (20, 24), (40, 48))
    assert len(changed) == len(exif)
    tags = Image.Exif()
    tags.load(changed)
    further = tags.get_ifd(0x8769)
    assert (tags[0x011A], tags[0x011B], tags[0x0112]) == (600, 600, 1)
    assert (further[0xA002], further[0xA003], further[0x927C]) == (48, 40, b"maker's note")
    assert float(further[0xA20E]) == pytest.approx(10000 / 3)
    assert enlarged_exif(changed, (40, 48), (20, 24)) == exif
    assert enlarged_exif(exif, (20, 24), (20, 24)) is exif


def test_exif_sizes_beyond_16_bits() -> None:
    for kind, expected in (("H", 24), ("I", 70_000)):
        tags = Image.Exif()
        tags.load(enlarged_exif(camera_exif("<", kind=kind), (20, 24), (20, 70_000)))
        assert tags.get_ifd(0x8769)[0xA002] == expected
        assert float(tags.get_ifd(0x8769)[0xA20E]) == pytest.approx(5000 / 3 * 70_000 / 24)


def test_a_resolution_of_nothing_stays_so() -> None:
    for numbers in ((0, 1), (300, 0), (0, 0)):
        place = struct.pack("<II", *numbers)
        exif = camera_exif("<").replace(struct.pack("<II", 300, 1), place)
        changed = enlarged_exif(exif, (20, 24), (40, 48))
        assert changed != exif
        assert place in changed


def test_damaged_exif_stays_as_it_is() -> None:
    whole = camera_exif(">")
    for length in range(len(whole) - 1):
        changed = enlarged_exif(whole[:length], (20, 24), (40, 48))
        assert changed == whole[:length] or length >= len(whole) - 8
    for noise_of in range(50):
        block = whole[:14] + np.random.default_rng(noise_of).bytes(200)
        assert len(enlarged_exif(block, (20, 24), (40, 48))) == len(block)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_exif_of_files(tmp_path: Path, suffix: str, orientation: int) -> None:
    source = tmp_path / f"a{suffix}"
    Image.fromarray(noise(20, 24, 3)).save(source, exif=camera_exif("<", orientation))
    with Image.open(enlarged_copy(source)) as image:
        assert image.size == (24 * COLUMNS, 20 * ROWS)
        further = image.getexif().get_ifd(0x8769)
        assert (further[0xA002], further[0xA003]) == image.size
        assert image.getexif()[0x0112] == orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_of_a_picture_that_is_written_upright(tmp_path: Path, orientation: int, order: str) -> None:
    Image.fromarray(noise(20, 24, 3)).save(tmp_path / "a.jpg", exif=camera_exif(order, orientation))
    picture = read(tmp_path / "a.jpg")
    with Image.open(picture.write(picture.tensor, tmp_path / "a.png")) as image:
        assert image.size == ((20, 24) if orientation >= 5 else (24, 20))
        tags = image.getexif()
        assert tags[0x0112] == 1
        assert (tags.get_ifd(0x8769)[0xA002], tags.get_ifd(0x8769)[0xA003]) == image.size
        assert (tags[0x011A], tags.get_ifd(0x8769)[0x927C]) == (300, b"maker's note")
        np.testing.assert_array_equal(np.asarray(image), picture.to_array(picture.tensor))


def test_resolution_of_tiff(tmp_path: Path) -> None:
    for unit in ("INCH", "CENTIMETER"):
        options = {"resolution": ((720_000, 7), (299, 3)), "resolutionunit": unit, "metadata": None}
        tifffile.imwrite(tmp_path / "a.tif", noise(50, 70), tile=(16, 16), compression="zlib", **options)
        with tifffile.TiffFile(enlarged_copy(tmp_path / "a.tif", f"_{unit}.tif")) as tif:
            tags = tif.pages[0].aspage().tags
            assert Fraction(*tags.valueof(282)) == Fraction(720_000, 7) * COLUMNS
            assert Fraction(*tags.valueof(283)) == Fraction(299, 3) * ROWS
            assert tags.valueof(296) == tifffile.RESUNIT[unit]
            assert tif.pages[0].aspage().compression == 8
            np.testing.assert_array_equal(tif.asarray(), repeated(tifffile.imread(tmp_path / "a.tif"), 0, 1))


def test_one_pixel_per_nothing_stays_so(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", noise(20, 24), metadata=None)
    picture = read(tmp_path / "a.tif")
    with tifffile.TiffFile(picture.write(enlarged(picture, 2, 2), tmp_path / "large.tif")) as tif:
        tags = tif.pages[0].aspage().tags
        assert (tags.valueof(282, (1, 1)), tags.valueof(283, (1, 1)), tags.valueof(296, 1)) == ((1, 1), (1, 1), 1)
    with tifffile.TiffFile(enlarged_copy(tmp_path / "a.tif", "r.tif")) as tif:  # now pixels are no squares
        tags = tif.pages[0].aspage().tags
        assert Fraction(*tags.valueof(282)) / Fraction(*tags.valueof(283)) == Fraction(COLUMNS, ROWS)


@pytest.mark.parametrize("axes", ["YX", "ZYX", "TZCYX", "YXS", "ZYXS"])
def test_imagej(tmp_path: Path, axes: str) -> None:
    sizes = {"T": 3, "Z": 2, "C": 2, "Y": 20, "X": 24, "S": 3}
    data = noise(*(sizes[axis] for axis in axes))
    regions = {"ROI": b"Iout" + bytes(60), "Overlays": [b"Iout" + bytes(62)]}
    metadata = {"axes": axes, "unit": "um", "spacing": 0.3, "finterval": 2.5, "xorigin": 5.0, "yorigin": 4.0}
    photometric = "rgb" if "S" in axes else "minisblack"
    tifffile.imwrite(
        tmp_path / "a.tif",
        data,
        imagej=True,
        photometric=photometric,
        resolution=(9.5, 1 / 0.3),
        metadata={**metadata, **regions},
    )
    with (
        tifffile.TiffFile(tmp_path / "a.tif") as before,
        tifffile.TiffFile(enlarged_copy(tmp_path / "a.tif", page="all")) as after,
    ):
        expected = dict(before.imagej_metadata or {})
        assert expected.keys() >= regions.keys()
        expected |= {"xorigin": 5.0 * COLUMNS, "yorigin": 4.0 * ROWS}
        assert after.imagej_metadata == {key: value for key, value in expected.items() if key not in regions}
        tags = after.pages[0].aspage().tags
        assert Fraction(*tags.valueof(282)) == Fraction(19, 2) * COLUMNS
        assert Fraction(*tags.valueof(283)) == Fraction(10, 3) * ROWS
        assert after.series[0].axes == before.series[0].axes
        rows = before.series[0].axes.index("Y")
        np.testing.assert_array_equal(after.asarray(), repeated(before.asarray(), rows, rows + 1))
    same = read(tmp_path / "a.tif", page="all")
    with tifffile.TiffFile(same.write(same.tensor, tmp_path / "same.tif")) as copy:
        assert (copy.imagej_metadata or {}).keys() >= regions.keys()


REGIONS = (
    '<ROIRef ID="ROI:0"/></Image><ROI ID="ROI:0"><Union><Point ID="Shape:0" X="3" Y="4"/></Union></ROI>'
    "<StructuredAnnotations/>"
)


@pytest.mark.parametrize("page", [2, "all"])
def test_ome(tmp_path: Path, page: Any) -> None:
    metadata = {
        "axes": "ZYX",
        "PhysicalSizeX": 0.65,
        "PhysicalSizeY": 0.3,
        "PhysicalSizeZ": 2.0,
        "PhysicalSizeXUnit": "µm",
    }
    data = noise(3, 50, 70, dtype="uint16")
    tifffile.imwrite(tmp_path / "o.ome.tif", data, metadata=metadata, tile=(16, 16), compression="zlib")
    with tifffile.TiffFile(tmp_path / "o.ome.tif") as tif:
        description = (tif.ome_metadata or "").replace("</Image>", REGIONS)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as tif:
        for number, plane in enumerate(data):
            text = description.encode() if number == 0 else None
            tif.write(plane, metadata=None, description=text, compression="zlib")
    with tifffile.TiffFile(enlarged_copy(tmp_path / "a.ome.tif", ".ome.tif", page=page)) as tif:
        xml = tif.ome_metadata or ""
        assert tif.is_ome
        chosen = data if page == "all" else data[page - 1]
        rows = chosen.ndim - 2
        np.testing.assert_array_equal(tif.asarray(), repeated(chosen, rows, rows + 1))
        assert tif.pages[0].aspage().compression == 8
    for expected in ("SizeX", 70 * COLUMNS), ("SizeY", 50 * ROWS), ("PhysicalSizeX", 0.325), ("PhysicalSizeY", 0.1):
        found = xml.partition(f' {expected[0]}="')[2].partition('"')[0]
        assert float(found) == pytest.approx(expected[1], rel=1e-12)
    assert 'PhysicalSizeZ="2.0"' in xml
    assert 'PhysicalSizeXUnit="µm"' in xml
    assert "ROI" not in xml
    assert "StructuredAnnotations" in xml
    same = read(tmp_path / "a.ome.tif", page=page)
    with tifffile.TiffFile(same.write(same.tensor, tmp_path / "same.ome.tif")) as tif:
        assert "<ROIRef" in (tif.ome_metadata or "")
        assert 'PhysicalSizeX="0.65"' in (tif.ome_metadata or "")


def test_description_of_tifffile(tmp_path: Path) -> None:
    options = {"metadata": {"axes": "ZYX", "exposure": 3}, "resolution": (300, 100), "resolutionunit": 3}
    tifffile.imwrite(tmp_path / "a.tif", noise(3, 20, 24), photometric="minisblack", **options)
    with tifffile.TiffFile(enlarged_copy(tmp_path / "a.tif", page="all")) as tif:
        assert tif.series[0].shape == (3, 20 * ROWS, 24 * COLUMNS)
        assert (tif.shaped_metadata or ({},))[0]["exposure"] == 3
        assert read(tif.filehandle.path, page=2).metadata.dpi == pytest.approx((600 * 2.54, 300 * 2.54))


@pytest.mark.parametrize("point", [False, True])
@pytest.mark.parametrize("by", ["scale", "transformation"])
def test_geotiff_lies_in_the_same_place(tmp_path: Path, point: bool, by: str) -> None:
    keys = (34735, 3, 8, (1, 1, 0, 1, 1025, 0, 1, 2 if point else 1), True)
    name = (34737, 2, 0, b"WGS 84|", True)
    scale, tie = (0.5, 0.25, 0.0), (2.0, 3.0, 0.0, 1000.0, 2000.0, 0.0)
    matrix = (0.5, 0.1, 0.0, 1000.0, -0.1, 0.25, 0.0, 2000.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    tags = (
        [(33550, 12, 3, scale, True), (33922, 12, 6, tie, True)] if by == "scale" else [(34264, 12, 16, matrix, True)]
    )
    tifffile.imwrite(tmp_path / "a.tif", noise(20, 24), metadata=None, extratags=[*tags, keys, name])

    def world(path: Path, column: float, row: float) -> tuple[float, float]:
        """Where a place lies that is counted in pixels from the corner of the picture."""
        with tifffile.TiffFile(path) as tif:
            found = {tag.code: tag.value for tag in tif.pages[0].aspage().tags}
        i, j = (column - 0.5, row - 0.5) if point else (column, row)
        if by == "scale":
            (sx, sy, _), (ti, tj, _, x, y, _) = found[33550], found[33922]
            return x + (i - ti) * sx, y - (j - tj) * sy
        m = found[34264]
        return m[0] * i + m[1] * j + m[3], m[4] * i + m[5] * j + m[7]

    large = enlarged_copy(tmp_path / "a.tif")
    for column, row in ((0, 0), (24, 20), (7.5, 3.25)):
        there = world(large, column * COLUMNS, row * ROWS)
        assert there == pytest.approx(world(tmp_path / "a.tif", column, row), abs=1e-9)
    with tifffile.TiffFile(large) as tif:
        assert tif.pages[0].aspage().tags.valueof(34737) == "WGS 84|"


def test_damaged_geographic_tags_are_carried(tmp_path: Path) -> None:
    tags = [(33550, 12, 1, 0.5, True), (33922, 12, 5, (1.0,) * 5, True), (34735, 3, 1, 1, True)]
    tifffile.imwrite(tmp_path / "a.tif", noise(20, 24), metadata=None, extratags=tags)
    with tifffile.TiffFile(enlarged_copy(tmp_path / "a.tif")) as tif:
        found = {tag.code: tag.value for tag in tif.pages[0].aspage().tags}
    assert (found[33550], found[33922], found[34735]) == (0.5, (1.0,) * 5, 1)


@pytest.mark.parametrize(("dtype", "suffix"), [("uint8", ".png"), ("uint16", ".tif"), ("float32", ".tif")])
def test_alpha(tmp_path: Path, dtype: str, suffix: str) -> None:
    """Resized without leaving its range: opaque and transparent areas stay so."""
    full = 1 if dtype == "float32" else np.iinfo(dtype).max
    pixels = np.zeros((2, 20, 24, 4), dtype) if suffix == ".tif" else np.zeros((1, 20, 24, 4), dtype)
    pixels[:, 4:, 8:, 3] = full
    if suffix == ".tif":
        tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=[2])
    else:
        Image.fromarray(pixels[0]).save(tmp_path / f"a{suffix}")
    again = read(enlarged_copy(tmp_path / f"a{suffix}", page="all"), page="all")
    assert again.alpha is not None
    assert again.alpha.dtype == dtype
    expected = repeated(pixels[..., 3], 1, 2)
    inside = np.ones_like(expected, bool)
    inside[:, 4 * ROWS - ROWS : 4 * ROWS + ROWS] = inside[:, :, 8 * COLUMNS - COLUMNS : 8 * COLUMNS + COLUMNS] = False
    np.testing.assert_array_equal(again.alpha[inside], expected[inside])
    whole = read(tmp_path / f"a{suffix}", page="all").opaque()
    large = whole.write(enlarged(whole), tmp_path / f"whole{suffix}")
    assert read(large, page="all").transparent() is None


@pytest.mark.parametrize("channels", [1, 3])
def test_arrays(channels: int) -> None:
    array = noise(20, 24, channels)
    picture = as_picture(array)
    np.testing.assert_array_equal(picture.to_array(enlarged(picture)), repeated(array, 0, 1))


def test_the_destination_is_checked_for_the_size_of_the_result(tmp_path: Path) -> None:
    picture = as_picture(np.zeros((16, 9000), np.uint8))
    picture.check_destination(tmp_path / "a.webp")
    with pytest.raises(InputError, match=r"WebP cannot hold a side of 18000 pixels: use \.png"):
        picture.check_destination(tmp_path / "a.webp", size=(32, 18_000))
    picture.check_destination(tmp_path / "a.png", size=(32, 18_000))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [1e-12, 1e-5, 0.1, 1 / 3, 1, 72.009, 299.72, 1e5 / 7, 2.0**31, 2.0**32 - 2, 1e30])
def test_fractions_of_32_bits(value: float) -> None:
    top, bottom = rational(Fraction(value))
    assert 0 < top < 2**32
    assert 0 < bottom < 2**32
    if 1e-9 < value < 2**32:
        assert top / bottom == pytest.approx(value, rel=1e-7)
