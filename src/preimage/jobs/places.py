"""Where the files of a job go, and whether they can be written, found out before any fit."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from preimage.errors import InputError
from preimage.extras import require
from preimage.images import check_place
from preimage.images.files import in_folder
from preimage.images.formats import EXTENSIONS
from preimage.in_use import name_key
from preimage.jobs.job import Job, is_resumable, named_by_options
from preimage.tasks import Output

PREVIEW_SIDE = 256
LONGEST_NAME = 255  # bytes, of a file on most disks


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
        name = f"{self.output.name}.checkpoint"
        if len(os.fsencode(name)) > LONGEST_NAME:
            name = f"{hashlib.sha256(os.fsencode(name)).hexdigest()[:32]}.checkpoint"
        return self.output.with_name(name)

    @property
    def resumes(self) -> Path | None:
        """The checkpoint that the job goes on from; None if it begins anew."""
        path = self.checkpoint
        return path if self.job.run.resume and path is not None and path.exists() else None

    @cached_property
    def may_replace(self) -> bool:
        """Whether files that exist are replaced: what an interrupted job wrote belongs to its checkpoint, if it had one then."""
        return self.job.run.overwrite or self.resumes is not None

    @cached_property
    def is_there(self) -> bool:
        """Whether a job that is to go on has nothing to go on from, and all of its files: an earlier one has finished it."""
        run, files = self.job.run, self.written.values()
        begun = self.resumes is not None or run.overwrite
        return run.resume and not begun and bool(files) and all(path.is_file() for path in files)

    def check(self) -> None:
        """Raise InputError for a file that cannot be written or must not be replaced, or one that is written twice or read."""
        run, checkpoint = self.job.run, self.checkpoint
        if checkpoint is not None and checkpoint.exists() and not (run.resume or run.overwrite):
            raise InputError(
                f"{checkpoint} of an interrupted run exists: go on from it with --resume, or start anew with --overwrite",
                code="exists",
            )
        if run.resume and checkpoint is not None and checkpoint.is_symlink() and not checkpoint.exists():
            raise InputError(f"{checkpoint} is a link that leads nowhere: mount or remove it", code="checkpoint")
        taken = {file_key(path): f"what {option} reads" for path, option in self.read.items()}
        files = {f"--{name}": path for name, path in self.written.items()}
        if run.report is not None:
            check_report(run.report)
            files["--report"] = run.report
        if checkpoint is not None:
            files["the checkpoint"] = checkpoint
        for option, path in files.items():
            _check_free(path, option, taken)
            taken[file_key(path)] = option
            if path is not checkpoint:
                check_place(path, overwrite=self.may_replace or self.is_there)
            elif run.autosave is not None:
                check_place(path, overwrite=True)


def checked(job: Job) -> Places:
    """The places of a job, known to be possible; and what is wrong whatever the input is.

    Raises:
        InputError: naming the option.
    """
    places = places_of(job)
    places.check()
    return places


def places_of(job: Job) -> Places:
    """The places of a job, whether or not something is there; raises InputError for options that exclude each other."""
    run = job.run
    job.check()
    others = {
        "--warm-start": job.options.get("warm_start", False),
        "--tile": isinstance(job.options.get("tile"), int),
        "--autosave": run.autosave is not None,
        "--resume": run.resume,
    }
    given = [name for name, is_given in others.items() if is_given]
    if run.preview and given:
        raise InputError(
            f"--preview is of {PREVIEW_SIDE} pixels alone, got {given[0]}: leave one of them out", code="option"
        )
    if run.every is not None and "film" not in job.outputs:
        raise InputError("--every is of the film: give --film FILE.gif too, or leave it out", code="option")
    return Places(job, _written(job), _read(job))


def _written(job: Job) -> dict[str, Path]:
    """The path of each file to write, by the name of the output."""
    outputs, chosen = job.spec.outputs, job.spec.options(**job.options)
    written: dict[str, Path] = {}
    for output in outputs:
        given = job.outputs.get(output.name)
        if output.when is not None and not output.when(chosen):
            if given is not None:
                raise InputError(f"--{output.name} is not written with these options: leave it out", code="option")
        elif given is not None:
            written[output.name] = _place_of(output, given, job)
        elif output.default is not None:
            written[output.name] = Path(usual_name(output, job))
    for output in outputs:
        if output.extra and output.name in written:
            require(output.extra, subject=f"--{output.name} is a drawing")
    main = outputs[0] if outputs else None
    if main is not None and main.further is not None and main.name in written:
        further = main.further(chosen, written[main.name])
        written |= {f"output-{number}": Path(path) for number, path in enumerate(further, 2)}
    return written


def _read(job: Job) -> dict[Path, str]:
    """The input and the files that options name, each with its option."""
    read = {} if job.input is None else {Path(job.input): "the input"}
    if job.run.reference is not None:
        require("metrics", subject="--reference is compared by SSIM")
        read[in_folder(job.run.reference, job.input)] = "--reference"
    for name, stated, each in named_by_options(job, "image", "file", "classifier", "classifiers"):
        path = in_folder(Path(each), job.input) if stated.kind == "image" else Path(each)
        if path.is_file():
            read[path] = stated.flags_of(name)[0]
    recipe = job.options.get("recipe")
    if isinstance(recipe, str) and recipe.endswith(".json"):
        read[Path(recipe)] = "--recipe"
    return read


def _place_of(output: Output, given: str, job: Job) -> Path:
    """Where an output goes: the file that was named, or the usual name in a folder that was named."""
    path = Path(given)
    path = path / usual_name(output, job) if path.is_dir() else path
    suffixes = output.suffixes or tuple(EXTENSIONS)
    if path.suffix.lower() not in suffixes:
        raise InputError(
            f"--{output.name} {given}: it is written as {' or '.join(suffixes)}: give such a name", code="format"
        )
    return path


def usual_name(output: Output, job: Job, stem: str | None = None) -> str:
    """The name of a file that is written for a job where only its folder is named; `stem`: another than the input's."""
    own, kind = ("class", ".png") if job.input is None else stem_and_suffix(Path(job.input))
    stem = own if stem is None else stem
    suffix = kind if kind.lower() in EXTENSIONS else ".png"
    if output.name == "output":
        named = (output.default or "{stem}-{task}{suffix}").format(stem=stem, task=job.task, suffix=suffix)
        return f"{Path(named).stem}-preview{Path(named).suffix}" if job.run.preview else named
    ending = "" if output.name == "film" else f"-{output.name}"
    return f"{stem}-{job.task}{ending}{(output.suffixes or ('.png',))[0]}"


