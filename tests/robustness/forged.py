"""TIFFs and arrays whose headers lie: about sizes, pages, places in the file, and what is to be run."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

import numpy as np

from tests.robustness.pictures import Damaged, put, seeds, written
from tests.robustness.server import CANARY

_VALUES = (0, 2**16 - 1, 2**31 - 1, 1, 3, 255, 2**15, 2**24, 2**32 - 1)
_TAGS = (256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 317, 322, 323, 324, 325, 339)
_SCHEMA = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
_PIXELS = "<Pixels ID='Pixels:0' DimensionOrder='XYZCT' Type='uint8'"
_PLANES = (
    "<TiffData/>",
    "<TiffData IFD='7' PlaneCount='3'/>",
    "<TiffData><UUID FileName='/etc/passwd'>urn:uuid:1</UUID></TiffData>",
)
_SIZES = ("SizeT='1000000000'", "SizeZ='7'", "SizeC='100000'", "SizeX='1000000'", "SizeZ='-1'", "SizeT='x'")


def forged_tiffs() -> list[Damaged]:
    """Tags, shapes, OME and ImageJ text, and chains of pages."""
    files, found = seeds(), []
    for name in ("strips.tif", "deflate.tif", "tiles.tif", "pages.tif"):
        for tag in _TAGS:
            if (place := _entry(files[name], tag)) is not None:
                for value in _VALUES[: None if name == "strips.tif" else 3]:
                    data = put(put(files[name], place + 2, "<H", 4), place + 4, "<II", 1, value)
                    found.append((f"tag {tag} = {value}", name, data, "decoded"))
    for shape in ((10**9, 24, 32), (2**40,), (3, 10**5, 10**5), (-3, 24, 32), (4, 24, 32), (10**7, 1, 1), (0,)):
        data = _described("shaped.tif", f'{{"shape": {list(shape)}}}')
        found.append((f"shape {shape}", "shaped.tif", data, "decoded"))
    usual = {"SizeX": 32, "SizeY": 24, "SizeZ": 3, "SizeC": 1, "SizeT": 1}
    for sizes in _SIZES:
        kept = " ".join(f"{key}='{value}'" for key, value in usual.items() if key not in sizes)
        for planes in _PLANES:
            text = (
                f"<OME xmlns='{_SCHEMA}'><Image ID='Image:0'>{_PIXELS} {sizes} {kept}>{planes}</Pixels></Image></OME>"
            )
            # What is said of width and height is not believed: every page has its own.
            counted = "7" in sizes or ("000" in sizes and "SizeX" not in sizes and "SizeY" not in sizes)
            allowed = "refused" if counted else "decoded"
            found += [(f"OME {sizes} {planes[:30]}", "ome.tif", _described("ome.tif", text), allowed)]
    for text in (
        "images=1000000000\nslices=1000000000",
        "images=7\nslices=7",
        "images=-1",
        "images=3\nframes=3\nchannels=9",
    ):
        data = _described("imagej.tif", f"ImageJ=1.11a\n{text}\n")
        found.append((f"ImageJ {text.split()[0]}", "imagej.tif", data, "decoded"))
    for name in ("pages.tif", "strips.tif"):
        data = files[name]
        first = struct.unpack_from("<I", data, 4)[0]
        after = first + 2 + 12 * struct.unpack_from("<H", data, first)[0]
        for value in (first, 4, len(data), len(data) - 2, 2**32 - 1):
            found.append((f"next page at {value}", name, put(data, after, "<I", value), "decoded"))
    return found


def _entry(data: bytes, tag: int) -> int | None:
    """Where the first page of a classic TIFF has a tag."""
    first = struct.unpack_from("<I", data, 4)[0]
    places = (first + 2 + 12 * i for i in range(struct.unpack_from("<H", data, first)[0]))
    return next((place for place in places if struct.unpack_from("<H", data, place)[0] == tag), None)


def _described(name: str, text: str) -> bytes:
    """A TIFF whose first page has another ImageDescription, at the end of the file."""
    data, place = seeds()[name], _entry(seeds()[name], 270) or 0
    return put(data, place + 4, "<II", len(text) + 1, len(data)) + text.encode() + b"\0"


def forged_arrays() -> list[Damaged]:
    """Headers of npy, pickles that run, and tables of images whose labels or images are none."""
    found = []

    def add(what: str, data: bytes, name: str = "kernel.npy", allowed: str = "refused") -> None:
        found.append((what, name, data, allowed))

    kinds = {"objects": "|O", "complex": "<c16", "dates": "<M8[s]", "words": "<U9"}
    shapes = {
        "huge": (10**6, 10**6),
        "endless": (2**62,),
        "negative": (-5, 5),
        "none": (0, 5),
        "large": (16_385, 16_385),
    }
    for what in (*kinds, *shapes):
        add(what, _npy(_header(kinds.get(what, "<f8"), shapes.get(what, (5, 5)))))
    deep = ("(" * 2000 + ")" * 2000, "{'descr': " + "[" * 500 + "]" * 500, "{}", "__import__('os').abort()", "\0" * 90)
    for text in deep:
        add(f"header {text[:18]!a}", _npy(text))
    pickled = b"cos\nsystem\n(S'touch " + CANARY.encode() + b"'\ntR."
    runs = _npy(_header("|O", (1,)), pickled)
    add("a pickle that runs", runs)
    add("only a pickle", pickled)
    table = dict(np.load(io.BytesIO(seeds()["table.npz"])))
    labels, images = table["train_labels"], table["train_images"]
    wrong = {
        "labels 2^31": labels + 2**31, "labels 10^9": labels * 10**9, "labels -1": labels - 1,
        "labels words": labels.astype("U5"),
        "labels halves": labels + 0.5, "labels NaN": labels * np.nan, "labels too few": labels[:5], "labels none": labels[:0],
        "labels 3 axes": labels[None, None], "images no pixels": images[:, :0], "images flat": images.reshape(24, -1),
        "images NaN": images * np.nan, "images words": images.astype("U3"),
        "images 5 channels": np.zeros((24, 32, 32, 5), np.uint8),
    }  # fmt: skip
    for what, values in wrong.items():
        own = {**table, f"train_{what.split()[0]}": values}
        add(what, written(lambda file, own=own: np.savez(file, **own)), "table.npz")
    add("no images", written(lambda file: np.savez(file, labels=labels)), "table.npz")
    add("a pickle that runs", _zipped({f"{key}.npy": runs for key in table}), "table.npz")
    add("names with ..", _zipped({f"../{key}.npy": seeds()["kernel.npy"] for key in table}), "table.npz")
    for size in (2, 12):
        add(f"bomb of {size} GB", _bomb(size, list(table)), "table.npz")
    return found


def _header(kind: str, shape: tuple[int, ...]) -> str:
    return f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"


def _npy(header: str, data: bytes = bytes(200)) -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def _zipped(parts: dict[str, bytes]) -> bytes:
    def write(buffer: io.BytesIO) -> None:
        with zipfile.ZipFile(buffer, "w") as file:
            for name, data in parts.items():
                file.writestr(name, data)

    return written(write)


def _bomb(gigabytes: int, names: list[str]) -> bytes:
    """A table whose images are zeros, deflated: a block of a megabyte, repeated; its zip was never of another size."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    head = packer.compress(_npy(_header("|u1", (gigabytes * 1000, 1000, 1000)), b"")) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(10**6)) + packer.flush(zlib.Z_FULL_FLUSH)
    parts = {f"{name}.npy": seeds()["kernel.npy"] for name in names}
    parts["train_images.npy"] = head + block * (1000 * gigabytes) + packer.flush()
    data, size = _zipped(parts), (gigabytes * 10**9 + 128) % 2**32
    name = b"train_images.npy"
    local, central = data.index(name) - 30, data.rindex(name) - 46
    for place, method, whole in ((local, 8, 22), (central, 10, 24)):
        data = put(put(data, place + method, "<H", zipfile.ZIP_DEFLATED), place + whole, "<I", size)
    return data
