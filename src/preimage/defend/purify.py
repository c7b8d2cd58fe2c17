"""The task purify: remove the perturbation of an adversarial attack by the early output of the prior.

Source: Kattamis, Adel, Weller, Exploring Properties of the Deep Image Prior, 2019.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from preimage.errors import InputError
from preimage.tasks import FitOptions, Output, TaskSpec

if TYPE_CHECKING:
    from preimage.engine.fit import Run
    from preimage.engine.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class PurifyOptions(FitOptions):
    """Options of purification: those of every fit. `recipe` by name has more steps for larger images (25 at 32 pixels a side, at
    most 200), "paper" has 750; fewer steps retain less of an attack, and less of the image. `stop` "auto" does all steps."""


def recipes() -> Mapping[str, Recipe]:
    """The recipes by name: fast, balanced (2 fits averaged), best (4), and paper (as published)."""
    from preimage.defend.purification import RECIPES

    return RECIPES


def start(image: Any, options: PurifyOptions) -> Run:
    """The Run that purifies an image, or a batch (b, c, h, w) whose images are independent members.

    Raises:
        InputError: an image, option or device that cannot be used.
    """
    from preimage import stopping
    from preimage.defend.purification import adapted
    from preimage.images import as_picture
    from preimage.problem import Problem
    from preimage.restore.start import start as start_fit

    if options.prior != "skip":
        raise InputError(f"purify has recipes for prior skip only, got {options.prior!r}: give a Recipe", code="option")
    rules = {"auto": stopping.after, "steps": stopping.after, "risk": stopping.risk, "held-out": stopping.held_out}
    rules |= {"windowed-variance": stopping.windowed_variance, "moving-variance": stopping.moving_variance}
    rules |= {"discrepancy": stopping.discrepancy, "plateau": stopping.plateau}
    rule = options.stop or "auto"
    tile: Any = None if options.tile == "none" else options.tile
    if options.tile_overlap is not None:
        tile = (options.tile, options.tile_overlap)
    picture = as_picture(image)
    return start_fit(
        "purify",
        lambda part: Problem(part.tensor),
        picture,
        adapted(options.recipe, picture.tensor.shape[-2:], options.steps),
        rule=lambda _: rules[rule]() if isinstance(rule, str) else rule,
        restarts=options.restarts,
        initial=options.initial,
        seed=options.seed,
        device=options.device,
        tile=tile,
    )


purify = TaskSpec(
    name="purify",
    summary="Remove the perturbation of an adversarial attack.",
    example="preimage purify suspicious.png -o purified.png",
    options=PurifyOptions,
    start=start,
    outputs=(Output("output", "The purified image, as the input is.", default="{stem}-{task}{suffix}"),),
    recipes=recipes,
)
