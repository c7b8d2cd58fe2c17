"""Samples -> TIFF files with the axes, byte order, pixel size and description of their source, and nothing else."""

from __future__ import annotations

import struct
import xml.etree.ElementTree as ElementTree
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from preimage.errors import InputError
from preimage.images.atomic import write_bytes_atomically
from preimage.images.exif import CAMERA, DESCRIPTION, append_directories, of_block
from preimage.images.pixel_size import enlarged_layout, rational
from preimage.images.samples import COLORS, Samples, TiffLayout, check_values, in_one_bit, pages_first

_LARGEST_CLASSIC = 2**32 - 2**25  # offsets of 32 bits, and room for the tags
_ORIENTATION, _XMP = 274, 700
_BYTE, _ASCII, _SHORT = 1, 2, 3


def write_tiff(samples: Samples, file: BinaryIO, name: str) -> None:
    """Write samples to an open file, arranged by their TiffLayout, or page by page if they came from elsewhere.

    Equal samples give equal bytes: no dates, no identifiers, no name of a program. Raises InputError if the writer
    refuses them, naming the reason.
    """
    import tifffile

    pages = samples.pages
    layout = samples.metadata.tiff or _new_layout(samples)
    layout = enlarged_layout(layout, (pages.shape[1], pages.shape[2]))
    if layout.photometric in ("miniswhite", "separated") and pages.dtype.kind == "u":
        pages = np.iinfo(pages.dtype).max - pages
    if in_one_bit(samples) and layout.kind != "imagej":
        pages = pages > 127
    if samples.alpha is not None:
        pages = np.concatenate([pages, samples.alpha[..., None]], axis=3)
    as_imagej = layout.kind == "imagej" and set(layout.axes) <= set("TZCYXS")  # else its description as it was
    big = (layout.bigtiff or pages.nbytes > _LARGEST_CLASSIC) and not as_imagej
    try:
        array = _join_axes(pages, layout)
        options = _options(samples, layout, array)
        with tifffile.TiffWriter(file, bigtiff=big, byteorder=layout.byteorder, imagej=as_imagej, ome=False) as tif:
            if as_imagej:
                del options["extrasamples"]
                options["compression"] = None
                tif.write(array, metadata={**layout.metadata, "axes": layout.axes}, **options)
            elif layout.kind == "shaped":
                tif.write(array, metadata=layout.metadata, **options)
            else:
                _write_pages(tif, array, layout, options)
        if samples.metadata.exif is not None:
            append_directories(file, samples.metadata.exif, layout.byteorder, big=big)
    except (ValueError, TypeError, KeyError, struct.error) as error:  # such as an entry its writer does not take
        raise InputError(f"{name} cannot be encoded as TIFF ({error}): use another format", code="format") from error


