"""What a TIFF says of itself, held against its size, before any list of that length is made: shapes, planes, strips."""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from preimage.errors import InputError
from preimage.images.files import check_file
from preimage.images.samples import DENSEST, SMALLEST_SIDE, check_density, check_size
from preimage.memory import check_free

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage, TiffPageSeries

_MOST_AXES = 16
_FAX = (2, 3, 4)
_YCBCR = 6  # whose colors may be subsampled
_NAMEABLE = 4096
_MOST_NAMED = 4  # planes that are named in a message


def check_claims(tif: TiffFile, path: Path, name: str) -> None:
    """Raise InputError for a description that counts more planes than the file can hold; reads no pixels."""
    first = tif.pages.first
    width, height = (
        max(SMALLEST_SIDE, side) for side in (first.imagewidth, first.imagelength)
    )  # what is small comes later
    check_size(width, height, min(first.samplesperpixel, 2**16), name)
    if first.imagedepth > 1 or not first.shape:
        raise InputError(f"{name} holds a volume in one page: export a page for each slice", code="unreadable")
    most = len(tif.pages) + tif.filehandle.size // max(1, _bytes_of(first))
    if tif.is_shaped:
        _check_shaped(first, most, name)
    if tif.is_ome:
        _check_ome(tif.ome_metadata or "", most, path, name)
    if tif.is_stk and first.tags.valueof(33629) is not None:
        _check_count(int(first.tags[33629].count), most, name, "its STK tag")


def check_chain(tif: TiffFile, name: str) -> None:
    """Raise InputError for a chain of pages that does not end: it leads back to one of them, or beyond the end of the file.

    The reader of the file ends there without a word, and takes the pages before it for all.
    """
    if tif.is_ndpi:  # whose offsets are longer than those of its kind of file
        return
    tiff, file, seen = tif.tiff, tif.filehandle, set[int]()
    file.seek(8 if tiff.offsetsize == 8 else 4)
    offset = struct.unpack(tiff.offsetformat, file.read(tiff.offsetsize))[0]
    while offset:
        file.seek(offset)
        counted = file.read(tiff.tagnosize)
        count = struct.unpack(tiff.tagnoformat, counted)[0] if len(counted) == tiff.tagnosize else 0
        end = offset + tiff.tagnosize + count * tiff.tagsize
        if offset in seen or not count or end > file.size:
            where = "leads back to one before it" if offset in seen else "is not in the file"
            way_out = "take those before it, --page 1 and so on"
            raise InputError(
                f"{name} is damaged or truncated, the page after page {len(seen)} {where}: {way_out}", code="unreadable"
            )
        seen.add(offset)
        file.seek(end)
        following = file.read(tiff.offsetsize)
        offset = struct.unpack(tiff.offsetformat, following)[0] if len(following) == tiff.offsetsize else 0


def check_series(series: TiffPageSeries, name: str) -> None:
    """Raise InputError for a series of more planes than are stored, as far as its pages tell."""
    if len(series.shape) > _MOST_AXES:
        raise InputError(f"{name} has {len(series.shape)} axes, and {_MOST_AXES} is the most", code="shape")
    keyframe, pages = series.keyframe, series._pages
    planes = math.prod(series.shape) // max(1, math.prod(keyframe.shape))
    if len(pages) > 1 or planes <= 1:
        if planes > len(pages):
            _lacking(name, planes, len(pages))
        return
    offset = keyframe.dataoffsets[0] if keyframe.dataoffsets else 0
    held = (series.parent.filehandle.size - offset) // max(1, _bytes_of(keyframe)) if series.parent else 1
    if not keyframe.is_final or held < planes:
        _lacking(name, planes, max(1, held) if keyframe.is_final else 1)


