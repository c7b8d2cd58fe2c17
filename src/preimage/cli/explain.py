"""Every explaining task is a command: its own options are read off its Python function, files and run are shared."""

from __future__ import annotations

import importlib
import inspect
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

from cyclopts import Group, Parameter

from preimage.cli.explained import report_of, say, write_files
from preimage.cli.options import flag, whole
from preimage.cli.tasks import Task
from preimage.explain.options import numbered

TASKS = (
    Task(
        "counterfactual",
        "preimage.explain.counterfactual",
        "Change a picture so that a classifier takes it for another class.",
        "preimage counterfactual lesion.jpg --classifier lesions.pt --target mel --html why.html",
    ),
    Task(
        "recover",
        "preimage.explain.recover",
        "Recover a picture from its features under the first residual block, one that the classifier is sure of.",
        "preimage recover lesion.jpg --classifier lesions.pt",
    ),
    Task(
        "invert",
        "preimage.explain.invert",
        "Find a picture that has the features of a given one at a layer.",
        "preimage invert photo.png --classifier torchvision:resnet18@weights.pth --layers all",
    ),
    Task(
        "maximize",
        "preimage.explain.maximize",
        "Find a picture that excites a class, a channel or a unit the most.",
        "preimage maximize --classifier lesions.pt --target mel",
    ),
)

_SHARED = frozenset({"recipe", "steps", "seed", "device"})
_MASKS = frozenset({"region", "lesion_mask"})  # pictures beside the input, of which its page is meant as well
_TASK = Group("Task", sort_key=0)
_FILES = Group.create_ordered("Files")
_FIT = Group.create_ordered("Fit")
_RUN = Group.create_ordered("Run")


@dataclass(frozen=True)
class Options:
    """File and run options, the same in every explaining command."""

    output: Annotated[
        Path | None,
        Parameter(
            name=("--output", "-o"),
            help="The picture to write; by default NAME-TASK.png in the current folder. Its extension chooses the format.",
            group=_FILES,
        ),
    ] = None
    overwrite: Annotated[bool, flag("Replace files that are there already.", _FILES)] = False
    figure: Annotated[Path | None, Parameter(help="PNG: all pictures, and the curves.", group=_FILES)] = None
    html: Annotated[
        Path | None,
        Parameter(help="One self-contained page: pictures, numbers, settings, limits.", group=_FILES),
    ] = None
    report: Annotated[Path | None, Parameter(help="JSON with all numbers.", group=_FILES)] = None
    page: Annotated[
        int | None, Parameter(help="Which page of a file of several, from 1.", group=_FILES, converter=whole)
    ] = None
    value_range: Annotated[
        tuple[float, float] | None,
        Parameter(
            name="--range",
            help="LOW HIGH: values of the file that are black and white; 0 and 255 by default for 8 bits, 0 and 65535 for 16",
            group=_FILES,
        ),
    ] = None
    recipe: Annotated[
        str | None,
        Parameter(help="fast (what is taken if not given), paper (as published), or a FILE.json.", group=_FIT),
    ] = None
    steps: Annotated[int | None, Parameter(help="At most so many.", group=_FIT, converter=whole)] = None
    seed: Annotated[int, Parameter(help="Of all randomness.", group=_FIT, converter=whole)] = 0
    device: Annotated[str, Parameter(help="auto, cpu, cuda, cuda:1, mps.", group=_RUN)] = "auto"
    threads: Annotated[
        int | None, Parameter(help="Processor threads; by default PyTorch's choice.", group=_RUN, converter=whole)
    ] = None
    autosave: Annotated[
        int | None,
        Parameter(
            help="Save a checkpoint every so many steps as OUTPUT.checkpoint; removed once the output is complete.",
            group=_RUN,
            converter=whole,
        ),
    ] = None
    resume: Annotated[bool, flag("Go on from OUTPUT.checkpoint where there is one.", _RUN)] = False
    quiet: Annotated[bool, flag("Print nothing but errors.", _RUN)] = False
    json: Annotated[bool, flag("Print the report on stdout, and nothing else there.", _RUN)] = False


