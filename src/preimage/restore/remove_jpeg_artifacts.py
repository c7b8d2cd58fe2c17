"""JPEG artifacts: Phi = the coefficients that a JPEG file rounds, y = what it holds of them.

The prior learns the image before it learns blocks and ringing, so the fit ends early, as in denoising. And the quantization
table bounds each coefficient: the result is moved to the nearest image that would give the same file, which can only bring it
closer to the original.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from preimage.series.restoration import IMAGE_OUTPUTS, restoration
from preimage.tasks import FitOptions, TaskSpec, option

if TYPE_CHECKING:
    from preimage.engine.recipe import Recipe
    from preimage.images import Picture
    from preimage.recipes import RecipeChoice
    from preimage.series.plan import Plan


@dataclass(frozen=True, kw_only=True)
class JpegOptions(FitOptions):
    """Options of removing JPEG artifacts."""

    jpeg_quality: int | None = option(
        None,
        help="JPEG quality, 1 to 100 (libjpeg), of an image saved in another format since, uncropped (default: from the file).",
    )


@cache
def recipes() -> Mapping[str, Recipe]:
    """The recipes: fast, balanced (2 fits), best (4), and paper (as published)."""
    from preimage.codes import Noise
    from preimage.engine.recipe import Recipe
    from preimage.networks import SkipNet
    from preimage.recipes import qualities
    from preimage.restore.recipes import fitted_from_noise

    # MEASURED on crops of 256 px: kodim14 at quality 10 is best at 360 steps (0.9 dB above its JPEG) and 0.03 dB lower at 440,
    # kodim05 at quality 20 passes its JPEG at 220 and still rises at 500 (0.7 dB above). Rates 0.02 and 0.04 are alike;
    # bilinear up-sampling ends 0.3 dB above nearest.
    fast = fitted_from_noise(rate=0.02, steps=1000)
    # Ulyanov et al. 2018, supplementary material.
    paper = Recipe(
        network=SkipNet.Config(down=(8, 16, 32, 64, 128), up=(8, 16, 32, 64, 128), skip=(0, 0, 0, 4, 4)),
        code=Noise(3),
        steps=2400,
        debiased=False,
        precision="float32",
        stop="steps",
    )
    return {**qualities(fast), "paper": paper}


def plan(picture: Picture, options: JpegOptions, choice: RecipeChoice) -> Plan:
    """Read the quantization tables, by which the result is constrained and the fit stops."""
    from preimage.operators.jpeg import BLOCK
    from preimage.restore.quantization import FROM_BELOW, FROM_THE_RIGHT, default_rule, jpeg_coding, jpeg_problem
    from preimage.series.plan import Plan

    coding, stated = jpeg_coding(picture, options.jpeg_quality)
    recipe = choice.adapted()
    return Plan(
        lambda part: jpeg_problem(part, coding),
        recipe,
        rule=lambda problem: default_rule(problem, recipe),
        grid=1 if coding is None else BLOCK * max(coding.subsampling),
        from_end=(picture.orientation in FROM_BELOW, picture.orientation in FROM_THE_RIGHT),
        remarks=(stated,),
    )


remove_jpeg_artifacts: Final = TaskSpec(
    "remove-jpeg-artifacts",
    "Remove the blocks and ringing of JPEG compression.",
    "preimage remove-jpeg-artifacts photo.jpg -o clean.png",
    JpegOptions,
    restoration("remove-jpeg-artifacts", plan, recipes),
    recipes=recipes,
    outputs=IMAGE_OUTPUTS,
)
