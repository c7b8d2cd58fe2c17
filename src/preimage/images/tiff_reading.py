"""TIFF files -> samples, by tifffile; Pillow and OpenCV decode what it leaves to an optional package (LZW, JPEG ...)."""

from __future__ import annotations

import logging
import math
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from preimage.errors import InputError
from preimage.images.raster import damaged
from preimage.images.samples import COLORS, Samples, TiffLayout, check_size, page_count, split_axes
from preimage.images.tiff_bounds import check_chain, check_claims, check_decoding, check_series, check_stored, names_of
from preimage.images.tiff_decoding import decode_page
from preimage.images.tiff_layout import Choice, layout_of, metadata_of

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_COLORS = {0: "miniswhite", 1: "minisblack", 2: "rgb", 3: "palette", 5: "cmyk", 6: "ycbcr"}
_ORIENTATION, _INK_SET = 274, 332


def read_tiff(path: Path, name: str, page: int | Literal["all"] | None) -> Samples:
    """Decode the page, or all pages, of a TIFF file.

    Raises InputError if it is damaged or truncated, has several pages and none was chosen, has no such page, or holds
    colors that are neither grey nor RGB.
    """
    import tifffile

    logging.getLogger("tifffile").addFilter(_LISTENER)  # once: adding it again changes nothing
    remarks = _Remarks()
    token = _HEARD.set(remarks)
    try:
        # Geographic tags are carried, not interpreted: damaged ones must not keep a picture from being read.
        # Of Micro-Manager's kinds an index leads to other files: each is a plain, ImageJ or OME TIFF as well.
        with tifffile.TiffFile(path, is_geotiff=False, is_ndtiff=False, is_mmstack=False) as tif:
            check_claims(tif, path, name)
            choice = _choose(tif, page, name)
            if remarks.lost_pages:
                raise ValueError(remarks.lost_pages)
            if remarks.lost_planes:
                reason = "its ImageJ text counts planes that are not in the file"
                raise InputError(f"{name}: {reason}: it is cut off or forged, export it again", code="unreadable")
            return _read_choice(tif, choice, path, name)
    except (InputError, MemoryError):
        raise
    except Exception as error:
        raise damaged(name, error) from error
    finally:
        _HEARD.reset(token)


class _Remarks:
    """The reader's remarks that mean pages are missing; the others concern entries that are not needed."""

    lost_pages = ""
    lost_planes = False

    def add(self, text: str) -> None:
        if "invalid page offset" in text:
            self.lost_pages = text
        self.lost_planes |= "ImageJ series metadata invalid" in text


_HEARD: ContextVar[_Remarks | None] = ContextVar("_HEARD", default=None)


