"""TIFF files -> samples, by tifffile; Pillow and OpenCV decode what it leaves to an optional package (LZW, JPEG ...)."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from preimage.errors import InputError
from preimage.images.exif import block_of, of_tiff
from preimage.images.raster import damaged
from preimage.images.samples import COLORS, Metadata, Samples, TiffLayout, check_size, page_count, split_axes
from preimage.images.tiff_bounds import check_chain, check_claims, check_decoding, check_series, check_stored, names_of
from preimage.images.tiff_decoding import decode_page

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage, TiffPageSeries

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_COLORS = {0: "miniswhite", 1: "minisblack", 2: "rgb", 3: "palette", 5: "cmyk", 6: "ycbcr"}
_WRITTEN: dict[str, Any] = {"rgb": "rgb", "ycbcr": "rgb", "miniswhite": "miniswhite", "cmyk": "separated"}
# Document and page names, camera, software, date, artist, copyright, IPTC, geography: carried as they are.
_KEPT_TAGS = (269, 271, 272, 285, 305, 306, 315, 316, 33432, 33723, 33550, 33922, 34264, 34735, 34736, 34737)
_KEPT_TAGS += (42112, 42113)
_ORIENTATION, _INK_SET, _XMP, _ICC = 274, 332, 700, 34675


@dataclass(frozen=True)
class _Choice:
    """One page of a series, or all of them (index None)."""

    series: TiffPageSeries
    number: int
    index: int | None
    complete: bool


def read_tiff(path: Path, name: str, page: int | Literal["all"] | None) -> Samples:
    """Decode the page, or all pages, of a TIFF file.

    Raises InputError if it is damaged or truncated, has several pages and none was chosen, has no such page, or holds
    colors that are neither grey nor RGB.
    """
    import tifffile

    record = _Record()
    logger = logging.getLogger("tifffile")
    logger.addHandler(record)  # what the reader would print
    propagate, logger.propagate = logger.propagate, False
    try:
        # Geographic tags are carried, not interpreted: damaged ones must not keep a picture from being read.
        # Of Micro-Manager's kinds an index leads to other files: each is a plain, ImageJ or OME TIFF as well.
        with tifffile.TiffFile(path, is_geotiff=False, is_ndtiff=False, is_mmstack=False) as tif:
            check_claims(tif, path, name)
            choice = _choose(tif, page, name)
            if record.lost_pages:
                raise ValueError(record.lost_pages)
            if record.lost_planes:
                reason = "its ImageJ text counts planes that are not in the file"
                raise InputError(f"{name}: {reason}: it is cut off or forged, export it again", code="unreadable")
            return _read_choice(tif, choice, path, name)
    except (InputError, MemoryError):
        raise
    except Exception as error:
        raise damaged(name, error) from error
    finally:
        logger.removeHandler(record)
        logger.propagate = propagate


class _Record(logging.Handler):
    """Remembers the messages that mean pages are missing; the others concern entries that are not needed."""

    lost_pages = ""
    lost_planes = False

    def emit(self, record: logging.LogRecord) -> None:
        if "invalid page offset" in record.getMessage():
            self.lost_pages = record.getMessage()
        self.lost_planes |= "ImageJ series metadata invalid" in record.getMessage()


def _choose(tif: TiffFile, page: int | Literal["all"] | None, name: str) -> _Choice:
    if not isinstance(page, int):
        check_chain(tif, name)
    for series in tif.series:
        check_series(series, name)
    every = [
        _Choice(series, number, index, complete=False)
        for number, series in enumerate(tif.series)
        for index in range(page_count(series.axes, series.shape))
    ]
    if not every:
        raise ValueError("it holds no page")
    if isinstance(page, int) and page > len(every):
        raise no_such_page(name, page, len(every))
    if len(every) == 1 or page == "all":
        if len(tif.series) > 1:
            unlike = f"{name} has {len(every)} pages of different sizes or kinds"
            raise InputError(f"{unlike}: choose one with --page N", code="option")
        return _Choice(tif.series[0], 0, None, complete=True)
    if page is None:
        raise SeveralPages(name, len(every))
    return every[page - 1]


class SeveralPages(InputError):
    """A file of several pages of which none was chosen; a caller that takes one page only rewords it with name and count."""

    def __init__(self, name: str, count: int) -> None:
        way_out = "choose one with --page N (from 1) or take --page all"
        super().__init__(f"{name} has {count} pages: {way_out}", code="option")
        self.name = name
        self.count = count


def no_such_page(name: str, page: object, count: int) -> InputError:
    """The error for a page number out of range."""
    held = "1 page" if count == 1 else f"{count} pages"
    return InputError(f"{name} has {held}, got page {page}: choose from 1 to {count}")


def _read_choice(tif: TiffFile, choice: _Choice, path: Path, name: str) -> Samples:
    series = choice.series
    sizes = dict(zip(series.axes, series.shape, strict=True))
    if series.axes.count("Y") != 1 or series.axes.count("X") != 1:
        problem = f"{name} holds no rows and columns (axes {series.axes})"
        raise InputError(f"{problem}: export it as a plain TIFF", code="unreadable")
    check_size(sizes["X"], sizes["Y"], sizes.get("C", 1) * sizes.get("S", 1), name)
    first = series.keyframe
    color = _COLORS.get(int(first.photometric))
    if color is None or (color == "cmyk" and (first.tags.valueof(_INK_SET, 1) != 1 or first.samplesperpixel < 4)):
        problem = f"{name} is a {getattr(first.photometric, 'name', first.photometric)} picture, neither grey nor RGB"
        raise InputError(f"{problem}: convert it to RGB first", code="unreadable")
    planes, pages = _stored(choice)
    check_stored(pages, planes, first, name)
    check_decoding(len(planes), first, name, path.stat().st_size)
    array, axes, stored = _decode(tif, choice, path, name)
    layout = _layout(tif, choice, axes, array.shape, stored, color)
    pages = split_axes(array, axes)
    if color == "palette" and not tif.is_imagej:  # ImageJ's palettes color a measurement, others are the picture
        pages = _through_palette(pages, first)
    if pages.dtype == np.bool_:
        pages = pages.astype(np.uint8) * 255
    pages, alpha = _apart(pages, layout)
    if color in ("miniswhite", "cmyk") and pages.dtype.kind == "u":
        pages = np.iinfo(pages.dtype).max - pages
    orientation = int(first.tags.valueof(_ORIENTATION, 1))
    orientation = orientation if orientation in range(1, 9) else 1
    return Samples(pages, "TIFF", alpha, orientation, _metadata(tif, first, layout, orientation))


def _stored(choice: _Choice) -> tuple[list[str], list[Any]]:
    """The planes that a choice consists of, by name, and the page of each; None for one that is not in the file."""
    series = choice.series
    held: list[Any] = series._pages
    planes = math.prod(series.shape) // max(1, math.prod(series.keyframe.shape))
    inner = series.keyframe.ndim
    lead_axes, lead = series.axes[:-inner], series.shape[:-inner]
    if math.prod(lead) != planes:  # not one page a plane
        return [f"page {i + 1}" for i in range(len(held))], held
    numbers = np.arange(planes).reshape(lead)
    names = np.array(names_of(numbers, lead_axes, lead), dtype=object).reshape(lead)
    numbers, names = (np.ravel(_chosen(each, lead_axes, choice.index)[0]) for each in (numbers, names))
    # Of planes that lie one after another in the file there is the first page alone.
    return names.tolist(), [held[i] if len(held) == planes else held[0] for i in numbers.tolist()]


def _decode(tif: TiffFile, choice: _Choice, path: Path, name: str) -> tuple[NDArray[Any], str, str]:
    """The chosen pages as an array, its axes, and those of one stored page; no other page is decoded if it can be."""
    series, keyframe = choice.series, choice.series.keyframe
    inner = keyframe.ndim
    lead_axes, lead = series.axes[:-inner], series.shape[:-inner]
    stored = "".join(axis for axis in keyframe.axes if axis in "YXS")
    regular = series.shape[-inner:] == keyframe.shape and len(stored) == inner
    if not regular or len(series.pages) != int(np.prod(lead)):
        array, axes = _chosen(series.asarray(), series.axes, choice.index)
        return array, axes, "".join(axis for axis in axes if axis in "YXS")
    planes, lead_axes = _chosen(np.arange(int(np.prod(lead))).reshape(lead), lead_axes, choice.index)
    axes, shape = lead_axes + keyframe.axes, (*planes.shape, *keyframe.shape)
    if _COLORS.get(int(keyframe.photometric)) != "ycbcr":  # which needs imagecodecs
        try:
            if choice.index is None:
                return series.asarray().reshape(shape), axes, stored
            return tif.asarray(key=planes.ravel().tolist(), series=choice.number).reshape(shape), axes, stored
        except (ValueError, NotImplementedError, ImportError) as error:
            if "imagecodecs" not in str(error):
                raise
    pages: Any = series.pages
    decoded = [decode_page(path, pages[int(plane)].index, keyframe, name) for plane in planes.ravel()]
    return np.stack(decoded).reshape(shape), axes, stored


def _chosen(array: NDArray[Any], axes: str, index: int | None) -> tuple[NDArray[Any], str]:
    """The page of this index, and its axes: those that do not count pages."""
    if index is None:
        return array, axes
    counting = [i for i, axis in enumerate(axes) if axis not in "CYXS"]
    rest = [i for i in range(array.ndim) if i not in counting]
    pages = array.transpose(counting + rest).reshape(-1, *(array.shape[i] for i in rest))
    return pages[index], "".join(axes[i] for i in rest)


def _through_palette(pages: NDArray[Any], first: TiffPage) -> NDArray[Any]:
    colormap: Any = first.colormap
    if pages.shape[3] != 1 or colormap is None:
        raise ValueError("a palette picture without palette")
    return (colormap[:, pages[..., 0]] >> 8).astype(np.uint8).transpose(1, 2, 3, 0)


def _apart(pages: NDArray[Any], layout: TiffLayout) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Colors and alpha, if the last of the samples is declared as such."""
    colors = COLORS.get(layout.photometric, 1)
    declared = layout.extrasamples in ((1,), (2,)) and "S" in layout.axes and "C" not in layout.axes
    if not declared or pages.shape[3] != colors + 1:
        return pages, None
    return pages[..., :colors], pages[..., colors]


def _layout(tif: TiffFile, choice: _Choice, axes: str, shape: tuple[int, ...], stored: str, color: str) -> TiffLayout:
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
        photometric=_WRITTEN.get(color, "minisblack"),
        extrasamples=tuple(int(value) for value in first.extrasamples),
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


def _escaped(value: Any) -> Any:
    """ImageJ's own way to write other letters than ASCII, as in the unit \\u00B5m."""
    if not isinstance(value, str):
        return value
    return "".join(letter if letter.isascii() else f"\\u{ord(letter):04X}" for letter in value)


def _metadata(tif: TiffFile, first: TiffPage, layout: TiffLayout, orientation: int) -> Metadata:
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
    )
