"""TaskSpec: a task as a value, from which its function, command, JSON job, web form and documentation are drawn.

A task's options are one frozen dataclass; each of its fields is declared by `option` with help text, unit and range, once.
Importing this module, or a module that declares a task, imports no torch: what computes is imported when a task is started.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeVar

from preimage.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from numpy.typing import NDArray
    from PIL.Image import Image

    from preimage.engine.recipe import Recipe
    from preimage.engine.result import Result
    from preimage.images import Picture
    from preimage.recipes import RecipeLike
    from preimage.stopping import StoppingRule

    ImageLike = torch.Tensor | NDArray[Any] | Image | str | Path | Picture

P = ParamSpec("P")
R = TypeVar("R")

Kind = Literal["", "image", "classifier", "classifiers", "file", "python"]
Inputs = Literal["images", "image", "none", "data"]


@dataclass(frozen=True)
class Option:
    """What is declared of one option beside its type and default.

    Args:
        help: one line that starts with a verb or a noun phrase and names unit and range.
        group: the heading it stands under in help and forms: Task, Files, Fit, Run.
        unit: of its values.
        minimum, maximum: the range of its values, both included; `exclusive` leaves the minimum itself out.
        kind: "image": an image in Python, a path on the command line; "classifier": a specification or a Classifier;
            "classifiers": several of them;
            "file": a path; "python": neither on the command line nor in a JSON job.
        flags: names on the command line, if not the field's own.
        metavar: what stands for the value in help.
    """

    help: str
    group: str = "Task"
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    exclusive: bool = False
    kind: Kind = ""
    flags: tuple[str, ...] = ()
    metavar: str = ""

    def flags_of(self, name: str) -> tuple[str, ...]:
        """The names on the command line of the field of this name."""
        return self.flags or (f"--{name.replace('_', '-')}",)

    def check(self, name: str, value: Any) -> None:
        """Raise InputError for a number, or a number of a tuple, that is not finite or out of range."""
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, bool) or not isinstance(each, int | float):
                continue
            low = self.minimum is not None and (each <= self.minimum if self.exclusive else each < self.minimum)
            high = self.maximum is not None and each > self.maximum
            if low or high or math.isnan(each):
                raise InputError(f"{name} must be {self.range_in_words()}, got {each}")

    def range_in_words(self) -> str:
        """The range of values: "from 0 to 1", "at least 1", "above 0"."""
        unit = f" {self.unit}" if self.unit else ""
        if self.minimum is None:
            return "a number" if self.maximum is None else f"at most {_number(self.maximum)}{unit}"
        if self.maximum is not None:
            return f"{'above' if self.exclusive else 'from'} {_number(self.minimum)} to {_number(self.maximum)}{unit}"
        return f"{'above' if self.exclusive else 'at least'} {_number(self.minimum)}{unit}"


def _number(value: float) -> str:
    """Whole numbers with all their digits."""
    return str(value) if isinstance(value, int) else f"{value:g}"


def option(
    default: Any = MISSING,
    *,
    help: str,  # noqa: A002
    group: str = "Task",
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    exclusive: bool = False,
    kind: Kind = "",
    flags: tuple[str, ...] = (),
    metavar: str = "",
) -> Any:
    """A field of an options dataclass; the arguments are those of Option.

    Example:
        >>> @dataclass(frozen=True, kw_only=True)
        ... class Options:
        ...     sigma: float | None = option(None, help="Standard deviation.", minimum=0)
        >>> described(Options)["sigma"].help
        'Standard deviation.'
    """
    stated = Option(help, group, unit, minimum, maximum, exclusive, kind, flags, metavar)
    return field(default=default, metadata={"option": stated})


def described(options: Any) -> dict[str, Option]:
    """The declaration of each option of an options dataclass, or of an instance of one, by name."""
    return {each.name: each.metadata["option"] for each in fields(options) if "option" in each.metadata}


@dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """Base of all options: a value is checked against its declared range when it is made."""

    def __post_init__(self) -> None:
        for name, stated in described(self).items():
            stated.check(name, getattr(self, name))


RuleName = Literal[
    "steps", "risk", "held-out", "windowed-variance", "moving-variance", "discrepancy", "plateau", "residual-noise"
]
PriorName = Literal["skip", "deep-decoder", "pixels"]


@dataclass(frozen=True, kw_only=True)
class SeededOptions(TaskOptions):
    """What every task that computes has."""

    seed: int = option(0, help="Random seed, 0 to 2147483647.", group="Fit", minimum=0, maximum=2**31 - 1)
    device: str | torch.device = option(
        "auto", help="Device: auto, cpu, cuda, cuda:1 or mps.", group="Run", metavar="DEVICE"
    )

    def __post_init__(self) -> None:
        from preimage.rng import checked_seed  # one check, and one sentence, for the whole library

        checked_seed(self.seed)
        super().__post_init__()


@dataclass(frozen=True, kw_only=True)
class RecipeOptions(SeededOptions):
    """What every task that fits has."""

    recipe: RecipeLike = option(
        "fast",
        help="Recipe: fast, balanced, best or paper where the task has it, or a FILE.json of settings.",
        group="Fit",
        flags=("--recipe", "--quality"),
    )
    steps: int | None = option(
        None, help="Maximum number of iterations (default: the recipe's).", group="Fit", minimum=1
    )
    initial: Result | Any | None = option(
        None, help="Result, or weights of one, to start from.", group="Fit", kind="python"
    )


@dataclass(frozen=True, kw_only=True)
class FitOptions(RecipeOptions):
    """What every restoration has."""

    prior: PriorName = option(
        "skip",
        help="Prior: skip (the recipe's network), deep-decoder, or pixels (no network; best with --tv).",
        group="Fit",
    )
    stop: StoppingRule | RuleName | Literal["auto"] | None = option(
        "auto", help="Stopping rule; auto: chosen by the task.", group="Fit"
    )
    restarts: int | None = option(
        None, help="Fits that are averaged (default: the recipe's).", group="Fit", minimum=1, maximum=10_000
    )
    warm_start: bool = option(
        False,
        help="Start each page (or input) from the weights of the last one; all must have the same size.",
        group="Fit",
    )
    tile: int | tuple[int, int] | Literal["auto", "none"] | None = option(
        "auto",
        help="Side in pixels (16 or more) of tiles that are fitted one by one and blended; auto: if memory or time demands it.",
        group="Fit",
    )
    tile_overlap: int | None = option(
        None, help="Pixels that neighboring tiles share (default: an eighth of the side).", group="Fit", minimum=0
    )


@dataclass(frozen=True)
class Output:
    """A file that a task can write.

    Args:
        name: "output" for the main one; any other is an option of that name.
        help: one line.
        suffixes: file name extensions it can have; none: those of images.
        write: `write(result, path, overwrite=...)`, or "module:function" of one.
        default: the name of the file if the option is not given, from {stem}, {task} and {suffix}; None: not written then.
        when: `when(options)`: whether the task has this file with these options; None: always.
        further: `further(options, path)` -> the files that are written beside it; None: none.
        extra: of `pip install 'preimage[EXTRA]'`: what writing it needs beyond what the task itself needs; "" for nothing.
    """

    name: str
    help: str
    suffixes: tuple[str, ...] = ()
    write: Callable[..., Any] | str = ""
    default: str | None = None
    when: Callable[[Any], bool] | None = None
    further: Callable[[Any, Any], list[Any]] | None = None
    extra: str = ""


@dataclass(frozen=True, eq=False)
class TaskSpec(Generic[P, R]):
    """A task: a value that can be called, listed, drawn as a command or a form, and sent as a job.

    Example:
        >>> from preimage import denoise
        >>> denoise.name, denoise.summary
        ('denoise', 'Remove noise.')

    Args:
        name: the command's name.
        summary: one line for help.
        example: a command line.
        options: the dataclass of its options (a subclass of TaskOptions).
        start: `start(image, options)` -> a Run (nothing is computed before it is iterated); the image is None where the
            task takes none.
        inputs: "images": several, each restored alone; "image": one; "none"; "data": a folder or table of images.
        outputs: the files it can write, the main one first.
        recipes: `recipes()` -> the recipes by name; None where nothing is fitted.
        fills_missing: missing values and transparent pixels of the input are what it fills in; else they stay as they are.
        takes_mosaic: of a camera's raw file it takes the mosaic; elsewhere it is developed.
        report: `report(result)` -> plain data for the report, beside what every report has.
        summary_lines: `summary_lines(result)` -> lines for people.
    """

    name: str
    summary: str
    example: str
    options: Callable[P, Any]
    start: Callable[[Any, Any], R]
    inputs: Inputs = "images"
    outputs: tuple[Output, ...] = ()
    recipes: Callable[[], Mapping[str, Recipe]] | None = None
    fills_missing: bool = False
    takes_mosaic: bool = False
    report: Callable[[Any], dict[str, Any]] | None = None
    summary_lines: Callable[[Any], list[str]] | None = None

    def __call__(self, image: Any = None, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Start the task on an image: a path, a numpy array, a PIL image, a tensor (c, h, w) or (b, c, h, w) in 0 to 1, or a
        Picture. Nothing is computed before the Run that is returned is iterated or run."""
        from preimage.modes import own_modes

        with own_modes():
            return self.start(image, self.options(*args, **kwargs))
