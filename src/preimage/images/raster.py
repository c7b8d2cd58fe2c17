"""PNG, JPEG, WebP, BMP, GIF and AVIF files -> samples: Pillow, and OpenCV for the 16-bit PNG that Pillow would cut to 8."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from preimage.errors import InputError, MissingExtra
from preimage.images.files import open_file
from preimage.images.formats import READ_BY_PILLOW
from preimage.images.heif import deepened, depth_of_avif, kind_of
from preimage.images.jpeg_coding import jpeg_coding_of
from preimage.images.salvage import jpeg_lacks, mended, png_lacks, png_overreaches
from preimage.images.samples import Metadata, Samples, check_density, check_size
from preimage.memory import check_free

if TYPE_CHECKING:
    from PIL import Image

_NAMES = {"WEBP": "WebP", "MPO": "JPEG"}  # a phone's MPO is a JPEG followed by other views of it
_CONVERTED = {"1": "L", "La": "LA", "P": "RGB", "PA": "RGBA", "RGBX": "RGB"}
_EXIF_HEADER = b"Exif\x00\x00"
_ORIENTATION_TAG = 274
SALVAGING = ", or read what is there (--salvage, salvage=True)"
_lock = threading.Lock()


@dataclass
class _Unguarded:
    users: int = 0
    limit: int | None = None
    warnings: Any = None


_unguarded = _Unguarded()


def read_raster(path: Path, name: str, *, salvage: bool = False, at_least: tuple[int, int] | None = None) -> Samples:
    """Decode a file of one picture.

    salvage: of a file that is cut off, what is there. at_least: (width, height) below which no side needs to be: a JPEG may be
    decoded at a half, a quarter or an eighth of its size.
    Raises InputError if it is none of the formats, damaged, truncated, animated, too large or not grey or RGB.
    """
    with open_file(path) as file, pillow_unguarded():
        check_free(os.fstat(file.fileno()).st_size, name, "check the file")
        with _opened(file, name) as image:
            form, frames = image.format or "", _frames(image, name)
            size = os.fstat(file.fileno()).st_size
            check_size(image.width, image.height, len(image.getbands()), name)
            check_density(image.width * image.height, size, name)
            needed = image.width * image.height * len(image.getbands()) * (4 if at_least else 7) + size
            check_free(needed, name, "cut it, or reduce it first")
            pixels = image.width * image.height
        if frames > 1:
            way_out = "save the frame to be restored as a PNG"
            raise InputError(f"{name} is an animation of {frames} frames: {way_out}", code="unreadable")
        file.seek(0)
        data = file.read()
        try:
            return _decoded(data, name, form, at_least)
        except InputError as error:
            whole = mended(data, form, pixels) if salvage and error.code == "unreadable" else None
            if whole is None:
                raise
        what = "is cut off: what is missing was read as gray or black"
        return replace(_decoded(whole, name, form, None, whole=False), remarks=(f"{name} {what}",), salvaged=True)


def _decoded(data: bytes, name: str, form: str, at_least: tuple[int, int] | None, *, whole: bool = True) -> Samples:
    lacking = {"JPEG": jpeg_lacks, "MPO": jpeg_lacks, "PNG": png_lacks}.get(form)
    if whole and lacking is not None and (lacks := lacking(data)):
        raise damaged(name, ValueError(lacks), form)
    with _opened(io.BytesIO(data), name) as image:
        coding = coding_of(image)
        if at_least is not None and form in ("JPEG", "MPO"):
            image.draft("RGB", at_least)
        try:
            image.load()
            return samples_of_image(image, name, _NAMES.get(form, form), coding=coding, data=data)
        except InputError:
            raise
        except Exception as error:  # decoders raise their own, of any kind
            raise damaged(name, error, form) from error


def _opened(file: BinaryIO, name: str) -> Image.Image:
    from PIL import Image, UnidentifiedImageError, features

    try:
        return Image.open(file, formats=READ_BY_PILLOW)
    except UnidentifiedImageError as error:
        if kind_of(_start(file)) == "AVIF" and not features.check("avif"):
            raise MissingExtra(
                f"{name} is an AVIF picture, which this Pillow does not read: pip install -U pillow"
            ) from error
        problem = f"{name} is no picture that can be read, or is damaged"
        way_out = "give a PNG, JPEG, WebP, BMP, GIF, AVIF, HEIC or TIFF file"
        raise InputError(f"{problem}: {way_out}", code="unreadable") from error
    except Exception as error:
        raise damaged(name, error) from error


def _start(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read(64)


def _frames(image: Image.Image, name: str) -> int:
    try:
        return 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))
    except Exception as error:
        raise damaged(name, error, image.format or "") from error


def samples_of_image(
    image: Image.Image, name: str, form: str, *, coding: str = "", data: bytes | None = None
) -> Samples:
    """A loaded Pillow image -> samples.

    coding is `coding_of` the image before it was loaded; data, the file, lets all 16 bits of a PNG be read.
    """
    deep = depth_of_avif(data) if data is not None and image.format == "AVIF" else 8
    if deep > 8 and data is not None:
        pixels, alpha = _decode_16(image, data, coding, name)
        pixels, alpha = deepened(pixels, deep), None if alpha is None else deepened(alpha, deep)
    elif data is not None and coding.endswith("16B"):
        pixels, alpha = _decode_16(image, data, coding, name)
    else:
        pixels, alpha = _decode(image, coding, name)
    metadata = _metadata(image)
    metadata = replace(metadata, bits=deep) if deep > 8 else metadata
    return Samples(pixels[None], form, None if alpha is None else alpha[None], _orientation(metadata.exif), metadata)


def coding_of(image: Image.Image) -> str:
    """Pillow's name for the samples as stored, such as "RGB;16B"; known only until the image is loaded."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def damaged(name: str, error: Exception, form: str = "") -> InputError:
    """The error for a file whose header was understood and whose rest was not."""
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    problem = f"is damaged or truncated and cannot be decoded ({reason})"
    rest = SALVAGING if form in ("JPEG", "MPO", "PNG", "BMP") else ""
    return InputError(f"{name} {problem}: get or save it again{rest}", code="unreadable")


