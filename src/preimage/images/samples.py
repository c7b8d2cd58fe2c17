"""The contents of an image file before value range and orientation are applied: samples and metadata."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from preimage.errors import InputError
from preimage.images.jpeg_coding import JpegCoding

SMALLEST_SIDE = 16
MOST_CHANNELS = 16
MOST_PIXELS = 20_000 * 10_000
"""Pixels of one page beyond which a header is taken for a decompression bomb, or a picture for one to be cut."""

DENSEST = 10_000
"""Pixels a byte that no coding of a picture comes to: deflate has 8,000 of one bit, LZW 3,000."""
_DENSE_FROM = 2**24  # pixels below which it does not matter

Rational = tuple[int, int]
COLORS = {"rgb": 3, "separated": 4}
"""Channels of what is not grey, beside alpha."""


@dataclass(frozen=True)
class TiffLayout:
    """How a TIFF arranged its pages, so that it can be written in the same way."""

    kind: Literal["plain", "shaped", "imagej", "ome"]
    axes: str  # tifffile's letters: T time, Z depth, C channel, Y, X, S sample, I or Q any other page
    shape: tuple[int, ...]  # along axes, of the pages that were read
    page_axes: str  # the last of axes: those of one stored page, YX, YXS or SYX
    byteorder: Literal["<", ">"]
    photometric: Literal["minisblack", "miniswhite", "rgb", "separated"]
    extrasamples: tuple[int, ...] = ()
    deflate: bool = False
    bigtiff: bool = False
    description: str | None = None  # plain: ImageDescription; ome: the XML
    metadata: dict[str, Any] = field(default_factory=dict)  # ImageJ's or tifffile's own entries
    resolution: tuple[Rational, Rational] | None = None
    resolution_unit: int = 1
    tags: tuple[tuple[int, int, int, Any, bool], ...] = ()
    """Copyright, camera, geographic tags and the like: (code, dtype, count, value, first page only)."""
    series: int = 0  # which OME image was read
    complete: bool = True  # all pages of the file were read


@dataclass(frozen=True)
class FitsLayout:
    """How a FITS file held its image, so that it can be written in the same way."""

    header: str = ""  # of the image, in cards of 80 characters
    primary: str = ""  # of the file, where the image is in an extension
    shape: tuple[int, ...] = ()  # of what was read, rows and columns last
    bits: int = 0  # BITPIX: of a value, negative for floats
    zero: float = 0.0  # BZERO and BSCALE
    scale: float = 1.0
    blank: int | None = None  # the stored integer that is missing
    missing: float | None = None  # as a value of the picture; None where that is NaN


def pages_first(axes: str) -> list[int]:
    """The order in which axes are (pages, h, w, channels): C and S are channels, all but Y and X count pages."""
    return sorted(range(len(axes)), key=lambda i: {"Y": 1, "X": 2, "C": 3, "S": 3}.get(axes[i], 0))


def page_count(axes: str, shape: tuple[int, ...]) -> int:
    """How many pages an array of this shape along tifffile's axes holds."""
    return int(np.prod([size for axis, size in zip(axes, shape, strict=True) if axis not in "CYXS"]))


def split_axes(array: NDArray[Any], axes: str) -> NDArray[Any]:
    """An array along tifffile's axes -> (b, h, w, c)."""
    h, w = array.shape[axes.index("Y")], array.shape[axes.index("X")]
    return array.transpose(pages_first(axes)).reshape(page_count(axes, array.shape), h, w, -1)


@dataclass(frozen=True)
class Metadata:
    """Everything but the pixels; copied to the output as far as its format can hold it."""

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None  # along the stored columns, along the stored rows
    text: tuple[tuple[str, str], ...] = ()
    png_chunks: tuple[tuple[bytes, bytes], ...] = ()  # gAMA, cHRM, sRGB, cICP
    pattern: str = ""  # of a Bayer mosaic, as it lies in an upright picture: RGGB
    bits: int = 0  # of a value, 10 or 12, where they are held in 16, 1 of black and white; 0: as many as the dtype has
    comment: bytes | None = None
    tiff: TiffLayout | None = None
    fits: FitsLayout | None = None
    cmyk: Literal["", "adobe", "plain"] = ""
    """Of inks, which are held as the light that they leave: how a JPEG has them, inverted with Adobe's marker, or without it."""
    quantization: JpegCoding | None = None  # of the JPEG it was read from; only read, no writer takes it


_NODATA = 42113  # GDAL's


