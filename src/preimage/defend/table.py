"""A table that grows while it is measured: a CSV of which every row is on the disk before the next is worked out.

Several processes may append to one table: each waits for the other's lock, and adds no row that is there already. What a process
that was killed has left half-written is dropped.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from preimage.errors import InputError

Row = dict[str, str]


class Table:
    """Rows with the same columns, some of which tell a row from every other.

    Example:
        >>> table = Table("rows.csv", columns=("picture", "attack", "correct"), key=("picture", "attack"))
        >>> table.append([{"picture": "3", "attack": "fgsm", "correct": "1"}])
        >>> ("3", "fgsm") in table.known()
        True

    Args:
        path: the CSV; it is begun where it is not there.
        columns: of every row, in this order.
        key: the columns by which a row is known.

    Raises:
        InputError: a file with other columns, or a folder that is not there.
    """

    def __init__(self, path: str | Path, *, columns: Sequence[str], key: Sequence[str]) -> None:
        self.path, self.columns, self.key = Path(path), tuple(columns), tuple(key)
        if not (folder := self.path.parent).is_dir():
            raise InputError(f"{self.path}: the folder {folder} does not exist: create it first", code="not-found")
        if self.path.suffix.lower() != ".csv":
            raise InputError(f"{self.path}: the table is written as .csv: give it such a name")
        self.rows()

    def rows(self) -> list[Row]:
        """All whole rows; one that was cut off in the midst of writing counts for nothing."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return []
        begun = b"" if _whole(content) else content  # of the header alone, if it is ours
        lines = csv.reader(io.StringIO(content[: _whole(content)].decode("utf-8", errors="replace"), newline=""))
        header = next(lines, list(self.columns))
        if tuple(header) != self.columns or not ",".join(self.columns).encode().startswith(begun):
            raise InputError(f"{self.path} is something else than a table with these columns: give another name")
        return [dict(zip(self.columns, line, strict=True)) for line in lines if len(line) == len(self.columns)]

    def known(self) -> set[tuple[str, ...]]:
        """The keys of all rows."""
        return {self.key_of(row) for row in self.rows()}

    def key_of(self, row: Row) -> tuple[str, ...]:
        return tuple(row[name] for name in self.key)

    def append(self, rows: Sequence[Row]) -> None:
        """Add rows, those alone that are not there yet; they are on the disk when this returns."""
        with self.path.open("ab") as file, alone(file):
            content = self.path.read_bytes()
            known = self.known()
            new = [row for row in rows if self.key_of(row) not in known]
            file.truncate(_whole(content))
            text = io.StringIO(newline="")
            writer = csv.writer(text, lineterminator="\n")
            if not _whole(content):
                writer.writerow(self.columns)
            writer.writerows([row[name] for name in self.columns] for row in new)
            file.write(text.getvalue().encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())


def _whole(content: bytes) -> int:
    """How many bytes of a file are whole lines."""
    return content.rfind(b"\n") + 1


@contextlib.contextmanager
def alone(file: IO[Any]) -> Iterator[None]:
    """No other process is within for the same file; the lock goes with the file, also that of a process that is killed."""
    try:
        import fcntl
    except ImportError:  # Windows: one process a table
        yield
        return
    fcntl.flock(file, fcntl.LOCK_EX)
    yield