def stem_and_suffix(path: Path) -> tuple[str, str]:
    """Of sky.fits.gz and sky.fits.fz those of what is packed."""
    inner = Path(path.stem)
    packed = path.suffix.lower() in (".gz", ".fz") and inner.suffix.lower() in EXTENSIONS
    return (inner.stem, inner.suffix) if packed else (path.stem, path.suffix)


def check_report(path: Path) -> None:
    """Raise InputError for a report that is no JSON file by its name."""
    if path.suffix.lower() != ".json":
        raise InputError(f"--report {path}: it is written as .json: give such a name", code="format")


def check_apart(places: Places, others: Iterable[Places]) -> None:
    """Raise InputError where two jobs would write one file, or one what another reads."""
    taken: dict[str, str] = {}
    for other in others:
        taken |= {file_key(path): f"what is written for {other.job.input}" for path in other.written.values()}
        taken |= {file_key(path): f"the input {path}" for path in other.read}
    for name, path in places.written.items():
        _check_free(path, f"--{name} for {places.job.input}", taken)


def _check_free(path: Path, option: str, taken: Mapping[str, Any]) -> None:
    if file_key(path) in taken:
        raise InputError(
            f"{path} ({option}) is also {taken[file_key(path)]}: choose another name or folder", code="option"
        )


def file_key(path: Path) -> str:
    """Equal for two paths of one file, links followed."""
    return name_key(os.path.realpath(path))
