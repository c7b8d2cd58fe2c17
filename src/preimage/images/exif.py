"""EXIF blocks <-> the directories of a TIFF file: the same entries, of the same types, at other places (EXIF 2.32, TIFF 6.0)."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

HEADER = b"Exif\x00\x00"
DESCRIPTION, ORIENTATION = 270, 274
FURTHER = (34665, 34853)
"""The tags that lead to the directories of exposure and of place."""
CAMERA = (271, 272, 305, 306, 315, 33432)
"""Maker, model, software, date, artist, copyright: what is in the first directory of a photograph."""
_TELLING = {271, 272, 315, 33432, *FURTHER}  # software and date alone are of any picture
_SHORT, _LONG, _LONG8 = 3, 4, 16
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_WORDS = _SIZES | {5: 4, 10: 4}  # bytes that are swapped together
_NOT_CARRIED = (40965,)  # lead to further directories
_MOST_BYTES, _MOST_ENTRIES = 2**15, 500


@dataclass(frozen=True)
class Entry:
    """One entry: its tag, its type by number, and its value as bytes of `order`."""

    tag: int
    kind: int
    value: bytes

    def number(self, order: str) -> int:
        """Its value as one whole number."""
        return int.from_bytes(self.value, "little" if order == "<" else "big")

    def swapped(self, before: str, after: str) -> Entry:
        """The same value in another byte order."""
        size = _WORDS[self.kind]
        if before == after or size == 1:
            return self
        words = [self.value[i : i + size][::-1] for i in range(0, len(self.value), size)]
        return Entry(self.tag, self.kind, b"".join(words))


@dataclass(frozen=True)
class Directories:
    """The entries of the first directory, and of those that FURTHER leads to, in one byte order."""

    order: str
    main: tuple[Entry, ...]
    further: dict[int, tuple[Entry, ...]]


def of_block(exif: bytes) -> Directories | None:
    """The directories of an EXIF block; None for one that cannot be read."""
    block = exif.removeprefix(HEADER)
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return None
    with contextlib.suppress(struct.error):
        return _directories(lambda at, n: block[at : at + n], struct.unpack_from(f"{order}I", block, 4)[0], order)
    return None


def of_tiff(file: Any, place: int, order: str, *, big: bool = False) -> Directories | None:
    """The directories of an open TIFF file whose first is at this place; None where they cannot be read."""

    def read(at: int, count: int) -> bytes:
        file.seek(at)
        return file.read(count)

    with contextlib.suppress(struct.error, OSError, ValueError, OverflowError):
        return _directories(read, place, order, big=big)
    return None


def directories_of(file: BinaryIO) -> Directories | None:
    """Those of an open TIFF file, from its start; None for any other file."""
    with contextlib.suppress(struct.error, OSError):
        file.seek(0)
        mark = file.read(16)
        order, big = {b"II": "<", b"MM": ">"}.get(mark[:2]), mark[2:4] in (b"+\0", b"\0+")
        if order is not None:
            place = struct.unpack_from(f"{order}{'Q' if big else 'I'}", mark, 8 if big else 4)[0]
            return of_tiff(file, place, order, big=big)
    return None


def block_of(found: Directories, orientation: int = 1) -> bytes | None:
    """An EXIF block of what a TIFF file says of its camera; None if it says nothing of one."""
    kept = {entry.tag: entry for entry in found.main if entry.tag in CAMERA}
    if not _TELLING & {*kept, *found.further}:
        return None
    if orientation != 1:
        kept[ORIENTATION] = Entry(ORIENTATION, _SHORT, struct.pack(f"{found.order}H", orientation))
    at = 8 + _length([*kept.values(), *(Entry(tag, _LONG, bytes(4)) for tag in found.further)])
    rest = b""
    for tag, entries in found.further.items():
        kept[tag] = Entry(tag, _LONG, struct.pack(f"{found.order}I", at + len(rest)))
        rest += _written(entries, at + len(rest), found.order)
    mark = b"II*\0" if found.order == "<" else b"MM\0*"
    return HEADER + mark + struct.pack(f"{found.order}I", 8) + _written(kept.values(), 8, found.order) + rest


def append_directories(file: BinaryIO, exif: bytes, order: str, *, big: bool) -> None:
    """Write the further directories of a block behind a TIFF file, and its first one anew, which leads to them."""
    found = of_block(exif)
    if found is None or not found.further:
        return
    counted, form, offset, start = ("Q", "HHQQ", "Q", 8) if big else ("H", "HHII", "I", 4)
    head, size = struct.calcsize(f"<{counted}"), struct.calcsize(f"<{form}")
    file.seek(start)
    file.seek(struct.unpack(order + offset, file.read(start))[0])
    count = struct.unpack(order + counted, file.read(head))[0]
    table = [file.read(size) for _ in range(count)]
    following = file.read(start)
    for tag, entries in found.further.items():
        at = _end(file)
        file.write(_written([each.swapped(found.order, order) for each in entries], at, order, big=big))
        lead = struct.pack(order + form[:3], tag, _LONG8 if big else _LONG, 1) + struct.pack(order + offset, at)
        table.append(lead)
    at = _end(file)
    table.sort(key=lambda entry: struct.unpack(f"{order}H", entry[:2]))
    file.write(struct.pack(order + counted, len(table)) + b"".join(table) + following)
    file.seek(start)
    file.write(struct.pack(order + offset, at))


def _end(file: BinaryIO) -> int:
    """The next even place behind the file, which is sought."""
    at = file.seek(0, 2)
    return at + file.write(bytes(at % 2))


def _directories(read: Callable[[int, int], bytes], place: int, order: str, *, big: bool = False) -> Directories:
    main = _entries(read, place, order, big=big)
    leads = {entry.tag: entry for entry in main if entry.tag in FURTHER and entry.kind in (_LONG, 13, 16, 18)}
    further = {}
    for tag, entry in leads.items():
        at = entry.number(order)
        with contextlib.suppress(struct.error, OSError, ValueError, OverflowError):
            if entries := _entries(read, at, order, big=big):
                further[tag] = tuple(entries)
    return Directories(order, tuple(entry for entry in main if entry.tag not in FURTHER), further)


def _entries(read: Callable[[int, int], bytes], place: int, order: str, *, big: bool) -> list[Entry]:
    inline, entries = 8 if big else 4, []
    for _, tag, kind, count, value in _table(read, place, order, big=big):
        size = count * _SIZES.get(kind, 0)
        if not 0 < size <= _MOST_BYTES or tag in _NOT_CARRIED:
            continue
        if size > inline:
            value = read(struct.unpack(f"{order}{'Q' if big else 'I'}", value)[0], size)
        if len(value) >= size:
            entries.append(Entry(tag, kind, value[:size]))
    return entries


def _table(
    read: Callable[[int, int], bytes], place: int, order: str, *, big: bool
) -> list[tuple[int, int, int, int, bytes]]:
    """Of each entry where it stands, its tag, type, count, and its value or the place of it."""
    counted, form = ("Q", "HHQ8s") if big else ("H", "HHI4s")
    head, size = struct.calcsize(f"<{counted}"), struct.calcsize(f"<{form}")
    count = min(struct.unpack(order + counted, read(place, head))[0], _MOST_ENTRIES)
    places = [place + head + size * i for i in range(count)]
    return [(at, *struct.unpack(order + form, read(at, size))) for at in places]


def _length(entries: Sequence[Entry]) -> int:
    """Bytes of a directory and its values, in a file of 32 bits."""
    return 6 + 12 * len(entries) + sum(len(each.value) + len(each.value) % 2 for each in entries if len(each.value) > 4)


def _written(entries: Iterable[Entry], at: int, order: str, *, big: bool = False) -> bytes:
    """A directory that stands at this place, and its values behind it."""
    ordered = sorted(entries, key=lambda each: each.tag)
    counted, form, inline, offset = ("Q", "HHQ", 8, "Q") if big else ("H", "HHI", 4, "I")
    behind = at + struct.calcsize(f"<{counted}{offset}") + len(ordered) * (struct.calcsize(f"<{form}") + inline)
    table, values = struct.pack(order + counted, len(ordered)), b""
    for each in ordered:
        table += struct.pack(order + form, each.tag, each.kind, len(each.value) // _SIZES[each.kind])
        if len(each.value) <= inline:
            table += each.value.ljust(inline, b"\0")
        else:
            table += struct.pack(order + offset, behind + len(values))
            values += each.value + bytes(len(each.value) % 2)
    return table + struct.pack(order + offset, 0) + values
