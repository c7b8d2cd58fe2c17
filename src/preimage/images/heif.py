"""HEIC files <-> samples, by pillow-heif (an optional package): 8 bits, and 10 or 12, which are held in 16; AVIF's depth."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preimage.errors import InputError
from preimage.extras import extra
from preimage.images.exif import HEADER
from preimage.images.files import read_bytes
from preimage.images.samples import Metadata, Samples, check_density, check_size
from preimage.memory import check_free

_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"mif2", b"msf1"}
_AVIF = {b"avif", b"avis"}
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_SRGB = ((1, 13), (1, 6), (1, 1), (2, 2))  # primaries and transfer of CICP (ITU-T H.273) that need not be said


def kind_of(head: bytes) -> str:
    """What a file of boxes (ISO 14496-12) holds, by its first bytes: "HEIC", "AVIF", "CR3", or "" for anything else."""
    if head[4:8] != b"ftyp":
        return ""
    length = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[8:12], *(head[at : at + 4] for at in range(16, length - 3, 4))}
    if head[8:12] == b"crx ":
        return "CR3"
    return "AVIF" if brands & _AVIF else "HEIC" if brands & _HEIC else ""


def depth_of_avif(data: bytes) -> int:
    """Bits of a value, by the greatest that its pictures are configured for (AV1 in ISOBMFF, section 2.3.3)."""
    depths, at = [8], data.find(b"av1C")
    while at >= 0:
        flags = data[at + 6] if at + 6 < len(data) else 0
        depths.append(12 if flags & 0x20 and flags & 0x40 else 10 if flags & 0x40 else 8)
        at = data.find(b"av1C", at + 4)
    return max(depths)


def read_heic(path: Path, name: str) -> Samples:
    """Decode the main picture of a HEIC file, turned upright as it says.

    Raises InputError if it is damaged, truncated or too large, and MissingExtra without pillow-heif.
    """
    pillow_heif = _library(f"{name} is a HEIC picture")
    data = read_bytes(path)
    try:
        pictures = pillow_heif.open_heif(data, convert_hdr_to_8bit=False, hdr_to_16bit=False)
        image = pictures[pictures.primary_index]
        (width, height), mode = image.size, image.mode
    except Exception as error:  # of any kind
        raise _damaged(name, "its header cannot be read") from error
    colors, _, bits = mode.replace("I;", "L;").partition(";")
    check_size(width, height, len(colors), name)
    check_density(width * height, len(data), name)
    check_free(width * height * len(colors) * 9 + len(data), name, "cut it, or reduce it first")
    if colors not in _MODES.values():
        wrong = f"{name} holds colors that are multiplied by their transparency ({colors})"
        raise InputError(f"{wrong}: save it as a PNG first", code="unreadable")
    try:
        pixels = np.asarray(image).reshape(height, width, len(colors))
    except MemoryError:
        raise
    except Exception as error:
        raise _damaged(name, "its pixels cannot be decoded") from error
    metadata = _metadata(image, pillow_heif, int(bits or 8))
    pixels = deepened(pixels, metadata.bits)[None]
    alpha = pixels[..., -1] if colors.endswith("A") else None
    others = len(pictures) - 1
    remarks = (f"{name} holds {others + 1} pictures, of which the main one is read",) if others else ()
    pages = pixels if alpha is None else pixels[..., :-1]
    return Samples(np.ascontiguousarray(pages), "HEIC", alpha, metadata=metadata, remarks=remarks)


def deepened(pixels: NDArray[Any], bits: int) -> NDArray[Any]:
    """Values of 10 or 12 bits on the scale of 16; those of 8 (bits 0) as they are."""
    return pixels if bits == 0 else np.rint(pixels * (65535 / (2**bits - 1))).astype(np.uint16)


def encode_heic(pixels: NDArray[Any], metadata: Metadata, name: str) -> bytes:
    """The bytes of a HEIC file of (h, w, 1 to 4), within a step of the values: as near as HEVC comes in YCbCr.

    Raises MissingExtra without pillow-heif, and ValueError where its encoder refuses them.
    """
    pillow_heif = _library(f"{name} is to be a HEIC picture")
    mode = _MODES[pixels.shape[2]]
    if pixels.dtype == np.uint16:
        pixels = np.rint(pixels * ((2**metadata.bits - 1) / 65535)).astype(np.uint16)
        mode = f"{mode};{metadata.bits}"
    given = {"exif": metadata.exif, "xmp": metadata.xmp, "icc_profile": metadata.icc}
    options: dict[str, Any] = {key: value for key, value in given.items() if value}
    for code, value in metadata.png_chunks:
        if code == b"cICP":
            options |= {"color_primaries": value[0], "transfer_characteristics": value[1]}
            options |= {"matrix_coefficients": 6, "full_range_flag": 1}
    if pixels.dtype == np.uint16:
        options["bit_depth"] = metadata.bits
    buffer = io.BytesIO()
    try:
        data = np.ascontiguousarray(pixels).tobytes()
        pillow_heif.encode(mode, pixels.shape[1::-1], data, buffer, quality=-1, chroma=444, **options)
    except (RuntimeError, SyntaxError, EOFError) as error:
        raise ValueError("the encoder refuses it") from error
    return buffer.getvalue()


def _library(what: str) -> Any:
    with extra("heif", subject=what):
        import pillow_heif
    return pillow_heif


def _metadata(image: Any, pillow_heif: Any, bits: int) -> Metadata:
    info = image.info
    pillow_heif.set_orientation(info)  # the decoder has turned it
    exif, nclx = info.get("exif"), info.get("nclx_profile") or {}
    said = (nclx.get("color_primaries", 2), nclx.get("transfer_characteristics", 2))
    chunk = () if info.get("icc_profile") or said in _SRGB else ((b"cICP", bytes([*said, 0, 1])),)
    return Metadata(
        icc=info.get("icc_profile") or None,
        exif=(exif if exif.startswith(HEADER) else HEADER + exif) if exif else None,
        xmp=info.get("xmp") or None,
        png_chunks=chunk,
        bits=0 if bits == 8 else bits,
    )


def _damaged(name: str, reason: str) -> InputError:
    problem = f"is damaged or truncated and cannot be decoded ({reason})"
    return InputError(f"{name} {problem}: get or save it again", code="unreadable")
