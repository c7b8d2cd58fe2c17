"""Hostile pictures, made by code: sound files of each format, cut, flipped, forged, bombs, and what is no picture.

What a command may do with one: "same", refuse it, or give what the sound file gives; "decoded", refuse it, or give what an
independent and strict reader finds; "refused"; "any", whatever `server.faults` allows.
"""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from tests.cli.tiny import pictures

Damaged = tuple[str, str, bytes, str]  # what was done, to which sound file, the bytes, what is allowed


@cache
def seeds() -> dict[str, bytes]:
    """A sound file of each format, by its name."""
    noisy = pictures(24, 32)[1]
    grey, stack = noisy[..., 0], noisy.transpose(2, 0, 1)
    deep, alpha = grey.astype(np.uint16) * 257, np.dstack([noisy, np.full_like(grey, 255)])
    rasters: dict[str, tuple[Any, dict[str, Any]]] = {
        "rgb.png": (noisy, {}), "grey.png": (grey, {}), "deep.png": (deep, {}), "alpha.png": (alpha, {}),
        "rgb.jpg": (noisy, {"quality": 90}), "grey.jpg": (grey, {}), "progressive.jpg": (noisy, {"progressive": True}),
        "lossy.webp": (noisy, {"quality": 80}), "exact.webp": (noisy, {"lossless": True}),
        "still.gif": (grey, {}), "rgb.bmp": (noisy, {}), "grey.bmp": (grey, {}),
    }  # fmt: skip
    pages = {"photometric": "minisblack"}
    tiffs: dict[str, tuple[Any, dict[str, Any]]] = {
        "strips.tif": (noisy, {"rowsperstrip": 8, "metadata": None}), "tiles.tif": (noisy, {"tile": (16, 16), "metadata": None}),
        "deflate.tif": (noisy, {"compression": "zlib", "metadata": None}), "deep.tif": (deep, {}),
        "float.tif": (grey.astype(np.float32), {}), "big.tif": (grey, {"bigtiff": True}),
        "pages.tif": (stack, {**pages, "metadata": None}), "shaped.tif": (stack, pages),
        "ome.tif": (stack, {**pages, "ome": True, "metadata": {"axes": "ZYX"}}), "imagej.tif": (stack, {**pages, "imagej": True}),
    }  # fmt: skip
    made = {
        name: written(lambda file, image=image, name=name, how=how: _save(Image.fromarray(image), name, file, how))
        for name, (image, how) in rasters.items()
    }
    made["palette.png"] = written(lambda file: Image.fromarray(noisy).quantize(16).save(file, "png"))
    for name, (image, how) in tiffs.items():
        made[name] = written(lambda file, image=image, how=how: tifffile.imwrite(file, image, **how))
    bell = np.exp(-((np.arange(5) - 2.0) ** 2) / 2)
    labels = np.arange(24)[:, None] % 2
    images = np.stack([np.resize(noisy, (32, 32, 3))] * 24) + labels[:, None, None].astype(np.uint8)
    table = {
        f"{part}_{what}": v for part in ("train", "val", "test") for what, v in (("images", images), ("labels", labels))
    }
    made["kernel.npy"] = written(lambda file: np.save(file, np.outer(bell, bell) / bell.sum() ** 2))
    made["table.npz"] = written(lambda file: np.savez_compressed(file, **table))
    return made


def _save(image: Image.Image, name: str, file: Any, how: dict[str, Any]) -> None:
    image.save(file, Image.registered_extensions()[Path(name).suffix], **how)


def written(write: Callable[[Any], object]) -> bytes:
    """What a function writes into a file."""
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def put(data: bytes, place: int, kind: str, *numbers: int) -> bytes:
    """Other numbers at a place; they are cut to their width."""
    widths = {"H": 2**16, "I": 2**32}
    other = struct.pack(kind, *(number % widths[kind[-1]] for number in numbers))
    return data[:place] + other + data[place + len(other) :]


def cut(name: str, at: float) -> Damaged:
    """The beginning of a file."""
    data = seeds()[name]
    return f"cut at {int(at * len(data))} of {len(data)}", name, data[: int(at * len(data))], "same"


