"""Which file formats can hold which dtypes, channels and sizes; checked before a fit starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from preimage.errors import InputError


@dataclass(frozen=True)
class Format:
    """A file format and the most it can hold without loss of kind."""

    name: str
    dtypes: tuple[str, ...]
    channels: tuple[int, ...]
    alpha: bool = False
    pages: bool = False
    longest_side: int = 2**31 - 1


_ANY_REAL = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float16", "float32", "float64")
PNG = Format("PNG", ("uint8", "uint16"), (1, 3), alpha=True)
JPEG = Format("JPEG", ("uint8",), (1, 3), longest_side=65_500)  # libjpeg's limit
WEBP = Format("WebP", ("uint8",), (1, 3), alpha=True, longest_side=16_383)
BMP = Format("BMP", ("uint8",), (1, 3))
TIFF = Format("TIFF", _ANY_REAL, tuple(range(1, 17)), alpha=True, pages=True)

EXTENSIONS = {
    ".png": PNG,
    ".jpg": JPEG,
    ".jpeg": JPEG,
    ".webp": WEBP,
    ".bmp": BMP,
    ".tif": TIFF,
    ".tiff": TIFF,
}


def format_of(path: str | Path) -> Format:
    """The format that the extension of path names.

    Example:
        >>> format_of("out.JPG").name
        'JPEG'

    Raises InputError where the extension is missing or not one that is written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in EXTENSIONS:
        found = f"the extension {suffix}" if suffix else "a name without extension"
        raise InputError(
            f"{path}: {found} names no format that is written: use {_alternatives(list(EXTENSIONS))}", code="format"
        )
    return EXTENSIONS[suffix]


def check_holds(
    path: str | Path, *, dtype: np.dtype, channels: int, alpha: bool, pages: int, width: int, height: int
) -> Format:
    """The format of path, if it can hold such an image.

    Example:
        >>> check_holds("out.png", dtype=np.dtype("uint16"), channels=3, alpha=False, pages=1, width=64, height=48).name
        'PNG'

    width and height are in pixels. Raises InputError ("format") that names the formats that can hold it.
    """
    chosen = format_of(path)
    lacks = _lacking(chosen, dtype, channels, alpha, pages, max(width, height))
    if not lacks:
        return chosen
    able = [
        suffix
        for suffix, other in EXTENSIONS.items()
        if not _lacking(other, dtype, channels, alpha, pages, max(width, height))
    ]
    way_out = f"use {_alternatives(able)}" if able else "convert it to float32 or uint16 first"
    raise InputError(f"{path}: {chosen.name} cannot hold {' and '.join(lacks)}: {way_out}", code="format")


def _lacking(form: Format, dtype: np.dtype, channels: int, alpha: bool, pages: int, side: int) -> list[str]:
    lacks = []
    if dtype.name not in form.dtypes:
        lacks.append(f"{dtype.name} values")
    if channels not in form.channels:
        lacks.append(f"{channels} channels")
    if alpha and not form.alpha:
        lacks.append("transparency")
    if pages > 1 and not form.pages:
        lacks.append(f"{pages} pages")
    if side > form.longest_side:
        lacks.append(f"a side of {side} pixels")
    return lacks


def _alternatives(suffixes: list[str]) -> str:
    return suffixes[0] if len(suffixes) == 1 else f"{', '.join(suffixes[:-1])} or {suffixes[-1]}"
