"""The reference: tasks and command line of the TaskSpecs, recipes of the tasks, error codes of errors.py; Python: api.py."""

from __future__ import annotations

import json
import re
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from tools.site import api
from tools.site.layout import ROOT

# Where a task is described in words.
GUIDES = {
    "denoise": "restore.md#denoising",
    "remove-jpeg-artifacts": "restore.md#jpeg-artifacts",
    "super-resolve": "restore.md#super-resolution",
    "inpaint": "restore.md#inpainting",
    "deblur": "restore.md#deblurring",
    "flash-no-flash": "restore.md#flash-and-no-flash",
    "demosaic": "restore.md#demosaicing",
    "calibrate": "restore.md#calibration",
    "invert": "explain.md#commands",
    "maximize": "explain.md#commands",
    "recover": "explain.md#commands",
    "counterfactual": "explain.md#commands",
    "saliency": "defend.md#saliency",
    "inspect": "defend.md#commands",
    "purify": "defend.md#commands",
    "train": "explain.md#data-to-train-on",
}
_GROUPS = {
    "Task": "Options of the task",
    "Files": "What is read",
    "Fit": "Options of the fit",
    "Run": "How it is run",
}
_TYPES = {bool: "flag", int: "integer", float: "number", str: "text", Path: "path", type(None): ""}
_EXIT_CODES = """## Exit codes

| code | meaning |
|---|---|
| 0 | all is done |
| 2 | an input, an option or a file cannot be used: one line on stderr says which, and the way out; or one of many images failed |
| 129, 130, 143 | a closed terminal (SIGHUP), Ctrl-C or SIGTERM ended the fit; the best image so far is written |
"""


def pages() -> dict[str, str]:
    """The text of each page by its place in the site."""
    from preimage.registry import TASKS, task_named

    tasks = {name: task_named(name) for name in TASKS}
    found = {f"reference/tasks/{name}.md": _task(task) for name, task in tasks.items()}
    listed = "\n".join(f"| [{name}]({name}.md) | {task.summary} | {_inputs(task)} |" for name, task in tasks.items())
    found["reference/tasks/index.md"] = (
        "# Tasks\n\nEach task is one value, a `TaskSpec`: the function `preimage.NAME`, the command `preimage NAME` and the job "
        "in JSON have the same options, and these pages are drawn from it."
        f"\n\n| task | what it does | input |\n|---|---|---|\n{listed}\n"
    )
    found["reference/command-line.md"] = _command_line()
    found["reference/recipes.md"] = _recipes(tasks)
    found["reference/errors.md"] = _errors()
    found |= api.pages()
    found["reference/index.md"] = _INDEX
    return found


_INDEX = """# Reference

| | |
|---|---|
| [Tasks](tasks/index.md) | every option of every task, as function, command and JSON job |
| [Python](api/index.md) | classes and functions: a fit of your own, operators, networks, stopping rules, classifiers, jobs |
| [Command line](command-line.md) | what all commands share, many images, exit codes |
| [Recipes](recipes.md) | the settings behind fast, balanced, best and paper |
| [File formats](../files.md) | images, recipes, jobs, checkpoints, reports |
| [Error codes](errors.md) | what `InputError.code` can be |
"""


def _inputs(task: Any) -> str:
    return {"images": "images", "image": "one image", "none": "none", "data": "a folder or table"}[task.inputs]


def _task(task: Any) -> str:
    function = task.name.replace("-", "_")
    example = "\n".join(line.strip() for line in task.example.splitlines())
    kept = [each for each in fields(task.options) if "option" in each.metadata]
    guide = f" In words: [the guide](../../{GUIDES[task.name]})." if task.name in GUIDES else ""
    parts = [f"---\nhide:\n  - toc\n---\n\n# {task.name}", f"{task.summary}{guide}"]
    parts.append(f"```bash\n{example}\n```")
    parts.append(f"In Python `preimage.{function}({_call(task, kept)})` returns a Run: iterate it, or call `.run()`.")
    for group, title in _GROUPS.items():
        if chosen := [each for each in kept if each.metadata["option"].group == group]:
            parts += [f"## {title}", _options(task.options, chosen)]
    parts += ["## Files that it writes", _outputs(task)]
    if task.recipes is not None:
        parts += ["## Recipes", f"{_names(task.recipes())}: [their settings](../recipes.md#{task.name})."]
    parts.append("Options that all commands share, and those for many images: [Command line](../command-line.md).")
    return "\n\n".join(parts) + "\n"


def _call(task: Any, kept: list[Field[Any]]) -> str:
    required = [f"{each.name}=..." for each in kept if each.default is MISSING]
    return ", ".join([*(["image"] if task.inputs != "none" else []), *required, "..."])


def _names(recipes: Any) -> str:
    return ", ".join(f"`{name}`" for name in recipes)


def _options(options: Any, chosen: list[Field[Any]]) -> str:
    lines = ["| option | | values | default |", "|---|---|---|---|"]
    for each in chosen:
        stated = each.metadata["option"]
        flags = () if stated.kind == "python" else stated.flags_of(each.name)
        names = "<br>".join(f"`{name}`" for name in (each.name, *flags))
        cells = (names, stated.help, _values(options, each), _default(each))
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)