def flipped(name: str, draw: random.Random) -> Damaged:
    """One bit flipped, or a few; half of them in the header, where it hurts."""
    data, places = bytearray(seeds()[name]), []
    for _ in range(draw.choice((1, 1, 2, 8))):
        place = draw.randrange(min(len(data), 400) if draw.random() < 0.5 else len(data))
        data[place] ^= 1 << draw.randrange(8)
        places.append(str(place))
    allowed = "same" if name.endswith((".png", ".npz")) else "any" if name.endswith(".npy") else "decoded"
    return f"bits flipped at {','.join(places)}", name, bytes(data), allowed


def forged_rasters() -> list[Damaged]:
    """Headers of PNG, JPEG, BMP, GIF and WebP that lie, sizes too large to be true, bombs, and what is no picture."""
    files, found = seeds(), []

    def add(what: str, name: str, data: bytes, allowed: str = "refused") -> None:
        found.append((what, name, data, allowed))

    starts = {name: _start_of_frame(files[name]) for name in ("rgb.jpg", "progressive.jpg")}
    huge = 2**31 - 1
    for width, height in ((huge, huge), (65_535, 65_535), (0, 24), (32, 0), (10**6, 3000), (32, 25), (16, 24)):
        small, sides = "any" if width in (16, 32) and height else "refused", f"{width} x {height}"
        add(sides, "rgb.png", _png(struct.pack(">II", width, height) + files["rgb.png"][24:29]))
        for name, place in starts.items():
            add(sides, name, put(files[name], place, ">HH", height, width), small)
        add(sides, "rgb.bmp", put(files["rgb.bmp"], 18, "<II", width, height), small)
        add(f"screen {sides}", "still.gif", put(files["still.gif"], 6, "<HH", width, height), "any")
        add(f"frame {sides}", "lossy.webp", put(files["lossy.webp"], 26, "<HH", width % 2**14, height % 2**14), "any")
    add("65500 x 3000, cut", "rgb.jpg", put(files["rgb.jpg"], starts["rgb.jpg"], ">HH", 3000, 65_500)[:897])
    for kind in (b"\x10\x02", b"\x03\x02", b"\x08\x07", b"\x08\x03", b"\x01\x06"):
        add(f"depth and color {kind.hex()}", "rgb.png", _png(files["rgb.png"][16:24] + kind + bytes(3)))
    add("no palette", "palette.png", files["palette.png"].replace(b"PLTE", b"pLTE"))
    for side in (20_000, 60_000):
        rows = _chunk(b"IDAT", zlib.compress(bytes(1 + side) * 64, 9))
        head = _chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
        add(f"bomb of {side} px", "rgb.png", files["rgb.png"][:8] + head + rows + _chunk(b"IEND", b""))
    text = _chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(3 * 10**8), 9))
    add("bomb of text", "rgb.png", files["rgb.png"][:33] + text + files["rgb.png"][33:], "same")
    for name in ("rgb.png", "rgb.jpg", "strips.tif", "kernel.npy", "table.npz", "exact.webp", "still.gif", "rgb.bmp"):
        data, other = files[name], files["grey.png" if name != "rgb.png" else "rgb.jpg"]
        for what, bad in (
            ("empty", b""),
            ("one byte", data[:1]),
            ("zeros", bytes(len(data))),
            ("HTML", b"<html>404</html>\n"),
        ):
            add(what, name, bad)
        add("rubbish before", name, b"rubbish\n" + data)
        add("another format under its name", name, other, "any")
        add("rubbish behind", name, data + bytes(range(256)) * 9, "same")
        add("twice", name, data * 2, "same")
    add("EPS", "rgb.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    add("PSD", "rgb.png", b"8BPS\0\x01" + bytes(6) + struct.pack(">HIIHH", 3, 9, 9, 8, 3) + bytes(400))
    return found


def _start_of_frame(data: bytes) -> int:
    return next(i for i in range(2, 900) if data[i : i + 2] in (b"\xff\xc0", b"\xff\xc2")) + 5


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(head: bytes) -> bytes:
    data = seeds()["rgb.png"]
    return data[:8] + _chunk(b"IHDR", head) + data[33:]