_INPUT = Annotated[Path, Parameter(name="INPUT", help="A picture: PNG, JPEG, WebP, TIFF, BMP or GIF.")]
_STRENGTHS = Annotated[
    Path | None,
    Parameter(help="PNG: a strip from none of the change to all of it.", group=_FILES),
]


def __getattr__(name: str) -> Callable[..., int]:
    """The command of a task, so that its modules are imported only when it is called."""
    for task in TASKS:
        if task.name == name:
            return command_of(task)
    raise AttributeError(name)


def command_of(task: Task) -> Callable[..., int]:
    """A function whose signature is the command: INPUT, the task's own options, the shared ones."""
    spec = getattr(importlib.import_module(task.module), task.name)

    def command(*inputs: Path, options: Options | None = None, **own: Any) -> int:
        return _explained(spec, inputs[0] if inputs else None, options or Options(), own)

    shown = [inspect.Parameter("inputs", inspect.Parameter.POSITIONAL_ONLY, annotation=_INPUT)]
    shown = [*(shown if spec.inputs == "image" else []), *_own_parameters(spec)]
    if task.name == "counterfactual":
        keyword = inspect.Parameter.KEYWORD_ONLY
        shown.append(inspect.Parameter("strengths", keyword, default=None, annotation=_STRENGTHS))
    options = Annotated[Options, Parameter(name="*")]
    shown.append(inspect.Parameter("options", inspect.Parameter.KEYWORD_ONLY, default=Options(), annotation=options))
    command.__signature__ = inspect.Signature(shown)  # pyright: ignore[reportFunctionMemberAccess]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
    command.__doc__ = task.summary
    return command


def _own_parameters(spec: Any) -> Iterator[inspect.Parameter]:
    """The options that are a task's own, as they are on the command line."""
    from preimage.explain import options as declared

    for each in fields(spec.options):
        option = each.metadata["option"]
        if each.name in _SHARED or option.kind == "python":
            continue
        required = each.default is MISSING
        hint: Any = Path | None if option.kind == "image" else str if required else str | None
        if not option.kind:
            hint = str if each.name == "layers" else eval(str(each.type), dict(vars(declared)))
        parameter = Parameter(
            name=option.flags or None,
            help=option.help,
            group=_TASK,
            converter=whole if hint in (int, int | None) else None,
        )
        default = inspect.Parameter.empty if required else each.default
        keyword = inspect.Parameter.KEYWORD_ONLY
        yield inspect.Parameter(each.name, keyword, default=default, annotation=Annotated[hint, parameter])


def _recipe(spec: Any, options: Options, own: dict[str, Any]) -> Any:
    """The recipe by its name, or what a file makes of the fast one."""
    from preimage.cli.choices import choose_recipe
    from preimage.cli.options import Options as FitOptions
    from preimage.explain.recipes import chosen

    recipes = spec.recipes()
    if (options.recipe or "fast") in recipes:
        return options.recipe or "fast"
    base, _ = chosen(recipes, "fast", None, own.get("prior", "deep"))
    task: Any = SimpleNamespace(FAST=base, PAPER=recipes["paper"])
    return choose_recipe(FitOptions(recipe=options.recipe), task)


# ---------------------------------------------------------------------- one explanation


@dataclass(frozen=True)
class _Places:
    """The files of one explanation."""

    output: Path
    beside: dict[str, Path]  # option -> file

    @property
    def checkpoint(self) -> Path:
        return self.output.with_name(f"{self.output.name}.checkpoint")