class _Listener(logging.Filter):
    """Keeps what the reader would print for the file that this thread reads, and lets pass what others make it say.

    The logger belongs to the whole process: nothing of it is changed for the time of one file.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        remarks = _HEARD.get()
        if remarks is None:
            return True
        remarks.add(record.getMessage())
        return False


_LISTENER = _Listener()


def _choose(tif: TiffFile, page: int | Literal["all"] | None, name: str) -> Choice:
    if not isinstance(page, int):
        check_chain(tif, name)
    for series in tif.series:
        check_series(series, name)
    # A smaller view of another page (the thumbnail of a camera) is no page.
    whole = [(number, series) for number, series in enumerate(tif.series) if not series.keyframe.is_reduced]
    whole = whole or list(enumerate(tif.series))
    every = [
        Choice(series, number, index, complete=False)
        for number, series in whole
        for index in range(page_count(series.axes, series.shape))
    ]
    if not every:
        raise ValueError("it holds no page")
    if isinstance(page, int) and page > len(every):
        raise no_such_page(name, page, len(every))
    if len(every) == 1 or page == "all":
        if len(whole) > 1:
            unlike = f"{name} has {len(every)} pages of different sizes or kinds"
            raise InputError(f"{unlike}: choose one with --page N", code="option")
        return Choice(whole[0][1], whole[0][0], None, complete=True)
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


def _read_choice(tif: TiffFile, choice: Choice, path: Path, name: str) -> Samples:
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
    layout = layout_of(tif, choice, axes, array.shape, stored, color)
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
    return Samples(pages, "TIFF", alpha, orientation, metadata_of(tif, first, layout, orientation))


def _index_of_planes(choice: Choice) -> int | None:
    """The index of a choice among the stored planes; None where one of them holds several pages, as planes of a color."""
    within = choice.series.axes[-choice.series.keyframe.ndim :]
    return choice.index if set(within) <= set("CYXS") else None


def _stored(choice: Choice) -> tuple[list[str], list[Any]]:
    """The planes that a choice consists of, by name, and the page of each; None for one that is not in the file."""
    series, index = choice.series, _index_of_planes(choice)
    held: list[Any] = series._pages
    planes = math.prod(series.shape) // max(1, math.prod(series.keyframe.shape))
    inner = series.keyframe.ndim
    lead_axes, lead = series.axes[:-inner], series.shape[:-inner]
    if math.prod(lead) != planes:  # not one page a plane
        return [f"page {i + 1}" for i in range(len(held))], held
    numbers = np.arange(planes).reshape(lead)
    names = np.array(names_of(numbers, lead_axes, lead), dtype=object).reshape(lead)
    numbers, names = (np.ravel(_chosen(each, lead_axes, index)[0]) for each in (numbers, names))
    # Of planes that lie one after another in the file there is the first page alone.
    return names.tolist(), [held[i] if len(held) == planes else held[0] for i in numbers.tolist()]


def _decode(tif: TiffFile, choice: Choice, path: Path, name: str) -> tuple[NDArray[Any], str, str]:
    """The chosen pages as an array, its axes, and those of one stored page; no other page is decoded if it can be.

    The axes are the series', which know what a file is of; its planes may be stored as those of a color.
    """
    series, keyframe, index = choice.series, choice.series.keyframe, _index_of_planes(choice)
    inner = keyframe.ndim
    lead_axes, lead = series.axes[:-inner], series.shape[:-inner]
    stored = "".join(axis for axis in keyframe.axes if axis in "YXS")
    regular = series.shape[-inner:] == keyframe.shape and len(stored) == inner
    if not regular or len(series.pages) != int(np.prod(lead)):
        array, axes = _chosen(series.asarray(), series.axes, choice.index)
        return array, axes, "".join(axis for axis in axes if axis in "YXS")
    planes, lead_axes = _chosen(np.arange(int(np.prod(lead))).reshape(lead), lead_axes, index)
    axes, shape = lead_axes + series.axes[-inner:], (*planes.shape, *keyframe.shape)
    array = _decoded(tif, choice, planes, path, name).reshape(shape)
    if index is None and choice.index is not None:  # a page within a stored plane
        array, axes = _chosen(array, axes, choice.index)
        stored = stored if "S" in axes else "YX"
    return array, axes, stored


def _decoded(tif: TiffFile, choice: Choice, planes: NDArray[Any], path: Path, name: str) -> NDArray[Any]:
    """The planes of these numbers, one after another."""
    series, keyframe = choice.series, choice.series.keyframe
    if _COLORS.get(int(keyframe.photometric)) != "ycbcr":  # which needs imagecodecs
        try:
            if choice.index is None or _index_of_planes(choice) is None:
                return series.asarray()
            return tif.asarray(key=planes.ravel().tolist(), series=choice.number)
        except (ValueError, NotImplementedError, ImportError) as error:
            if "imagecodecs" not in str(error) and "COMPRESSION" not in str(error):  # the latter before tifffile 2026
                raise
    pages: Any = series.pages
    return np.stack([decode_page(path, pages[int(plane)].index, keyframe, name) for plane in planes.ravel()])


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
