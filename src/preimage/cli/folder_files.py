"""The table and the report of a command over many pictures: neither harms a file that is no such table or report."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from preimage.cli.execute import Command
from preimage.errors import InputError
from preimage.folders.listing import Entry
from preimage.folders.options import FolderOptions
from preimage.folders.results import check_table
from preimage.folders.run import Turn
from preimage.folders.work import Ended
from preimage.images import check_place
from preimage.images.files import open_file
from preimage.in_use import lock
from preimage.jobs.job import Job, named_by_options
from preimage.jobs.places import file_key

LINE = {"input", "state", "error", "task", "output"}  # names in each line of a report
LONGEST = 2**24  # bytes of a line
ANOTHER_TABLE = "give another name with --table, or --overwrite"


def check_files(command: Command, asked: FolderOptions, entries: Iterable[Entry], table: Path | None) -> None:
    """Check before anything is done that the table and the report replace or lengthen nothing but what such a command wrote.

    Raises:
        InputError: another ending, a file that is read, a file of something else.
    """
    report = command.run.report
    if table is not None and table.suffix.lower() != ".csv":
        raise InputError(f"--table {table}: it is written as .csv: give such a name", code="format")
    if report is not None and report.suffix.lower() not in (".json", ".jsonl"):
        raise InputError(f"--report {report}: it is written as .jsonl or .json: give such a name", code="format")
    written = {option: path for option, path in (("--table", table), ("--report", report)) if path is not None}
    for path, what in _read(command, asked, entries) if any(path.exists() for path in written.values()) else ():
        for option, own in written.items():
            if file_key(own) == file_key(path):
                raise InputError(f"{own} ({option}) is also {what}: give another name with {option}", code="option")
    if table is not None and not command.run.overwrite:
        check_table(table, ANOTHER_TABLE)
    if report is not None and report.is_file() and not _is_report(report):
        raise InputError(
            f"--report {report}: the file that is there is no report of lines: give another name", code="exists"
        )


def _read(command: Command, asked: FolderOptions, entries: Iterable[Entry]) -> Iterable[tuple[Path, str]]:
    """What is read, and what it is."""
    yield from ((entry.source, "an input") for entry in entries)
    if asked.listed not in (None, "-"):
        yield Path(str(asked.listed)), "the list of --from"
    if command.run.reference is not None:
        yield command.run.reference, "what --reference reads"
    job = Job(command.task.name, command.options)
    for name, stated, each in named_by_options(job, "image", "file", "classifier", "classifiers"):
        yield Path(each), f"what {stated.flags_of(name)[0]} reads"
    recipe = command.options.get("recipe")
    if isinstance(recipe, str):
        yield Path(recipe), "what --recipe reads"


def _is_report(path: Path) -> bool:
    """Whether a file is empty, or begins with a line as `Lines` adds it."""
    with open_file(path, "the report") as file:
        line = file.readline(LONGEST)
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(line) if line else dict.fromkeys(LINE)
        return isinstance(found, dict) and found.keys() >= LINE
    return False


class Lines:
    """A report as JSON lines, one for each picture; each is added in one piece, so that several commands can share the file.

    Args:
        path: of the file, which `check_files` has seen.
        tells: is told, once, that a line could not be added.
    """

    def __init__(self, path: Path, tells: Callable[[str], object]) -> None:
        check_place(path, overwrite=True)
        self.path: Path = path
        self.lost: int = 0  # lines that could not be added
        self._tells = tells

    def add(self, turn: Turn, ended: Ended) -> None:
        """Add the line of a picture; a disk that has no room for it ends nothing."""
        record = turn.place.read() if ended.record is None else ended.record
        numbers = {} if record is None else dict(record.report)
        self._add(turn.job.input, ended, turn.job.task, turn.job.outputs.get("output"), numbers)

    def add_refused(self, source: Path, task: str, ended: Ended) -> None:
        """Add the line of a picture that could not be begun."""
        self._add(str(source), ended, task, None, {})

    def _add(self, source: str | None, ended: Ended, task: str, output: str | None, numbers: dict[str, Any]) -> None:
        line: dict[str, Any] = {"input": source, "state": ended.became, "error": ended.error}
        line |= {"task": task, "output": output, **numbers}
        try:
            self._append(f"{json.dumps(line, allow_nan=False)}\n".encode())
        except (OSError, ValueError) as error:
            self.lost += 1
            if self.lost == 1:
                reason = getattr(error, "strerror", None) or str(error)
                self._tells(f"preimage: warning: no line can be added to {self.path} ({reason}), the images go on")

    def _append(self, line: bytes) -> None:
        """Add a line, or nothing of it."""
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
        with os.fdopen(descriptor, "ab", buffering=0) as file:
            with contextlib.suppress(OSError):  # of a disk without locks
                lock(file, wait=True)
            written = os.write(descriptor, line)
            if written == len(line):
                return
            end = os.lseek(descriptor, 0, os.SEEK_CUR)
            if os.fstat(descriptor).st_size == end:  # nobody has added another line meanwhile
                os.ftruncate(descriptor, end - written)
            raise OSError(0, "it was written in part")
