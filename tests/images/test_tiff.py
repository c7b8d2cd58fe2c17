"""TIFF pages, axes, pixel sizes, descriptions (OME, ImageJ) and other entries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray

from preimage.errors import InputError
from preimage.images import read

RNG = np.random.default_rng(2)


def noise(*shape: int, dtype: str = "uint16") -> NDArray[Any]:
    return RNG.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def copy_of(path: Path, name: str = "copy.tif", **options: Any) -> Path:
    picture = read(path, **options)
    return picture.write(picture.tensor, path.with_name(name))


def test_pages_have_to_be_chosen(tmp_path: Path) -> None:
    stack = noise(5, 20, 24)
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack", metadata=None)
    with pytest.raises(InputError, match=r"a\.tif has 5 pages: choose one with --page N \(from 1\) or take --page all"):
        read(tmp_path / "a.tif")
    with pytest.raises(InputError, match="has 5 pages, got page 6: choose from 1 to 5"):
        read(tmp_path / "a.tif", page=6)
    third = read(tmp_path / "a.tif", page=3)
    np.testing.assert_array_equal(third.to_array(third.tensor), stack[2])
    assert third.units() == (stack[2].min(), stack[2].max())
    every = read(tmp_path / "a.tif", page="all")
    assert every.tensor.shape == (5, 1, 20, 24)
    assert every.units() == (stack.min(), stack.max())
    np.testing.assert_array_equal(every.to_array(every.tensor), stack)
    with tifffile.TiffFile(copy_of(tmp_path / "a.tif", page="all")) as tif:
        assert len(tif.pages) == 5
        np.testing.assert_array_equal(tif.asarray(), stack)


@pytest.mark.parametrize("axes", ["TZCYX", "ZCYX", "CYX", "TYX", "ZYXS", "YXS", "YX"])
@pytest.mark.parametrize("kind", ["ome", "imagej", "shaped"])
def test_axes_are_kept(tmp_path: Path, axes: str, kind: str) -> None:
    sizes = {"T": 3, "Z": 2, "C": 2, "Y": 20, "X": 24, "S": 3}
    data = noise(*(sizes[axis] for axis in axes), dtype="uint8")
    path = tmp_path / "a.tif"
    photometric = "rgb" if "S" in axes else "minisblack"
    tifffile.imwrite(
        path, data, ome=kind == "ome", imagej=kind == "imagej", photometric=photometric, metadata={"axes": axes}
    )
    picture = read(path, page="all")
    pages = int(np.prod([sizes[axis] for axis in axes if axis in "TZ"]))
    assert picture.tensor.shape == (pages, sizes["C"] if "C" in axes else sizes["S"] if "S" in axes else 1, 20, 24)
    copy = copy_of(path, page="all")
    with tifffile.TiffFile(path) as before, tifffile.TiffFile(copy) as after:
        assert after.series[0].axes == before.series[0].axes
        assert (after.is_ome, after.is_imagej, after.is_shaped) == (before.is_ome, before.is_imagej, before.is_shaped)
        assert after.byteorder == before.byteorder
        np.testing.assert_array_equal(after.asarray(), data)
        assert {"Software", "DateTime"}.isdisjoint(tag.name for tag in after.pages[0].aspage().tags)
    assert copy_of(path, "twice.tif", page="all").read_bytes() == copy.read_bytes()


@pytest.mark.parametrize("kind", ["ome", "imagej", "shaped"])
def test_one_page_of_many_keeps_its_channels(tmp_path: Path, kind: str) -> None:
    data = noise(3, 2, 2, 20, 24)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, data, ome=kind == "ome", imagej=kind == "imagej", metadata={"axes": "TZCYX"})
    fourth = read(path, page=4)
    np.testing.assert_array_equal(fourth.to_array(fourth.tensor), data[1, 1].transpose(1, 2, 0))
    with tifffile.TiffFile(copy_of(path, page=4)) as tif:
        assert tif.series[0].axes == "CYX"
        np.testing.assert_array_equal(tif.asarray(), data[1, 1])


def test_imagej_pixel_size_and_description_are_kept(tmp_path: Path) -> None:
    metadata = {"axes": "ZYX", "unit": "um", "spacing": 0.3, "finterval": 2.5, "Info": "hello", "Labels": ["a", "b"]}
    tifffile.imwrite(tmp_path / "a.tif", noise(2, 20, 24), imagej=True, resolution=(9.5, 9.5), metadata=metadata)
    with (
        tifffile.TiffFile(copy_of(tmp_path / "a.tif", page="all")) as tif,
        tifffile.TiffFile(tmp_path / "a.tif") as old,
    ):
        assert tif.imagej_metadata == old.imagej_metadata
        assert tif.pages[0].aspage().tags.valueof(282) == old.pages[0].aspage().tags.valueof(282)
        assert tif.pages[0].aspage().tags.valueof(296) == old.pages[0].aspage().tags.valueof(296)


def test_ome_pixel_size_channels_and_other_entries_are_kept(tmp_path: Path) -> None:
    metadata = {
        "axes": "CYX",
        "PhysicalSizeX": 0.65,
        "PhysicalSizeY": 0.65,
        "PhysicalSizeXUnit": "µm",
        "Channel": {"Name": ["DAPI", "GFP"]},
        "Description": "Grüße",
    }
    tifffile.imwrite(tmp_path / "a.ome.tif", noise(2, 20, 24), metadata=metadata)
    copy = copy_of(tmp_path / "a.ome.tif", "copy.ome.tif")
    with tifffile.TiffFile(copy) as tif:
        xml = tif.ome_metadata or ""
    assert 'Name="DAPI"' in xml
    assert 'Name="GFP"' in xml
    assert 'PhysicalSizeX="0.65"' in xml
    assert "µm" in xml
    assert "UUID" not in xml
    picture = read(copy)
    large = picture.write(torch.nn.functional.interpolate(picture.tensor, scale_factor=2), tmp_path / "large.ome.tif")
    with tifffile.TiffFile(large) as tif:
        assert 'PhysicalSizeX="0.325"' in (tif.ome_metadata or "")
        assert tif.series[0].shape == (2, 40, 48)


def test_plain_description_tags_and_resolution_are_kept(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif",
        noise(20, 24),
        description="Exposure: 25 ms",
        software="a microscope",
        datetime="2007:04:24 11:54:45",
        resolution=((720000, 10000), (300, 1)),
        resolutionunit="CENTIMETER",
        extratags=[(33432, 2, 0, "somebody", True)],
        metadata=None,
        compression="zlib",
    )
    with tifffile.TiffFile(copy_of(tmp_path / "a.tif")) as tif:
        tags = {tag.name: tag.value for tag in tif.pages[0].aspage().tags}
    assert tags["ImageDescription"] == "Exposure: 25 ms"
    assert tags["Software"] == "a microscope"
    assert tags["DateTime"] == "2007:04:24 11:54:45"
    assert tags["Copyright"] == "somebody"
    assert tags["XResolution"] == (72, 1)
    assert tags["YResolution"] == (300, 1)
    assert tags["ResolutionUnit"] == 3
    assert tags["Compression"] == 8
    assert read(tmp_path / "copy.tif").metadata.dpi == pytest.approx((72 * 2.54, 762))


def test_channels_stored_apart_and_big_tiff(tmp_path: Path) -> None:
    planes = noise(3, 20, 24)
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate", bigtiff=True)
    assert read(tmp_path / "a.tif").tensor.shape == (1, 3, 20, 24)
    with tifffile.TiffFile(copy_of(tmp_path / "a.tif")) as tif:
        assert tif.is_bigtiff
        assert tif.pages[0].aspage().planarconfig == 2
        np.testing.assert_array_equal(tif.asarray(), planes)


def test_pages_of_different_sizes_are_read_one_by_one(tmp_path: Path) -> None:
    small, large = noise(20, 24), noise(30, 40)
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        tif.write(small, metadata=None)
        tif.write(large, metadata=None)
    with pytest.raises(InputError, match="has 2 pages"):
        read(tmp_path / "a.tif")
    with pytest.raises(InputError, match="different sizes or kinds: choose one with --page N"):
        read(tmp_path / "a.tif", page="all")
    assert read(tmp_path / "a.tif", page=2).tensor.shape == (1, 1, 30, 40)
    np.testing.assert_array_equal(tifffile.imread(copy_of(tmp_path / "a.tif", page=2)), large)


@pytest.mark.parametrize("dtype", ["int32", "uint32"])
def test_label_numbers_of_32_bits_are_exact_or_refused(tmp_path: Path, dtype: str) -> None:
    labels = RNG.integers(0, 2**22, (20, 24)).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", labels)
    np.testing.assert_array_equal(tifffile.imread(copy_of(tmp_path / "a.tif")), labels)
    labels[0, 0] = 2**30
    tifffile.imwrite(tmp_path / "b.tif", labels)
    with pytest.raises(InputError, match=r"b\.tif: .* more than 8388608, cannot be kept exactly: convert"):
        read(tmp_path / "b.tif")


def test_letters_beyond_ascii_and_tags_of_all_kinds_survive(tmp_path: Path) -> None:
    tags = [
        (315, 2, 0, "Müller".encode(), True),
        (33550, 12, 3, (0.5, 0.5, 0.0), True),
        (33922, 12, 6, (0.0, 0.0, 0.0, 1e5, 2e5, 0.0), True),
        (34735, 3, 4, (1, 1, 0, 0), True),
        (33723, 7, 5, b"\x1c\x02abc", True),
        (285, 2, 0, "a page", True),
    ]
    description = "Belichtung 25 µs".encode()
    tifffile.imwrite(tmp_path / "a.tif", noise(20, 24), description=description, extratags=tags, metadata=None)
    with tifffile.TiffFile(tmp_path / "a.tif") as old, tifffile.TiffFile(copy_of(tmp_path / "a.tif")) as new:
        before, after = (
            {tag.code: tag.value for tag in tif.pages[0].aspage().tags if tag.code not in (273, 278, 279, 305)}
            for tif in (old, new)
        )
    assert after == before


def test_imagej_files_of_other_letters_and_plain_stacks(tmp_path: Path) -> None:
    description = "ImageJ=1.54f\nimages=3\nunit=µm\nmin=3.0\nmax=7.5\n".encode("latin-1")
    with tifffile.TiffWriter(tmp_path / "a.tif", byteorder=">") as tif:
        for number, page in enumerate(noise(3, 20, 24)):
            tif.write(page, metadata=None, software=False, description=description if number == 0 else None)
    with (
        tifffile.TiffFile(tmp_path / "a.tif") as old,
        tifffile.TiffFile(copy_of(tmp_path / "a.tif", page="all")) as new,
    ):
        assert new.is_imagej
        assert len(new.pages) == 3
        np.testing.assert_array_equal(new.asarray(), old.asarray())
        assert (new.imagej_metadata or {})["min"] == 3.0


def test_the_second_image_of_an_ome_file(tmp_path: Path) -> None:
    first, second = noise(2, 20, 24), noise(3, 30, 40)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as tif:
        tif.write(first, metadata={"axes": "ZYX", "Name": "one"}, photometric="minisblack")
        tif.write(second, metadata={"axes": "TYX", "Name": "two"}, photometric="minisblack")
    picture = read(tmp_path / "a.ome.tif", page=4)
    np.testing.assert_array_equal(picture.to_array(picture.tensor), second[1])
    with tifffile.TiffFile(copy_of(tmp_path / "a.ome.tif", "copy.ome.tif", page=4)) as tif:
        assert tif.is_ome
        assert len(tif.series) == 1
        assert 'Name="two"' in (tif.ome_metadata or "")
        assert 'Name="one"' not in (tif.ome_metadata or "")
        np.testing.assert_array_equal(tif.asarray(), second[1])


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("pages", [1, 2])
def test_a_thumbnail_is_no_page(tmp_path: Path, first: bool, pages: int) -> None:
    data = np.random.default_rng(0).integers(0, 255, (pages, 32, 40, 3), np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        if first:
            tif.write(data[0, ::2, ::2], photometric="rgb", subfiletype=1, metadata=None)
        for page in data:
            tif.write(page, photometric="rgb", metadata=None)
        if not first:
            tif.write(data[0, ::2, ::2], photometric="rgb", subfiletype=1, metadata=None)
    picture = read(tmp_path / "a.tif", page="all" if pages > 1 else None)
    assert (picture.to_array(picture.tensor).reshape(data.shape) == data).all()
    last = read(tmp_path / "a.tif", page=pages)
    assert (last.to_array(last.tensor) == data[-1]).all()
    with pytest.raises(InputError, match=f"has {pages} page"):
        read(tmp_path / "a.tif", page=pages + 1)


def test_thumbnails_alone_are_pages(tmp_path: Path) -> None:
    data = np.zeros((20, 24), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", data, subfiletype=1, metadata=None)
    assert read(tmp_path / "a.tif").tensor.shape == (1, 1, 20, 24)
