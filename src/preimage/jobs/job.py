"""Job: one task on one input, as plain data; Outcome: what became of it. Importing this imports no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from preimage.errors import InputError
from preimage.jobs.forms import form_of, from_plain
from preimage.registry import task_named
from preimage.tasks import Kind, Option, TaskOptions, TaskSpec, described, option

FORMAT = 2


@dataclass(frozen=True, kw_only=True)
class RunOptions(TaskOptions):
    """How a job is run: what is read, what may be replaced, threads and checkpoints; a task has those that it can use."""

    overwrite: bool = option(False, help="Replace files that exist.", group="Files")
    report: Path | None = option(None, help="JSON of all numbers.", group="Files", kind="file", metavar="FILE")
    page: int | Literal["all"] | None = option(
        None, help="Page of a multi-page file, from 1, or all (tasks that take several).", group="Files"
    )
    value_range: tuple[float, float] | None = option(
        None,
        help="LOW HIGH: file values of black and white (default: 0 255 for 8 bits, else the least and greatest but outliers; "
        "where a classifier looks, 0 65535 for 16 bits, 0 1 for floats within).",
        group="Files",
        flags=("--range",),
    )
    salvage: bool = option(
        False, help="Read what is there of a JPEG, PNG or BMP that is cut off, and say so.", group="Files"
    )
    reference: Path | None = option(
        None,
        help="Ground truth, or a folder with a file of the input's name: for PSNR and SSIM in the report, never for the fit.",
        group="Files",
        kind="file",
        metavar="FILE",
    )
    every: int | None = option(
        None, help="Steps between two frames of the film (default: 10).", group="Files", minimum=1
    )
    preview: bool = option(
        False,
        help="Restore only the central 256 x 256 pixels, and estimate the time for the whole image.",
        group="Files",
    )
    strength: float = option(
        1.0, help="Blend with the input, from 0 (the input) to 1 (the result).", group="Fit", minimum=0, maximum=1
    )
    threads: int | None = option(None, help="Processor threads (default: PyTorch's choice).", group="Run", minimum=1)
    autosave: int | None = option(
        None, help="Steps between two checkpoints, OUTPUT.checkpoint; removed at the end.", group="Run", minimum=1
    )
    resume: bool = option(False, help="Go on from OUTPUT.checkpoint if it exists.", group="Run")


def run_options_of(task: TaskSpec[..., Any]) -> tuple[str, ...]:
    """The names of the run options that a task has."""
    names = ["overwrite", "report", "threads"]
    if task.inputs in ("images", "image"):
        names += ["page", "value_range"]
    if task.inputs != "none":
        names += ["salvage"]
    if is_resumable(task):
        names += ["resume"] if task.inputs == "data" else ["autosave", "resume"]
    if restores(task):
        names += ["reference", "every", "preview", "strength"]
    return tuple(each.name for each in fields(RunOptions) if each.name in names)


def restores(task: TaskSpec[..., Any]) -> bool:
    """Whether a task makes an image of its input that can be held against a reference."""
    return any(output.name == "film" and not output.write for output in task.outputs)


def is_resumable(task: TaskSpec[..., Any]) -> bool:
    """Whether a job of the task has a checkpoint, beside a main output that it always writes."""
    main = task.outputs[0] if task.outputs else None
    iterates = task.recipes is not None or task.inputs == "data"
    return iterates and main is not None and main.name == "output" and main.when is None


@dataclass(frozen=True)
class Job:
    """One task on one input: plain data that can be written as JSON and run anywhere.

    Example:
        >>> job = Job("denoise", {"sigma": 25.0}, "photo.png", {"output": "clean.png"})
        >>> Job.from_json(job.to_json()) == job
        True

    Args:
        task: the name of a task.
        options: those that are not the default; images and classifiers as paths and specifications.
        input: path of the image, folder or table; None where the task takes none.
        outputs: path of each file to write, by the name of the output.
        run: how it is run.
        input_sha256: of the file's bytes; another file of that name is then refused. None: any.
    """

    task: str
    options: Mapping[str, Any] = field(default_factory=dict)
    input: str | None = None
    outputs: Mapping[str, str] = field(default_factory=dict)
    run: RunOptions = field(default_factory=RunOptions)
    input_sha256: str | None = None

    @property
    def spec(self) -> TaskSpec[..., Any]:
        """The task."""
        return task_named(self.task)

    def pinned(self) -> Job:
        """The job for the very file that is there now: another one of that name will be refused.

        Raises:
            InputError: a file that cannot be read.
        """
        return self if self.input is None else replace(self, input_sha256=sha256_of(Path(self.input)))

    def to_json(self) -> str:
        """The job as a JSON object.

        Raises:
            InputError: an option that is no plain data (a tensor, a rule of one's own).
        """
        try:
            return json.dumps({"format": FORMAT, **asdict(self)}, default=_plain, sort_keys=True)
        except TypeError as error:
            raise InputError(f"job of {self.task}: {error}: give a path, a name or a number", code="type") from error

    @classmethod
    def from_json(cls, text: str) -> Job:
        """A job from its JSON; nothing that it names is imported or run.

        Raises:
            InputError: no JSON, another format number, an unknown task, option or output, or a value of another type.
        """
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"a job must be a JSON object: {error}", code="unreadable") from error
        if not isinstance(found, dict) or found.pop("format", None) != FORMAT:
            raise InputError(f'a job must have "format": {FORMAT}: make it anew', code="format")
        unknown = sorted(found.keys() - _PARTS.keys())
        if unknown or "task" not in found:
            raise InputError(f"a job has no {', '.join(unknown) or 'task'}: make it anew", code="option")
        wrong = [name for name, value in found.items() if not isinstance(value, _PARTS[name])]
        if not wrong and not all(isinstance(path, str) for path in found.get("outputs", {}).values()):
            wrong = ["outputs"]
        if wrong:
            raise InputError(f"{wrong[0]} of a job cannot be {found[wrong[0]]!r}: make it anew", code="type")
        task = task_named(found["task"])
        run: dict[str, Any] = _from_plain(found.get("run", {}), RunOptions, "run")
        run |= {name: Path(run[name]) for name in ("report", "reference") if run.get(name)}
        found["options"] = _from_plain(found.get("options", {}), task.options, task.name)
        job = cls(**{**found, "run": RunOptions(**run)})
        job.check()
        return job

    def check(self) -> None:
        """Raise InputError for an option, output or run option that the task does not have."""
        task, default = self.spec, RunOptions()
        unknown = {name for name in described(RunOptions) if getattr(self.run, name) != getattr(default, name)}
        unknown -= set(run_options_of(task))
        unknown |= self.options.keys() - described(task.options).keys()
        unknown |= self.outputs.keys() - {output.name for output in task.outputs}
        if unknown:
            raise InputError(f"{self.task} has no {', '.join(sorted(unknown))}: leave it out", code="option")


_PARTS: dict[str, Any] = {
    "task": str,
    "options": dict,
    "input": str | None,
    "outputs": dict,
    "run": dict,
    "input_sha256": str | None,
}


def _from_plain(values: dict[str, Any], options: Any, owner: str) -> dict[str, Any]:
    """Values of JSON as the options of a dataclass have them."""
    known = {each.name: each for each in fields(options) if "option" in each.metadata}
    written = {name for name, each in known.items() if each.metadata["option"].kind != "python"}
    if unknown := sorted(values.keys() - written):
        raise InputError(f"{owner} has no {', '.join(unknown)} in a job: leave it out", code="option")
    return {name: from_plain(name, value, form_of(options, known[name])) for name, value in values.items()}


def named_by_options(job: Job, *kinds: Kind) -> Iterator[tuple[str, Option, str | Path]]:
    """What the options of some kinds name by a text or path: each option's name and description, and what it names."""
    for name, stated in described(job.spec.options).items():
        value = job.options.get(name)
        for each in value if isinstance(value, tuple | list) else (value,):
            if stated.kind in kinds and isinstance(each, str | Path):
                yield name, stated, each


def sha256_of(path: Path) -> str:
    """The hash of a file's bytes, in hexadecimal digits."""
    from preimage.images.files import open_file

    with open_file(path) as file:
        digest = hashlib.sha256()
        while part := file.read(2**20):
            digest.update(part)
        return digest.hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        return value.item()
    raise TypeError(f"{type(value).__name__} is no plain data")


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Args:
        state: "done", or "interrupted" (the best so far was written, or nothing if there was no step).
        report: all numbers, plain data; empty if nothing was written.
        written: path of each file that was written, by the name of the output.
        lines: the report for people.
    """

    state: Literal["done", "interrupted"]
    report: dict[str, Any] = field(default_factory=dict)
    written: dict[str, Path] = field(default_factory=dict)
    lines: tuple[str, ...] = ()
