"""The forms of the page, drawn from the TaskSpecs alone: an option that is added to a task appears by itself."""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from functools import cache
from typing import Any, Literal, get_args, get_origin

from preimage.jobs.forms import form_of
from preimage.jobs.job import RunOptions, run_options_of
from preimage.registry import TASKS, task_named
from preimage.tasks import Option, TaskSpec

# What the studio sets itself: files are its own, and what is shown is chosen on the page.
OWN = ("overwrite", "report", "threads", "autosave", "resume", "every")
# Paths on the server that a page must not name, and what a page has no use for.
_WITHHELD = {"inspect": ("calibrate",), "all": ("warm_start",)}
_ADVANCED_GROUPS = ("Files", "Fit", "Run")
_SIMPLE = ("recipe", "steps", "page")
_KINDS = {"restore": "restore", "explain": "explain", "defend": "defend"}
_NAMES: dict[Any, str] = {bool: "bool", int: "int", float: "float", str: "str", type(None): "null"}


def tasks_of_page() -> list[str]:
    """The names of the tasks that the studio has: those of one image, or of none.

    Example:
        >>> "denoise" in tasks_of_page(), "train" in tasks_of_page()
        (True, False)
    """
    return [name for name in TASKS if task_named(name).inputs != "data"]


def form_of_task(task: TaskSpec[..., Any]) -> dict[str, Any]:
    """A task as plain data: what its form is drawn from.

    Example:
        >>> form = form_of_task(task_named("inpaint"))
        >>> next(each["forms"] for each in form["options"] if each["name"] == "mask")
        ['image', 'null']
    """
    options = [_option(task.options, each) for each in fields_of(task)]
    outputs = [
        {"name": each.name, "help": each.help, "suffixes": list(each.suffixes), "always": each.default is not None}
        for each in task.outputs
    ]
    return {
        "name": task.name,
        "summary": task.summary,
        "inputs": task.inputs,
        "kind": kind_of(task),
        "options": options + [_option(RunOptions, each) for each in run_fields_of(task)],
        "outputs": outputs,
        "steps": next((each["default"] for each in options if each["name"] == "steps"), None),
    }


def kind_of(task: TaskSpec[..., Any]) -> str:
    """The wing that a task belongs to: restore, explain or defend; saliency and inspect explain, purify restores."""
    if task.name in ("saliency", "inspect"):
        return "explain"
    parts = getattr(task.options, "__module__", "").split(".")
    return _KINDS.get(parts[1] if len(parts) > 1 else "", "restore")


def fields_of(task: TaskSpec[..., Any]) -> list[Field[Any]]:
    """The options of a task that a page can set."""
    withheld = (*_WITHHELD.get(task.name, ()), *_WITHHELD["all"])
    declared: Any = task.options
    return [
        each
        for each in fields(declared)
        if "option" in each.metadata and each.metadata["option"].kind != "python" and each.name not in withheld
    ]


def run_fields_of(task: TaskSpec[..., Any]) -> list[Field[Any]]:
    """The run options of a task that a page can set."""
    names = [name for name in run_options_of(task) if name not in OWN]
    own = {each.name for each in fields_of(task)}
    return [each for each in fields(RunOptions) if each.name in names and each.name not in own]


def _option(options: Any, each: Field[Any]) -> dict[str, Any]:
    stated: Option = each.metadata["option"]
    required = each.default is MISSING
    return {
        "name": each.name,
        "flag": stated.flags_of(each.name)[0],
        "help": stated.help,
        "group": stated.group,
        "unit": stated.unit,
        "minimum": stated.minimum,
        "maximum": stated.maximum,
        "exclusive": stated.exclusive,
        "default": None if required else _plain(each.default),
        "required": required,
        "forms": forms_of(options, each),
        "metavar": stated.metavar,
        "advanced": stated.group in _ADVANCED_GROUPS and each.name not in _SIMPLE,
    }


def forms_of(options: Any, each: Field[Any]) -> list[Any]:
    """The ways in which an option can be filled in."""
    stated: Option = each.metadata["option"]
    form = form_of(options, each)
    if stated.kind in ("image", "file", "classifier", "classifiers"):
        named: list[Any] = [stated.kind]
        if stated.kind == "file" and each.default is not None:  # a kernel: a word, a description or a file
            named.append("str")
        return named + (["null"] if type(None) in form else [])
    return [_form(member) for member in form]


def _form(member: Any) -> Any:
    if get_origin(member) is Literal:
        return {"words": [str(word) for word in get_args(member)]}
    if get_origin(member) is tuple:
        kinds = get_args(member)
        names = [_NAMES.get(kind, "str") for kind in kinds if kind is not ...]
        return {"tuples": names[0]} if kinds[-1] is ... else {"tuple": names}
    return _NAMES.get(member, "str")


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return value if isinstance(value, bool | int | float | str | None) else str(value)


@cache
def forms() -> tuple[dict[str, Any], ...]:
    """The forms of all tasks, once: it imports the modules that declare them."""
    return tuple(form_of_task(task_named(name)) for name in tasks_of_page())
