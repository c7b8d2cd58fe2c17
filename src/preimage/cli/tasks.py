"""Every task is a command: its own options are read off its Python function, everything else is shared.

A new task is one line in TASKS.
"""

from __future__ import annotations

import importlib
import inspect
import re
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from cyclopts import Group, Parameter

from preimage.cli.options import Options, whole
from preimage.tasks import TaskSpec


@dataclass(frozen=True)
class Task:
    """A command made from a function of one of the wings: `name` with underscores, in `module`.

    `fills_missing`: NaNs of an input are what it fills in, for any other task they are an error.
    """

    name: str
    module: str
    summary: str
    example: str
    fills_missing: bool = False


TASKS = (
    Task("denoise", "preimage.restore.denoise", "Remove noise.", "preimage denoise photo.png -o clean.png"),
    Task(
        "remove-jpeg-artifacts",
        "preimage.restore.remove_jpeg_artifacts",
        "Remove the blocks and ringing of JPEG compression.",
        "preimage remove-jpeg-artifacts photo.jpg -o clean.png",
    ),
    Task(
        "super-resolve",
        "preimage.restore.super_resolve",
        "Enlarge a picture.",
        "preimage super-resolve small.png --factor 4 -o large.png",
    ),
    Task(
        "inpaint",
        "preimage.restore.inpaint",
        "Fill in missing pixels.",
        "preimage inpaint photo.png --mask holes.png --mask-white missing",
        fills_missing=True,
    ),
    Task(
        "deblur",
        "preimage.restore.deblur",
        "Undo a blur, and the noise beside it.",
        "preimage deblur photo.png --kernel gaussian:1.6 -o sharp.png",
    ),
    Task(
        "flash-no-flash",
        "preimage.restore.flash_no_flash",
        "Clean a picture taken without flash by one taken with it.",
        "preimage flash-no-flash ambient.png --flash flash.png -o clean.png",
    ),
    Task(
        "purify",
        "preimage.defend.purify",
        "Clean a picture of what was added to it to mislead a classifier.",
        "preimage purify suspicious.png -o clean.png",
    ),
)

_INPUTS = Annotated[Path, Parameter(name="INPUT", help="Pictures: PNG, JPEG, WebP, TIFF, BMP or GIF.", required=True)]
_OPTIONS = Annotated[Options, Parameter(name="*")]
_TASK_GROUP = Group("Task", sort_key=0)

# What the run options stand for; any other argument of a task is an option of its command alone.
SHARED = ("recipe", "steps", "stop", "restarts", "initial", "seed", "device", "tile")


def __getattr__(name: str) -> Callable[..., int]:
    """The command of a task, so that its modules are imported only when it is called."""
    for task in TASKS:
        if task.name == name:
            return command_of(task)
    raise AttributeError(name)


def command_of(task: Task) -> Callable[..., int]:
    """A function whose signature is the command: INPUT..., the task's own options, the shared ones."""
    module = importlib.import_module(task.module)
    function = getattr(module, task.name.replace("-", "_"))
    if isinstance(function, TaskSpec):
        module = importlib.import_module("preimage.defend.purification")
        return _drawn(task, module, _started(function), frozenset(), [])
    hints = get_type_hints(function)
    pictures = frozenset(name for name, hint in hints.items() if _takes_pictures(hint))
    return _drawn(task, module, function, pictures, own_parameters(function))


def _started(spec: TaskSpec[Any, Any]) -> Callable[..., Any]:
    """The task as a function of a recipe: one that is named in its recipes is given by its name, so that it is adapted."""

    def start(picture: Any, *, recipe: Any, **options: Any) -> Any:
        named = spec.recipes() if spec.recipes is not None else {}
        name = next((name for name, value in named.items() if value == recipe), None)
        return spec(picture, recipe=name or recipe, **options)

    return start


def _drawn(
    task: Task, module: Any, function: Callable[..., Any], pictures: frozenset[str], own: list[inspect.Parameter]
) -> Callable[..., int]:
    def command(*inputs: Path, options: Options | None = None, **own: Any) -> int:
        from preimage.cli.batch import Job, restore_all

        job = Job(task.name, function, module, options or Options(), own, pictures, task.fills_missing)
        return restore_all(job, inputs)

    shown = [
        inspect.Parameter("inputs", inspect.Parameter.VAR_POSITIONAL, annotation=_INPUTS),
        *own,
        inspect.Parameter("options", inspect.Parameter.KEYWORD_ONLY, default=Options(), annotation=_OPTIONS),
    ]
    command.__signature__ = inspect.Signature(shown)  # pyright: ignore[reportFunctionMemberAccess]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
    command.__doc__ = task.summary
    return command


def own_parameters(function: Callable[..., Any], skip: int = 1) -> list[inspect.Parameter]:
    """The arguments of a task that are its own, but for the first (the input), with types and help for the command line."""
    hints = get_type_hints(function)
    help_of = described_arguments(function)
    own = []
    for parameter in list(inspect.signature(function).parameters.values())[skip:]:
        if parameter.name in SHARED:
            continue
        hint = command_line_type(hints[parameter.name], parameter.name)
        converter = whole if hint in (int, int | None) else None
        text = help_of.get(parameter.name, "")
        annotation = Annotated[hint, Parameter(help=text, group=_TASK_GROUP, converter=converter)]
        own.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=annotation))
    return own


def command_line_type(hint: Any, name: str) -> Any:
    """What a type in Python is on the command line: a picture is a file; numbers, words and choices are themselves.

    Example:
        >>> command_line_type(torch.Tensor | str | None, "mask")
        pathlib.Path | None
    """
    origin, members = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        optional = type(None) in members
        rest = [member for member in members if member is not type(None)]
        if any(_is_picture(member) for member in rest):
            return Path | None if optional else Path
        for member in rest:
            command_line_type(member, name)
        return hint
    if _is_picture(hint):
        return Path
    if hint in (bool, int, float, str) or origin is Literal:
        return hint
    if origin is tuple:
        for member in members:
            if member is not ...:
                command_line_type(member, name)
        return hint
    raise TypeError(
        f"argument {name!r} of type {hint} has no form on the command line: add it to SHARED, or change its type"
    )


def _takes_pictures(hint: Any) -> bool:
    return any(getattr(kind, "__name__", "") == "Picture" for kind in get_args(hint))


def _is_picture(hint: Any) -> bool:
    kind = get_origin(hint) or hint
    return hint is Any or (getattr(kind, "__name__", "") in ("Tensor", "ndarray", "Picture", "Path", "PathLike"))


def described_arguments(function: Callable[..., Any]) -> dict[str, str]:
    """Name -> text of the Args section of a docstring; lines that belong together are joined."""
    section = re.search(r"^Args:\n((?:    .*\n?|\n)+)", inspect.getdoc(function) or "", re.MULTILINE)
    found: dict[str, str] = {}
    if section is None:
        return found
    for entry in re.split(r"^    (?=\S)", section[1], flags=re.MULTILINE):
        names, _, text = entry.partition(":")
        text = " ".join(text.split()).replace("if None", "if not given").replace("None:", "if not given:")
        found.update({name.strip(): text[:1].upper() + text[1:] for name in names.split(",") if text})
    return found