def check_stored(pages: Sequence[Any], names: Sequence[str], keyframe: TiffPage, name: str) -> None:
    """Raise InputError for planes that are not in the file, which names them, or whose pixels are not in it as a whole."""
    absent = [shown for page, shown in zip(pages, names, strict=True) if page is None]
    if absent:
        some = ", ".join(absent[:_MOST_NAMED]) + (" ..." if len(absent) > _MOST_NAMED else "")
        counts = f"{len(absent)} of {len(pages)} planes are not in the file ({some})"
        raise InputError(f"{name}: {counts}: export it as a whole, or choose a page that is there", code="unreadable")
    for page, shown in zip(dict.fromkeys(pages), names, strict=False):
        counts, offsets = page.databytecounts, page.dataoffsets
        expected = math.prod(keyframe.chunked) if keyframe.compression != 1 else 1
        stored = sum(1 for count, offset in zip(counts, offsets, strict=False) if count and offset)
        if stored < max(expected, len(counts), len(offsets)):
            empty = f"{shown} has {stored} strips or tiles, and {max(expected, len(counts))} are needed"
            raise InputError(f"{name}: {empty}: save it as a whole, without sparse storage", code="unreadable")
        if max(map(sum, zip(offsets, counts, strict=False))) > page.parent.filehandle.size and not page.parent.is_lsm:
            beyond = f"the pixels of {shown} end beyond the {page.parent.filehandle.size} bytes of the file"
            raise InputError(f"{name} is damaged or truncated, {beyond}: get or save it again", code="unreadable")
        if keyframe.compression == 1 and int(keyframe.photometric) != _YCBCR and sum(counts) < _bytes_of(keyframe):
            held = f"{shown} has {sum(counts)} bytes of pixels, and {_bytes_of(keyframe)} are needed"
            raise InputError(f"{name} is damaged or truncated, {held}: get or save it again", code="unreadable")