def _values(options: Any, each: Field[Any]) -> str:
    from preimage.jobs.forms import form_of

    stated = each.metadata["option"]
    if stated.kind == "python":
        return "in Python alone"
    if stated.kind == "image":
        return "image"
    if stated.kind in ("classifier", "classifiers"):
        return stated.kind
    words = [word for word in map(_type, form_of(options, each)) if word]
    limits = "" if stated.minimum is None and stated.maximum is None else f", {stated.range_in_words()}"
    return " or ".join(dict.fromkeys(words)) + limits


def _type(member: Any) -> str:
    if get_origin(member) is Literal:
        return ", ".join(f"`{word}`" for word in get_args(member))
    if get_origin(member) is tuple:
        kinds: list[Any] = list(get_args(member))
        words: list[str] = [_TYPES[kind] for kind in kinds if kind is not ...]
        return f"{words[0]}s" if ... in kinds else " ".join(words)
    return _TYPES.get(member, str(member))


def _default(each: Field[Any]) -> str:
    if each.default is MISSING:
        return "**required**"
    return "" if each.default in (None, False, ()) else f"`{each.default}`"


def _outputs(task: Any) -> str:
    lines = ["| output | command line | file types | |", "|---|---|---|---|"]
    for output in task.outputs:
        flag = "`--output`, `-o`" if output.name == "output" else f"`--{output.name}`"
        lines.append(f"| {output.name} | {flag} | {', '.join(output.suffixes) or 'images'} | {output.help} |")
    return "\n".join(lines)


def _command_line() -> str:
    from preimage.cli import command
    from preimage.folders.options import FolderOptions
    from preimage.jobs.job import RunOptions
    from preimage.registry import TASKS

    app = command.build()
    lines = ["| command | |", "|---|---|"]
    for name in app:
        if not name.startswith("-"):
            place = f"[{name}](tasks/{name}.md)" if name in TASKS else name
            lines.append(f"| {place} | {app[name].help} |")
    shared = [each for each in fields(RunOptions) if "option" in each.metadata]
    many = [each for each in fields(FolderOptions) if "option" in each.metadata]
    return "\n\n".join(
        [
            "# Command line",
            "`preimage COMMAND --help` prints the options of a command; [Tasks](tasks/index.md) has the same as pages. Invalid "
            "input ends in one line and exit code 2; no file is overwritten without `--overwrite` or left half-written.",
            "\n".join(lines),
            "## Options that commands share",
            "A command has those of them that it can use.",
            _options(RunOptions, shared),
            "On the command line alone:",
            "| option | |\n|---|---|\n" + "\n".join(f"| `--{name}` | {text} |" for name, text in command.SHOWN.items()),
            "## Many images",
            "Of all commands that take images; [Many images](../scale.md) says how they are used.",
            _options(FolderOptions, many),
            _EXIT_CODES,
        ]
    )


def _recipes(tasks: dict[str, Any]) -> str:
    parts = [
        "# Recipes",
        "A recipe is everything about a fit that is not the problem. A name (`fast`, `balanced`, `best`, `paper`) is adapted to "
        "the image by the task; a value (`Recipe(...)`, or a `FILE.json` that holds all settings) is used exactly as it is. The "
        "tables show the settings before a task adapts them. A file may hold some of them: they change the fast recipe.",
        "```json\n" + json.dumps({"format": 2, "steps": 300, "rate": 0.02}, indent=2) + "\n```",
        "[Recipe](api/fit.md#preimage.engine.recipe.Recipe) explains each setting; [Why it is fast](../speed.md) says what they "
        "gain.",
    ]
    for name, task in tasks.items():
        if task.recipes is None:
            continue
        described = {each: recipe.describe() for each, recipe in task.recipes().items()}
        settings = list(next(iter(described.values())))
        lines = [f"| setting | {' | '.join(described)} |", "|---" * (len(described) + 1) + "|"]
        for setting in settings:
            if setting != "format":
                values = [_setting(recipe[setting]) for recipe in described.values()]
                lines.append(f"| `{setting}` | {' | '.join(values)} |")
        parts += [f"## {name}", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def _setting(value: Any) -> str:
    if isinstance(value, dict):
        inner = ", ".join(f"{key} {_short(each)}" for key, each in value.items() if key != "kind")
        return f"{value['kind']}: {inner}" if inner else str(value["kind"])
    return _short(value)


def _short(value: Any) -> str:
    if isinstance(value, list | tuple):
        alike = len(value) > 1 and len({str(each) for each in value}) == 1
        return f"{len(value)} x {next(iter(value))}" if alike else ", ".join(map(str, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _errors() -> str:
    text = (ROOT / "src/preimage/errors.py").read_text(encoding="utf-8")
    block = text.split("ErrorCode = Literal[", 1)[1].split("\n]", 1)[0]
    rows = re.findall(r'^\s*"([\w-]+)",\s*# (.*)$', block, re.MULTILINE)
    listed = "\n".join(f"| `{code}` | {meaning} |" for code, meaning in rows)
    return (
        "# Error codes\n\nWhat a user can correct is an [InputError](api/errors.md), a `ValueError` whose message is one line: "
        "what is wrong, the value, the way out. Its `code` is stable; messages may be reworded. The command line prints the "
        f"message and exits with 2.\n\n| code | what it is about |\n|---|---|\n{listed}\n"
    )
