"""How large the pixels of a file are and where they lie, for a result of more pixels: the same place in the world.

    size of a pixel / factor          pixels per unit * factor          place in pixels * factor

The entries of TIFF (resolution, ImageJ, GeoTIFF) and of EXIF; those of OME are in tiff_writing.py.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from fractions import Fraction
from typing import Any

from preimage.images.samples import Rational, TiffLayout

_PIXEL_SCALE, _TIE_POINTS, _TRANSFORMATION, _GEO_KEYS = 33550, 33922, 34264, 34735
_RASTER_TYPE, _PIXEL_IS_POINT = 1025, 2
# Tags of EXIF 2.32 and the axis (0 rows, 1 columns) of the pixels they count, whole or per unit (of a print, and of the
# focal plane); one leads to further entries.
_SIZES = {0x0100: 1, 0x0101: 0, 0xA002: 1, 0xA003: 0}
_DENSITIES = {0x011A: 1, 0x011B: 0, 0xA20E: 1, 0xA20F: 0}
_FURTHER, _ORIENTATION = 0x8769, 0x0112
_SHORT, _LONG, _RATIONAL = 3, 4, 5
_MOST = 2**32 - 1


def enlarged_layout(layout: TiffLayout, size: tuple[int, int]) -> TiffLayout:
    """The entries for a result of this many rows and columns.

    Pixels per unit, ImageJ's origin and GeoTIFF's scale and tie points are converted. ImageJ's regions and overlays,
    which count in pixels of the source, are left out.
    """
    rows, columns = (Fraction(new, layout.shape[layout.axes.index(axis)]) for new, axis in zip(size, "YX", strict=True))
    if rows == columns == 1:
        return layout
    resolution = layout.resolution
    # One per nothing is what writers put that know of no size.
    unknown = resolution == ((1, 1), (1, 1)) and layout.resolution_unit == 1 and "unit" not in layout.metadata
    if resolution is not None and not (unknown and rows == columns):
        resolution = (rational(Fraction(*resolution[0]) * columns), rational(Fraction(*resolution[1]) * rows))
    metadata = layout.metadata
    if layout.kind == "imagej":
        metadata = {key: value for key, value in metadata.items() if key not in ("ROI", "Overlays")}
        for key, factor in (("xorigin", columns), ("yorigin", rows)):
            if isinstance(metadata.get(key), (int, float)):
                metadata[key] = float(metadata[key] * factor)
    tags = tuple((*tag[:3], _geographic(tag, layout, float(rows), float(columns)), tag[4]) for tag in layout.tags)
    return replace(layout, resolution=resolution, metadata=metadata, tags=tags)


def rational(value: Fraction) -> Rational:
    """The same or nearly the same number as a fraction of two positive numbers of 32 bits.

    Example:
        >>> rational(Fraction(0.1))
        (1, 10)
    """
    if value < 1:
        top, bottom = rational(1 / value)
        return bottom, top
    value = min(value, Fraction(_MOST))
    if value.numerator > _MOST:
        value = value.limit_denominator(max(1, min(10_000, int(2**31 / value))))
    return value.numerator, value.denominator


def enlarged_exif(
    exif: bytes, before: tuple[int, ...], after: tuple[int, ...], orientation: int | None = None
) -> bytes:
    """An EXIF block for a picture whose stored (rows, columns) were before and are after.

    With an orientation, 1, the block is for the picture upright; before and after are still those as stored.
    Orientation, widths, heights and resolutions are written over where they stand, since makers keep entries of their own whose
    places must not move. A block that cannot be read is returned as it is.
    """
    start = 6 if exif.startswith(b"Exif\x00\x00") else 0
    order = {b"II": "<", b"MM": ">"}.get(exif[start : start + 2])
    if order is None or (before == after and orientation is None):
        return exif
    block = exif[start:]
    changed = bytearray(block)
    try:
        entries = _entries(block, struct.unpack_from(f"{order}I", block, 4)[0], order)
        for place in [entry[4] for entry in entries if entry[1] == _FURTHER][:1]:
            entries += _entries(block, place, order)
        turned = orientation == 1 and any(
            tag == _ORIENTATION and struct.unpack_from(f"{order}H", block, at + 8)[0] >= 5 for at, tag, *_ in entries
        )
        for at, tag, kind, count, value in entries:
            if count != 1:
                continue
            if tag == _ORIENTATION and kind == _SHORT and orientation is not None:
                struct.pack_into(f"{order}H", changed, at + 8, orientation)
            elif tag in _SIZES and (turned or before != after):
                size = after[::-1][_SIZES[tag]] if turned else after[_SIZES[tag]]
                if kind == _LONG:
                    struct.pack_into(f"{order}I", changed, at + 8, size)
                elif kind == _SHORT and size < 2**16:
                    struct.pack_into(f"{order}H", changed, at + 8, size)
            elif tag in _DENSITIES and kind == _RATIONAL and before != after:
                axis = _DENSITIES[tag]
                top, bottom = struct.unpack_from(f"{order}II", block, value)
                if top > 0 and bottom > 0:
                    scaled = rational(Fraction(top * after[axis], bottom * before[axis]))
                    struct.pack_into(f"{order}II", changed, value, *scaled)
    except struct.error:  # a place behind the end
        return exif
    return exif[:start] + bytes(changed)


def _entries(block: bytes, place: int, order: str) -> list[tuple[int, int, int, int, int]]:
    """Of each entry where it stands, its tag, type, count, and its value or the place of it."""
    count = struct.unpack_from(f"{order}H", block, place)[0]
    places = [place + 2 + 12 * i for i in range(count)]
    return [(at, *struct.unpack_from(f"{order}HHII", block, at)) for at in places]


def _geographic(tag: tuple[Any, ...], layout: TiffLayout, rows: float, columns: float) -> Any:
    """The value of a tag of GeoTIFF 1.1 (OGC 19-008r4), or of any other as it is."""
    code, value = tag[0], tag[3]
    if not isinstance(value, tuple):
        return value
    if code == _PIXEL_SCALE and len(value) == 3:
        return (value[0] / columns, value[1] / rows, value[2])
    half = 0.5 if _pixel_is_point(layout) else 0.0  # the origin is the center of the first pixel, or its corner
    if code == _TIE_POINTS and len(value) % 6 == 0:
        points = [value[i : i + 6] for i in range(0, len(value), 6)]
        moved = [((i + half) * columns - half, (j + half) * rows - half, *rest) for i, j, *rest in points]
        return tuple(number for point in moved for number in point)
    if code == _TRANSFORMATION and len(value) == 16:
        equations = [value[i : i + 4] for i in range(0, 16, 4)]
        dx, dy = half / columns - half, half / rows - half
        moved = [(a / columns, b / rows, c, d + a * dx + b * dy) for a, b, c, d in equations]
        return tuple(number for equation in moved for number in equation)
    return value


def _pixel_is_point(layout: TiffLayout) -> bool:
    keys: Any = next((tag[3] for tag in layout.tags if tag[0] == _GEO_KEYS and isinstance(tag[3], tuple)), ())
    entries = zip(keys[4::4], keys[5::4], keys[7::4], strict=False)  # key, place of the value, value
    return (_RASTER_TYPE, 0, _PIXEL_IS_POINT) in entries
