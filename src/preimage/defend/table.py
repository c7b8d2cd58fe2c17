"""The table of an evaluation, a CSV of which every row is on the disk before the next is computed, and the accuracies in it.

Several processes may append to one table: each waits for the other's lock, and adds no row that is there already. What a process
that was killed has left half-written is dropped.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

from preimage.errors import InputError
from preimage.images.files import read_bytes
from preimage.in_use import flush, lock

Row = dict[str, str]
# A row is identified by its image, the attack and the defense.
IMAGE = ("classifier", "number", "picture", "label")
ATTACK = ("attack", "eps", "steps", "samples", "knows_seed")
DEFENCE = ("defence", "settings", "averaged")
KEY = (*IMAGE, *ATTACK, *DEFENCE, "seed")
COLUMNS = (*KEY, "predicted", "correct", "confidence", "distance", "seconds")


class Table:
    """Rows with the same columns, some of which (the key) identify a row.

    Example:
        >>> table = Table("rows.csv", columns=("picture", "attack", "correct"), key=("picture", "attack"))
        >>> table.append([{"picture": "3", "attack": "fgsm", "correct": "1"}])
        >>> ("3", "fgsm") in table.known()
        True

    Args:
        path: the CSV; the first rows create it.
        columns: of every row, in this order.
        key: the columns that identify a row.

    Raises:
        InputError: a file with other columns, or a folder that is not there.
    """

    def __init__(self, path: str | Path, *, columns: Sequence[str], key: Sequence[str]) -> None:
        self.path: Path = Path(path)
        self.columns: tuple[str, ...] = tuple(columns)
        self.key: tuple[str, ...] = tuple(key)
        if not (folder := self.path.parent).is_dir():
            raise InputError(f"{self.path}: the folder {folder} does not exist: create it first", code="not-found")
        if self.path.suffix.lower() != ".csv":
            raise InputError(f"{self.path}: the table is written as .csv: give it such a name")
        self.rows()

    def rows(self) -> list[Row]:
        """All whole rows; one that was cut off in the midst of writing counts for nothing."""
        try:
            content = read_bytes(self.path)
        except InputError as error:
            if error.code != "not-found":
                raise
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
        with self.path.open("ab") as file:
            lock(file, wait=True)
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
            flush(file)


def _whole(content: bytes) -> int:
    """How many bytes of a file are whole lines."""
    return content.rfind(b"\n") + 1


@dataclass(frozen=True)
class Accuracy:
    """Correct of count images behind a defense under an attack, and Wilson's 95 % interval.

    Example:
        >>> print(Accuracy("none", "pgd", 8, False, "", "", correct=81, count=100))
        none, pgd 8: 81.0% (72.2% to 87.5%), 81 of 100
    """

    defence: str
    attack: str
    eps: float
    knows_seed: bool
    steps: str
    samples: str
    correct: int
    count: int

    @property
    def share(self) -> float:
        """Accuracy, 0 to 1; NaN of no image."""
        return self.correct / self.count if self.count else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of `share`."""
        return wilson(self.correct, self.count)

    def __str__(self) -> str:
        attack = f"{self.attack} {self.eps:g}{', seed known' if self.knows_seed else ''}"
        low, high = self.interval
        return f"{self.defence}, {attack}: {self.share:.1%} ({low:.1%} to {high:.1%}), {self.correct} of {self.count}"


def wilson(correct: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a proportion (Wilson 1927), within 0 to 1, and not empty at 0 and 1.

    Example:
        >>> [round(end, 3) for end in wilson(9, 10)]
        [0.596, 0.982]
    """
    if not count:
        return 0.0, 1.0
    share, z = correct / count, NormalDist().inv_cdf(0.975)
    center = share + z**2 / (2 * count)
    reach = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    scale = 1 + z**2 / count
    return (0.0 if correct == 0 else (center - reach) / scale), (1.0 if correct == count else (center + reach) / scale)


def accuracies(rows: Sequence[Row]) -> list[Accuracy]:
    """The accuracy of each defense under each attack, of rows of a table, in the order in which they first come."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in (*DEFENCE, *ATTACK)), []).append(row)
    found = []
    for first, *others in groups.values():
        eps, known = float(first["eps"]), first["knows_seed"] == "yes"
        correct = sum(row["correct"] == "1" for row in (first, *others))
        texts = {name: first[name] for name in ("defence", "attack", "steps", "samples")}
        found.append(Accuracy(**texts, eps=eps, knows_seed=known, correct=correct, count=1 + len(others)))
    return found
