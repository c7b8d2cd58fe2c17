"""What a page asks for, as a Job: files are named by ids and linked into the job's folder; nothing that it writes is a path.

A classifier is an uploaded file, a model of a library, or one of the "module:function" that the studio was started with.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from preimage.errors import InputError
from preimage.jobs.forms import form_of, from_plain
from preimage.jobs.job import Job, RunOptions, named_by_options
from preimage.registry import TASKS, task_named
from preimage.studio.forms import fields_of, run_fields_of, tasks_of_page
from preimage.studio.state import ending_of
from preimage.tasks import Option, TaskSpec

_LIBRARY = re.compile(r"(torchvision|timm|hf):[A-Za-z0-9_][\w.@+-]*(/[A-Za-z0-9_][\w.@+-]*)?")
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_-]*(:[0-9.,+-]*)?")  # "unknown", "motion:15,30"
_PATH = re.compile(r"[/\\]|^[.~]|\.(json|txt|csv|pt|pth)$", re.IGNORECASE)
_MAY_BE_FILES = ("recipe", "classes", "device")  # texts that the command line takes for a file, or part of one
_FUNCTION = re.compile(r"(?!torchvision:|timm:|hf:)[A-Za-z_][\w.]*:[A-Za-z_]\w*(@.*)?", re.DOTALL)
_MOST_OPTIONS = 100
_LONGEST_TEXT = 4096
LARGEST_SEED = 2**31 - 1


@dataclass(frozen=True)
class Upload:
    """A file that a page names by its id: where it lies, and what the user calls it."""

    id: str
    path: Path
    name: str


FileOf = Callable[[Any], Upload]


@dataclass
class Asked:
    """What was asked for.

    Args:
        job: with links in the job's folder as paths.
        names: of these paths, what the user calls them.
        file: the id of the input.
        allow_code: whether the classifier is one of those that the studio was started with.
    """

    job: Job
    names: dict[str, str] = field(default_factory=dict)
    file: str | None = None
    allow_code: bool = False


def asked(
    body: Any,
    folder: Path,
    file_of: FileOf,
    *,
    classifiers: tuple[str, ...],
    threads: int,
    input: Path | None = None,  # noqa: A002 (the word of the field)
) -> Asked:
    """The job of a request.

    Args:
        body: as it came: {"task", "file", "options", "seed", "threads", "outputs"}.
        folder: of the job, where what it reads is linked.
        file_of: the upload of an id; raises InputError.
        classifiers: "module:function" that may be imported.
        threads: unless the request says how many.
        input: in place of the upload that the request names.

    Raises:
        InputError: whatever in it cannot be used.
    """
    if not isinstance(body, dict) or not isinstance(body.get("options", {}), dict):
        raise InputError("a job is {task, file, options}", code="type")
    task = task_of(body.get("task"))
    reader = _Reader(task, folder, file_of, classifiers)
    given = dict(body.get("options") or {})
    if len(given) > _MOST_OPTIONS:
        raise InputError(f"{len(given)} options are too many", code="option")
    declared = {each.name: each for each in fields_of(task)}
    run_declared = {each.name: each for each in run_fields_of(task)}
    seed = body.get("seed", given.pop("seed", None))
    if seed is not None:
        given["seed"] = whole("seed", seed, 0, LARGEST_SEED)
    unknown = sorted(str(name) for name in given.keys() - declared.keys() - run_declared.keys())
    if unknown:
        raise InputError(f"{task.name} has no option {unknown[0]!r} here: leave it out", code="option")
    options = {
        name: reader.value(task.options, declared[name], value) for name, value in given.items() if name in declared
    }
    missing = [name for name, each in declared.items() if each.default is MISSING and name not in options]
    if missing:
        flag = declared[missing[0]].metadata["option"].flags_of(missing[0])[0]
        raise InputError(f"{task.name} needs {flag}", code="option")
    options = {name: value for name, value in options.items() if value != declared[name].default}
    run = {
        name: reader.value(RunOptions, run_declared[name], value)
        for name, value in given.items()
        if name in run_declared
    }
    run = {name: value for name, value in run.items() if value is not None}
    run["threads"] = threads if body.get("threads") is None else whole("threads", body["threads"], 1, 1024)
    if "reference" in run:
        run["reference"] = Path(run["reference"])
    source = None if input is None else str(input)
    if task.inputs != "none" and input is None:
        if body.get("file") is None:
            raise InputError(f"{task.name} takes a picture: choose one", code="option")
        source = reader.linked("input", file_of(body["file"]))
    job = Job(task.name, options, source, {}, RunOptions(**run))
    return Asked(job, reader.names, body.get("file"), reader.allow_code)


def task_of(name: Any) -> TaskSpec[..., Any]:
    """A task that the studio has."""
    if not isinstance(name, str) or name not in TASKS or name not in tasks_of_page():
        raise InputError(f"there is no task {name!r}: give one of {', '.join(tasks_of_page())}", code="option")
    return task_named(name)


def whole(name: str, value: Any, least: int, most: int) -> int:
    """A whole number in its range."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InputError(f"{name} must be a whole number from {least} to {most}, got {value!r}")
    return value


