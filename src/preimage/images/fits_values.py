"""Values that FITS stores <-> values of a picture: scale, sign and blank; by astropy, an optional package.

value = BZERO + BSCALE * stored                                    (FITS Standard 4.0, equation 3)
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preimage.extras import extra
from preimage.images.samples import FitsLayout, apart_from

DTYPES = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
"""By BITPIX."""
SHIFTED = (np.int8, np.uint16, np.uint32, np.uint64)
"""What FITS stores with the other sign, by their BZERO."""


def library(what: str) -> Any:
    """astropy.io.fits; raises MissingExtra that begins with what is to be read or written."""
    with extra("fits", subject=what):
        return importlib.import_module("astropy.io.fits")


def text_of(header: Any) -> bytes:
    """A header in whole blocks of 2880 bytes."""
    return header.tostring().encode("ascii", "replace")


def values_of(raw: NDArray[Any], zero: float, scale: float, blank: int | None) -> tuple[NDArray[Any], float | None]:
    """Stored values -> those of the picture, and which of them is missing, where that is not NaN."""
    if scale == 1 and zero == 0:
        return raw, blank
    if scale == 1 and raw.dtype.kind in "iu":
        shifted = _with_other_sign(raw)
        if zero == shift(shifted.dtype):
            return shifted, None if blank is None else blank + zero
    values = zero + scale * raw.astype(np.float64)
    if blank is not None:
        values[raw == blank] = np.nan
    return values, None


def shift(dtype: np.dtype[Any]) -> int:
    """BZERO of values whose sign is not that of their BITPIX."""
    return -128 if dtype == np.int8 else 2 ** (8 * dtype.itemsize - 1)


def _with_other_sign(values: NDArray[Any]) -> NDArray[Any]:
    """Each value with its uppermost bit turned over: 32768 less, or more, of 16 bits."""
    size = values.dtype.itemsize
    unsigned = np.ascontiguousarray(values).view(f"u{size}")
    turned = unsigned ^ unsigned.dtype.type(2 ** (8 * size - 1))
    return turned.view(f"i{size}") if values.dtype.kind == "u" else turned


def stored_values(pages: NDArray[Any], layout: FitsLayout) -> NDArray[Any]:
    """Values of the picture -> those to be stored, in the byte order of FITS."""
    if pages.dtype.kind == "f" and layout.bits > 0:
        stored = _scaled_back(pages, layout)
    else:
        stored = _with_other_sign(pages) if pages.dtype in SHIFTED else pages
    return stored.astype(stored.dtype.newbyteorder(">"))


def _scaled_back(pages: NDArray[Any], layout: FitsLayout) -> NDArray[Any]:
    dtype = np.dtype(DTYPES[layout.bits]).newbyteorder("=")
    limits, missing = np.iinfo(dtype), np.isnan(pages)
    codes = np.rint((np.where(missing, layout.zero, pages).astype(np.float64) - layout.zero) / layout.scale)
    stored = np.clip(codes, limits.min, np.nextafter(limits.max + 1.0, 0)).astype(dtype)
    if layout.blank is not None:
        stored = apart_from(stored, layout.blank)
        stored[missing] = layout.blank
    return stored
