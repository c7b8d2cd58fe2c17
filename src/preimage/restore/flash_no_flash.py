"""Flash and no flash: Phi = identity, y = the image without flash, and the code is the image with it.

The network starts from the sharp, noiseless flash image, and learns to give it the light of the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from preimage.errors import InputError
from preimage.series.restoration import IMAGE_OUTPUTS, restoration
from preimage.tasks import FitOptions, TaskSpec, option

if TYPE_CHECKING:
    from preimage.engine.recipe import Recipe
    from preimage.images import Picture
    from preimage.recipes import RecipeChoice
    from preimage.series.plan import Plan
    from preimage.tasks import ImageLike


@dataclass(frozen=True, kw_only=True)
class FlashOptions(FitOptions):
    """Options of flash and no flash."""

    flash: ImageLike = option(
        help="Aligned image of the scene with flash, of the same size and bit depth, or a folder with one of the input's name.",
        kind="image",
        metavar="FILE",
    )


@cache
def recipes() -> Mapping[str, Recipe]:
    """The recipes: fast, balanced (2 fits), best (4), and paper (as published)."""
    from preimage.engine.recipe import Recipe
    from preimage.networks import SkipNet
    from preimage.optimizers import muon
    from preimage.recipes import qualities
    from preimage.restore.recipes import BILINEAR

    fast = Recipe(network=BILINEAR, jitter=0.0, optimizer=muon, rate=0.02, steps=150, averaging=0.95, stop="steps")
    # Ulyanov et al. 2018, supplementary material.
    paper = Recipe(
        network=SkipNet.Config(upsample=("nearest", "nearest", "bilinear", "bilinear", "bilinear")),
        jitter=0.0,
        rate=0.1,
        steps=600,
        averaging=0.0,
        precision="float32",
        stop="steps",
    )
    return {**qualities(fast), "paper": paper}


def plan(picture: Picture, options: FlashOptions, choice: RecipeChoice) -> Plan:
    """Check that the two images belong together; the network starts from the one with flash."""
    from preimage.engine.checkpoint import fingerprint
    from preimage.images import as_picture
    from preimage.networks import DeepDecoder, Pixels
    from preimage.problem import Problem
    from preimage.series.plan import Plan

    flash = as_picture(options.flash)
    _check_pair(picture, flash)
    recipe = choice.adapted()
    if isinstance(recipe.network, DeepDecoder.Config | Pixels.Config):
        raise InputError(
            "the network must start from the flash image: take a prior with the size of its code, such as skip",
            code="option",
        )
    return Plan(
        lambda part: Problem(part.tensor), recipe, code=flash.tensor, fingerprint={"flash": fingerprint(flash.tensor)}
    )


def _check_pair(picture: Picture, flash: Picture) -> None:
    if picture.dtype != flash.dtype:
        raise InputError(
            f"{picture.name} holds {picture.dtype} values and the flash image {flash.name} {flash.dtype}: "
            "save both in one bit depth",
            code="type",
        )


flash_no_flash: Final = TaskSpec(
    "flash-no-flash",
    "Denoise an image taken without flash by one taken with it.",
    "preimage flash-no-flash ambient.png --flash flash.png -o clean.png",
    FlashOptions,
    restoration("flash-no-flash", plan, recipes),
    recipes=recipes,
    outputs=IMAGE_OUTPUTS,
)