def _explained(
    spec: Any,
    source: Path | None,
    options: Options,
    own: dict[str, Any],
) -> int:
    import torch

    from preimage.cli.batch import threads_of
    from preimage.cli.companions import companions
    from preimage.cli.interrupt import Interrupt
    from preimage.engine import checkpoint
    from preimage.explain.inputs import one_picture
    from preimage.images import as_picture

    name, recipe = spec.name, _recipe(spec, options, own)
    strengths = own.pop("strengths", None)
    places = _places(name, source, options, strengths, own)
    picture = None if source is None else one_picture(source, options.value_range, page=options.page)
    kind = picture or as_picture(torch.zeros(1, 3, 16, 16))
    kind.check_destination(places.output, overwrite=_may_replace(places, options))
    torch.optim.SGD([torch.zeros(1, requires_grad=True)])  # imports PyTorch's compiler, which is no time of the fit
    begin = time.perf_counter()
    settings = {"recipe": recipe, "steps": options.steps, "seed": options.seed, "device": options.device}
    if source is not None:
        own = companions(own, _MASKS, source, options.page)
    with Interrupt(quiet=options.quiet) as interrupt, threads_of(options.threads):
        run = spec(picture, **own, **settings)
        resuming = options.resume and places.checkpoint.exists()
        if resuming:
            checkpoint.load(run, places.checkpoint)
        setup = time.perf_counter() - begin
        if not options.quiet:
            for line in run.remarks:
                print(line, file=sys.stderr if options.json else sys.stdout, flush=True)
        began, complete = _iterate(run, options, places, interrupt, source.name if source else name)
        if not (began or resuming):
            print(f"preimage: {name}: ended before the first step, nothing was written", file=sys.stderr)
            return interrupt.exit_code
        if not complete and (options.autosave is not None or options.resume):
            checkpoint.save(run, places.checkpoint)
        found = run.result()
        report = report_of(found, source, places.output, setup)
        write_files(found, picture, places.output, places.beside, report, replace=_may_replace(places, options))
    if complete:
        places.checkpoint.unlink(missing_ok=True)
    say(found, report, as_json=options.json, quiet=options.quiet)
    return interrupt.exit_code if interrupt.number else 0


def _iterate(run: Any, options: Options, places: _Places, interrupt: Any, name: str) -> tuple[bool, bool]:
    """To the end, or to where a signal ended it: whether a step was done, and whether the result stands."""
    from preimage.cli.progress import Progress
    from preimage.engine import checkpoint

    steps: Iterator[Any] = iter(run)
    if options.autosave is not None:
        steps = checkpoint.autosave(run, places.checkpoint, options.autosave)
    began = False
    with Progress(name, quiet=options.quiet) as progress:
        while not interrupt.number:
            step = next(steps, None)
            if step is None:
                return began, True
            began = True
            progress.show(step)
    return began, bool(run.finished)


def _may_replace(places: _Places, options: Options) -> bool:
    return options.overwrite or (options.resume and places.checkpoint.exists())


def _places(name: str, source: Path | None, options: Options, strengths: Path | None, own: dict[str, Any]) -> _Places:
    """Where everything goes, found out before any fit.

    Raises:
        InputError: a name that cannot be, two files that are one, or one that is there already.
    """
    from preimage.errors import InputError
    from preimage.images import check_place

    for option in ("threads", "autosave"):
        value = getattr(options, option)
        if value is not None and value < 1:
            raise InputError(f"--{option} must be at least 1, got {value}")
    stem = source.stem if source else "class"
    output = options.output or Path(f"{stem}-{name}.png")
    if output.is_dir():
        output = output / f"{stem}-{name}.png"
    kinds = {"--figure": (".png",), "--html": (".html", ".htm"), "--report": (".json",), "--strengths": (".png",)}
    given = {
        "--figure": options.figure,
        "--html": options.html,
        "--report": options.report,
        "--strengths": strengths,
    }
    beside = {option: path for option, path in given.items() if path is not None}
    places = _Places(output, beside)
    taken = {} if source is None else {source.resolve(): "the input"}
    taken |= {each.resolve(): "read" for each in own.values() if isinstance(each, Path) and each.is_file()}
    further = {f"counterfactual {k}": numbered(output, k) for k in range(2, (own.get("count") or 1) + 1)}
    for option, path in ({"--output": output} | beside | further).items():
        if option in kinds and path.suffix.lower() not in kinds[option]:
            raise InputError(f"{option} {path}: it is written as {' or '.join(kinds[option])}: give such a name")
        if path.resolve() in taken:
            raise InputError(f"{path} ({option}) is also {taken[path.resolve()]}: choose another name")
        taken[path.resolve()] = option
        check_place(path, overwrite=_may_replace(places, options))
    return places
