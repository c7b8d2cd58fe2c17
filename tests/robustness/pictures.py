"""Hostile pictures and arrays, made by code: cut, flipped, forged, bombs, and what pretends to be another format.

What a command may do with one: "same", refuse it, or give what the sound file gives; "decoded", refuse it, or give what an
independent and strict reader finds; "refused"; "any", whatever `faults` allows.
"""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from tests.cli.tiny import pictures
from tests.robustness.server import CANARY

_VALUES = (0, 1, 3, 255, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**32 - 1)
_TAGS = (256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 317, 322, 323, 324, 325, 339)


@cache
def seeds() -> dict[str, bytes]:
    """A sound file of each format, by its name."""
    noisy = pictures(24, 32)[1]
    grey, made = noisy[..., 0], {}
    for name, image, settings in (
        ("rgb.png", noisy, {}), ("grey.png", grey, {}), ("deep.png", grey.astype(np.uint16) * 257, {}),
        ("rgb.jpg", noisy, {"quality": 90}), ("grey.jpg", grey, {}), ("progressive.jpg", noisy, {"progressive": True}),
        ("lossy.webp", noisy, {"quality": 80}), ("exact.webp", noisy, {"lossless": True}),
        ("still.gif", grey, {}), ("rgb.bmp", noisy, {}), ("grey.bmp", grey, {}),
    ):  # fmt: skip
        made[name] = _saved(Image.fromarray(image), name, **settings)
    made["palette.png"] = _saved(Image.fromarray(noisy).quantize(16), "a.png")
    made["alpha.png"] = _saved(Image.fromarray(np.dstack([noisy, np.full_like(grey, 255)])), "a.png")
    stack = noisy.transpose(2, 0, 1)
    for name, image, settings in (
        ("strips.tif", noisy, {"rowsperstrip": 8, "metadata": None}), ("deflate.tif", noisy, {"compression": "zlib", "metadata": None}),
        ("tiles.tif", noisy, {"tile": (16, 16), "metadata": None}), ("deep.tif", grey.astype(np.uint16) * 200, {}),
        ("float.tif", grey.astype(np.float32), {}), ("pages.tif", stack, {"photometric": "minisblack", "metadata": None}),
        ("shaped.tif", stack, {"photometric": "minisblack"}), ("big.tif", grey, {"bigtiff": True}),
        ("ome.tif", stack, {"photometric": "minisblack", "ome": True, "metadata": {"axes": "ZYX"}}),
        ("imagej.tif", stack, {"photometric": "minisblack", "imagej": True}),
    ):  # fmt: skip
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, image, **settings)
        made[name] = buffer.getvalue()
    bell = np.exp(-((np.arange(5) - 2.0) ** 2) / 2)
    bell = np.outer(bell, bell) / bell.sum() ** 2
    labels = np.arange(24) % 2
    tables = {
        f"{part}_images": np.stack([noisy[:16, :16]] * 24) + labels[:, None, None, None].astype(np.uint8)
        for part in ("train", "val", "test")
    }
    tables |= {f"{part}_labels": labels[:, None] for part in ("train", "val", "test")}
    made["kernel.npy"] = _array(lambda file: np.save(file, bell))
    made["table.npz"] = _array(lambda file: np.savez_compressed(file, **tables))
    return made


def _saved(image: Image.Image, name: str, **settings: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, Image.registered_extensions()[Path(name).suffix], **settings)
    return buffer.getvalue()


