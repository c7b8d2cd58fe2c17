"""The task train: a classifier and the estimator of its loss, from labeled images; also against an attack.

Adversarial training is a defense, which is why the task is declared here and not beside the classifiers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from preimage.errors import InputError
from preimage.explain.options import OUTPUT, Classes, ClassifierOutput, StatedOptions
from preimage.tasks import Output, SeededOptions, TaskSpec, option

if TYPE_CHECKING:
    from preimage.classifiers.classifier import Classifier
    from preimage.classifiers.model_file import TrainedModel
    from preimage.classifiers.settings import Settings
    from preimage.defend.training_run import TrainingRun

# The numbers of a summary, and their names there.
SCORES = {
    "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy",
    "calibration_error": "calibration error",
    "rank_correlation": "rank correlation of estimated and true loss",
}
_NAME_WIDTH = 44


@dataclass(frozen=True, kw_only=True)
class TrainOptions(SeededOptions, StatedOptions):
    """Options of training.

    Example:
        >>> TrainOptions(epochs=20, turned=True).epochs
        20

    Raises:
        InputError: a number out of its range.
    """

    label_column: str | None = option(
        None,
        help="Column of a CSV with the class, a number or a word (default: class_index, dx, label, ..., or one per class).",
    )
    split_column: str | None = option(
        None,
        help="Column of a CSV that holds train, val and test (default: val and test are drawn); val chooses the epoch and the "
        "scale of the estimated loss, and is not reported as test.",
    )
    group: str | None = option(None, help="Column of a CSV with the group (patient, lesion) that no split may divide.")
    data_root: Path | None = option(
        None,
        help="Folder that the images of a CSV must be below (default: the CSV's own).",
        group="Files",
        kind="file",
        metavar="FOLDER",
    )
    value_range: tuple[float, float] | None = option(
        None,
        help="LOW HIGH: file values of black and white in all images (default: 0 and the depth of the data set, or its ends).",
        group="Files",
        flags=("--range",),
    )
    salvage: bool = option(False, help="Read what is there of files that are cut off.", kind="python")
    size: int | None = option(
        None,
        help="Short side (default: the images' own, at most 120, or the --classifier's).",
        unit="pixels",
        minimum=16,
    )
    shifts: str | None = option(
        None,
        help="Shifted pictures that the loss estimator learns to rank above: all, or some of crop, blur, noise, cutout, mix and "
        "color, with commas between (default: none).",
    )
    turned: bool = option(False, help="Augment by all rotations, for images without an orientation (lesions, cells).")
    backbone: str | None = option(
        None,
        help="Network of torchvision, or timm:NAME (default: resnet18; thin_resnet18 with --adversarial).",
        group="Fit",
    )
    epochs: int | None = option(
        None,
        help="Epochs (default: as many as make 2600 steps, 20 to 200; 40 with --adversarial).",
        group="Fit",
        minimum=1,
    )
    batch: int | None = option(
        None, help="Images per step (default: 64; 128 with --adversarial).", group="Fit", minimum=2
    )
    rate: float = option(
        1e-3,
        help="Peak learning rate of AdamW, above 0; Muon's is 20 times as large.",
        group="Fit",
        minimum=0,
        exclusive=True,
    )
    classifier: str | Classifier | None = option(
        None,
        help="Finished classifier, with --freeze: FILE.pt, torchvision:NAME, timm:NAME, hf:NAME or module:function.",
        group="Fit",
        kind="classifier",
    )
    classes: Classes = option(
        None,
        help="Names of the classes, of the --classifier or of numbered data, with commas between, or FILE.txt with one on each "
        "line; or the --classifier's number of them.",
        group="Fit",
    )
    classifier_output: ClassifierOutput | None = option(None, help=OUTPUT, group="Fit")
    freeze: bool = option(False, help="Fit only the loss estimator, to the --classifier as it is.", group="Fit")
    adversarial: float | None = option(
        None,
        help="Maximum perturbation in adversarial training, in 1/255, above 0 to 255; 8 is usual (default: none).",
        group="Fit",
        unit="1/255",
        minimum=0,
        maximum=255,
        exclusive=True,
    )


def settings_of(options: TrainOptions) -> Settings:
    """The settings of a training: those specified, and for the others the defaults of its kind.

    Example:
        >>> settings_of(TrainOptions(adversarial=8, batch=32)).backbone
        'thin_resnet18'

    Raises:
        InputError: options that exclude one another.
    """
    from preimage.classifiers.settings import Settings
    from preimage.defend.adversarial import SETTINGS

    _check_finished_classifier(options)
    base = Settings() if options.adversarial is None else SETTINGS
    specified = {name: getattr(options, name) for name in ("backbone", "epochs", "batch")}
    specified = {name: value for name, value in specified.items() if value is not None}
    if options.shifts:
        specified["shifts"] = tuple(kind.strip() for kind in options.shifts.split(","))
    return replace(base, **specified, rate=options.rate, upright=not options.turned, seed=options.seed)


def _check_finished_classifier(options: TrainOptions) -> None:
    """Raise InputError unless a finished classifier is given exactly if it is to be kept."""
    message = ""
    if options.freeze and options.classifier is None:
        message = "--freeze needs the finished classifier that stays as it is: give --classifier, too"
    elif options.classifier is not None and not options.freeze:
        message = (
            "--classifier without --freeze would train a finished classifier further, which is not supported: give --freeze to "
            "fit its loss estimator alone, or leave --classifier out to train a classifier anew"
        )
    elif options.freeze and (new := [n for n in ("backbone", "adversarial") if getattr(options, n) is not None]):
        message = f"--{new[0]} is of a classifier that is trained anew: leave it out with --freeze"
    if message:
        raise InputError(message, code="option")


def start(data: Any, options: TrainOptions) -> TrainingRun:
    """The Run that trains on a folder, CSV or npz."""
    from preimage.defend.training_run import TrainingRun

    return TrainingRun(data, options)


def report(model: TrainedModel) -> dict[str, Any]:
    """All numbers, those of each epoch as well, as plain data; an undefined correlation is None."""
    return {"classes": list(model.classifier.classes), **_plain(model.about)}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


def summary_lines(model: TrainedModel) -> list[str]:
    """Scores on the test part and, optimistic since the epoch was chosen by it, on the validation part; for people."""
    found = report(model)
    test, validation = found["test"], found["validation"]
    rows = [("", "test", "validation")]
    rows += [(words, _score(test[name]), _score(validation[name])) for name, words in SCORES.items()]
    recalls = zip(found["classes"], test["recall"], validation["recall"], strict=True)
    rows += [
        (f"recall of {name}", _score(own), _score(other))
        for name, own, other in recalls
        if (own, other) != (None, None)  # of a few of many classes
    ]
    lines = [f"{name:{_NAME_WIDTH}}{on_test:>10}{on_validation:>13}" for name, on_test, on_validation in rows]
    if "adversarial" in found:
        attack = found["adversarial"]
        lines.append(f"test accuracy under {attack['attack']} at eps {attack['eps']:g}: {attack['test']:.3f}")
    return [
        *lines,
        f"epoch {found['epoch']} of {found['settings']['epochs']} was chosen, in {found['seconds'] / 60:.1f} minutes "
        f"({found['device']})",
        f"target quantile of the estimated loss: {found['target_quantile']}",
        "explain an image with it: preimage counterfactual IMAGE --classifier FILE.pt",
    ]


def _score(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


train: Final = TaskSpec(
    name="train",
    summary="Train a classifier and the estimator of its loss on labeled images.",
    example="preimage train lesions/labels.csv --split-column split --group lesion_id --turned -o lesions.pt",
    options=TrainOptions,
    start=start,
    inputs="data",
    outputs=(
        Output(
            "output",
            "Model file that --classifier takes (.pt).",
            (".pt",),
            "preimage.defend.training_run:write_trained",
            default="{stem}.pt",
        ),
    ),
    report=report,
    summary_lines=summary_lines,
)
