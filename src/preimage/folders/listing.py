"""What is to be done: the pictures of folders, files and lists, each with the name that its results have in the output folder."""

from __future__ import annotations

import csv
import os
import re
import sys
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

from preimage.errors import InputError
from preimage.images.files import MOST_TEXT, read_bytes, read_text
from preimage.images.formats import is_image_name
from preimage.in_use import name_key
from preimage.jobs.places import stem_and_suffix

HIDDEN = ".preimage"  # in the output folder
_NO_NAME = re.compile(r"[^\w.+-]")  # what of a target no file is called
FILENAMES = ("filename", "file", "path", "image", "input")  # columns of a table that name the picture


@dataclass(frozen=True)
class Entry:
    """A picture to be worked on.

    Args:
        source: its file.
        folder: of its results, relative to the output folder.
        stem: with which their names begin.
        values: of the further columns of the table that named it.
        known_as: instead of its file's name, where that is another's as well.
        target: which of the targets that a table gives for its file; None where there is one.
    """

    source: Path
    folder: Path
    stem: str
    values: Mapping[str, str] = field(default_factory=dict)
    known_as: str | None = None
    target: str | None = None

    @property
    def name(self) -> str:
        """By which it is known in the output folder: "scans/page1.tif"."""
        return (self.folder / (self.known_as or self.source.name)).as_posix()

    @property
    def listed_as(self) -> str:
        """Its file's name with its folder, wherever that lies; pictures from several folders may share it."""
        return (self.folder / self.source.name).as_posix()


@dataclass(frozen=True)
class Listing:
    """The entries, in the order of their names, and how many other files there were in folders.

    Args:
        entries: each file once.
        skipped: files in folders whose names say that they are no pictures.
    """

    entries: tuple[Entry, ...]
    skipped: int = 0

    def shard(self, number: int, of: int) -> Listing:
        """The share with this number, from 1, of so many: by the names alone, wherever the folder lies.

        Raises:
            InputError: a number out of range.
        """
        if not 1 <= number <= of:
            raise InputError(f"--shard must be K/N with K from 1 to N, got {number}/{of}", code="option")
        return Listing(tuple(e for e in self.entries if share_of(e.listed_as, of) == number - 1), self.skipped)


def share_of(name: str, shares: int) -> int:
    """Which of so many shares, from 0, a name belongs to.

    Example:
        >>> sorted({share_of(f"scan{k}.png", 3) for k in range(20)})
        [0, 1, 2]
    """
    return int.from_bytes(sha256(os.fsencode(name)).digest()[:8], "big") % shares


def listing_of(
    inputs: Sequence[Path],
    *,
    recursive: bool = False,
    listed: str | None = None,
    apart_from: Path | None = None,
    target_column: str | None = None,
    may_be_empty: bool = False,
) -> Listing:
    """The pictures of files, folders and lists.

    Args:
        inputs: a file is taken whatever its name; of a folder those with the name of an image format.
        recursive: folders within folders as well; their structure is kept.
        listed: a file with a path on each line, or a table (.csv, .tsv) with a column of them; "-": standard input.
        apart_from: the output folder; nothing in its `.preimage` is an input, and it must not be an input or lie in one.
        target_column: of a table: of a picture with several targets there each is an entry.
        may_be_empty: whether a folder without a picture is taken, in which some will appear.

    Raises:
        InputError: nothing there, a folder without a picture, an output folder within an input.
    """
    entries: list[Entry] = []
    skipped = 0
    for given in inputs:
        if not given.is_dir():
            entries.append(_entry(given, Path()))
            continue
        if apart_from is not None and _is_within(apart_from, given):
            raise InputError(
                f"the output folder {apart_from} lies in the input folder {given}: name one beside it", code="option"
            )
        found, others = _pictures_in(given, recursive)
        entries += [_entry(path, path.parent.relative_to(given)) for path in found]
        skipped += others
        if not found and not may_be_empty:
            below = "" if recursive else " (--recursive looks in the folders below it)"
            raise InputError(f"{given} has no image{below}: check the name", code="not-found")
    entries += () if listed is None else _listed(listed)
    unique = {(os.path.realpath(entry.source), entry.values.get(target_column or "")): entry for entry in entries}
    targets = Counter(path for path, target in unique if target is not None)
    entries = [
        entry if target is None or targets[path] == 1 else _of_target(entry, target)
        for (path, target), entry in unique.items()
        if target is not None or not targets[path]  # a file that is named beside the table that has its target
    ]
    return Listing(_apart(sorted(entries, key=lambda entry: entry.name)), skipped)


def _of_target(entry: Entry, target: str) -> Entry:
    """One of the entries of a picture with several targets: its results have the target in their names."""
    entry = replace(entry, target=target)
    return replace(entry, stem=_stem_of(entry), known_as=f"{_stem_of(entry)}{_ending_of(entry)}")


def _stem_of(entry: Entry) -> str:
    stem = stem_and_suffix(entry.source)[0]
    return stem if entry.target is None else f"{stem}-{_NO_NAME.sub('_', entry.target)}"