def _array(write: Callable[[Any], object]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


# ------------------------------------------------------------------------------------------------- damage

Damaged = tuple[str, str, bytes, str]  # what was done, the name of the file, its bytes, what is allowed


def cut(name: str, at: float) -> Damaged:
    data = seeds()[name]
    return f"cut at {int(at * len(data))} of {len(data)}", name, data[: int(at * len(data))], "same"


def flipped(name: str, draw: random.Random) -> Damaged:
    data, places = bytearray(seeds()[name]), []
    for _ in range(draw.choice((1, 1, 2, 8))):
        # Headers are where it hurts.
        place = draw.randrange(min(len(data), 400)) if draw.random() < 0.5 else draw.randrange(len(data))
        data[place] ^= 1 << draw.randrange(8)
        places.append(str(place))
    checked = name.endswith((".png", ".npz"))  # each byte has a checksum
    return (
        f"bits flipped at {','.join(places)}",
        name,
        bytes(data),
        "same" if checked else "any" if ".npy" in name else "decoded",
    )


def forged() -> Iterator[Damaged]:
    """Headers that lie, sizes that are too large to be true, bombs, loops, nests, and names of what is not there."""
    files = seeds()
    for width, height in (
        (2**31 - 1, 2**31 - 1),
        (65_535, 65_535),
        (0, 24),
        (32, 0),
        (10**6, 3000),
        (32, 25),
        (16, 24),
    ):
        head = struct.pack(">II", width, height)
        yield f"{width} x {height}", "rgb.png", _png(files["rgb.png"], head + files["rgb.png"][24:29]), "refused"
        for name in ("rgb.jpg", "progressive.jpg"):
            place = next(i for i in range(2, 900) if files[name][i : i + 2] in (b"\xff\xc0", b"\xff\xc2")) + 5
            sides = struct.pack(">HH", height % 2**16, width % 2**16)
            yield (
                f"{width % 2**16} x {height % 2**16}",
                name,
                _put(files[name], place, sides),
                "any" if width < 33 else "refused",
            )
        yield (
            f"{width} x {height}",
            "rgb.bmp",
            _put(files["rgb.bmp"], 18, struct.pack("<II", width, height)),
            "any" if width < 33 else "refused",
        )
        sides = struct.pack("<HH", width % 2**16, height % 2**16)
        yield "forged screen", "still.gif", _put(files["still.gif"], 6, sides), "any"
        yield (
            "forged frame",
            "lossy.webp",
            _put(files["lossy.webp"], 26, struct.pack("<HH", width % 2**14, height % 2**14)),
            "any",
        )
    yield (
        "65500 x 3000, cut",
        "rgb.jpg",
        _put(files["rgb.jpg"], files["rgb.jpg"].index(b"\xff\xc0") + 5, struct.pack(">HH", 3000, 65_500))[:897],
        "refused",
    )
    for kind in (b"\x10\x02", b"\x03\x02", b"\x08\x07", b"\x08\x03", b"\x01\x06"):
        yield (
            f"depth and color {kind.hex()}",
            "rgb.png",
            _png(files["rgb.png"], files["rgb.png"][16:24] + kind + b"\0\0\0"),
            "refused",
        )
    yield "no palette", "palette.png", files["palette.png"].replace(b"PLTE", b"pLTE"), "refused"
    for side in (20_000, 30_000, 60_000):
        rows = zlib.compress(bytes(1 + side) * 64, 9)
        image = (
            _chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
            + _chunk(b"IDAT", rows)
            + _chunk(b"IEND", b"")
        )
        yield f"bomb of {side} px, few rows", "rgb.png", b"\x89PNG\r\n\x1a\n" + image, "refused"
    text = _chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(3 * 10**8), 9))
    yield "text bomb", "rgb.png", files["rgb.png"][:33] + text + files["rgb.png"][33:], "same"
    yield from forged_tiffs()
    yield from forged_arrays()
    for name in ("rgb.png", "rgb.jpg", "strips.tif", "kernel.npy", "table.npz", "exact.webp", "still.gif", "rgb.bmp"):
        data, other = files[name], files["grey.png" if name != "rgb.png" else "rgb.jpg"]
        yield "empty", name, b"", "refused"
        yield "one byte", name, data[:1], "refused"
        yield "zeros", name, bytes(len(data)), "refused"
        yield "another format under its name", name, other, "any"
        yield "text", name, b"<html>404 not found</html>\n", "refused"
        yield "rubbish behind", name, data + bytes(range(256)) * 9, "same"
        yield "rubbish before", name, b"rubbish\n" + data, "refused"
        yield "twice", name, data * 2, "same"
    yield "EPS", "rgb.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n", "refused"
    yield "PSD", "rgb.png", b"8BPS\0\x01" + bytes(6) + struct.pack(">HIIHH", 3, 9, 9, 8, 3) + bytes(400), "refused"


