"""The task calibrate: the recipe and the number of steps that work best on images like one's own, for one degradation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from preimage.errors import InputError
from preimage.tasks import Output, SeededOptions, TaskSpec, option

if TYPE_CHECKING:
    from preimage.engine.recipe import Recipe
    from preimage.recipes import RecipeLike
    from preimage.restore.search import Search


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions(SeededOptions):
    """Options of calibration."""

    degradation: str = option(
        help="Degradation to undo, which chooses the task: gaussian:SIGMA (0 to 255, as gaussian:25), poisson:COUNTS (at white), "
        "speckle:SIGMA (relative to the brightness), impulse:FRACTION, jpeg:QUALITY, downsample:FACTOR, missing:FRACTION, "
        "blur:SIGMA (pixels) or blur:LENGTH,ANGLE (motion: pixels, degrees)."
    )
    recipe: RecipeLike = option(
        "fast",
        help="Recipe to vary, and to compare with: fast, balanced, best or paper where the task has it, or a FILE.json.",
        group="Fit",
        flags=("--recipe", "--quality"),
    )
    steps: int | None = option(
        None, help="Maximum number of iterations that is tried (default: the recipe's).", group="Fit", minimum=1
    )
    candidates: Sequence[Recipe] | None = option(
        None,
        help="Recipes to choose from (default: the recipe, half and twice its rate, and other averages).",
        group="Fit",
        kind="python",
    )
    held_out: float = option(
        1 / 3,
        help="Fraction of the images that are held out for the evaluation, above 0 and below 1 (at least one image).",
        minimum=0,
        maximum=1,
        exclusive=True,
    )
    side: int = option(192, help="Side in pixels of the central crop of each image, 16 or more.", minimum=16)
    limit: int | None = option(
        None, help="Maximum number of images, 2 or more, chosen at random (default: all).", minimum=2
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.held_out >= 1:
            raise InputError(f"held_out must be above 0 and below 1, got {self.held_out}")


def start(images: Any, options: CalibrateOptions) -> Search:
    """The Run of a calibration: all images are read, degraded and tried before the first fit.

    Raises:
        InputError: an unknown degradation, fewer than two images, one that cannot be read or is too small, or an option.
    """
    from preimage.restore.search import Search

    return Search(images, options)


calibrate: Final = TaskSpec(
    "calibrate",
    "Find the recipe and number of steps that restore images like yours best.",
    "preimage calibrate clean/ --degradation gaussian:25 -o recipe.json",
    CalibrateOptions,
    start,
    inputs="data",
    outputs=(
        Output(
            "output",
            "Recipe to write, for --recipe of the task.",
            (".json",),
            lambda calibration, path, *, overwrite=False: calibration.save(path, overwrite=overwrite),
            default="recipe.json",
        ),
    ),
    report=lambda result: result.report(),
    summary_lines=lambda result: result.summary_lines(),
)