def _ending_of(entry: Entry) -> str:
    return entry.source.name[len(stem_and_suffix(entry.source)[0]) :]


def _entry(path: Path, folder: Path, values: Mapping[str, str] | None = None) -> Entry:
    return Entry(path, folder, stem_and_suffix(path)[0], values or {})


def _apart(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Of those that would be written under one name, as page.png and page.jpg or two of the same name, each gets its own.

    What is added depends on the file alone and not on which others there are, once there is another one. Those of the same name
    are known by what was added, too. Of many thousands two may have the same six digits: they get more.
    """
    entries = list(entries)
    names = Counter(name_key(entry.listed_as) for entry in entries)
    for digits in (6, 24):
        stems = Counter(_place_of(entry) for entry in entries)
        entries = [
            entry
            if stems[_place_of(entry)] == 1
            else _with_own_stem(entry, digits, renamed=names[name_key(entry.listed_as)] > 1)
            for entry in entries
        ]
    return tuple(entries)


def _place_of(entry: Entry) -> str:
    return name_key((entry.folder / entry.stem).as_posix())


def _with_own_stem(entry: Entry, digits: int, *, renamed: bool) -> Entry:
    kind = entry.source.suffix.lstrip(".").lower()
    whole = Path(os.path.realpath(entry.source.parent)) / entry.source.name
    key = os.fsencode(whole) + (b"" if entry.target is None else f"\0{entry.target}".encode(errors="surrogateescape"))
    own = f"{_stem_of(entry)}-{kind or 'file'}-{sha256(key).hexdigest()[:digits]}"
    return replace(entry, stem=own, known_as=f"{own}{_ending_of(entry)}" if renamed else None)


def _pictures_in(folder: Path, recursive: bool) -> tuple[list[Path], int]:
    """The images of a folder, by their names, and how many other files there are; hidden ones are left alone."""
    found: list[Path] = []
    others = 0
    for place, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = sorted(name for name in folders if recursive and not name.startswith("."))
        for name in sorted(names):
            if name.startswith("."):
                continue
            if is_image_name(name):
                found.append(Path(place) / name)
            else:
                others += 1
    return found, others


def _refuse(error: OSError) -> None:
    reason = error.strerror or str(error)
    raise InputError(
        f"{error.filename} cannot be read ({reason}): check the name and its permissions", code="unreadable"
    )


def _is_within(path: Path, folder: Path) -> bool:
    """Whether a path is a folder or lies in it."""
    inner, outer = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
    return inner == outer or outer in inner.parents


def _listed(name: str) -> Iterator[Entry]:
    """The entries of a list; paths in a file are relative to its folder, those of standard input to the working folder."""
    if name == "-":
        text, root = _standard_input(), Path()
    elif Path(name).suffix.lower() in (".csv", ".tsv"):
        yield from _of_table(name, read_text(name, "the list"), Path(name).parent)
        return
    else:  # its names are those of files, whatever bytes these have
        text, root = _of_names(read_bytes(name, "the list", most=MOST_TEXT), f"the list {name}"), Path(name).parent
    lines = [line.strip() for line in text.split("\0" if "\0" in text else "\n")]
    if not any(lines):
        raise InputError(
            f"{'the list on standard input' if name == '-' else name} names nothing: check it", code="format"
        )
    for line in filter(None, lines):
        yield _entry(root / line, _folder_of(Path(line)))


def _standard_input() -> str:
    binary = getattr(sys.stdin, "buffer", None)
    return sys.stdin.read() if binary is None else _of_names(binary.read(), "the list on standard input")


def _of_names(read: bytes, what: str) -> str:
    """Names of files, whatever bytes these have: as the system reads them."""
    try:
        if not read.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
            return os.fsdecode(read.removeprefix(BOM_UTF8))
    except UnicodeDecodeError:
        pass
    raise InputError(f"{what} is no text in UTF-8: save it anew in UTF-8", code="unreadable")


def _of_table(name: str, text: str, root: Path) -> Iterator[Entry]:
    if "\0" in text:
        raise InputError(f"{name} holds a zero byte, which no table has: save it anew as text in UTF-8", code="format")
    try:
        rows = list(csv.DictReader(text.splitlines(), delimiter="\t" if name.lower().endswith(".tsv") else ","))
    except csv.Error as error:
        raise InputError(
            f"{name} is no such table ({error}): see whether a quote is left open", code="format"
        ) from error
    columns = [] if not rows else [column for column in rows[0] if column]
    column = next((each for each in columns if each.lower() in FILENAMES), None)
    if column is None:
        have = f"it has {', '.join(columns)}" if columns else "it has no row"
        raise InputError(f"{name}: no column names the images ({', '.join(FILENAMES)}), {have}", code="format")
    for row in rows:
        path = Path(row[column] or "")
        values = {key: value for key, value in row.items() if key and key != column and isinstance(value, str)}
        yield _entry(root / path, _folder_of(path), values)


def _folder_of(listed: Path) -> Path:
    """Where in the output folder what belongs to a listed path goes: as in the list, unless that leads out of it."""
    parts = listed.parent.parts
    return Path() if listed.is_absolute() or ".." in parts else listed.parent