def forged_tiffs() -> Iterator[Damaged]:
    for name in ("strips.tif", "deflate.tif", "tiles.tif", "pages.tif"):
        for tag in _TAGS:
            for value in _VALUES:
                if (data := _tagged(seeds()[name], tag, value)) is not None:
                    yield f"tag {tag} = {value}", name, data, "decoded"
    for shape in ((10**9, 24, 32), (2**40,), (3, 10**5, 10**5), (-3, 24, 32), (4, 24, 32), (10**7, 1, 1), (0,)):
        yield f"shape {shape}", "shaped.tif", _described("shaped.tif", f'{{"shape": {list(shape)}}}'), "decoded"
    for sizes in (
        "SizeT='1000000000'",
        "SizeZ='7'",
        "SizeC='100000'",
        "SizeX='1000000'",
        "SizeZ='-1'",
        "SizeZ='3' SizeT='x'",
    ):
        kept = " ".join(
            f"{key}='{value}'"
            for key, value in (("SizeX", 32), ("SizeY", 24), ("SizeZ", 3), ("SizeC", 1), ("SizeT", 1))
            if key not in sizes
        )
        for planes in (
            "<TiffData/>",
            "<TiffData IFD='7' PlaneCount='3'/>",
            "<TiffData><UUID FileName='/etc/passwd'>urn:uuid:1</UUID></TiffData>",
        ):
            ome = f"<OME xmlns='http://www.openmicroscopy.org/Schemas/OME/2016-06'><Image ID='Image:0'><Pixels ID='Pixels:0' DimensionOrder='XYZCT' Type='uint8' {sizes} {kept}>{planes}</Pixels></Image></OME>"
            yield (
                f"OME {sizes} {planes[:30]}",
                "ome.tif",
                _described("ome.tif", ome),
                "refused" if "7" in sizes or "0000" in sizes else "decoded",
            )
    for text in (
        "images=1000000000\nslices=1000000000",
        "images=7\nslices=7",
        "images=-1",
        "images=3\nframes=3\nhyperstack=true\nchannels=9",
    ):
        yield f"ImageJ {text.split()[0]}", "imagej.tif", _described("imagej.tif", f"ImageJ=1.11a\n{text}\n"), "decoded"
    for name in ("pages.tif", "strips.tif"):
        data = seeds()[name]
        first = struct.unpack_from("<I", data, 4)[0]
        after = first + 2 + 12 * struct.unpack_from("<H", data, first)[0]
        for value in (first, 4, len(data), len(data) - 2, 2**32 - 1):
            yield f"next page at {value}", name, _put(data, after, struct.pack("<I", value)), "decoded"


