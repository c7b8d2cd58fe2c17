"""Files that were cut off: whether a JPEG is, which no decoder says, and the file that can be made of what is there."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil

import numpy as np

_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # any but those within compressed data
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_EOI = b"\xff\xd9"
_HUFFMAN = (0xC0, 0xC1, 0xC2)  # sequential, extended, progressive; arithmetic coding may leave zeros out at its end
_GRAY = 128  # what a decoder makes of blocks that are not there
_LARGE = 2**24
_PIECE = 2**20
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


@dataclass
class _Jpeg:
    """The frame and the last scan of a JPEG."""

    kind: int = 0
    height: int = 0
    width: int = 0
    sampling: dict[int, tuple[int, int]] = field(default_factory=dict)
    interval: int = 0
    scans: int = 0
    components: tuple[int, ...] = ()  # of the last scan
    start: int = 0  # of its compressed data, and their end
    end: int = 0
    compressed: int = 0  # bytes of all scans
    whole: bool = False

    def blocks(self, component: int | None = None) -> int:
        """8 x 8 blocks of a component, or of all; 0 if there is none."""
        chosen = self.sampling if component is None else {component: self.sampling.get(component, (1, 1))}
        across, down = (max((each[k] for each in self.sampling.values()), default=1) for k in (0, 1))
        return sum(
            ceil(ceil(self.width * h / across) / 8) * ceil(ceil(self.height * v / down) / 8) for h, v in chosen.values()
        )

    def units(self) -> int:
        """Units of the last scan that restart markers count."""
        if len(self.components) == 1:
            return self.blocks(self.components[0])
        across, down = (8 * max((each[k] for each in self.sampling.values()), default=1) for k in (0, 1))
        return -(-self.width // across) * -(-self.height // down)


def jpeg_lacks(data: bytes) -> str:
    """What a JPEG lacks at its end, in words; "" for a whole one.

    Decoders fill what is missing with gray and say nothing. Compressed data that are whole do not change by more of them
    behind; data that are cut off do.
    """
    found = _parsed(data)
    if not found.whole:
        return "its end is missing"
    if found.kind not in _HUFFMAN or not found.scans:
        return ""
    least = found.blocks() * (1 if found.kind == 0xC2 else 2) // 8
    if found.compressed < least:
        return f"{found.compressed} bytes of pixels, and {least} is the least for {found.width} x {found.height}"
    if found.interval:
        expected = -(-found.units() // found.interval) - 1
        restarts = sum(1 for _ in _RESTART.finditer(data, found.start, found.end))
        if restarts < expected and found.kind != 0xC2:
            return f"{restarts} of {expected} restart markers are there"
    return "the end of its pixels is missing" if _changes(data, found) else ""


def _changes(data: bytes, found: _Jpeg) -> bool:
    """Whether the picture is another one with more compressed data at its end."""
    reduction = 8 if found.scans == 1 else (1 if found.width * found.height <= _LARGE else 2)
    before = _decoded(data, reduction)
    if before is None:
        return False  # the decoder itself will say so
    if found.scans == 1:
        last = before[-1, -1].astype(float)
        bright = float(last @ (0.299, 0.587, 0.114)) if last.size == 3 else float(last.mean())
        if abs(bright - _GRAY) > 3:
            return False
    more = bytes(np.random.default_rng(0).integers(1, 255, 512, dtype=np.uint8))
    after = _decoded(data[: found.end] + more + data[found.end :], reduction)
    return after is None or not np.array_equal(before, after)


def _decoded(data: bytes, reduction: int) -> np.ndarray | None:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            image.draft(None, (max(1, image.width // reduction), max(1, image.height // reduction)))
            return np.asarray(image)
    except Exception:  # whatever is wrong, the decoder says so when the picture is read
        return None


def _parsed(data: bytes) -> _Jpeg:
    found = _Jpeg()
    for code, body, at in _segments(data, 2):
        if code in range(0xC0, 0xD0) and code not in (0xC4, 0xC8, 0xCC) and len(body) >= 6:
            found.kind = code
            _, found.height, found.width, count = struct.unpack_from(">BHHB", body)
            entries = [body[6 + 3 * i : 9 + 3 * i] for i in range(count)]
            found.sampling = {
                each[0]: (max(1, each[1] >> 4), max(1, each[1] & 15)) for each in entries if len(each) == 3
            }
        elif code == 0xDD and len(body) >= 2:
            found.interval = struct.unpack_from(">H", body)[0]
        elif code == 0xDA and body:
            found.scans += 1
            found.components = tuple(body[1 : 1 + 2 * body[0] : 2])
            following = _MARKER.search(data, at)
            found.start, found.end = at, following.start() if following else len(data)
            found.compressed += found.end - found.start
        elif code == 0xD9:
            found.whole = True
    return found


def _segments(data: bytes, at: int) -> Iterator[tuple[int, bytes, int]]:
    """(marker, contents, position behind) of each segment of the first image, its end included."""
    while (match := _MARKER.search(data, at)) is not None:
        code, at = data[match.start() + 1], match.end()
        if code in (0x01, 0xD8):
            continue
        if code == 0xD9:
            yield code, b"", at
            return
        if at + 2 > len(data):
            return
        length = struct.unpack_from(">H", data, at)[0]
        body = data[at + 2 : at + length]
        at += max(2, length)
        if at > len(data):
            return
        yield code, body, at


def mended(data: bytes, form: str, size: int) -> bytes | None:
    """A file of which a decoder makes what is there, the rest gray or black; None for a format of which it makes nothing.

    size: pixels, which bound what is added.
    """
    if form in ("JPEG", "MPO"):
        found = _parsed(data)
        return (data[: found.end] if found.scans else data) + _EOI
    if form == "PNG":
        return _mended_png(data)
    return data + bytes(4 * size + 4096) if form == "BMP" else None


def png_lacks(data: bytes) -> str:
    """What a PNG lacks of the pixels that its header counts, in words; "" for a whole one. Decoders leave such rows black."""
    found = _png(data)
    if found is None:
        return ""  # the decoder itself will say so
    _, compressed, wanted = found
    held = sum(map(len, _unpacked(compressed, wanted)))
    return f"{held} bytes of pixels, and its header counts {wanted}" if held < wanted else ""


def png_overreaches(data: bytes) -> bool:
    """Whether a chunk of a PNG is longer than what is left of the file: libpng would ask for that much memory first."""
    for kind, start, length in _chunks(data):
        if start + length + 4 > len(data):
            return True
        if kind == b"IEND":
            break  # what follows is not the picture's
    return False


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The kind of each chunk of a PNG, where its bytes begin, and how many it says to have."""
    at = len(_PNG)
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        yield kind, at + 8, length
        at += length + 12