def apart_from(values: NDArray[Any], nodata: float | None) -> NDArray[Any]:
    """Integers of which none equals by chance what their file declares as missing: those are one further, or one less.

    Example:
        >>> apart_from(np.array([0, 7], np.uint8), 0.0).tolist()
        [1, 7]
    """
    if nodata is None or values.dtype.kind not in "iu" or not (equal := values == nodata).any():
        return values
    moved = values.copy()
    moved[equal] = int(nodata) + (1 if nodata < np.iinfo(values.dtype).max else -1)
    return moved


def nodata_of(metadata: Metadata) -> float | None:
    """The value that a file declares as missing, by GDAL's tag or BLANK; None if it declares none, or no number."""
    if metadata.fits is not None:
        return metadata.fits.missing
    tags = () if metadata.tiff is None else metadata.tiff.tags
    found = next((tag[3] for tag in tags if tag[0] == _NODATA), None)
    try:
        return None if found is None else float(found)
    except (TypeError, ValueError):
        return None


@dataclass(frozen=True, eq=False)
class Samples:
    """Decoded pages as stored: (b, h, w, c) in the file's dtype, alpha (b, h, w) apart, orientation not yet applied."""

    pages: NDArray[Any]
    format: str
    alpha: NDArray[Any] | None = None
    orientation: int = 1
    metadata: Metadata = field(default_factory=Metadata)
    remarks: tuple[str, ...] = ()  # of what was not read as it stands in the file
    salvaged: bool = False  # the file is cut off


def in_one_bit(samples: Samples) -> bool:
    """Whether the source had 1 bit, and these samples can be written so: gray of 8 bits, black and white alone."""
    plain = samples.metadata.bits == 1 and samples.alpha is None and samples.pages.dtype == np.uint8
    return plain and samples.pages.shape[3] == 1 and bool(np.isin(samples.pages, (0, 255)).all())


def upright(pages: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn stored pages, (b, h, w) or (b, h, w, c), the way they are to be looked at (EXIF 2.32, tag 0x0112: 1 to 8)."""
    if orientation >= 5:
        pages = np.swapaxes(pages, 1, 2)
    if orientation in (3, 4, 7, 8):
        pages = pages[:, ::-1]
    if orientation in (2, 3, 6, 7):
        pages = pages[:, :, ::-1]
    return np.ascontiguousarray(pages)


def as_stored(pages: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Undo `upright`: the rows and columns as the file has them."""
    return upright(pages, {6: 8, 8: 6}.get(orientation, orientation))


def check_size(width: int, height: int, channels: int, name: str) -> None:
    """Raise InputError for a picture too small, too large or of too many channels; costs no decoding."""
    size = f"{width} x {height}"
    if width * height > MOST_PIXELS:
        most = f"more than the {MOST_PIXELS} that are read"
        raise InputError(f"{name} is {size} = {width * height} pixels, {most}: cut or reduce it first", code="size")
    if min(width, height) < SMALLEST_SIDE:
        least = f"{SMALLEST_SIDE} x {SMALLEST_SIDE} is the least"
        raise InputError(f"{name} is {size} pixels, and {least}: give a larger picture", code="size")
    if channels > MOST_CHANNELS:
        most = f"{MOST_CHANNELS} is the most"
        raise InputError(f"{name} has {channels} channels, and {most}: choose some of them first", code="shape")


def check_density(pixels: int, size: int, name: str) -> None:
    """Raise InputError for a file of so many bytes that cannot hold so many pixels, or only if all of them are equal."""
    if pixels > _DENSE_FROM and pixels > DENSEST * size:
        held = f"{name} claims {pixels} pixels in {size} bytes, more than {DENSEST} in each"
        raise InputError(f"{held}: it holds no picture, get or save it again", code="size")


def check_values(pages: NDArray[Any], name: str, *, missing: bool = False) -> None:
    """Raise InputError for values that no range can be made of: complex numbers, infinities, NaN.

    missing lets NaN pass, as long as some values are known.
    """
    if pages.dtype.kind not in "biuf":
        way_out = "give its magnitude or its real part" if pages.dtype.kind == "c" else "convert it to float32"
        raise InputError(f"{name} holds {pages.dtype} values, not real numbers: {way_out}", code="type")
    if pages.dtype.kind != "f" or np.isfinite(pages).all():
        return
    nan, infinite = int(np.isnan(pages).sum()), int(np.isinf(pages).sum())
    if not missing:
        way_out = f"replace them first, for example by numpy.nan_to_num{' (inpaint fills NaN)' if nan else ''}"
        wrong = f"{nan} values are NaN and {infinite} are infinite, of {pages.size}"
    elif nan == pages.size:
        wrong, way_out = f"all {nan} values are NaN, none is known", "give a picture with some known values"
    elif infinite:
        wrong = f"{infinite} values are infinite, of {pages.size}"
        way_out = "replace them first, by NaN if they are missing"
    else:
        return
    raise InputError(f"{name}: {wrong}: {way_out}", code="range")