def forged_arrays() -> Iterator[Damaged]:
    for name, shape, kind in (
        ("huge", (10**6, 10**6), "<f8"), ("endless", (2**62,), "<f8"), ("negative", (-5, 5), "<f8"), ("none", (0, 5), "<f8"),
        ("objects", (5, 5), "|O"), ("complex", (5, 5), "<c16"), ("dates", (5, 5), "<M8[s]"), ("words", (5, 5), "<U9"), ("large", (16_385, 16_385), "|u1"),
    ):  # fmt: skip
        yield (
            f"{name} {shape}",
            "kernel.npy",
            _npy(f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"),
            "refused",
        )
    for text in (
        "(" * 2000 + ")" * 2000,
        "{'descr': " + "[" * 500 + "]" * 500,
        "{}",
        "__import__('os').abort()",
        "{'shape': 1}",
        "\0" * 90,
    ):
        yield f"header {text[:18]!r}", "kernel.npy", _npy(text), "refused"
    pickled = b"cos\nsystem\n(S'touch " + CANARY.encode() + b"'\ntR."
    head = "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    yield "a pickle that runs", "kernel.npy", _npy(head, pickled), "refused"
    yield "only a pickle", "kernel.npy", pickled, "refused"
    table = dict(np.load(io.BytesIO(seeds()["table.npz"])))
    labels = table["train_labels"]
    for name, wrong in (
        ("2^31", labels + 2**31), ("-1", labels - 1), ("words", labels.astype("U5")), ("halves", labels + 0.5), ("NaN", labels * np.nan),
        ("too few", labels[:5]), ("none", labels[:0]), ("one class", labels * 0), ("3 axes", labels[None, None]), ("10^9", labels * 10**9),
    ):  # fmt: skip
        yield (
            f"labels {name}",
            "table.npz",
            _array(lambda file, wrong=wrong: np.savez(file, **{**table, "train_labels": wrong})),
            "any" if name == "one class" else "refused",
        )
    for name, wrong in (
        ("no pixels", table["train_images"][:, :0]), ("flat", table["train_images"].reshape(24, -1)), ("NaN", table["train_images"] * np.nan),
        ("words", table["train_images"].astype("U3")), ("5 channels", np.zeros((24, 16, 16, 5), np.uint8)),
    ):  # fmt: skip
        yield (
            f"images {name}",
            "table.npz",
            _array(lambda file, wrong=wrong: np.savez(file, **{**table, "train_images": wrong})),
            "refused",
        )
    yield "no images", "table.npz", _array(lambda file: np.savez(file, labels=labels)), "refused"
    for size in (2, 12):
        yield f"bomb of {size} GB", "table.npz", _bomb(size), "refused"
    inner = _npy(head, pickled)
    yield "a pickle that runs", "table.npz", _zipped({f"{key}.npy": inner for key in table}), "refused"
    yield "names with ..", "table.npz", _zipped({f"../{key}.npy": seeds()["kernel.npy"] for key in table}), "refused"


def _bomb(gigabytes: int) -> bytes:
    """An npz whose images are zeros, deflated: a block of a megabyte, repeated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = packer.compress(
        _npy(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({gigabytes * 1000}, 1000, 1000), }}", b"")
    )
    first += packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(10**6)) + packer.flush(zlib.Z_FULL_FLUSH)
    data = first + block * (1000 * gigabytes) + packer.flush()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for key in ("train_images", "train_labels", "val_images", "val_labels", "test_images", "test_labels"):
            if key != "train_images":
                file.writestr(f"{key}.npy", seeds()["kernel.npy"])
        place = buffer.tell()
        file.writestr("train_images.npy", data)
        whole = gigabytes * 10**9 + 128
        info = file.getinfo("train_images.npy")
        info.compress_type, info.file_size = zipfile.ZIP_DEFLATED, whole % 2**32
        buffer.seek(place + 8)
        buffer.write(struct.pack("<H", zipfile.ZIP_DEFLATED))
        buffer.seek(place + 22)
        buffer.write(struct.pack("<I", whole % 2**32))
        buffer.seek(0, 2)
    return buffer.getvalue()


def _zipped(parts: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in parts.items():
            file.writestr(name, data)
    return buffer.getvalue()


def _npy(header: str, data: bytes = bytes(200)) -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def _put(data: bytes, place: int, other: bytes) -> bytes:
    return data[:place] + other + data[place + len(other) :]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(data: bytes, head: bytes) -> bytes:
    return data[:8] + _chunk(b"IHDR", head) + data[33:]


def _tagged(data: bytes, tag: int, value: int) -> bytes | None:
    """A classic TIFF whose first page has another value of a tag; None if there is no such tag."""
    first = struct.unpack_from("<I", data, 4)[0]
    for i in range(struct.unpack_from("<H", data, first)[0]):
        place = first + 2 + 12 * i
        if struct.unpack_from("<H", data, place)[0] == tag:
            return _put(data, place + 2, struct.pack("<HII", 4, 1, value))
    return None


def _described(name: str, text: str) -> bytes:
    """A TIFF whose first page has another ImageDescription."""
    data = seeds()[name]
    first = struct.unpack_from("<I", data, 4)[0]
    for i in range(struct.unpack_from("<H", data, first)[0]):
        place = first + 2 + 12 * i
        if struct.unpack_from("<H", data, place)[0] == 270:
            return _put(data, place + 4, struct.pack("<II", len(text) + 1, len(data))) + text.encode() + b"\0"
    raise ValueError(name)
