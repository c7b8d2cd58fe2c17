"""Samples -> PNG, JPEG, WebP, BMP, AVIF, HEIC and FITS files: Pillow, and OpenCV for 16-bit PNG, which Pillow does not write."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preimage.errors import InputError, MissingExtra
from preimage.images.fits_writing import encode_fits
from preimage.images.formats import AVIF, BMP, FITS, HEIC, JPEG, PNG, WEBP, Format
from preimage.images.heif import encode_heic
from preimage.images.samples import Metadata, Samples, in_one_bit

_JPEG_QUALITY = 95
_ADOBE = b"\xff\xee\x00\x0eAdobe"  # and seven bytes
_PNG_IHDR_END = 33  # the signature and the first chunk are of fixed length


def encode_raster(samples: Samples, form: Format, name: str) -> bytes:
    """The bytes of a file of one page, or of a FITS file of several; equal samples give equal bytes.

    Raises InputError if the encoder refuses them, naming the reason.
    """
    if form is FITS:
        return encode_fits(samples, name)
    pixels = samples.pages[0]
    if samples.alpha is not None:
        pixels = np.concatenate([pixels, samples.alpha[0, ..., None]], axis=2)
    try:
        if form is HEIC:
            return encode_heic(pixels, samples.metadata, name)
        if pixels.dtype == np.uint16:
            return _encode_png16(pixels, samples.metadata)
        one_bit = form in (PNG, BMP) and in_one_bit(samples)
        return _encode_by_pillow(pixels > 127 if one_bit else pixels, form, samples.metadata)
    except MissingExtra:
        raise
    except (ValueError, OSError) as error:  # such as a profile or EXIF block longer than JPEG allows
        problem = f"{name} cannot be encoded as {form.name} ({error})"
        raise InputError(f"{problem}: use .png or .tif", code="format") from error


def _encode_by_pillow(pixels: NDArray[Any], form: Format, metadata: Metadata) -> bytes:
    from PIL import Image

    icc, dpi = metadata.icc, metadata.dpi
    if form is WEBP and pixels.shape[2] < 3:  # WebP knows no grey: three equal channels, and no profile for one
        pixels = np.concatenate([pixels[..., :1]] * 3 + [pixels[..., 1:]], axis=2)
        icc = None if icc is not None and icc[16:20] == b"GRAY" else icc
    # JPEG counts whole dots per inch in 16 bits, the others dots per meter in 31: a microscope may have more.
    most_dots = 2**16 - 1 if form is JPEG else 2**31 * 0.0254
    optional = {
        "comment": metadata.comment if form is JPEG else None,
        "icc_profile": icc,
        "exif": metadata.exif,
        "xmp": metadata.xmp if form in (JPEG, WEBP, AVIF) else None,
        "dpi": dpi if dpi and min(dpi) >= 1 and max(dpi) < most_dots else None,
    }
    options: dict[str, Any] = {key: value for key, value in optional.items() if value}
    if form is JPEG:
        options |= {"quality": _JPEG_QUALITY, "subsampling": 0}
    elif form is WEBP:
        options |= {"lossless": True, "exact": True}  # exact: the colors under transparent pixels too
    elif form is AVIF:
        options |= {"quality": 100, "subsampling": "4:0:0" if pixels.shape[2] == 1 else "4:4:4"}
    elif form is PNG:
        options["pnginfo"] = _png_info(metadata)
    if metadata.cmyk == "adobe":
        pixels = 255 - pixels  # inks
    pixels = np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image = Image.frombuffer("CMYK", pixels.shape[1::-1], pixels) if metadata.cmyk else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, format=form.name.upper(), **options)
    return _without_adobe(buffer.getvalue()) if metadata.cmyk == "plain" else buffer.getvalue()


def _without_adobe(data: bytes) -> bytes:
    """A JPEG without the marker that says its inks are inverted."""
    at = data.index(_ADOBE)
    return data[:at] + data[at + len(_ADOBE) + 7 :]


def _png_info(metadata: Metadata) -> Any:
    from PIL.PngImagePlugin import PngInfo, iTXt

    info = PngInfo()
    for code, data in metadata.png_chunks:
        info.add(code, data)
    for key, value in metadata.text:
        if isinstance(value, iTXt):
            info.add_itxt(key, str(value), str(value.lang or ""), str(value.tkey or ""))
        else:
            info.add_text(key, value)
    if metadata.xmp and "XML:com.adobe.xmp" not in dict(metadata.text):
        info.add_itxt("XML:com.adobe.xmp", metadata.xmp.decode("utf-8", "replace"))
    return info


def _encode_png16(pixels: NDArray[Any], metadata: Metadata) -> bytes:
    import cv2

    if pixels.shape[2] == 2:  # OpenCV writes no grey with alpha: three equal channels with alpha
        pixels = pixels[..., [0, 0, 0, 1]]
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[pixels.shape[2]]  # OpenCV has blue first
    _, encoded = cv2.imencode(".png", np.ascontiguousarray(pixels[..., order]))
    data = encoded.tobytes()
    # Neither library writes 16-bit RGB and text: Pillow writes the metadata around one pixel, and its chunks, all of
    # which may stand between the header and the pixels, are put in there.
    pixel = np.zeros((1, 1, 1 if pixels.shape[2] == 1 else 3), np.uint8)
    bare = _encode_by_pillow(pixel, PNG, Metadata())
    dressed = _encode_by_pillow(pixel, PNG, metadata)
    chunks = dressed[_PNG_IHDR_END : len(dressed) - len(bare) + _PNG_IHDR_END]
    return data[:_PNG_IHDR_END] + chunks + data[_PNG_IHDR_END:]
