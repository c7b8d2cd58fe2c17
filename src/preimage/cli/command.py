"""The commands: one for each task, drawn from its TaskSpec, and demo, status, studio and doctor. Importing this imports no torch.

The command of a task has its options with their types, flags, help and ranges, its outputs, and how a job is run.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from cyclopts import App, CycloptsError, Group, Parameter, Token, UnusedCliTokensError

from preimage.errors import InputError
from preimage.folders.options import FolderOptions, takes_folders
from preimage.jobs.forms import form_of, members_of
from preimage.jobs.job import RunOptions, run_options_of
from preimage.registry import TASKS, task_named
from preimage.tasks import Option, TaskSpec
from preimage.version import __version__

_GROUPS = {name: Group.create_ordered(name) for name in ("Task", "Files", "Fit", "Run", "Folder")}
SHOWN = {  # what the command line alone has: how it prints
    "quiet": "Print nothing but errors.",
    "json": "Print the report as JSON on stdout, and nothing else there.",
}
_INPUT_HELP = {
    "images": "Images, or folders of them: PNG, JPEG, WebP, TIFF, BMP or GIF.",
    "image": "Image, or a folder of them: PNG, JPEG, WebP, TIFF, BMP or GIF.",
    "data": "Folder of images, or a table of them.",
}


_EXAMPLES = """Examples:
  preimage denoise photo.png -o clean.png
  preimage denoise scans/*.tif -o restored/ --report report.json
  preimage denoise scans/ -o restored/ --recursive --workers auto
  preimage super-resolve small.png --factor 4
  preimage inpaint photo.png --mask holes.png --mask-white missing
  preimage deblur photo.png --kernel motion:15,30
  preimage train lesions/ -o lesions.pt
  preimage counterfactual lesion.jpg --classifier lesions.pt --html why.html
  preimage saliency lesion.jpg --classifier lesions.pt
  preimage inspect photo.png --classifier model.pt --thresholds thresholds.json
  preimage denoise --help
  preimage studio
  preimage demo"""

_OTHERS = {
    "demo": ("Restore a noisy photograph that comes with the package.", "preimage demo --output out/demo.png"),
    "status": ("Print how a command over many images stands, from its output folder.", "preimage status out/"),
    "studio": ("Open the local web page: a picture, a brush and a live fit in the browser.", "preimage studio"),
    "doctor": ("Print what is installed, works and is missing: a report for an issue.", "preimage doctor"),
}


def build(first: str | None = None) -> App:
    """The command line, without running it.

    Args:
        first: the first word of the tokens that it will be called with: of the others, names and summaries are enough, and no
            time is spent on their options. None: all of it.
    """
    app = App(
        name="preimage",
        help="Restore an image with an untrained network as its prior: no training data, and it stops by itself. "
        "Explain an image classifier's predictions, and detect adversarial images.",
        help_epilogue=_EXAMPLES,
        help_format="plaintext",
        version=__version__,
        default_parameter=Parameter(negative=(), json_list=False, json_dict=False),  # a name "[scan] 1.png" is no JSON
        suppress_keyboard_interrupt=False,  # which would end the program without a word; `main` says one
    )
    for name in [first] if first in TASKS else TASKS:
        task = task_named(name)
        example = f"Example:\n  {task.example}"
        command = command_of(task) if first in (None, name) else _named_alone
        app.command(command, name=name, help=task.summary, help_epilogue=example, usage=usage_of(task))
    for name, (summary, example) in _OTHERS.items():
        if first in TASKS:
            break
        app.command(f"preimage.cli.{name}:{name}", name=name, help=summary, help_epilogue=f"Example:\n  {example}")
    return app


def _named_alone() -> None:
    """Stands for a command in the list of all."""


def call(tokens: list[str]) -> int:
    """Run one command; its exit code."""
    app = build(tokens[0] if tokens else "")
    tokens = _with_standard_input(tokens)
    try:
        code = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    except UnusedCliTokensError as error:
        what = ", ".join(error.unused_tokens or [])
        raise InputError(_too_many(tokens[0], what), code="option") from error
    except CycloptsError as error:
        text = " ".join(str(error).split())
        named = next((token for token in tokens if token.startswith("-") and Path(token).exists()), None)
        if named is not None:
            text += f" (if the file {named} is meant: ./{named})"
        raise InputError(f"{text} (preimage --help lists commands and options)", code="option") from error
    return code if isinstance(code, int) else 0


def _with_standard_input(tokens: Sequence[str]) -> list[str]:
    """With --from - as one token: a "-" by itself is taken for an option that has no name."""
    joined: list[str] = []
    for token in tokens:
        if token == "-" and joined and joined[-1] == "--from" and "--" not in joined:
            joined[-1] = "--from=-"
        else:
            joined.append(token)
    return joined


def _too_many(command: str, what: str) -> str:
    """What is said of words of a command line that its command has no place for."""
    inputs = task_named(command).inputs if command in TASKS else ""
    if inputs == "none":
        return f"{command} makes an image and takes none: leave {what} out"
    if inputs == "data":
        return f"{command} takes one input at a time: leave {what} out, or call it once for each"
    return f"{command} has no place for {what}: leave it out (preimage --help lists commands and options)"


def usage_of(task: TaskSpec[..., Any]) -> str:
    """The usage line of a task's command."""
    inputs = {"images": " INPUT...", "image": " INPUT...", "data": " INPUT", "none": ""}[task.inputs]
    required = [_flags(each)[0] for each in _fields(task.options) if each.default is MISSING]
    named = "".join(f" {flag} {flag.strip('-').upper()}" for flag in required)
    return f"Usage: preimage {task.name}{inputs}{named} [OPTIONS]"


def command_of(task: TaskSpec[..., Any]) -> Callable[..., int]:
    """A function whose signature is the command of a task."""

    def command(*inputs: Path, **given: Any) -> int:
        from preimage.cli.execute import Command, execute

        called = Command.of(task, inputs, given)
        if takes_folders(task):
            from preimage.cli.folder import execute_folder, is_folder_run

            asked = FolderOptions(
                **{each.name: given[each.name] for each in _fields(FolderOptions) if each.name in given}
            )
            if is_folder_run(called, asked):
                return execute_folder(called, asked)
            if not inputs and _needs_input(task):
                raise InputError(
                    f"INPUT is missing: {task.name} takes an image, a folder, or --from LIST", code="option"
                )
        return execute(called)

    shown: list[inspect.Parameter] = []
    if task.inputs != "none":
        several = takes_folders(task)
        kind = inspect.Parameter.VAR_POSITIONAL if several else inspect.Parameter.POSITIONAL_ONLY
        parameter = Parameter(name="INPUT", help=_INPUT_HELP[task.inputs], required=None if several else True)
        shown.append(inspect.Parameter("inputs", kind, annotation=Annotated[Path, parameter]))
    shown += [_option(task.options, each) for each in _fields(task.options)]
    for output in task.outputs:
        flags = ("--output", "-o") if output.name == "output" else (f"--{output.name}",)
        parameter = Parameter(name=flags, help=output.help, group=_GROUPS["Files"], show_default=False)
        shown.append(_keyword(f"write_{output.name}", Path | None, parameter, None))
    wanted = run_options_of(task)
    shown += [_option(RunOptions, each) for each in _fields(RunOptions) if each.name in wanted]
    shown += [_option(FolderOptions, each) for each in _fields(FolderOptions) if takes_folders(task)]
    for name, text in SHOWN.items():
        parameter = Parameter(help=text, group=_GROUPS["Run"], show_default=False)
        shown.append(_keyword(name, bool, parameter, False))
    command.__signature__ = inspect.Signature(shown)  # pyright: ignore[reportFunctionMemberAccess]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
    command.__doc__ = task.summary
    return command


def _needs_input(task: TaskSpec[..., Any]) -> bool:
    """Whether a task has no purpose without an input (inspect has: to calibrate)."""
    return task.inputs == "image" or all(output.when is None for output in task.outputs)


def _keyword(name: str, kind: Any, parameter: Parameter, default: Any) -> inspect.Parameter:
    annotation = Annotated[kind, parameter]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _fields(options: Any) -> list[Any]:
    return [e for e in fields(options) if "option" in e.metadata and e.metadata["option"].kind != "python"]


def _flags(each: Any) -> tuple[str, ...]:
    return each.metadata["option"].flags_of(each.name)


_HAS_METAVAR = "metavar" in inspect.signature(Parameter).parameters  # since Cyclopts 5


def _option(options: Any, each: Any) -> inspect.Parameter:
    """An option on the command line, with its type and help."""
    stated: Option = each.metadata["option"]
    kind = _type(options, each)
    members = [member for member in members_of(kind) if member is not type(None)]
    words_or_numbers = all(member in (int, str) or get_origin(member) is Literal for member in members)
    own: dict[str, Any] = {"metavar": stated.metavar} if stated.metavar and _HAS_METAVAR else {}
    parameter = Parameter(
        name=_flags(each),
        help=stated.help,
        group=_GROUPS[stated.group],
        converter=whole if int in members and words_or_numbers else None,
        show_default=None if each.default not in (None, False, MISSING) else False,
        # What is on by default in some cases can be switched off.
        negative=f"--no-{each.name.replace('_', '-')}" if bool in members and each.default is None else (),
        **own,
    )
    return _keyword(each.name, kind, parameter, inspect.Parameter.empty if each.default is MISSING else each.default)


def whole(kind: Any, tokens: Sequence[Token]) -> int | str:
    """A whole number, of which 3.5 is none (it would be rounded), or one of the words that stand for one."""
    given = tokens[0].value
    words = [word for member in members_of(kind) if get_origin(member) is Literal for word in get_args(member)]
    if given in words or str in members_of(kind):  # a class may be called 2, and have another index
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
