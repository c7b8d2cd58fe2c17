"""One page of a TIFF whose compression (LZW, JPEG ...) or bit packing tifffile leaves to an optional package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from preimage.errors import InputError
from preimage.images.orientation import as_stored

if TYPE_CHECKING:
    from tifffile import TiffPage


def decode_page(path: Path, page: Any, keyframe: TiffPage, name: str) -> NDArray[Any]:
    """The samples of a page in the shape and dtype tifffile would give; page may be a frame of keyframe's kind.

    Pillow decodes 8 bits, since OpenCV would multiply colors by their alpha; OpenCV decodes the others, which Pillow
    would cut to 8. Raises InputError where neither gives the samples the header promises.
    """
    decoded = _by_pillow(path, page.index, keyframe) if keyframe.dtype == np.uint8 else _by_opencv(path, page.index)
    if decoded is not None and keyframe.axes == "SYX" and decoded.ndim == 3:
        decoded = decoded.transpose(2, 0, 1)
    if decoded is None or decoded.dtype != keyframe.dtype or decoded.shape != keyframe.shape:
        compression = getattr(keyframe.compression, "name", keyframe.compression)
        raise InputError(
            f"{name}: a {keyframe.dtype} page of shape {keyframe.shape} in {compression} compression cannot be "
            f"decoded, or is damaged: install imagecodecs, or save it uncompressed or with Deflate",
            code="unreadable",
        )
    return decoded


def _by_pillow(path: Path, index: int, keyframe: TiffPage) -> NDArray[Any] | None:
    from PIL import Image

    from preimage.images.raster_reading import pillow_unguarded

    with pillow_unguarded(), Image.open(path, formats=["TIFF"]) as image:
        image.seek(index)
        image.load()
        modes = {"La": "LA", "RGBa": "RGBA", "YCbCr": "RGB", "RGBX": None}
        mode = modes.get(image.mode, image.mode)
        if mode not in ("L", "LA", "RGB", "RGBA", "P"):
            return None
        pixels = np.asarray(image if mode == image.mode else image.convert(mode))
    # Pillow turns a TIFF upright by itself, and shows what is white at zero as it looks; we do so later.
    orientation = int(keyframe.tags.valueof(274, 1))
    pixels = as_stored(pixels[None], orientation)[0]
    return 255 - pixels if int(keyframe.photometric) == 0 else pixels


def _by_opencv(path: Path, index: int) -> NDArray[Any] | None:
    import cv2

    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        done, pages = cv2.imreadmulti(str(path), index, 1, flags=cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    finally:
        cv2.utils.logging.setLogLevel(level)
    if not done or len(pages) != 1:
        return None
    pixels = np.asarray(pages[0])
    if pixels.ndim == 3 and pixels.shape[2] in (3, 4):  # OpenCV has blue first
        pixels = np.ascontiguousarray(pixels[..., [2, 1, 0, 3][: pixels.shape[2]]])
    return pixels