@contextlib.contextmanager
def pillow_unguarded() -> Iterator[None]:
    """Without Pillow's own limit, which lies below real pictures, and its warnings: check_size has the limit.

    Both are settings of the whole process: the first of several threads makes them, the last puts them back.
    """
    from PIL import Image

    with _lock:
        if not _unguarded.users:
            _unguarded.limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            _unguarded.warnings = warnings.catch_warnings()
            _unguarded.warnings.__enter__()
            warnings.simplefilter("ignore")
        _unguarded.users += 1
    try:
        yield
    finally:
        with _lock:
            _unguarded.users -= 1
            if not _unguarded.users:
                _unguarded.warnings.__exit__(None, None, None)
                Image.MAX_IMAGE_PIXELS = _unguarded.limit


def _decode(image: Image.Image, coding: str, name: str) -> tuple[NDArray[Any], NDArray[Any] | None]:
    mode = image.mode
    if mode in ("1", "L") and isinstance(image.info.get("transparency"), int):
        grey = np.asarray(image.convert("L"))
        # Pillow widens 2 and 4 bits to 8, but not the transparent one among their values.
        transparent = image.info["transparency"] * {"L;2": 85, "L;4": 17}.get(coding, 1)
        return grey[..., None], np.where(grey == transparent, 0, 255).astype(np.uint8)
    if mode in ("P", "PA") and image.palette is None:
        raise damaged(name, ValueError("it has no palette"))
    with_alpha = mode in ("P", "PA", "RGB", "RGBa") and image.has_transparency_data
    wanted = "RGBA" if with_alpha else _CONVERTED.get(mode, mode)
    if wanted not in ("L", "RGB", "F", "I", "LA", "RGBA", "CMYK") and not wanted.startswith("I;16"):
        raise InputError(
            f"{name} is a {mode} picture, neither grey nor RGB: convert it to RGB first", code="unreadable"
        )
    pixels = np.asarray(image if wanted == mode else image.convert(wanted))
    if _cmyk(image) == "adobe":  # what is not "plain" Pillow has as inks; a plain JPEG it takes for one of Adobe's
        pixels = 255 - pixels
    if wanted in ("LA", "RGBA"):
        return pixels[..., :-1], pixels[..., -1]
    return pixels.reshape(*pixels.shape[:2], -1), None


def _decode_16(image: Image.Image, data: bytes, coding: str, name: str) -> tuple[NDArray[Any], NDArray[Any] | None]:
    import cv2

    if image.format == "PNG" and png_overreaches(data):
        raise damaged(name, ValueError("a part of it is longer than the file"))
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None or decoded.dtype != np.uint16 or decoded.shape[:2] != (image.height, image.width):
        raise damaged(name, ValueError("its 16-bit pixels could not be decoded"))
    if decoded.ndim == 2:
        transparent = image.info.get("transparency")
        alpha = None if transparent is None else np.where(decoded == transparent, 0, 65535).astype(np.uint16)
        return decoded[..., None], alpha
    colors = decoded[..., :1] if coding.startswith("LA") else decoded[..., 2::-1]  # OpenCV has blue first
    return np.ascontiguousarray(colors), decoded[..., 3] if decoded.shape[2] == 4 else None


def _metadata(image: Image.Image) -> Metadata:
    info = image.info
    exif = info.get("exif")
    if exif and not exif.startswith(_EXIF_HEADER):
        exif = _EXIF_HEADER + exif
    dpi = info.get("dpi")
    return Metadata(
        icc=info.get("icc_profile") or None,
        exif=exif or None,
        xmp=info.get("xmp") or None,
        dpi=(float(dpi[0]), float(dpi[1])) if dpi and min(dpi) > 0 else None,
        text=tuple(getattr(image, "text", {}).items()) if image.format == "PNG" else (),
        png_chunks=_png_chunks(info) if image.format == "PNG" else (),
        comment=info.get("comment") if image.format in ("JPEG", "MPO") else None,
        cmyk=_cmyk(image),
        bits=1 if image.mode == "1" else 0,
        quantization=jpeg_coding_of(image),
    )


def _cmyk(image: Image.Image) -> Literal["", "adobe", "plain"]:
    if image.mode != "CMYK":
        return ""
    return "plain" if image.format in ("JPEG", "MPO") and "adobe" not in image.info else "adobe"


def _png_chunks(info: dict[Any, Any]) -> tuple[tuple[bytes, bytes], ...]:
    """What the values of a PNG mean as light, in the units of the PNG specification."""
    chunks = []
    if "chromaticity" in info:
        chunks.append((b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in info["chromaticity"]))))
    if "gamma" in info:
        chunks.append((b"gAMA", struct.pack(">I", round(info["gamma"] * 100_000))))
    if "srgb" in info:
        chunks.append((b"sRGB", bytes([info["srgb"]])))
    return tuple(chunks)


def _orientation(exif: bytes | None) -> int:
    from PIL import Image

    tags = Image.Exif()
    with contextlib.suppress(Exception):  # an EXIF block that cannot be read is carried along all the same
        tags.load(exif or b"")
        value = tags.get(_ORIENTATION_TAG, 1)
        return value if value in range(1, 9) else 1
    return 1
