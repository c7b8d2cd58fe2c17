"""Names on the command line -> recipes, priors and rules; nowhere else does a name choose an object."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from preimage import stopping
from preimage.cli.options import Options
from preimage.codes import Noise
from preimage.engine.optimizers import adam
from preimage.engine.recipe import Recipe
from preimage.errors import InputError
from preimage.networks import DeepDecoder, Pixels
from preimage.recipes import read_recipe
from preimage.series.layout import checked

RULES: dict[str, Callable[[], stopping.StoppingRule]] = {
    "steps": stopping.after,
    "risk": stopping.risk,
    "held-out": stopping.held_out,
    "windowed-variance": stopping.windowed_variance,
    "moving-variance": stopping.moving_variance,
    "discrepancy": stopping.discrepancy,
    "plateau": stopping.plateau,
}

_ALONE: dict[str, Any] = {"optimizer": adam, "rate": 0.01, "jitter": 0.0, "jitter_pool": None, "restarts": 1}
# A deep decoder is too small to fit noise, and pixels start from no randomness: one fit each, to where the loss rests.
PRIORS: dict[str, dict[str, Any]] = {
    "skip": {},
    "deep-decoder": {
        **_ALONE,
        "network": DeepDecoder.Config(),
        "code": Noise(DeepDecoder.Config().widths[0]),
        "steps": 2000,
    },
    "pixels": {**_ALONE, "network": Pixels.Config(), "code": Noise(1), "averaging": 0.0, "steps": 500},
}


def choose_recipe(options: Options, task: ModuleType) -> Recipe:
    """The recipe that the options name, with what they change in it.

    Raises:
        InputError: a file that is no recipe, or a recipe and a prior that exclude each other.
    """
    changes = PRIORS[options.prior]
    if changes and options.recipe is not None:
        raise InputError(f"--prior {options.prior} brings its own settings: leave --recipe out")
    if options.quality is not None and (changes or options.recipe is not None):
        other = f"--prior {options.prior}" if changes else f"--recipe {options.recipe}"
        raise InputError(f"--quality {options.quality} and {other} are two recipes: leave one out")
    recipe = task.QUALITIES[options.quality] if options.quality else _named(options.recipe or "fast", task)
    recipe = replace(recipe, **changes)
    if options.steps is None:
        return recipe
    # Where steps go by the size of the picture, those that are said do not.
    said = {"stop": "steps"} if hasattr(task, "for_size") else {}
    return replace(recipe, steps=options.steps, **said)


def choose_rule(options: Options) -> stopping.StoppingRule | None:
    """A fresh rule, for a rule belongs to one fit; None where the task chooses."""
    if options.stop != "auto":
        return RULES[options.stop]()
    return stopping.plateau() if PRIORS[options.prior] else None


def choose_tile(options: Options) -> int | tuple[int, int] | Literal["auto"] | None:
    """What the options say of tiles, as a task takes it.

    Raises:
        InputError: a side or an overlap that cannot be, or tiles of pages or inputs that begin from the last one's weights.
    """
    side, overlap = options.tile, options.tile_overlap
    if isinstance(side, str):
        if overlap is not None:
            raise InputError(
                f"--tile-overlap is of tiles of one size, got --tile {side}: give --tile SIDE too, or leave it out"
            )
        return "auto" if side == "auto" and not options.warm_start else None
    if options.warm_start:
        raise InputError(
            f"--warm-start hands the weights of whole pictures on, got --tile {side}: leave one of them out"
        )
    checked(side, overlap)
    return side if overlap is None else (side, overlap)


def recipe_name(options: Options) -> str:
    """What a report calls the recipe: fast, paper, the file, or the prior that brought it."""
    return options.prior if PRIORS[options.prior] else options.recipe or options.quality or "fast"


def _named(name: str, task: ModuleType) -> Recipe:
    known = {"fast": task.FAST, "paper": task.PAPER}
    if name in known:
        return known[name]
    path = Path(name)
    if path.suffix.lower() != ".json":
        raise InputError(f"--recipe must be fast, paper or a FILE.json, got {name!r}")
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"recipe {name} cannot be read ({error.strerror}): check the name") from error
    except ValueError as error:
        raise InputError(f"recipe {name} is no JSON ({error}): correct it there") from error
    if not isinstance(settings, dict):
        raise InputError(f'recipe {name} must hold settings by name, as {{"steps": 300}}')
    exact = {"stop": "steps"} if "steps" in settings and hasattr(task, "for_size") else {}
    return read_recipe(exact | settings, task.FAST)
