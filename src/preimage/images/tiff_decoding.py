"""Pages of a TIFF that tifffile leaves to an optional package (LZW, JPEG, Group 4 ...), decoded by Pillow or OpenCV."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from preimage.errors import InputError
from preimage.images.raster import pillow_unguarded
from preimage.images.samples import as_stored

if TYPE_CHECKING:
    from tifffile import TiffPage

_ORIENTATION = 274


def decode_page(path: Path, index: int, keyframe: TiffPage, name: str) -> NDArray[Any]:
    """The samples of a page of keyframe's kind in the shape and dtype tifffile would give.

    Pillow decodes 1 and 8 bits, since OpenCV would multiply colors by their alpha; OpenCV decodes the others, which Pillow
    would cut to 8.
    """
    small = keyframe.dtype in (np.uint8, np.bool_)
    decoded = _by_pillow(path, index, keyframe) if small else _by_opencv(path, index)
    if decoded is not None and keyframe.axes == "SYX" and decoded.ndim == 3:
        decoded = decoded.transpose(2, 0, 1)
    if decoded is None or decoded.dtype != keyframe.dtype or decoded.shape != keyframe.shape:
        compression = getattr(keyframe.compression, "name", keyframe.compression)
        page = f"a {keyframe.dtype} page of shape {keyframe.shape} in {compression} compression"
        way_out = "install imagecodecs, or save it uncompressed or with Deflate"
        raise InputError(f"{name}: {page} cannot be decoded, or is damaged: {way_out}", code="unreadable")
    return decoded


def _by_pillow(path: Path, index: int, keyframe: TiffPage) -> NDArray[Any] | None:
    from PIL import Image

    with pillow_unguarded(), Image.open(path, formats=["TIFF"]) as image:
        image.seek(index)
        image.load()
        mode = {"La": "LA", "RGBa": "RGBA", "YCbCr": "RGB"}.get(image.mode, image.mode)
        if mode not in ("1", "L", "LA", "RGB", "RGBA", "P", "CMYK"):
            return None
        pixels = np.asarray(image if mode == image.mode else image.convert(mode))
    # Pillow turns a TIFF upright by itself, and shows what is white at zero as it looks; we do so later.
    pixels = as_stored(pixels[None], int(keyframe.tags.valueof(_ORIENTATION, 1)))[0]
    if int(keyframe.photometric) != 0:
        return pixels
    return ~pixels if pixels.dtype == np.bool_ else 255 - pixels


def _by_opencv(path: Path, index: int) -> NDArray[Any] | None:
    import cv2

    log: Any = getattr(cv2.utils, "logging", cv2)  # in OpenCV 4 the functions are its own
    level = log.getLogLevel()
    log.setLogLevel(0)  # silent
    try:
        done, pages = cv2.imreadmulti(str(path), index, 1, flags=cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    finally:
        log.setLogLevel(level)
    if not done or len(pages) != 1:
        return None
    pixels = np.asarray(pages[0])
    if pixels.ndim == 3 and pixels.shape[2] in (3, 4):  # OpenCV has blue first
        pixels = np.ascontiguousarray(pixels[..., [2, 1, 0, 3][: pixels.shape[2]]])
    return pixels