def write_float_tiff(tensor: torch.Tensor | NDArray[Any], path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a map of real numbers, such as an uncertainty, as float32 TIFF.

    Example:
        >>> write_float_tiff(torch.zeros(1, 1, 32, 32), "uncertainty.tif").name
        'uncertainty.tif'

    A tensor is (h, w), (c, h, w) or (b, c, h, w), an array (h, w) or (h, w, c); any unit; one channel becomes (h, w),
    and b > 1 pages. Raises InputError for another shape, values that are not finite, another extension than .tif or
    .tiff, or a place that cannot be written to.
    """
    if Path(path).suffix.lower() not in (".tif", ".tiff"):
        raise InputError(f"{path}: a map of float values is written as TIFF: use .tif or .tiff", code="format")
    if tensor.ndim not in (2, 3, 4) or (tensor.ndim == 4 and not isinstance(tensor, torch.Tensor)):
        expected = "a map (h, w), (h, w, c) or a tensor (b, c, h, w)"
        raise InputError(f"expected {expected}, got {tuple(tensor.shape)}", code="shape")
    if isinstance(tensor, torch.Tensor):
        four = tensor.detach().cpu().float()
        pages = four.reshape(*[1] * (4 - four.ndim), *four.shape).numpy().transpose(0, 2, 3, 1)
    else:
        pages = np.asarray(tensor, np.float32).reshape(1, *tensor.shape[:2], -1)
    check_values(pages, "the map")
    samples = Samples(np.ascontiguousarray(pages), "TIFF")
    return write_bytes_atomically(path, lambda file: write_tiff(samples, file, str(path)), overwrite=overwrite)


def _join_axes(pages: NDArray[Any], layout: TiffLayout) -> NDArray[Any]:
    """(b, h, w, c) -> an array along layout.axes: the inverse of `split_axes`, whatever h and w have become."""
    sizes = dict(zip(layout.axes, layout.shape, strict=True)) | {"Y": pages.shape[1], "X": pages.shape[2]}
    order = pages_first(layout.axes)
    split = pages.reshape([sizes[layout.axes[i]] for i in order])
    return np.ascontiguousarray(split.transpose(np.argsort(order)))


def _new_layout(samples: Samples) -> TiffLayout:
    b, h, w, c = samples.pages.shape
    total = c + (samples.alpha is not None)
    dpi, exif = samples.metadata.dpi, samples.metadata.exif
    found = None if exif is None else of_block(exif)
    texts = {} if found is None else {each.tag: each.value.rstrip(b"\0") for each in found.main if each.kind == _ASCII}
    return TiffLayout(
        kind="plain",
        axes="QYX" if total == 1 else "QYXS",
        shape=(b, h, w) if total == 1 else (b, h, w, total),
        page_axes="YX" if total == 1 else "YXS",
        byteorder="<",
        photometric="separated" if samples.metadata.cmyk else "rgb" if c == 3 else "minisblack",
        extrasamples=(2,) if samples.alpha is not None else (),
        resolution=None if dpi is None else (rational(Fraction(dpi[0])), rational(Fraction(dpi[1]))),
        resolution_unit=1 if dpi is None else 2,
        description=texts.get(DESCRIPTION, b"").decode("utf-8", "replace") or None,
        tags=tuple((tag, _ASCII, 0, texts[tag], True) for tag in CAMERA if texts.get(tag)),
    )


def _options(samples: Samples, layout: TiffLayout, array: NDArray[Any]) -> dict[str, Any]:
    tags = list(layout.tags)
    if samples.orientation != 1:
        tags.append((_ORIENTATION, _SHORT, 1, samples.orientation, False))
    if samples.metadata.xmp:
        tags.append((_XMP, _BYTE, len(samples.metadata.xmp), samples.metadata.xmp, True))
    planar = "contig" if layout.page_axes.endswith("S") else "separate"
    return {
        "photometric": layout.photometric,
        "planarconfig": planar if "S" in layout.page_axes else None,
        "extrasamples": _extrasamples(samples, layout, array),
        "compression": "zlib" if layout.deflate else None,
        "iccprofile": samples.metadata.icc,
        "resolution": layout.resolution,
        "resolutionunit": layout.resolution_unit,
        "software": False,  # else the writer names itself
        "extratags": tags,
    }


def _extrasamples(samples: Samples, layout: TiffLayout, array: NDArray[Any]) -> tuple[int, ...] | None:
    # By its place, for an axis that is stored as samples may be one of channels, slices or times.
    stored = array.shape[layout.page_axes.index("S") - len(layout.page_axes)] if "S" in layout.page_axes else 1
    extra = stored - COLORS.get(layout.photometric, 1)
    if extra <= 0:
        return None
    if len(layout.extrasamples) == extra:
        return layout.extrasamples
    return (2,) if samples.alpha is not None and extra == 1 else (0,) * extra


def _write_pages(tif: Any, array: NDArray[Any], layout: TiffLayout, options: dict[str, Any]) -> None:
    planes = array.reshape(-1, *array.shape[-len(layout.page_axes) :])
    description = layout.description
    if layout.kind == "ome" and description is not None:
        description = _updated_ome(description, layout, array.shape, len(planes))
    text = None if description is None else description.encode()
    for number, plane in enumerate(planes):
        tif.write(plane, metadata=None, description=text if number == 0 else None, **options)
        options["extratags"] = [tag for tag in options["extratags"] if not tag[-1]]  # the others only once


def _updated_ome(xml: str, layout: TiffLayout, shape: tuple[int, ...], planes: int) -> str:
    """OME-XML for an array of this shape along layout.axes, stored as so many planes in their order.

    Sizes, pages and pixel sizes are those it has now. Left out are other images of the source, its identifier, where
    its planes lay in it and, of a picture of another size, regions of interest, which count in pixels of the source.
    """
    root = ElementTree.fromstring(xml)
    namespace = root.tag[1:].partition("}")[0] if root.tag.startswith("{") else ""
    ElementTree.register_namespace("", namespace)
    root.attrib.pop("UUID", None)  # names the source file, and this is another
    images = root.findall("{*}Image")
    for number, image in enumerate(images):
        if number != layout.series:
            root.remove(image)
    pixels = images[min(layout.series, len(images) - 1)].findall("{*}Pixels")[0]
    sizes = dict(zip(layout.axes, shape, strict=True))
    for axis in "XY":
        old, new = int(pixels.attrib[f"Size{axis}"]), sizes[axis]
        if new == old:
            continue
        pixels.set(f"Size{axis}", str(new))
        if f"PhysicalSize{axis}" in pixels.attrib:
            pixels.set(f"PhysicalSize{axis}", repr(float(pixels.attrib[f"PhysicalSize{axis}"]) * old / new))
        for parent in (root, *images):
            for child in parent.findall("{*}ROI") + parent.findall("{*}ROIRef"):
                parent.remove(child)
    if "BigEndian" in pixels.attrib:
        pixels.set("BigEndian", "true" if layout.byteorder == ">" else "false")
    replaced = pixels.findall("{*}TiffData")
    place = list(pixels).index(replaced[0]) if replaced else len(pixels.findall("{*}Channel"))
    if not layout.complete:
        pixels.set("SizeZ", "1")
        pixels.set("SizeT", "1")
        replaced += pixels.findall("{*}Plane")
    for child in replaced:
        pixels.remove(child)
    tag = f"{{{namespace}}}TiffData" if namespace else "TiffData"
    pixels.insert(place, ElementTree.Element(tag, {"IFD": "0", "PlaneCount": str(planes)}))
    return '<?xml version="1.0" encoding="UTF-8"?>' + ElementTree.tostring(root, encoding="unicode")
