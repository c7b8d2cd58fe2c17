"""FITS files -> samples: the first image of a file, with its header and its blank values.

Rows are in the order of the file: FITS stores the bottom row first, and the viewers of astronomers mirror them on display.
What a header claims is held against the bytes that are there before anything is decoded.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import math
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from preimage.errors import InputError
from preimage.images.files import read_bytes
from preimage.images.fits_values import DTYPES, library, text_of, values_of
from preimage.images.raster import damaged, pillow_unguarded
from preimage.images.samples import FitsLayout, Metadata, Samples, check_density, check_size
from preimage.images.tiff_reading import SeveralPages, no_such_page
from preimage.memory import check_free

_BLOCK, _CARD = 2880, 80
_LONGEST_HEADER, _MOST_UNITS = 2**22, 1000  # bytes, and headers with data, beyond which a file is no picture's
_UNPRINTABLE = re.compile("[^ -~]")
_GZIP, _CHUNK = b"\x1f\x8b", 2**24
_DENSEST_GZIP, _DENSE_FROM = 200, 2**26  # bytes of a packed one, and the size below which it does not matter
_LARGEST_TILE = 2**24  # values that a compressed tile may have in any case


@dataclass(frozen=True, eq=False)
class _Unit:
    """A header and data unit: its header, where its bytes are in the file, and the shape of its image, (..., h, w)."""

    header: Any
    start: int
    data: int
    size: int
    shape: tuple[int, ...]
    bits: int
    packed: bool

    @property
    def end(self) -> int:
        return self.data + -(-self.size // _BLOCK) * _BLOCK


def is_fits(path: Path, head: bytes) -> bool:
    """Whether a file is a FITS file by its first bytes or, packed by gzip, by its name."""
    inner = Path(path.stem).suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()
    return head.startswith(b"SIMPLE  =") or (head.startswith(_GZIP) and inner in (".fits", ".fit", ".fts"))


def read_fits(path: Path, name: str, page: int | Literal["all"] | None) -> Samples:
    """Decode the page, or all pages, of the first image of a FITS file: (b, h, w, 1), rows in the order of the file.

    Integers stay integers, and BLANK is what the file declares as missing; integers with a BSCALE become float64, BLANK NaN. The
    planes of an image of more than two axes are its pages. Files that are packed by gzip and tiles that are compressed are read.
    Raises InputError if it is damaged, truncated or too large, holds no image, or has several pages and none was chosen;
    MissingExtra without astropy.
    """
    fits = library(f"{name} is a FITS image")
    data = read_bytes(path)
    if data.startswith(_GZIP):
        data = _unpacked(data, name)
    with pillow_unguarded():  # astropy warns of what astronomers' files are full of
        try:
            units = _units(fits, data, name)
            primary = image = next(units, None)
            while image is not None and not image.shape:
                image = next(units, None)
            if primary is None or image is None:
                raise InputError(
                    f"{name} holds no image of rows and columns, but tables or spectra: give a file with an image",
                    code="unreadable",
                )
            samples = _samples(fits, data, image, name, page, None if image is primary else primary.header)
            return samples if not (others := _others(units)) else _with_remark(samples, name, others)
        except (InputError, MemoryError):
            raise
        except Exception as error:  # of any kind
            raise damaged(name, error) from error


def _samples(
    fits: Any, data: bytes, unit: _Unit, name: str, page: int | Literal["all"] | None, primary: Any
) -> Samples:
    count, shape = math.prod(unit.shape[:-2]), unit.shape
    if isinstance(page, int) and page > count:
        raise no_such_page(name, page, count)
    if page is None and count > 1:
        raise SeveralPages(name, count)
    check_density(math.prod(shape), len(data), name)
    itemsize = abs(unit.bits) // 8
    taken = count if unit.packed or page == "all" else 1
    check_free(taken * shape[-2] * shape[-1] * (itemsize + 12), name, "read one page (--page N), or cut it")
    raw, header = _unpacked_tiles(fits, data, unit, name) if unit.packed else (_plain(data, unit), unit.header)
    if isinstance(page, int):
        raw, shape = raw.reshape(count, *shape[-2:])[page - 1], shape[-2:]
    raw = raw.astype(raw.dtype.newbyteorder("="))
    zero, scale, blank = _number(header, "BZERO", 0.0, name), _number(header, "BSCALE", 1.0, name), header.get("BLANK")
    if scale == 0:
        raise InputError(f"{name} is damaged, BSCALE of its header is 0: get or save it again", code="unreadable")
    blank = int(blank) if isinstance(blank, int | float) and raw.dtype.kind in "iu" and _is_held(blank, raw) else None
    values, missing = values_of(raw, zero, scale, blank)
    bits = raw.dtype.itemsize * (8 if raw.dtype.kind in "iu" else -8)
    text = "" if primary is None else text_of(primary).decode("ascii")
    layout = FitsLayout(text_of(header).decode("ascii"), text, shape, bits, zero, scale, blank, missing)
    pages = np.ascontiguousarray(values.reshape(-1, *shape[-2:], 1))
    return Samples(pages, "FITS", metadata=Metadata(fits=layout))


def _plain(data: bytes, unit: _Unit) -> NDArray[Any]:
    return np.frombuffer(data, DTYPES[unit.bits], math.prod(unit.shape), unit.data).reshape(unit.shape)


def _unpacked_tiles(fits: Any, data: bytes, unit: _Unit, name: str) -> tuple[NDArray[Any], Any]:
    """The stored values of an image of compressed tiles, and the header that it has without compression."""
    sides = [_whole(unit.header, f"ZTILE{i}", name, default=1) for i in range(1, len(unit.shape) + 1)]
    if not 0 < math.prod(sides) <= max(_LARGEST_TILE, math.prod(unit.shape)):
        wrong = f"its tiles of {' x '.join(map(str, sides))} are larger than its image"
        raise InputError(f"{name} is damaged or forged, {wrong}: get or save it again", code="unreadable")
    table = data[unit.start : unit.end].ljust(unit.end - unit.start, b"\0")
    alone = io.BytesIO(text_of(fits.PrimaryHDU().header) + table)
    with fits.open(alone, memmap=False, do_not_scale_image_data=True) as units:
        raw = np.asarray(units[1].data)
        if raw.shape != unit.shape:
            raise ValueError(f"its tiles make an image of shape {raw.shape}")
        header = units[1].header
    blank = unit.header.get("ZBLANK") if unit.bits > 0 else None
    for key, value in {"BZERO": None, "BSCALE": None, "BLANK": blank}.items():  # which astropy may leave out
        if (value := unit.header.get(key, value)) is not None:
            header[key] = value
    return raw, header


def _number(header: Any, key: str, default: float, name: str) -> float:
    value = header.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        found = f"{key} of its header is {str(value)[:40]}, no number"
        raise InputError(f"{name} is damaged, {found}: get or save it again", code="unreadable")
    return float(value)


def _is_held(value: float, raw: NDArray[Any]) -> bool:
    """Whether stored integers can have this value."""
    limits = np.iinfo(raw.dtype)
    return limits.min <= value <= limits.max and value == int(value)


def _with_remark(samples: Samples, name: str, others: int) -> Samples:
    return replace(samples, remarks=(f"{name} holds {others + 1} images, of which the first is read",))


# ---------------------------------------------------------------------- what a file claims


def _unpacked(data: bytes, name: str) -> bytes:
    chunks, size = [], 0
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            while chunk := file.read(_CHUNK):
                chunks.append(chunk)
                size += len(chunk)
                if size > max(_DENSE_FROM, _DENSEST_GZIP * len(data)):
                    held = f"{name} holds more than {size} bytes in {len(data)}"
                    raise InputError(f"{held}: it holds no picture, get or save it again", code="size")
                check_free(size, name, "unpack and cut it first")
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(name, error) from error
    return b"".join(chunks)


def _units(fits: Any, data: bytes, name: str) -> Iterator[_Unit]:
    """The header and data units of a file, one after another; what each claims is held against the bytes that are there."""
    start = 0
    for number in range(_MOST_UNITS):
        if data[start : start + 8] != (b"XTENSION" if number else b"SIMPLE  "):
            return  # of an extension: bytes after the last one, which readers pass over
        unit = _unit(fits, data, start, name)
        yield unit
        start = unit.end


def _unit(fits: Any, data: bytes, start: int, name: str) -> _Unit:
    body = _end_of_header(data, start, name)
    text = _UNPRINTABLE.sub("?", data[start:body].decode("latin-1"))  # the standard has printable characters alone
    header = fits.Header.fromstring(text)
    packed = header.get("ZIMAGE") is True
    axes = _axes(header, "", name)
    bits = _whole(header, "BITPIX", name, tuple(DTYPES))
    groups = header.get("GROUPS") is True and axes[:1] == (0,)
    count = math.prod(axes[1:] if groups else axes) if axes else 0
    extra = _whole(header, "PCOUNT", name, default=0) if start or groups else 0
    size = abs(bits) // 8 * _whole(header, "GCOUNT", name, default=1) * (extra + count)
    shape = _axes(header, "Z", name)[::-1] if packed else axes[::-1]
    is_image = packed or not start or str(header.get("XTENSION")).strip() in ("IMAGE", "IUEIMAGE")
    if not is_image or len(shape) < 2 or 0 in shape:
        return _Unit(header, start, body, size, (), bits, packed)
    bits = _whole(header, "ZBITPIX", name, tuple(DTYPES)) if packed else bits
    check_size(shape[-1], shape[-2], 1, name)
    if size > len(data) - body:
        lacks = f"its image of {' x '.join(map(str, shape[::-1]))} needs {size} bytes, and {max(0, len(data) - body)} are there"
        raise InputError(f"{name} is damaged or truncated, {lacks}: get or save it again", code="unreadable")
    return _Unit(header, start, body, size, shape, bits, packed)


def _end_of_header(data: bytes, start: int, name: str) -> int:
    for at in range(start, min(len(data), start + _LONGEST_HEADER), _CARD):
        if data[at : at + 8] == b"END     ":
            return min(len(data), start + -(-(at + _CARD - start) // _BLOCK) * _BLOCK)
    raise InputError(f"{name} is damaged or truncated, its header has no end: get or save it again", code="unreadable")


def _axes(header: Any, prefix: str, name: str) -> tuple[int, ...]:
    count = _whole(header, f"{prefix}NAXIS", name, range(1000))
    return tuple(_whole(header, f"{prefix}NAXIS{i}", name) for i in range(1, count + 1))


def _whole(header: Any, key: str, name: str, allowed: Any = None, default: int | None = None) -> int:
    value = header.get(key, default)
    valid = isinstance(value, int) and not isinstance(value, bool)
    if not valid or (value < 0 if allowed is None else value not in allowed):
        found = "is not there" if value is None else f"is {str(value)[:40]}"
        raise InputError(f"{name} is damaged, {key} of its header {found}: get or save it again", code="unreadable")
    return int(value)


def _others(units: Iterator[_Unit]) -> int:
    """Images after the one that is read; what is damaged there is not needed."""
    count = 0
    with contextlib.suppress(Exception):
        for unit in units:
            count += bool(unit.shape)
    return count