class _Reader:
    """Values of JSON as options have them."""

    def __init__(self, task: TaskSpec[..., Any], folder: Path, file_of: FileOf, classifiers: tuple[str, ...]) -> None:
        self.task = task
        self.folder = folder
        self.file_of = file_of
        self.classifiers = classifiers
        self.names: dict[str, str] = {}
        self.allow_code = False

    def linked(self, name: str, upload: Upload) -> str:
        """A file in the job's folder, which stays when the upload is removed."""
        path = self.folder / f"{name}{ending_of(upload.name)}"
        if not path.exists():
            link_or_copy(upload.path, path)
        self.names[str(path)] = upload.name
        return str(path)

    def value(self, options: Any, each: Any, value: Any) -> Any:
        stated: Option = each.metadata["option"]
        if stated.kind == "classifiers" and isinstance(value, list):
            return tuple(self.classifier(f"{each.name}-{number}", one) for number, one in enumerate(value, 1))
        if stated.kind == "classifier" and value is not None:
            return self.classifier(each.name, value)
        if isinstance(value, dict):
            if stated.kind not in ("image", "file") and each.name != "recipe":
                raise InputError(f"{each.name} is no file", code="type")
            return self.linked(each.name, self.file_of(value.get("file")))
        if stated.kind == "image" and value is not None:
            raise InputError(f"{each.name} must be a file, as {{file: ID}}", code="type")
        for text in _texts(value):
            check_text(each.name, text, stated.kind == "file")
        return from_plain(each.name, value, form_of(options, each))

    def classifier(self, name: str, value: Any) -> str:
        """The specification of a classifier."""
        if isinstance(value, dict):
            path = self.linked(name, self.file_of(value.get("file")))
            backbone = value.get("backbone")
            if backbone in (None, ""):
                return path
            return f"{self.classifier(name, backbone)}@{path}"
        if isinstance(value, str):
            text = value.strip()
            if text in self.classifiers:
                self.allow_code = True
                return text
            if _LIBRARY.fullmatch(text) and ".." not in text:
                return text
        shown = str(value)[:80]
        raise InputError(
            f"the classifier {shown!r} cannot be used here: choose a model file, torchvision:NAME, timm:NAME or hf:NAME "
            "(module:function only if the studio was started with --classifier)",
            code="classifier",
        )


def check_text(name: str, text: str, names_a_file: bool) -> None:
    """Raise InputError for a text that could be a path: a page names files by their ids."""
    if len(text) > _LONGEST_TEXT or "\0" in text:
        raise InputError(f"{name} is too long, or no text", code="option")
    is_path = (
        _WORD.fullmatch(text) is None if names_a_file else name in _MAY_BE_FILES and _PATH.search(text) is not None
    )
    if is_path:
        raise InputError(f"{name} {text!r} is a path: choose a file on the page", code="option")


def code_in(job: Job) -> list[str]:
    """The "module:function" of a job's classifiers, without the file of weights behind it.

    Example:
        >>> options = {"classifier": "my.models:net@weights.pt", "second_classifier": "timm:resnet18", "target": "a:b"}
        >>> code_in(Job("counterfactual", options))
        ['my.models:net']
    """
    texts = [str(each) for _, _, each in named_by_options(job, "classifier", "classifiers")]
    return [text.partition("@")[0] for text in texts if _FUNCTION.fullmatch(text)]


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def link_or_copy(source: Path, target: Path) -> None:
    """A second name of a file, or a copy where the disk has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def command_line(job: Job, names: Mapping[str, str], outputs: Mapping[str, str]) -> str:
    """The command that gives the same bytes.

    Args:
        job: what is run.
        names: of paths in the job's folder, what the user calls them.
        outputs: the name of each file that is asked for.
    """
    task = job.spec
    words = ["preimage", job.task]
    if job.input is not None:
        words.append(_input(names.get(job.input, job.input)))
    for each in fields(task.options):  # pyright: ignore[reportArgumentType]
        if each.name in job.options and each.name != "seed":
            words += _words(each, job.options[each.name], names)
    default = RunOptions()
    for each in fields(RunOptions):
        value = getattr(job.run, each.name)
        if each.name != "threads" and value != getattr(default, each.name) and each.name not in ("overwrite", "resume"):
            words += _words(each, value, names)
    for name, file in outputs.items():
        words += ["-o" if name == "output" else f"--{name}", file]
    declared = {each.name for each in fields(task.options)}  # pyright: ignore[reportArgumentType]
    if "seed" in declared and (job.options.get("seed") is not None or task.name != "inspect"):
        words += ["--seed", str(job.options.get("seed", 0))]
    words += ["--threads", str(job.run.threads)]
    return " ".join(shlex.quote(word) for word in words)


def _input(name: str) -> str:
    return f"./{name}" if name.startswith("-") else name


def _words(each: Any, value: Any, names: Mapping[str, str]) -> list[str]:
    stated: Option = each.metadata["option"]
    flag = stated.flags_of(each.name)[0]
    if value is True:
        return [flag]
    if value is False:
        return [f"--no-{each.name.replace('_', '-')}"]
    if stated.kind == "classifiers":
        return [word for one in value for word in (flag, _named(one, names))]
    if isinstance(value, tuple | list):
        repeated = each.type if isinstance(each.type, str) else ""
        if "Sequence" in repeated:
            return [word for one in value for word in (flag, str(one))]
        return [flag, *map(str, value)]
    return [flag, _named(str(value), names)]


def _named(text: str, names: Mapping[str, str]) -> str:
    """What the user calls a file, also where it stands behind the name of its backbone."""
    head, at, last = text.rpartition("@")
    if text in names:
        return names[text]
    return f"{head}{at}{names[last]}" if at and last in names else text
