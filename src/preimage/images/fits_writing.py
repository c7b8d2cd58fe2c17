"""Samples -> FITS files with the header, BITPIX, BLANK and scale of their source, or with a header of their own."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from preimage.images.fits_values import SHIFTED, library, shift, stored_values, text_of
from preimage.images.raster import pillow_unguarded
from preimage.images.samples import FitsLayout, Samples

_BLOCK = 2880
_WORLD = re.compile(r"CRPIX[12][A-Z]?|CDELT[12][A-Z]?|CD\d_[12][A-Z]?|[AB]P?_\d_\d")


def encode_fits(samples: Samples, name: str) -> bytes:
    """The bytes of a FITS file of (b, h, w, 1): the header, BITPIX, BLANK and scale of its source, or a new header.

    Values of an integer source are scaled back by its BZERO and BSCALE, rounded and clipped, and NaN becomes BLANK; floats stay
    float32 or float64. Its other images and tables, its compression and its checksums are left out. Of an enlarged image the
    world coordinates are converted. Raises MissingExtra without astropy.
    """
    fits = library(f"{name} is to be a FITS image")
    layout, pages = samples.metadata.fits or FitsLayout(), samples.pages[..., 0]
    stored = stored_values(pages, layout)
    lead = layout.shape[:-2] if math.prod(layout.shape[:-2]) == len(pages) else (len(pages),)
    with pillow_unguarded():
        header = fits.Header.fromstring(layout.header)
        _describe(header, (*lead, *pages.shape[1:]), stored.dtype, extension=bool(layout.primary))
        if stored.dtype.kind == "f":  # scaled already; a BLANK of floats has no meaning
            _leave_out(header, "BSCALE", "BZERO", "BLANK")
        elif not layout.header and pages.dtype in SHIFTED:
            header["BZERO"], header["BSCALE"] = shift(pages.dtype), 1
        _enlarge(header, pages.shape[1:], layout.shape[-2:])
        parts = [text_of(header), stored.tobytes(), bytes(-stored.nbytes % _BLOCK)]
        if layout.primary:
            above = fits.Header.fromstring(layout.primary)
            _describe(above, (), np.dtype(">u1"), extension=False)
            _leave_out(above, "GROUPS", "PCOUNT", "GCOUNT")
            parts.insert(0, text_of(above))
    return b"".join(parts)


def _describe(header: Any, shape: tuple[int, ...], dtype: np.dtype[Any], *, extension: bool) -> None:
    """Set the cards that say how the values are stored, and leave out those that are no longer true."""
    count = header.get("NAXIS", 0)
    gone = (f"NAXIS{i}" for i in range(len(shape) + 1, count + 1))
    _leave_out(header, "CHECKSUM", "DATASUM", "SIMPLE" if extension else "XTENSION", *gone)
    bits = dtype.itemsize * (-8 if dtype.kind == "f" else 8)
    first = {"XTENSION": "IMAGE"} if extension else {"SIMPLE": True}
    needed = first | {"BITPIX": bits, "NAXIS": len(shape)} | {f"NAXIS{i}": n for i, n in enumerate(shape[::-1], 1)}
    for place, (key, value) in enumerate(needed.items()):
        if key in header:
            header[key] = value
        else:
            header.insert(place, (key, value))


def _leave_out(header: Any, *keys: str) -> None:
    for key in keys:
        header.remove(key, ignore_missing=True, remove_all=True)


def _enlarge(header: Any, size: tuple[int, ...], before: tuple[int, ...]) -> None:
    """World coordinates of an image of more pixels: Greisen and Calabretta 2002, equation 1; SIP's polynomials of pixels."""
    factor = size[0] // before[0] if before else 1
    if factor < 2 or size != tuple(factor * side for side in before):
        return
    for key in list(header):
        value = header[key] if _WORLD.fullmatch(key) else None
        if not isinstance(value, int | float):
            continue
        if key.startswith("CRPIX"):
            header[key] = (value - 0.5) * factor + 0.5  # the center of the first pixel is 1
        elif key.startswith("CD"):
            header[key] = value / factor
        else:
            header[key] = value * factor ** (1.0 - sum(map(int, key.split("_")[1:])))
