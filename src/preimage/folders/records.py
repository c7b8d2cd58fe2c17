"""What has become of each picture: a file for each, OUT/.preimage/NAME.TASK.json, from which every question is answered."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

from preimage.errors import InputError
from preimage.folders.listing import HIDDEN, Entry
from preimage.images import write_bytes_atomically
from preimage.images.files import read_text
from preimage.jobs.job import Job, RunOptions, named_by_options, sha256_of
from preimage.jobs.places import LONGEST_NAME, Places, places_of
from preimage.version import __version__

FORMAT = 1
MOST_ATTEMPTS = 3  # of a picture that ends its process
State = Literal["started", "writing", "interrupted", "done", "failed"]
NOT_THE_PICTURE = ("unwritable", "device")  # what may have gone when it is tried again
_LONGEST_ENDING = ".lease.99999"
_A_HASH = re.compile("[0-9a-f]{32}")
# How a job is run without an effect on its result; everything else is part of what it is known by.
_WAYS = ("overwrite", "report", "threads", "autosave", "resume", "reference")


@dataclass(frozen=True)
class Written:
    """A file as it was written: by its hash, and by what shows quickly that it is still the same.

    Its path is that below the output folder where it lies in it, so that the folder may be moved, or called by another name.
    """

    path: str
    sha256: str
    size: int
    changed: int  # nanoseconds

    @classmethod
    def of(cls, path: Path, out: Path) -> Written:
        found = path.stat()
        return cls(below(path, out), sha256_of(path), found.st_size, found.st_mtime_ns)

    def is_unchanged(self, out: Path) -> bool:
        """Whether the file is as it was written; it is read only where its time has changed."""
        path = out / self.path
        try:
            found = path.stat()
        except OSError:
            return False
        if found.st_size != self.size:
            return False
        return found.st_mtime_ns == self.changed or sha256_of(path) == self.sha256

    @property
    def seen(self) -> tuple[int, int]:
        """Size and time, by which a file that was read is taken for the same."""
        return self.size, self.changed


def below(path: Path, out: Path) -> str:
    """A path below an output folder; of one elsewhere the absolute path."""
    whole, root = path.parent.resolve() / path.name, out.resolve()
    return whole.relative_to(root).as_posix() if whole.is_relative_to(root) else str(whole)


@dataclass(frozen=True)
class Record:
    """What has become of one picture.

    Args:
        task, input: of its job.
        job: what the job is known by (`job_hash`).
        state: "started", "writing" (its files may be there), "interrupted" (it goes on from its checkpoint), "done", "failed".
        attempts: how often it was begun and neither ended nor was interrupted.
        written: its files, by the name of the output; until it is done, those of the job before it.
        reads: what was read for the job, by its path: it is not read again to see whether it is the same.
        unfinished: whether files of a former attempt, which ended while it wrote them, may be there.
        error, code: why it failed: in a line, and for programs.
        report: all numbers.
    """

    task: str
    input: str
    job: str
    state: State
    attempts: int = 0
    written: Mapping[str, Written] = field(default_factory=dict)
    reads: Mapping[str, Written] = field(default_factory=dict)
    unfinished: bool = False
    error: str | None = None
    code: str | None = None
    report: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, "version": __version__, **asdict(self)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Record | None:
        """None where it is no record: a file of another kind, or of another format."""
        try:
            found = json.loads(text)
            if (
                not isinstance(found, dict)
                or found.pop("format", None) != FORMAT
                or found["state"] not in get_args(State)
            ):
                return None
            found.pop("version", None)
            written, reads = (
                {name: Written(**each) for name, each in found.pop(part, {}).items()} for part in ("written", "reads")
            )
            return cls(**found, written=written, reads=reads)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None

    @property
    def may_have_written(self) -> bool:
        """Whether files that are there may be ours without being known."""
        return self.unfinished or self.state == "writing"

    @property
    def ours(self) -> dict[str, Any]:
        """What a later record must know, so that files of former attempts and of former jobs are still known to be ours."""
        return {"written": self.written, "unfinished": self.may_have_written}

    def has_written(self, path: Path, out: Path) -> bool:
        """Whether a file is one of these results, and as it was written."""
        name = below(path, out)
        return any(each.path == name and each.is_unchanged(out) for each in self.written.values())

    def is_as_written(self, out: Path) -> bool:
        """Whether all of these results are as they were written."""
        return all(each.is_unchanged(out) for each in self.written.values())


@dataclass(frozen=True)
class Place:
    """A picture's record in an output folder, and its lease beside it.

    Args:
        out: the output folder.
        name: of the entry.
        task: what is done.
    """

    out: Path
    name: str
    task: str

    @classmethod
    def of(cls, out: Path, entry: Entry, task: str) -> Place:
        return cls(out, entry.name, task)

    @property
    def _known_as(self) -> Path:
        """The name with its folder; where no file could have it and the endings, a hash of it."""
        path = Path(self.name)
        if len(os.fsencode(f"{path.name}.{self.task}{_LONGEST_ENDING}")) <= LONGEST_NAME:
            return path
        return path.with_name(hashlib.sha256(os.fsencode(path.name)).hexdigest()[:32])

    def shown(self, source: str) -> str:
        """The name for people: where a hash stands for it, that of its file."""
        path = Path(self.name)
        return path.with_name(Path(source).name).as_posix() if _A_HASH.fullmatch(path.name) else self.name

    @property
    def stem(self) -> Path:
        """To which the lease adds its endings."""
        return self.out / HIDDEN / f"{self._known_as}.{self.task}"

    @property
    def file(self) -> Path:
        return self.stem.with_name(f"{self.stem.name}.json")

    @property
    def aside(self) -> Path:
        """Where it is said of a picture that was set aside, beside the results."""
        return self.out / f"{self._known_as}.failed.json"

    def read(self) -> Record | None:
        """The record; None if there is none."""
        try:
            return Record.from_json(read_text(self.file))
        except InputError:
            return None

    def write(self, record: Record) -> Record:
        """Write the record, whole or not at all; of one that failed also the file beside the results.

        Raises:
            InputError: a folder that cannot be written to, a full disk.
        """
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_bytes_atomically(self.file, record.to_json().encode(), overwrite=True)
        if record.state == "failed":
            shown = {"task": record.task, "input": record.input, "error": record.error, "code": record.code}
            self.aside.parent.mkdir(parents=True, exist_ok=True)
            write_bytes_atomically(self.aside, f"{json.dumps(shown, indent=2)}\n".encode(), overwrite=True)
        elif record.state == "done" and self._aside_is_ours():
            self.aside.unlink(missing_ok=True)
        return record

    def _aside_is_ours(self) -> bool:
        """Whether what is said beside the results is of this task: all tasks of an output folder have one such file."""
        try:
            return json.loads(read_text(self.aside))["task"] == self.task
        except (InputError, ValueError, TypeError, KeyError):
            return False


Standing = Literal["to do", "done", "failed", "in the way"]


def standing(
    place: Place, record: Record | None, job: Job, places: Places, known_by: str, *, retry_failed: bool
) -> Standing:
    """What is to be done about a picture.

    "in the way": a file that is no result of ours, or was changed since, which nothing but --overwrite may replace.
    """
    if job.run.overwrite:
        return "done" if _is_done(record, known_by, place.out) else "to do"
    if record is None:
        return "in the way" if any(path.exists() for path in places.written.values()) else "to do"
    if _is_done(record, known_by, place.out):
        return "done"
    if not record.may_have_written and any(
        path.exists() and not record.has_written(path, place.out) for path in places.written.values()
    ):
        return "in the way"
    if record.state == "failed" and record.job == known_by and not retry_failed and record.code not in NOT_THE_PICTURE:
        return "failed"
    return "to do"


def _is_done(record: Record | None, known_by: str, out: Path) -> bool:
    return record is not None and record.state == "done" and record.job == known_by and record.is_as_written(out)


def job_hash(job: Job, reads: Mapping[str, Written] | None = None) -> str:
    """What a job is known by: its task, its options, and the contents of all files that it reads; not where they lie.

    Args:
        job: of one picture.
        reads: as `read_for`; None: they are read.

    Raises:
        InputError: a file that cannot be read, an option that is no plain data.
    """
    reads = read_for(job) if reads is None else reads
    plain = json.loads(replace(job, input=None, outputs={}, run=RunOptions(), input_sha256=None).to_json())
    ways = {name: value for name, value in asdict(job.run).items() if name not in _WAYS}
    contents = {option: reads[str(path)].sha256 for path, option in places_of(job).read.items()}
    options = {name: value for name, value in plain["options"].items() if not _is_file(value)}
    known = {"task": job.task, "options": options, "run": ways, "reads": contents, "outputs": sorted(job.outputs)}
    return hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()


def read_for(job: Job, record: Record | None = None) -> dict[str, Written]:
    """What a job reads, by its path: input, masks, a classifier's file; only what a record does not know already is read.

    Raises:
        InputError: a file that cannot be read.
    """
    known = {} if record is None else record.reads
    paths = set(places_of(job).read)
    named = {Path(each) for _, _, each in named_by_options(job, "image", "file", "classifier", "classifiers")}
    away = {path for path in named - paths if str(path) in known}  # it was a file, and is no name of something else
    return {str(path): _content(path, known.get(str(path))) for path in sorted(paths | away)}


def _is_file(value: Any) -> bool:
    return isinstance(value, str) and Path(value).is_file()


def _content(path: Path, known: Written | None) -> Written:
    try:
        found = path.stat()
    except OSError:
        return Written(str(path), sha256_of(path), 0, 0)  # which says what is wrong
    seen = found.st_size, found.st_mtime_ns
    if known is not None and known.seen == seen:
        return known
    return Written(str(path), _content_of(str(path), *seen), *seen)


@lru_cache(maxsize=4096)
def _content_of(path: str, size: int, changed: int) -> str:
    """The hash of a file, read once as long as it does not change: a classifier's is that of every picture."""
    del size, changed
    return sha256_of(Path(path))
