"""The job of each picture: the options of the command, the path of each output, and what a table says of the picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from preimage.errors import InputError
from preimage.folders.listing import Entry
from preimage.folders.records import Place
from preimage.folders.run import Turn
from preimage.folders.work import Ended, refuse
from preimage.images.files import SeveralCompanions, check_file, in_folder
from preimage.jobs.job import Job, RunOptions
from preimage.jobs.places import places_of, usual_name
from preimage.tasks import TaskSpec, described


@dataclass(frozen=True)
class Asked:
    """What is asked for of every picture.

    Args:
        task: what is done.
        options: of the task, plain data; images and folders of them as paths.
        out: the folder of the main results, and of the records.
        further: the folder of each other output that is asked for.
        run: how a job is run.
        target_column: of a table, with the target class.
    """

    task: TaskSpec[..., Any]
    options: Mapping[str, Any]
    out: Path
    further: Mapping[str, Path]
    run: RunOptions
    target_column: str | None = None

    def turn(self, entry: Entry) -> Turn:
        """The turn of one picture.

        Raises:
            InputError: a table without the column, an option that the task does not have.
        """
        options = {name: self._of(name, value, entry) for name, value in self.options.items()}
        if self.target_column is not None:
            options["target"] = self._target(entry)
        reference = self.run.reference
        if reference is not None:
            reference = in_folder(_below(reference, entry), str(entry.source))
        run = replace(self.run, report=None, reference=reference)
        bare = Job(self.task.name, options, str(entry.source), {}, run)
        chosen = self.task.options(**options)
        outputs = {}
        for output in self.task.outputs:
            folder = self.out if output.name == "output" else self.further.get(output.name)
            if folder is None or (output.when is not None and not output.when(chosen)):
                continue
            if output.name == "output" and output.default is None:
                continue
            outputs[output.name] = str(folder / entry.folder / usual_name(output, bare, entry.stem))
        job = replace(bare, outputs=outputs)
        places_of(job)  # which says what cannot be asked for
        return Turn(Place.of(self.out, entry, self.task.name), job)

    def turns(
        self, entries: Sequence[Entry], refuse: Callable[[Entry, InputError], None], *, raises_alone: bool = False
    ) -> list[Turn]:
        """The turn of each picture; one that cannot be begun keeps no other from its turn.

        Args:
            refuse: is told of such a picture, and why.
            raises_alone: whether what is wrong with the only picture is raised as well.

        Raises:
            InputError: what is wrong for all.
        """
        turns: list[Turn] = []
        for entry in entries:
            try:
                check_file(entry.source)
                turns.append(self.turn(entry))
            except InputError as error:
                for_all = error.code == "option" and not isinstance(error, SeveralCompanions)
                if for_all or (raises_alone and len(entries) == 1):
                    raise
                refuse(entry, error)
            except OSError as error:  # a name that becomes too long, a folder that may not be entered
                reason, way = error.strerror or error, "give it a shorter name, or change the rights of its folder"
                told = InputError(
                    f"{error.filename or entry.source} cannot be used ({reason}): {way}", code="unwritable"
                )
                if raises_alone and len(entries) == 1:
                    raise told from error
                refuse(entry, told)
        return turns

    def refused(self, entry: Entry, error: InputError) -> Ended:
        """Keep in the record of a picture why it has no turn."""
        return refuse(Place.of(self.out, entry, self.task.name), str(entry.source), str(error), error.code)

    def _of(self, name: str, value: Any, entry: Entry) -> Any:
        """An option of one picture: of a folder of masks the mask that belongs to it."""
        stated = described(self.task.options)[name]
        if stated.kind == "image" and isinstance(value, str | Path) and Path(value).is_dir():
            return str(in_folder(_below(Path(value), entry), str(entry.source)))
        return value

    def _target(self, entry: Entry) -> Any:
        if "target" not in described(self.task.options):
            raise InputError(f"{self.task.name} has no target: leave --target-column out", code="option")
        value = entry.values.get(str(self.target_column))
        if value is None:
            have = ", ".join(entry.values) or "no other column"
            raise InputError(
                f"{entry.source}: the table has no column {self.target_column!r}, it has {have}: name one of them",
                code="option",
            )
        return value


def _below(folder: Path, entry: Entry) -> Path:
    """Of a folder the same folder within as the picture's, if there is one."""
    inner = folder / entry.folder
    return inner if inner.is_dir() else folder