def _png(data: bytes) -> tuple[list[tuple[bytes, bytes]], list[bytes], int] | None:
    """The other chunks, the compressed pixels, and how many bytes these are by the header."""
    kept, compressed = [], []
    for kind, start, length in _chunks(data):
        body = data[start : start + length]
        if kind == b"IDAT":
            compressed.append(body)
        elif kind != b"IEND" and len(body) == length:
            kept.append((kind, body))
    if not kept or kept[0][0] != b"IHDR" or len(kept[0][1]) < 13 or not compressed:
        return None
    width, height, depth, color, _, _, interlaced = struct.unpack(">IIBBBBB", kept[0][1][:13])
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    bits, wanted = depth * _PNG_CHANNELS.get(color, 4), 0
    for top, left, down, across in passes:
        rows, columns = -(-(height - top) // down), -(-(width - left) // across)
        wanted += max(0, rows) * (1 + -(-columns * bits // 8)) if columns > 0 else 0
    return kept, compressed, wanted


def _unpacked(compressed: list[bytes], wanted: int) -> Iterator[bytes]:
    """So many bytes of the pixels, or as many as there are, in pieces: only their number may matter."""
    reader, left = zlib.decompressobj(), wanted
    for part in compressed:
        while left > 0:
            most = min(left, _PIECE)
            try:
                piece = reader.decompress(part, most)
            except zlib.error:
                return
            yield piece
            left -= len(piece)
            part = reader.unconsumed_tail
            if not part and len(piece) < most:
                break


def _mended_png(data: bytes) -> bytes | None:
    """The same chunks, with as many rows of black as are missing."""
    found = _png(data)
    if found is None or not (unpacked := b"".join(_unpacked(found[1], found[2]))):
        return None
    kept, _, wanted = found
    pixels = zlib.compress(unpacked.ljust(wanted, b"\0"), 1)
    chunks = [*kept, (b"IDAT", pixels), (b"IEND", b"")]
    framed = (struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks)
    return _PNG + b"".join(framed)
