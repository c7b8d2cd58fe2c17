"""What the records of an output folder say: how many pictures stand how, and one table of all their numbers."""

from __future__ import annotations

import csv
import io
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from preimage.errors import InputError
from preimage.folders.lease import is_held
from preimage.folders.listing import HIDDEN
from preimage.folders.records import Place, Record
from preimage.images import write_bytes_atomically
from preimage.images.files import open_file

COLUMNS = ("input", "state", "output", "error")  # of every table, before the numbers
BEGIN = ",".join(COLUMNS)


def records_in(out: Path) -> Iterator[tuple[Place, Record]]:
    """All records of an output folder, in the order of their names."""
    root = out / HIDDEN
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            if not name.endswith(".json"):
                continue
            record = Record.from_json((Path(folder) / name).read_text(encoding="utf-8", errors="replace"))
            if record is None:
                continue
            known_as = (Path(folder) / name).relative_to(root).as_posix()
            yield Place(out, known_as.removesuffix(f".{record.task}.json"), record.task), record


@dataclass
class Standings:
    """How the pictures of an output folder stand.

    Args:
        counts: of "done", "failed", "running", "interrupted" and "left" (its process died).
        failed: name and reason of each that failed.
        running: names.
        ended: when each that is done was, in seconds since 1970.
    """

    counts: Counter[str] = field(default_factory=Counter)
    failed: list[tuple[str, str]] = field(default_factory=list)
    running: list[str] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)

    @property
    def minutes(self) -> float:
        """How far back pictures a minute are counted: ten minutes, or as long as it has gone on."""
        return min(10.0, max(1.0, (time.time() - min(self.ended, default=time.time())) / 60))

    @property
    def a_minute(self) -> float:
        """Pictures done a minute, lately."""
        since = time.time() - 60 * self.minutes
        return sum(when >= since for when in self.ended) / self.minutes


def standings_in(out: Path) -> Standings:
    """What the files alone say.

    Raises:
        InputError: a folder without records.
    """
    if not (out / HIDDEN).is_dir():
        raise InputError(f"{out} is no output folder, it has no {HIDDEN}: give that of -o", code="not-found")
    found = Standings()
    for place, record in records_in(out):
        state = record.state
        if state in ("started", "writing"):
            state = "running" if is_held(place.stem) else "left"
        found.counts[state] += 1
        if state == "done":
            found.ended.append(place.file.stat().st_mtime)
        if state == "failed":
            found.failed.append((place.shown(record.input), str(record.error)))
        elif state == "running":
            found.running.append(place.shown(record.input))
    return found


def write_table(out: Path, task: str, path: Path) -> Path:
    """One CSV of all pictures of a task: input, state, output, error, and the numbers of their reports."""
    rows = [_row(record, out) for _, record in records_in(out) if record.task == task]
    columns = list(dict.fromkeys([*COLUMNS, *(column for row in rows for column in row)]))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return write_bytes_atomically(path, text.getvalue().encode(errors=sys.getfilesystemencodeerrors()), overwrite=True)


def is_table(path: Path) -> bool:
    """Whether a file is empty, or begins as `write_table` begins.

    Raises:
        InputError: it cannot be read.
    """
    with open_file(path, "the table") as file:
        begin = file.read(len(BEGIN) + 1)
    return not begin or (begin[:-1] == BEGIN.encode() and begin[-1:] in (b",", b"\n"))


def check_table(path: Path, way_out: str) -> None:
    """Raise InputError, with the way out, for a file that is no such table: it is replaced only if that is asked for."""
    if path.is_file() and not is_table(path):
        raise InputError(f"{path} is there, and its first line does not begin {BEGIN}: {way_out}", code="exists")


def _row(record: Record, out: Path) -> dict[str, Any]:
    written = record.written.get("output") if record.state == "done" else None
    row: dict[str, Any] = {"input": record.input, "state": record.state}
    row["output"] = "" if written is None else str(out / written.path)
    row["error"] = record.error or ""
    return row | {name: value for name, value in _numbers(record.report) if name not in row and name != "task"}


def _numbers(report: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What of a report is one value; of a list of one that value."""
    for name, value in report.items():
        one = value[0] if isinstance(value, list) and len(value) == 1 else value
        if isinstance(one, str | int | float | bool):
            yield name, one
        elif name == "layers" and isinstance(value, list):
            for each in value:
                yield f"feature_error_{each['layer']}", each["feature_error"]
