"""The task of purification: remove the perturbation of an adversarial attack by an early output of the prior.

Source: Kattamis, Adel, Weller, Exploring Properties of the Deep Image Prior, 2019.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from preimage.errors import InputError
from preimage.series.restoration import IMAGE_OUTPUTS, restoration
from preimage.tasks import FitOptions, TaskSpec

if TYPE_CHECKING:
    from preimage.engine.recipe import Recipe
    from preimage.images import Picture
    from preimage.recipes import RecipeChoice
    from preimage.series.plan import Plan


@dataclass(frozen=True, kw_only=True)
class PurifyOptions(FitOptions):
    """Options of purification: those of every fit.

    A recipe by name has more steps for larger images (25 at 32 pixels a side, at most 125), "paper" has 750; fewer steps retain
    less of an attack, and less of the image. All steps are done unless a rule is specified.
    """


def recipes() -> Mapping[str, Recipe]:
    """The recipes by name: fast, balanced (2 fits), best (4), and paper (as published)."""
    from preimage.defend.purification import RECIPES

    return RECIPES


def plan(picture: Picture, options: PurifyOptions, choice: RecipeChoice) -> Plan:
    """Fit the image itself, for a number of steps that goes by its size."""
    from preimage.defend.purification import adapted
    from preimage.problem import Problem
    from preimage.series.plan import Plan

    if options.prior == "pixels":
        raise InputError("purify needs a network, since pixels retain the whole attack: leave prior out", code="option")
    height, width = picture.tensor.shape[-2:]
    recipe = choice.adapted(lambda name, base: adapted(name, (height, width)))
    return Plan(lambda part: Problem(part.tensor), recipe)


purify: Final = TaskSpec(
    "purify",
    "Remove the perturbation of an adversarial attack.",
    "preimage purify suspicious.png -o purified.png",
    PurifyOptions,
    restoration("purify", plan, recipes),
    recipes=recipes,
    outputs=IMAGE_OUTPUTS,
)
