"""The task inspect: whether a classifier's predictions for an image and for its early outputs are consistent.

With `calibrate` it inspects a folder of unattacked images instead, and its result is the threshold that 5 % of them exceed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import methodcaller
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from preimage.defend.purify import recipes
from preimage.errors import InputError
from preimage.explain.options import CLASSIFIER, SeenOptions
from preimage.tasks import Output, TaskSpec, option

if TYPE_CHECKING:
    import torch

    from preimage.defend.inspect_runs import CalibrationRun, InspectionRun
    from preimage.explain.inputs import AnyClassifier
    from preimage.recipes import RecipeLike


@dataclass(frozen=True, kw_only=True)
class InspectOptions(SeenOptions):
    """Options of inspection and of its calibration."""

    classifier: AnyClassifier = option(help=CLASSIFIER, kind="classifier")
    calibrate: str | Path | None = option(
        None, help="Folder of unattacked images, 19 or more, to calibrate a threshold on; without INPUT.", kind="file"
    )
    salvage: bool = option(False, help="Read what is there of files that are cut off.", kind="python")
    value_range: tuple[float, float] | None = option(
        None, help="Black and white of the image, or of the files of calibrate.", kind="python", flags=("--range",)
    )
    page: int | None = option(None, help="Page of the image, or of the files of calibrate, from 1.", kind="python")
    thresholds: str | Path | None = option(
        None, help="Thresholds file written by --calibrate (default: a score without a verdict).", kind="file"
    )
    recipe: RecipeLike = option(
        "fast", help="Recipe: fast, paper, or a FILE.json of settings.", group="Fit", flags=("--recipe",)
    )
    steps: int | None = option(None, help="Number of iterations (default: the recipe's).", group="Fit", minimum=1)
    every: int | None = option(
        None, help="Iterations between two classified outputs (default: a twelfth of all).", group="Fit", minimum=1
    )
    seed: int | None = option(
        None,
        help="Random seed, 0 to 2147483647 (default: from the operating system, so that no attacker can know it).",
        group="Fit",
        minimum=0,
        maximum=2**31 - 1,
    )
    device: str | torch.device = option(
        "auto", help="Device: auto, cpu, cuda, cuda:1 or mps.", group="Run", metavar="DEVICE"
    )


def start(image: Any, options: InspectOptions) -> InspectionRun | CalibrationRun:
    """The Run that inspects an image, or calibrates on a folder."""
    from preimage.defend.inspect_runs import CalibrationRun, InspectionRun
    from preimage.defend.purification import as_given
    from preimage.recipes import choose, named_with

    recipe: Any = options.recipe
    if isinstance(recipe, str) and recipe.endswith(".json"):
        recipe = choose(recipes(), recipe).adapted()
    if options.steps is not None:
        as_given(recipe, options.steps)  # which says what is wrong
        recipe = named_with(recipe, steps=options.steps)
    options = replace(options, recipe=recipe, steps=None)
    if options.calibrate is None:
        if image is None:
            raise InputError("give an image to inspect, or --calibrate FOLDER of unattacked ones", code="option")
        return InspectionRun(image, options)
    if image is not None or options.thresholds is not None:
        what = "INPUT" if image is not None else "--thresholds"
        raise InputError(f"--calibrate makes a threshold and inspects no other image: leave {what} out", code="option")
    return CalibrationRun(options)


inspect: Final = TaskSpec(
    name="inspect",
    summary="Check whether a classifier's predictions for an image and its early outputs are consistent.",
    example="preimage inspect --calibrate clean/ --classifier model.pt -o thresholds.json\n"
    "  preimage inspect photo.png --classifier model.pt --thresholds thresholds.json",
    options=InspectOptions,
    start=start,
    outputs=(
        Output(
            "output",
            "Thresholds of --calibrate (JSON).",
            (".json",),
            lambda threshold, path, overwrite: threshold.save(path, overwrite=overwrite),
            default="thresholds.json",
            when=lambda options: options.calibrate is not None,
        ),
        Output(
            "figure",
            "Image, early outputs and class probabilities over the iterations (PNG).",
            (".png",),
            "preimage.defend.inspect_runs:write_figure",
            when=lambda options: options.calibrate is None,
            extra="figures",
        ),
    ),
    recipes=recipes,
    report=methodcaller("report"),
    summary_lines=methodcaller("summary_lines"),
)
