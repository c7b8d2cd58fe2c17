"""Options and output files that several explaining tasks share; nothing here imports torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from preimage.errors import InputError
from preimage.tasks import Inputs, Output, P, R, RecipeOptions, TaskOptions, TaskSpec, option

if TYPE_CHECKING:
    from preimage.classifiers import Classifier
    from preimage.classifiers.model_file import TrainedModel
    from preimage.engine.recipe import Recipe
    from preimage.stopping import StoppingRule

CLASSIFIER = (
    "Classifier: FILE.pt of preimage train, torchvision:NAME, timm:NAME, hf:NAME or module.path:function (each with @FILE of "
    "weights)."
)
OUTPUT = (
    "Output of the classifier: logits, probabilities (their softmax), sigmoid (of each logit), labels (logits of independent "
    "labels) or label-probabilities (the sigmoid of each of these); default: logits, and an error where it cannot be any."
)
RESIZING = (
    "Resizing of an image of other proportions to the classifier's input: preset (the classifier's own), crop (the middle), "
    "letterbox (all of it, with margins) or squeeze."
)
ResizingChoice = Literal["preset", "crop", "letterbox", "squeeze"]
CLASSES = "Names of the --classifier's classes, with commas between, FILE.txt with one on each line, or their number."
PAGE = "Self-contained HTML page: images, numbers, settings, limits."
Classes = tuple[str, ...] | str | int | None
ClassifierOutput = Literal["logits", "probabilities", "sigmoid", "labels", "label-probabilities"]
UncertaintyKind = Literal["auto", "loss", "entropy", "energy", "none"]
AnyPrior = Literal["deep", "spectrum", "tv", "alpha", "none"]


@dataclass(frozen=True)
class Stated:
    """What the user states of a classifier that does not say so itself.

    Args:
        output: what it returns.
        classes: the names of its classes, a text that holds them, or their number.
        resizing: how images become its input.
    """

    output: ClassifierOutput | None = None
    classes: Classes = None
    resizing: ResizingChoice = "preset"


UNSTATED = Stated()


@dataclass(frozen=True, kw_only=True)
class StatedOptions(TaskOptions):
    """What can be stated of a classifier in every task that has one."""

    classifier_output: ClassifierOutput | None = option(None, help=OUTPUT)
    classes: Classes = option(None, help=CLASSES)

    @property
    def stated(self) -> Stated:
        """The same as a value."""
        return Stated(self.classifier_output, self.classes)


@dataclass(frozen=True, kw_only=True)
class SeenOptions(StatedOptions):
    """The same of a classifier that sees an image which is given."""

    resizing: ResizingChoice = option("preset", help=RESIZING)

    @property
    def stated(self) -> Stated:
        """The same as a value."""
        return Stated(self.classifier_output, self.classes, self.resizing)


@dataclass(frozen=True, kw_only=True)
class ExplainOptions(RecipeOptions, StatedOptions):
    """Options of every explaining task."""

    classifier: Classifier | TrainedModel | str | Path = option(help=CLASSIFIER, kind="classifier")


@dataclass(frozen=True, kw_only=True)
class JitterOptions(ExplainOptions, SeenOptions):
    """Options of the tasks that explain an image that is given."""

    input_jitter: bool | None = option(
        None,
        help="Shift the classifier's input by 0 to 3 pixels, differently at each step, against checkerboard artifacts (default: "
        "yes, except with recipe paper).",
    )


@dataclass(frozen=True, kw_only=True)
class FeatureOptions(JitterOptions):
    """Options of the tasks that keep the features of an image and the uncertainty penalty M."""

    layer: str | None = option(
        None,
        help="Layer Psi whose features are kept, as in Classifier.layers() (default: the first residual block; of other networks "
        "the first block that keeps color and light).",
    )
    uncertainty: UncertaintyKind = option(
        "auto",
        help="Uncertainty penalty M: loss (estimated loss), entropy or energy (no loss estimator needed), none; auto: loss if "
        "there is an estimator, else entropy.",
    )
    loss_weight: float = option(
        0.02, help="Weight l1 of the uncertainty penalty M, at least 0; 0: no penalty.", minimum=0
    )
    target_loss: float | None = option(
        None,
        help="Target quantile of the estimated loss, 0 to 1 (default: the one chosen in training, else 0.1).",
        minimum=0,
        maximum=1,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_finite(loss_weight=self.loss_weight)
        if self.target_loss is not None:
            check_finite(target_loss=self.target_loss)


@dataclass(frozen=True, kw_only=True)
class PriorOptions(TaskOptions):
    """The prior on x, which can be one of those that the deep prior is compared with."""

    prior: AnyPrior = option(
        "deep",
        help="Prior: deep (the network's structure), spectrum (Fourier coefficients in decorrelated colors), or pixels with tv "
        "(total variation), alpha (also the alpha norm) or none (no regularizer).",
    )


@dataclass(frozen=True, kw_only=True)
class FrequencyOptions(TaskOptions):
    """In which order frequencies follow a class."""

    coarse_to_fine: bool | None = option(
        None,
        help="Low frequencies follow the class first, and the highest never: the gradient of the class term is blurred, less "
        "from step to step (default: with copies).",
    )


@dataclass(frozen=True, kw_only=True)
class StopOptions(TaskOptions):
    """The stopping rule, for tasks that do all iterations unless there is one."""

    stop: StoppingRule | None = option(
        None, help="Stopping rule (default: all iterations are done).", group="Fit", kind="python"
    )


def check_finite(**values: Any) -> None:
    """Raise InputError for a value that is no finite real number."""
    for name, value in values.items():
        if not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value):
            raise InputError(f"{name} must be a finite number, got {value!r}")


def numbered(path: Path, number: int) -> Path:
    """The file of a further image.

    Example:
        >>> numbered(Path("changed.png"), 2).name
        'changed-2.png'
    """
    return path.with_name(f"{path.stem}-{number}{path.suffix}")


def further_images(options: Any, path: Path) -> list[Path]:
    """The files of the images of further seeds, beside that of the first."""
    return [numbered(path, number) for number in range(2, options.count + 1)]


def explaining(
    name: str,
    summary: str,
    example: str,
    options: Callable[P, Any],
    start: Callable[[Any, Any], R],
    recipes: str,
    *more: Output,
    inputs: Inputs = "image",
    further: Any = None,
) -> TaskSpec[P, R]:
    """The TaskSpec of an explaining task, with the files that all can write and `more` of its own.

    Args:
        recipes: the name of its table in explain/recipes.py.
        further: as of the Output of its image.
    """
    image = Output(
        "output",
        "Output image; its file name extension chooses the format.",
        write="preimage.explain.explanation:write_images",
        default="{stem}-{task}.png",
        further=further,
    )
    drawn = "preimage.figures.explanation:save_explanation_figure"
    figure = Output("figure", "PNG of all images and curves.", (".png",), drawn, extra="figures")
    outputs = (
        image,
        figure,
        Output("html", PAGE, (".html", ".htm"), "preimage.figures.page:save_page", extra="figures"),
        *more,
    )

    def named() -> Mapping[str, Recipe]:
        return getattr(import_module("preimage.explain.recipes"), recipes)

    return TaskSpec(
        name, summary, example, options, start, inputs, outputs, named, report=report, summary_lines=summary_lines
    )


def report(result: Any) -> dict[str, Any]:
    """The numbers of an Explanation, plain data."""
    return result.numbers


def summary_lines(result: Any) -> list[str]:
    """The numbers of an Explanation that are not tables, a line each: name and value; of several layers a line for each."""
    layers = result.numbers.get("layers", [])
    return [_of_layer(each) for each in layers] + [
        f"{name.replace('_', ' '):24} {_shown(value)}"
        for name, value in result.numbers.items()
        if not isinstance(value, dict | list)
    ]


def _of_layer(numbers: dict[str, Any]) -> str:
    """Of one of several layers: its name, and its numbers that are of it alone."""
    own = [f"{name.replace('_', ' ')} {_shown(numbers[name])}" for name in ("feature_error", "psnr") if name in numbers]
    return f"{numbers.get('layer', ''):24} {', '.join(own)}"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
