"""Where the files of a command go, and whether they can, found out before any fit."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from preimage.cli.options import Options
from preimage.errors import InputError
from preimage.images import check_place
from preimage.images.formats import EXTENSIONS


@dataclass(frozen=True)
class Places:
    """The files that belong to one input."""

    input: Path
    output: Path
    figure: Path | None
    uncertainty: Path | None
    film: Path | None
    reference: Path | None

    @property
    def checkpoint(self) -> Path:
        return self.output.with_name(f"{self.output.name}.checkpoint")

    def written(self) -> dict[str, Path]:
        """What will be written, by the option that asks for it."""
        named = {
            "--output": self.output,
            "--figure": self.figure,
            "--uncertainty": self.uncertainty,
            "--film": self.film,
        }
        return {option: path for option, path in named.items() if path is not None}

    def may_replace(self, options: Options) -> bool:
        """What an interrupted run wrote belongs to its checkpoint, and is replaced by the run that resumes it."""
        return options.overwrite or (options.resume and self.checkpoint.exists())

    def check(self, options: Options) -> None:
        """InputError where a file cannot be written, or would be written without leave."""
        for path in self.written().values():
            check_place(path, overwrite=self.may_replace(options))
        if options.autosave is not None:
            check_place(self.checkpoint, overwrite=True)


def check_folders(options: Options) -> None:
    """For several inputs, what is written or read for each must be told by a folder that is there.

    Raises:
        InputError: naming the option.
    """
    for option in ("output", "figure", "uncertainty", "film", "reference"):
        given = getattr(options, option)
        if given is not None and not given.is_dir():
            there = "a file" if given.exists() else "not there: create it first"
            raise InputError(f"--{option} must be a folder for several inputs, and {given} is {there}")


def places_of(path: Path, task: str, options: Options) -> Places:
    """The files for one input: those that the options name, or NAME-task.EXT and the like in the folders they name.

    Raises:
        InputError: an extension that does not fit.
    """
    stem = f"{path.stem}-{task}"
    kind = path.suffix if path.suffix.lower() in EXTENSIONS else ".png"
    reference = options.reference
    return Places(
        input=path,
        output=_in_folder(options.output or Path(), f"{stem}{kind}"),
        figure=_of_kind("--figure", options.figure, f"{stem}-figure.png", (".png",)),
        uncertainty=_of_kind("--uncertainty", options.uncertainty, f"{stem}-uncertainty.tif", (".tif", ".tiff")),
        film=_of_kind("--film", options.film, f"{stem}.gif", (".gif", ".webp")),
        reference=None if reference is None else _in_folder(reference, path.name),
    )


def check_apart(
    places: Places, others: Iterable[Places], inputs: Iterable[Path], read: Mapping[Path, str], report: Path | None
) -> None:
    """No file may be written twice, or over something that is read.

    Raises:
        InputError: naming the two that meet.
    """
    taken = {_key(path): f"the input {path}" for path in inputs}
    taken |= {_key(path): f"what {option} reads" for path, option in read.items()}
    if places.reference is not None:
        taken[_key(places.reference)] = "the reference"
    for other in others:
        for path in (*other.written().values(), other.checkpoint):
            taken[_key(path)] = f"what is written for {other.input}"
    mine = [*places.written().items(), ("the checkpoint", places.checkpoint)]
    for option, path in mine if report is None else [("--report", report), *mine]:
        if _key(path) in taken:
            raise InputError(
                f"{path} ({option} for {places.input}) is also {taken[_key(path)]}: choose another name or folder"
            )
        taken[_key(path)] = option


def _key(path: Path) -> str:
    return os.path.normcase(os.path.realpath(path))


def _in_folder(given: Path, name: str) -> Path:
    return given / name if given.is_dir() else given


def _of_kind(option: str, given: Path | None, name: str, kinds: tuple[str, ...]) -> Path | None:
    if given is None:
        return None
    place = _in_folder(given, name)
    if place.suffix.lower() not in kinds:
        raise InputError(f"{option} {given}: it is written as {' or '.join(kinds)}: give such a name")
    return place
