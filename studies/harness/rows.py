"""Rows of a study: a CSV that is read by the names of its columns and grows row by row, each on the disk when it is known.

A last line that a kill has torn (without its end, or with too few fields) counts for nothing and is cut off before the next row.
"""

import csv
import io
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?(e[+-]\d+)?|nan|-?inf")


class StudyError(ValueError):
    """A study that cannot run so; the text is one line that says what to do instead."""


class Row(dict[str, Any]):
    """A row by column name; to ask for a column that its file does not have is one clear error."""

    path: Path | None = None

    def __missing__(self, column: str) -> Any:
        raise StudyError(f"{self.path or 'the row'} has no column {column!r}: it has {', '.join(self)}")

    def __or__(self, other: Mapping[str, Any]) -> "Row":  # pyright: ignore[reportIncompatibleMethodOverride]
        row = Row({**self, **other})
        row.path = self.path
        return row


def read_rows(path: Path, **wanted: Any) -> list[Row]:
    """All whole rows of a table, numbers as numbers, or those that have some values; none of a file that is not there."""
    header, lines, _ = _whole(path)
    rows = [Row({name: _typed(value) for name, value in zip(header, line, strict=True)}) for line in lines]
    for row in rows:
        row.path = path
    return chosen(rows, **wanted)


def append_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add rows under the columns of the file, in one piece; other processes may add theirs meanwhile.

    A column that only the file has stays empty; one that it does not have is a StudyError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file, locked(file):
        header, _, size = _whole(path)
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        if not header:
            header = list(rows[0])
            writer.writerow(header)
        if unknown := [name for row in rows for name in row if name not in header]:
            raise StudyError(f"{path} has no column {unknown[0]!r}: add it to the first line, or move the file away")
        writer.writerows([as_text(row.get(name, "")) for name in header] for row in rows)
        file.truncate(size)
        file.write(text.getvalue().encode())
        file.flush()
        os.fsync(file.fileno())


def chosen(rows: Iterable[Row], **wanted: Any) -> list[Row]:
    """Those rows that have these values in these columns; 1 and "1" are the same."""
    return [row for row in rows if all(as_text(row[column]) == as_text(value) for column, value in wanted.items())]


def as_text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


@contextmanager
def locked(file: IO[Any]):
    """As long as this lasts no other process has the lock of this file (on Windows: nothing is locked)."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def _whole(path: Path) -> tuple[list[str], list[list[str]], int]:
    """The columns, the whole lines below them, and how many bytes these take."""
    content = path.read_bytes() if path.exists() else b""
    size = content.rfind(b"\n") + 1
    header, *lines = list(csv.reader(io.StringIO(content[:size].decode(), newline=""))) or [[]]
    if lines and len(lines[-1]) < len(header):
        lines, size = lines[:-1], content.rfind(b"\n", 0, size - 1) + 1
    for number, line in enumerate(lines, 2):
        if len(line) != len(header):
            raise StudyError(
                f"{path}: line {number} has {len(line)} values for {len(header)} columns: correct or remove it"
            )
    return header, lines, size


def _typed(value: str) -> Any:
    if not NUMBER.fullmatch(value):
        return value
    return int(value) if value.lstrip("-").isdigit() else float(value)
