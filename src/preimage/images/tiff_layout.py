"""How a TIFF is arranged and what it says of its pixels, so that a result can be written in the same way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from preimage.images.exif import block_of, of_tiff
from preimage.images.samples import Metadata, TiffLayout

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage, TiffPageSeries

# Document and page names, camera, software, date, artist, copyright, IPTC, geography: carried as they are.
_KEPT_TAGS = (269, 271, 272, 285, 305, 306, 315, 316, 33432, 33723, 33550, 33922, 34264, 34735, 34736, 34737)
_KEPT_TAGS += (42112, 42113)
_XMP, _ICC = 700, 34675


@dataclass(frozen=True)
class Choice:
    """One page of a series, or all of them (index None)."""

    series: TiffPageSeries
    number: int
    index: int | None
    complete: bool


def layout_of(tif: TiffFile, choice: Choice, axes: str, shape: tuple[int, ...], stored: str, color: str) -> TiffLayout:
    """The layout of a choice whose array has these axes and this shape, `stored` being those of one stored page."""
    first = choice.series.keyframe
    kind: Literal["plain", "shaped", "imagej", "ome"] = "plain"
    description: str | None = first.description or None
    metadata: dict[str, Any] = {}
    if tif.is_ome and choice.series.kind == "ome":
        kind, description = "ome", tif.ome_metadata
    elif tif.is_imagej:
        kind, metadata = "imagej", {key: _escaped(value) for key, value in (tif.imagej_metadata or {}).items()}
        if not choice.complete:
            metadata.pop("Labels", None)  # they are counted by plane
    elif choice.series.kind == "shaped":
        described = tif.shaped_metadata
        kind, description, metadata = "shaped", None, dict(described[choice.number]) if described else {}
        metadata = {key: value for key, value in metadata.items() if key not in ("shape", "truncated")}
        if "axes" in metadata and not choice.complete:
            metadata["axes"] = "".join(axis for axis in choice.series.axes if axis in "CYXS")
    if color == "palette" and not tif.is_imagej:
        axes, shape, stored, color = axes + "S", (*shape, 3), stored + "S", "rgb"
    # Inches are the default of the format, but of a file without a resolution there is nothing to count in them.
    resolution, unit = (first.tags.valueof(282), first.tags.valueof(283)), int(first.tags.valueof(296, 2))
    sized = all(isinstance(value, tuple) and min(value) > 0 for value in resolution)
    return TiffLayout(
        kind=kind,
        axes=axes,
        shape=shape,
        page_axes=stored,
        byteorder=tif.byteorder,
        photometric=_photometric(color, stored),
        extrasamples=tuple(int(value) for value in first.extrasamples) if "S" in stored else (),
        deflate=int(first.compression) != 1,
        bigtiff=tif.is_bigtiff,
        description=description,
        metadata=metadata,
        resolution=resolution if sized else None,
        resolution_unit=unit if sized and unit in (1, 2, 3, 4, 5) else 1,
        tags=tuple(
            (tag.code, int(tag.dtype), tag.count, tag.value.encode() if isinstance(tag.value, str) else tag.value, True)
            for tag in first.tags
            if tag.code in _KEPT_TAGS and not (tag.code == 305 and str(tag.value).startswith("tifffile"))
        ),
        series=choice.number,
        complete=choice.complete,
    )


def _photometric(color: str, stored: str) -> Literal["rgb", "separated", "miniswhite", "minisblack"]:
    """Of pages with these axes: a slice that was stored as a plane of a color is gray when it is alone."""
    if color in ("rgb", "ycbcr") and "S" in stored:
        return "rgb"
    if color == "cmyk":
        return "separated"
    return "miniswhite" if color == "miniswhite" else "minisblack"


def _escaped(value: Any) -> Any:
    """ImageJ's own way to write other letters than ASCII, as in the unit \\u00B5m."""
    if not isinstance(value, str):
        return value
    return "".join(letter if letter.isascii() else f"\\u{ord(letter):04X}" for letter in value)


def metadata_of(tif: TiffFile, first: TiffPage, layout: TiffLayout, orientation: int) -> Metadata:
    """What the first page says of color, print size and camera."""
    dpi = None
    if layout.resolution is not None and layout.resolution_unit in (2, 3):
        inch = 1.0 if layout.resolution_unit == 2 else 2.54
        x, y = (inch * top / bottom for top, bottom in layout.resolution)
        dpi = (x, y)
    icc, xmp = first.tags.valueof(_ICC), first.tags.valueof(_XMP)
    found = of_tiff(tif.filehandle, first.offset, tif.byteorder, big=tif.is_bigtiff)
    exif = None if found is None else block_of(found, orientation)
    return Metadata(
        icc=icc or None,
        exif=exif,
        xmp=xmp or None,
        dpi=dpi,
        tiff=layout,
        cmyk="adobe" if layout.photometric == "separated" else "",
        bits=1 if first.dtype == np.bool_ else 0,
    )