def check_decoding(pages: int, keyframe: TiffPage, name: str, size: int) -> None:
    """Raise InputError if so many pages of a kind do not fit into memory, or hold far more pixels than their bytes can."""
    arranged = keyframe.planarconfig
    if arranged not in (1, 2):  # decoders take it for either
        raise InputError(
            f"{name} is damaged, its planar configuration is {arranged}: get or save it again", code="unreadable"
        )
    pixels = keyframe.imagewidth * keyframe.imagelength
    # Of fax coding a blank row may have a single bit.
    denser = max(1, 8 * keyframe.imagewidth // DENSEST) if int(keyframe.compression) in _FAX else 1
    check_density(pixels * pages, size * denser, name)
    values = math.prod(keyframe.shape) * pages
    itemsize = keyframe.dtype.itemsize if keyframe.dtype is not None else 1
    copies = 1 if itemsize > 1 else 2
    check_free(values * (4 + copies * itemsize), name, "read one page (--page N), or cut it")


def names_of(planes: np.ndarray, axes: str, shape: Sequence[int]) -> list[str]:
    """Planes by their number along each axis, from 1: "T 2 Z 1"."""
    if not axes:
        return ["the page" for _ in planes.ravel()]
    places = np.unravel_index(planes.ravel(), tuple(shape))
    return [" ".join(f"{axis} {at + 1}" for axis, at in zip(axes, place, strict=True)) for place in zip(*places)]  # noqa: B905


def _bytes_of(page: TiffPage) -> int:
    """Of a page that is not compressed."""
    bits = int(page.bitspersample) * max(1, page.samplesperpixel)
    return page.imagelength * -(-page.imagewidth * bits // 8)


def _check_count(claimed: int, most: int, name: str, where: str) -> None:
    if claimed > most:
        reason = f"{where} counts {claimed} planes, and there is room for {most} in the file"
        raise InputError(f"{name} is damaged or forged: {reason}: get or export it again", code="unreadable")


def _lacking(name: str, claimed: int, held: int) -> None:
    lacks = (
        f"counts {claimed} planes, and the file holds {held}: {claimed - held} are missing, from plane {held + 1} on"
    )
    raise InputError(f"{name} {lacks}: export it as a whole", code="unreadable")


def _check_shaped(first: TiffPage, most: int, name: str) -> None:
    text = first.shaped_description or ""
    found = re.fullmatch(r"shape=\(([^)]*)\)", text.strip())
    try:
        shape = [int(side) for side in found[1].split(",") if side.strip()] if found else json.loads(text).get("shape")
        sides = [side for side in shape if isinstance(side, int) and not isinstance(side, bool) and side > 0]
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{name}: its shape in words cannot be read: export it again", code="unreadable") from error
    if len(sides) != len(shape) or not 2 <= len(shape) <= _MOST_AXES:
        given = str(shape)[:80]
        raise InputError(f"{name}: its shape in words is {given}, none of pages: export it again", code="unreadable")
    _check_count(math.prod(sides) // max(1, math.prod(first.shape)), most, name, f"its shape {tuple(sides)}")


def _check_ome(text: str, most: int, path: Path, name: str) -> None:
    if "<!ENTITY" in text or "<!DOCTYPE" in text:
        raise InputError(
            f"{name}: its OME text declares entities, which none needs: export it again", code="unreadable"
        )
    try:
        root = ElementTree.fromstring(text)
        for pixels in _tagged(root, "Pixels"):
            _check_pixels(pixels, most, path, name)
        for along in (each for each in root.iter() if "Along" in each.tag and "Start" in each.attrib):
            step = float(along.attrib.get("Step", 1))
            count = (float(along.attrib["End"]) - float(along.attrib["Start"])) / step + 1
            _check_count(int(abs(count)), most, name, "its OME text")
    except InputError:
        raise
    except (ElementTree.ParseError, ValueError, KeyError, OverflowError, ZeroDivisionError) as error:
        reason = " ".join(str(error).split())[:100]
        raise InputError(
            f"{name}: its OME text cannot be read ({reason}): export it again", code="unreadable"
        ) from error


def _check_pixels(pixels: ElementTree.Element, most: int, path: Path, name: str) -> None:
    sizes = {axis: int(pixels.attrib[f"Size{axis}"]) for axis in "TZCYX"}
    if min(sizes.values()) < 1:
        raise InputError(f"{name}: a size in its OME text is below 1: export it again", code="unreadable")
    channels = list(_tagged(pixels, "Channel"))
    samples = max(1, int(channels[0].attrib.get("SamplesPerPixel", 1))) if channels else 1
    words = " ".join(f"{axis} {sizes[axis]}" for axis in "TZC")
    _check_count(sizes["T"] * sizes["Z"] * sizes["C"] // samples, _room(pixels, most), name, f"its OME text ({words})")
    for data in _tagged(pixels, "TiffData"):
        counts = [
            int(data.attrib.get(key, 0)) for key in ("IFD", "NumPlanes", "PlaneCount", "FirstT", "FirstZ", "FirstC")
        ]
        if min(counts) < 0:
            raise InputError(f"{name}: its OME text counts from below 0: export it again", code="unreadable")
        _check_count(max(counts), _room(pixels, most), name, "its OME text")
        for uuid in _tagged(data, "UUID"):
            _check_other(uuid.attrib.get("FileName", ""), path, name)


def _room(pixels: ElementTree.Element, most: int) -> int:
    """Planes that may be counted: some more than there are, to name those that are missing, and all that are listed."""
    return max(_NAMEABLE, most) + sum(1 for _ in _tagged(pixels, "TiffData"))


def _check_other(other: str, path: Path, name: str) -> None:
    """Another file that planes are in must lie beside this one; one that is not there would become black pages."""
    if not other or other.lower() == path.name.lower():
        return
    if Path(other).name != other or "\\" in other:
        where = f"its OME text names the file {other!r} in another folder"
        raise InputError(f"{name}: {where}: put the files of a series side by side", code="unreadable")
    try:
        check_file(path.with_name(other))
    except InputError as error:
        raise InputError(f"{name}: planes of it are in another file, and {error}", code=error.code) from error


def _tagged(root: ElementTree.Element, tag: str) -> Iterator[ElementTree.Element]:
    return (each for each in root.iter() if isinstance(each.tag, str) and each.tag.rpartition("}")[2] == tag)
