"""A TaskSpec as a command: its options with their types, flags, help and ranges, its outputs, and how a job is run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from cyclopts import Group, Parameter, Token

from preimage.jobs.forms import form_of, members_of
from preimage.jobs.job import RunOptions, run_options_of
from preimage.tasks import Option, Output, TaskSpec

_GROUPS = {name: Group.create_ordered(name) for name in ("Task", "Files", "Fit", "Run")}
_SHORT = {"output": ("--output", "-o")}
_SHOWN = (  # what the command line alone has: how it prints
    ("quiet", "Print nothing but errors."),
    ("json", "Print the report as JSON on stdout, and nothing else there."),
)
_INPUT_HELP = {
    "images": "Images: PNG, JPEG, WebP, TIFF, BMP or GIF.",
    "image": "Image: PNG, JPEG, WebP, TIFF, BMP or GIF.",
    "data": "Folder of images, or a table of them.",
}


def usage_of(task: TaskSpec[..., Any]) -> str:
    """The usage line of a task's command."""
    inputs = {"images": " INPUT...", "image": " INPUT", "data": " INPUT", "none": ""}[task.inputs]
    required = [_flags(each.name, each.metadata["option"])[0] for each in _fields(task.options) if _required(each)]
    named = "".join(f" {flag} {flag.strip('-').upper()}" for flag in required)
    return f"Usage: preimage {task.name}{inputs}{named} [OPTIONS]"


def command_of(task: TaskSpec[..., Any]) -> Callable[..., int]:
    """A function whose signature is the command of a task."""

    def command(*inputs: Path, **given: Any) -> int:
        from preimage.cli.execute import Command, execute

        return execute(Command.of(task, inputs, given))

    shown: list[inspect.Parameter] = []
    if task.inputs != "none":
        kind = inspect.Parameter.VAR_POSITIONAL if task.inputs == "images" else inspect.Parameter.POSITIONAL_ONLY
        required = task.inputs != "images" or all(output.when is None for output in task.outputs)
        annotation = Annotated[Path, Parameter(name="INPUT", help=_INPUT_HELP[task.inputs], required=required or None)]
        shown.append(inspect.Parameter("inputs", kind, annotation=annotation))
    keyword = inspect.Parameter.KEYWORD_ONLY
    for each in _fields(task.options):
        annotation = _annotation(task.options, each)
        default = inspect.Parameter.empty if _required(each) else each.default
        shown.append(inspect.Parameter(each.name, keyword, default=default, annotation=annotation))
    shown += [
        inspect.Parameter(_argument(output), keyword, default=None, annotation=_output(output))
        for output in task.outputs
    ]
    wanted = run_options_of(task)
    for each in _fields(RunOptions):
        if each.name in wanted:
            annotation = _annotation(RunOptions, each)
            shown.append(inspect.Parameter(each.name, keyword, default=each.default, annotation=annotation))
    for name, text in _SHOWN:
        parameter = Parameter(help=text, group=_GROUPS["Run"], show_default=False)
        shown.append(inspect.Parameter(name, keyword, default=False, annotation=Annotated[bool, parameter]))
    command.__signature__ = inspect.Signature(shown)  # pyright: ignore[reportFunctionMemberAccess]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
    command.__doc__ = task.summary
    return command


def _argument(output: Output) -> str:
    return f"write_{output.name}"


def _output(output: Output) -> Any:
    parameter = Parameter(
        name=_SHORT.get(output.name, (f"--{output.name}",)),
        help=output.help,
        group=_GROUPS["Files"],
        show_default=False,
    )
    return Annotated[Path | None, parameter]


def _fields(options: Any) -> list[Any]:
    return [e for e in fields(options) if "option" in e.metadata and e.metadata["option"].kind != "python"]


def _required(each: Any) -> bool:
    return each.default is MISSING


def _flags(name: str, stated: Option) -> tuple[str, ...]:
    return stated.flags or (f"--{name.replace('_', '-')}",)


def _annotation(options: Any, each: Any) -> Any:
    """The type of an option on the command line, with its help."""
    stated: Option = each.metadata["option"]
    kind = _type(options, each)
    members = [member for member in members_of(kind) if member is not type(None)]
    converter = whole if int in members and float not in members and bool not in members else None
    parameter = Parameter(
        name=_flags(each.name, stated),
        help=stated.help,
        group=_GROUPS.get(stated.group, _GROUPS["Task"]),
        converter=converter
        if all(member in (int, str) or get_origin(member) is Literal for member in members)
        else None,
        show_default=None if each.default not in (None, False, MISSING) else False,
        # What is on by default in some cases can be switched off.
        negative=f"--no-{each.name.replace('_', '-')}" if bool in members and each.default is None else (),
    )
    return Annotated[kind, parameter]


def whole(kind: Any, tokens: Sequence[Token]) -> int | str:
    """A whole number, of which 3.5 is none (it would be rounded), or one of the words that stand for one."""
    given = tokens[0].value
    words = [word for member in members_of(kind) if get_origin(member) is Literal for word in get_args(member)]
    if given in words or (str in members_of(kind) and not given.lstrip("+-").isdigit()):
        return given
    return int(given)


def _type(options: Any, each: Any) -> Any:
    """The type of an option on the command line, where a number or a word stands for a tuple as well."""
    found = list(form_of(options, each))
    scalars = [member for member in found if get_origin(member) is not tuple]
    if scalars and scalars != [type(None)]:
        found = scalars
    if str in found:  # the words and any other: any word
        found = [member for member in found if get_origin(member) is not Literal]
    return Union[tuple(found)]  # noqa: UP007 (made of a list)
