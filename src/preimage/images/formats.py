"""Which file formats can hold which dtypes, channels and sizes; checked before a fit starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from preimage.errors import InputError

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Format:
    """A file format and the most it can hold without loss of kind."""

    name: str
    dtypes: tuple[str, ...]
    channels: tuple[int, ...]
    alpha: bool = False
    pages: bool = False
    cmyk: bool = False
    depths: tuple[int, ...] = ()  # bits of a value between 8 and 16
    longest_side: int = 2**31 - 1

    def lacks(
        self, dtype: np.dtype, channels: int, alpha: bool, pages: int, side: int, cmyk: bool, bits: int
    ) -> list[str]:
        """What such an image has and the format cannot hold; side is the longest, in pixels."""
        beyond = {
            f"{dtype.name} values": dtype.name not in self.dtypes
            and not (dtype.name == "uint16" and bits in self.depths),
            "CMYK colors" if cmyk else f"{channels} channels": not self.cmyk if cmyk else channels not in self.channels,
            "transparency": alpha and not self.alpha,
            f"{pages} pages": pages > 1 and not self.pages,
            f"a side of {side} pixels": side > self.longest_side,
        }
        return [what for what, is_beyond in beyond.items() if is_beyond]


_ANY_REAL = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float16", "float32", "float64")
PNG = Format("PNG", ("uint8", "uint16"), (1, 3), alpha=True)
JPEG = Format("JPEG", ("uint8",), (1, 3), cmyk=True, longest_side=65_500)  # libjpeg's limit
WEBP = Format("WebP", ("uint8",), (1, 3), alpha=True, longest_side=16_383)
BMP = Format("BMP", ("uint8",), (1, 3))
AVIF = Format("AVIF", ("uint8",), (1, 3), alpha=True, longest_side=65_536)
HEIC = Format("HEIC", ("uint8",), (1, 3), alpha=True, longest_side=16_384, depths=(10, 12))
FITS = Format("FITS", (*(each for each in _ANY_REAL if each != "float16"), "int64", "uint64"), (1,), pages=True)
TIFF = Format("TIFF", _ANY_REAL, tuple(range(1, 17)), alpha=True, pages=True, cmyk=True)

READ_BY_PILLOW = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "AVIF")
"""All that Pillow is asked for, beside TIFF; it knows many more (PostScript runs a program)."""
EXTENSIONS = {".png": PNG, ".jpg": JPEG, ".jpeg": JPEG, ".webp": WEBP, ".bmp": BMP, ".tif": TIFF, ".tiff": TIFF}
EXTENSIONS |= {".avif": AVIF, ".heic": HEIC, ".heif": HEIC, ".fits": FITS, ".fit": FITS, ".fts": FITS}
SUFFIXES = (*EXTENSIONS, ".gif")
"""Of images of every kind but raw ones."""
RAW_SUFFIXES = (
    *(".dng", ".nef", ".nrw", ".cr2", ".cr3", ".arw", ".sr2", ".raf", ".rw2", ".orf", ".pef", ".srw"),
    ".3fr",
    ".iiq",
)
"""Of the raw files of cameras."""
_PACKED = (".gz", ".fz")  # of sky.fits.gz


def is_image_name(name: str | Path) -> bool:
    """Whether a file in a folder is taken for an image: by its name alone.

    Example:
        >>> [is_image_name(each) for each in ("a.TIF", "sky.fits.gz", "b.nef", "notes.txt")]
        [True, True, True, False]
    """
    path = Path(name)
    suffix = path.suffix.lower()
    if suffix in _PACKED:
        return Path(path.stem).suffix.lower() in EXTENSIONS
    return suffix in SUFFIXES or suffix in RAW_SUFFIXES


def check_holds(
    path: str | Path,
    *,
    dtype: np.dtype,
    channels: int,
    alpha: bool,
    pages: int,
    side: int,
    cmyk: bool = False,
    bits: int = 0,
) -> Format:
    """The format that the extension of path names, if it can hold such an image.

    Example:
        >>> check_holds("out.PNG", dtype=np.dtype("uint16"), channels=3, alpha=False, pages=1, side=64).name
        'PNG'

    side is the longest, in pixels. Raises InputError ("format") that names the formats that can hold it.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in EXTENSIONS:
        found = f"the extension {suffix}" if suffix else "a name without extension"
        way_out = f"use {_alternatives(list(EXTENSIONS))}"
        raise InputError(f"{path}: {found} names no format that is written: {way_out}", code="format")
    chosen = EXTENSIONS[suffix]
    lacks = chosen.lacks(dtype, channels, alpha, pages, side, cmyk, bits)
    if lacks:
        common = {each: form for each, form in EXTENSIONS.items() if form not in (AVIF, HEIC, FITS)}
        able = [each for each, f in common.items() if not f.lacks(dtype, channels, alpha, pages, side, cmyk, bits)]
        way_out = f"use {_alternatives(able)}" if able else "convert it to float32 or uint16 first"
        raise InputError(f"{path}: {chosen.name} cannot hold {' and '.join(lacks)}: {way_out}", code="format")
    return chosen


def _alternatives(suffixes: list[str]) -> str:
    return suffixes[0] if len(suffixes) == 1 else f"{', '.join(suffixes[:-1])} or {suffixes[-1]}"
