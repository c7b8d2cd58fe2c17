"""Where the files of a job go, and whether they can be written, found out before any fit."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from preimage.errors import InputError
from preimage.images import check_place
from preimage.images.formats import EXTENSIONS
from preimage.jobs.job import Job, is_resumable
from preimage.tasks import Output, TaskSpec, described


@dataclass(frozen=True)
class Places:
    """The files of one job: those that are written, by the name of the output, and those that are read, by option."""

    job: Job
    written: Mapping[str, Path]
    read: Mapping[Path, str]

    @property
    def output(self) -> Path | None:
        """The main file."""
        return self.written.get("output")

    @property
    def checkpoint(self) -> Path | None:
        """Where a checkpoint is; None for a task without."""
        if self.output is None or not is_resumable(self.job.spec):
            return None
        return self.output.with_name(f"{self.output.name}.checkpoint")

    @cached_property
    def may_replace(self) -> bool:
        """Whether files that exist are replaced: what an interrupted job wrote belongs to its checkpoint, if it had one then."""
        run, checkpoint = self.job.run, self.checkpoint
        return run.overwrite or (run.resume and checkpoint is not None and checkpoint.exists())

    def check(self) -> None:
        """Raise InputError for a file that cannot be written or must not be replaced, or one that is written twice or read."""
        run, checkpoint = self.job.run, self.checkpoint
        if checkpoint is not None and checkpoint.exists() and not (run.resume or run.overwrite):
            raise InputError(
                f"{checkpoint} of an interrupted run exists: go on from it with --resume, or start anew with --overwrite",
                code="exists",
            )
        taken = {_key(path): f"what {option} reads" for path, option in self.read.items()}
        files = {f"--{name}": path for name, path in self.written.items()}
        if run.report is not None:
            check_report(run.report)
            files["--report"] = run.report
        if checkpoint is not None:
            files["the checkpoint"] = checkpoint
        for option, path in files.items():
            if _key(path) in taken:
                raise InputError(
                    f"{path} ({option}) is also {taken[_key(path)]}: choose another name or folder", code="option"
                )
            taken[_key(path)] = option
            if option != "the checkpoint":
                check_place(path, overwrite=self.may_replace)
            elif run.autosave is not None:
                check_place(path, overwrite=True)


def places_of(job: Job) -> Places:
    """The files of a job.

    Raises:
        InputError: a file name extension that does not fit.
    """
    spec = job.spec
    written: dict[str, Path] = {}
    chosen = _options(job)
    for output in spec.outputs:
        if output.when is not None and not output.when(chosen):
            if output.name in job.outputs:
                raise InputError(f"--{output.name} is not written with these options: leave it out", code="option")
            continue
        path = place_of(output, job.outputs.get(output.name), job.input, spec, preview=job.run.preview)
        if path is not None:
            written[output.name] = path
    main = spec.outputs[0] if spec.outputs else None
    further = getattr(main, "further", None)
    if main is not None and further is not None and main.name in written:
        for number, path in enumerate(further(chosen, written[main.name]), 2):
            written[f"output-{number}"] = Path(path)
    read = {} if job.input is None else {Path(job.input): "the input"}
    if job.run.reference is not None:
        read[in_folder(job.run.reference, job.input)] = "--reference"
    for name, stated in described(spec.options).items():
        value = job.options.get(name)
        if stated.kind in ("image", "file", "classifier") and isinstance(value, str | Path):
            path = in_folder(Path(value), job.input) if stated.kind == "image" else Path(value)
            if path.is_file():
                read[path] = f"--{name.replace('_', '-')}"
    return Places(job, written, read)


def _options(job: Job) -> Any:
    return job.spec.options(**job.options)


def in_folder(path: Path, source: str | None) -> Path:
    """A file that belongs to an input: itself, or, of a folder, the file in it that has the input's name."""
    return path / Path(source).name if source is not None and path.is_dir() else path


def place_of(
    output: Output, given: str | None, source: str | None, task: TaskSpec[..., Any], *, preview: bool = False
) -> Path | None:
    """Where one output goes: the file that was named, the usual name in a folder that was named, or nowhere."""
    name = _name(output, source, task, preview=preview)
    if given is None:
        return None if output.default is None else Path(name)
    path = Path(given)
    path = path / name if path.is_dir() else path
    suffixes = output.suffixes or tuple(EXTENSIONS)
    if path.suffix.lower() not in suffixes:
        raise InputError(
            f"--{output.name} {given}: it is written as {' or '.join(suffixes)}: give such a name", code="format"
        )
    return path


def _name(output: Output, source: str | None, task: TaskSpec[..., Any], *, preview: bool) -> str:
    stem, kind = ("class", ".png") if source is None else (Path(source).stem, Path(source).suffix)
    suffix = kind if kind.lower() in EXTENSIONS else ".png"
    if output.name == "output":
        named = (output.default or "{stem}-{task}{suffix}").format(stem=stem, task=task.name, suffix=suffix)
        return f"{Path(named).stem}-preview{Path(named).suffix}" if preview else named
    ending = {"film": "", "uncertainty": "-uncertainty"}.get(output.name, f"-{output.name}")
    return f"{stem}-{task.name}{ending}{(output.suffixes or ('.png',))[0]}"


def check_report(path: Path) -> None:
    """Raise InputError for a report that is no JSON file by its name."""
    if path.suffix.lower() != ".json":
        raise InputError(f"--report {path}: it is written as .json: give such a name", code="format")


def check_apart(places: Places, others: Iterable[Places]) -> None:
    """Raise InputError where two jobs would write one file, or one what another reads."""
    taken: dict[str, str] = {}
    for other in others:
        taken |= {_key(path): f"what is written for {other.job.input}" for path in other.written.values()}
        taken |= {_key(path): f"the input {path}" for path in other.read}
    for name, path in places.written.items():
        if _key(path) in taken:
            raise InputError(
                f"{path} (--{name} for {places.job.input}) is also {taken[_key(path)]}: choose another name or folder",
                code="option",
            )


def _key(path: Path) -> str:
    return os.path.normcase(os.path.realpath(path))
