"""Raw files of cameras (DNG and what else rawpy reads) -> samples: the mosaic by its own levels, or developed as 16-bit sRGB."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from preimage.errors import InputError
from preimage.extras import extra
from preimage.images.exif import block_of, directories_of
from preimage.images.files import read_bytes
from preimage.images.formats import RAW_SUFFIXES
from preimage.images.heif import kind_of
from preimage.images.samples import Metadata, Samples, check_density, check_size, upright
from preimage.memory import check_free

_OWN = (b"FUJIFILMCCD-RAW", b"IIU\0", b"IIRO", b"IIRS", b"MMOR", b"FOVb", b"\0MRM")
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PHOTOMETRIC, _SUBTYPE, _FURTHER_PAGES, _DNG = 262, 254, 330, 50706
_CFA, _LINEAR = 32803, 34892
_ORIENTATIONS = {0: 1, 3: 3, 5: 8, 6: 6}  # of LibRaw's flip, which are EXIF's
_SRGB = (b"sRGB", b"\0")
_BYTES = 48  # of memory that developing takes for a pixel


def is_raw(path: Path, head: bytes, file: BinaryIO) -> bool:
    """Whether a file holds a camera's raw values, by its first bytes and its first directory, whatever its name.

    A page that is a small version of another one, in a directory of its own, is the thumbnail of such a file.
    """
    if head.startswith(_OWN) or kind_of(head) == "CR3":
        return True
    if head[:4] not in _TIFF:
        return False
    if path.suffix.lower() in RAW_SUFFIXES or head[8:10] == b"CR":
        return True
    found = directories_of(file)
    tags = {} if found is None else {each.tag: each.number(found.order) for each in found.main}
    thumbnail = tags.get(_SUBTYPE, 0) & 1 and _FURTHER_PAGES in tags
    return bool(_DNG in tags or tags.get(_PHOTOMETRIC) in (_CFA, _LINEAR) or thumbnail)


def read_raw(path: Path, name: str, *, mosaic: bool) -> Samples:
    """The Bayer mosaic of a raw file, (h, w, 1) uint16 from its black to its white level; else developed, (h, w, 3) uint16.

    Raises InputError if it is damaged, of an unknown kind, too large or, of a mosaic, has none; MissingExtra without rawpy.
    """
    with extra("raw", subject=f"{name} is a raw file of a camera", way_out="or develop it to a TIFF first"):
        import rawpy
    data = read_bytes(path)
    # What asks for the sizes cannot unpack any more: once for each.
    sizes = _opened(rawpy, data, name, lambda raw: raw.sizes)
    width, height = sizes.raw_width, sizes.raw_height
    check_size(min(width, sizes.width), min(height, sizes.height), 3, name)
    check_size(width, height, 3, name)
    check_density(width * height, len(data), name)
    check_free(width * height * _BYTES, name, "develop and reduce it first")
    samples = _opened(rawpy, data, name, lambda raw: (_mosaic if mosaic else _developed)(raw, rawpy, name))
    check_size(samples.pages.shape[2], samples.pages.shape[1], 3, name)
    return samples if data[:4] not in _TIFF else _with_exif(samples, data)


def _opened(rawpy: Any, data: bytes, name: str, take: Callable[[Any], Any]) -> Any:
    try:
        with rawpy.RawPy() as raw:
            raw.open_buffer(io.BytesIO(data))
            return take(raw)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # of any kind
        reason = "it is damaged, cut off, or of a camera that is not known"
        way_out = "get it again, or convert it to DNG or TIFF"
        raise InputError(
            f"{name} is a raw file that cannot be decoded, {reason}: {way_out}", code="unreadable"
        ) from error


def _mosaic(raw: Any, rawpy: Any, name: str) -> Samples:
    raw.unpack()
    flat = raw.raw_type == rawpy.RawType.Flat
    pattern = raw.raw_pattern if flat else None
    letters = raw.color_desc.decode("ascii", "replace")
    if (
        pattern is None
        or pattern.shape != (2, 2)
        or sorted(letters[i] for i in pattern.ravel()) != ["B", "G", "G", "R"]
    ):
        wrong = "holds no Bayer mosaic of red, green and blue"
        raise InputError(f"{name} {wrong}: another task develops it, such as denoise", code="shape")
    values, colors = raw.raw_image_visible.astype(np.float32), raw.raw_colors_visible
    black, white = np.array(raw.black_level_per_channel, np.float32), float(raw.white_level)
    if not black.max() < white:
        levels = f"its black level {black.max():g} is not below its white level {white:g}"
        raise InputError(f"{name}: {levels}: convert it to DNG again", code="range")
    scaled = np.clip((values - black[colors]) / (white - black[colors]), 0, 1) * 65535
    turn = _ORIENTATIONS.get(raw.sizes.flip, 1)
    corner = upright(colors[None], turn)[0, :2, :2]
    found = "".join(letters[i] for i in corner.ravel())
    said = f"black level {', '.join(f'{each:g}' for each in dict.fromkeys(black))} and white level {white:g}"
    remark = f"{name}: raw values of {said}; the result is linear color of the camera, without white balance"
    pages = upright(np.rint(scaled).astype(np.uint16)[None, ..., None], turn)
    return Samples(pages, "raw", metadata=Metadata(pattern=found), remarks=(remark,))


def _developed(raw: Any, rawpy: Any, name: str) -> Samples:
    color = rawpy.ColorSpace.sRGB
    pixels: NDArray[np.uint16] = raw.postprocess(
        use_camera_wb=True, output_bps=16, no_auto_bright=True, output_color=color, gamma=(2.4, 12.92)
    )
    remark = f"{name} was developed by rawpy: white balance of the camera, 16-bit sRGB (demosaic takes its raw values)"
    pages = np.ascontiguousarray(pixels.reshape(1, *pixels.shape[:2], -1))
    return Samples(pages, "raw", metadata=Metadata(png_chunks=(_SRGB,)), remarks=(remark,))


def _with_exif(samples: Samples, data: bytes) -> Samples:
    found = directories_of(io.BytesIO(data))
    exif = None if found is None else block_of(found)  # upright by now: without orientation
    return replace(samples, metadata=replace(samples.metadata, exif=exif))
