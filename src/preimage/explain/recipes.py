"""The recipes of the explaining tasks, by name: "paper" as published, "fast" ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

from preimage.codes import Noise
from preimage.engine.recipe import Recipe
from preimage.errors import InputError
from preimage.explain.options import ImagePrior
from preimage.networks import Pixels, SkipNet, UNet
from preimage.optimizers import adam, muon
from preimage.recipes import choose, read_recipe_file

# Narayanaswamy et al. 2021: U-Net with 4 levels, bilinear; noise code; 5000 steps. Its widths, rate and norm are unpublished:
# chosen as [U]'s U-Net of four levels, 0.01 and batch norm.
PAPER_RECOVERY = Recipe(
    network=UNet.Config(widths=(16, 32, 64, 128, 128)),
    jitter=0.0,
    rate=0.01,
    steps=5000,
    averaging=0.0,
    precision="float32",
    stop="steps",
)
FAST_RECOVERY = Recipe(
    network=SkipNet.Config(down=(64,) * 4, up=(64,) * 4, skip=(4,) * 4, padding="zeros"),
    jitter=0.0,
    optimizer=muon,
    rate=0.02,
    steps=250,
    averaging=0.95,
    stop="steps",
)

# Ulyanov, Vedaldi, Lempitsky 2018, feature inversion and activation maximization (published notebooks).
_INVERSION: dict[str, Any] = {
    "down": (16, 32, 64, 128, 128, 128),
    "up": (16, 32, 64, 128, 128, 128),
    "downsample": "average",
}
PAPER_INVERSION = Recipe(
    network=SkipNet.Config(
        **_INVERSION,
        skip=(4,) * 6,
        down_kernel=(7, 7, 5, 5, 3, 3),
        up_kernel=(7, 7, 5, 5, 3, 3),
        upsample="nearest",
        padding="zeros",
    ),
    jitter=0.0,
    rate=0.001,
    steps=3100,
    averaging=0.0,
    precision="float32",
    stop="steps",
)
PAPER_MAXIMIZATION = Recipe(
    network=SkipNet.Config(
        **_INVERSION,
        skip=(0, 4, 4, 4, 4, 4),
        down_kernel=(5, 3, 5, 5, 3, 5),
        up_kernel=(5, 3, 5, 3, 5, 3),
        upsample="bilinear",
        padding="zeros",
    ),
    jitter=0.03,
    rate=0.01,
    steps=3100,
    averaging=0.0,
    precision="float32",
    stop="steps",
)
FAST_INVERSION = replace(FAST_RECOVERY, steps=300)
FAST_MAXIMIZATION = replace(FAST_RECOVERY, jitter=0.03, jitter_pool=4, rate=0.01, steps=300)

RECOVERY: dict[str, Recipe] = {"fast": FAST_RECOVERY, "paper": PAPER_RECOVERY}
INVERSION: dict[str, Recipe] = {"fast": FAST_INVERSION, "paper": PAPER_INVERSION}
MAXIMIZATION: dict[str, Recipe] = {"fast": FAST_MAXIMIZATION, "paper": PAPER_MAXIMIZATION}

# The pixels themselves, with which the deep prior is compared.
PIXELS: dict[str, Any] = {
    "optimizer": adam,
    "network": Pixels.Config(),
    "code": Noise(1),
    "jitter": 0.0,
    "jitter_pool": None,
    "rate": 0.02,
    "averaging": 0.0,
}


def chosen(
    recipes: Mapping[str, Recipe], given: Any, steps: int | None, prior: ImagePrior = "deep", **pixel_changes: Any
) -> tuple[Recipe, str]:
    """The recipe to use and its name, which is empty for a Recipe value.

    By name it is the deep prior's, or for another prior the same with pixels for a network. A value is used as it is.

    Args:
        steps: replaces the recipe's own; None: it does not.
        pixel_changes: settings of pixels that the task changes.

    Raises:
        InputError: an unknown name or prior, or the value of another network with a prior of pixels.
    """
    if prior not in get_args(ImagePrior):
        raise InputError(f"prior must be {', '.join(get_args(ImagePrior))}, got {prior!r}")
    changes = {} if steps is None else {"steps": steps}
    if isinstance(given, str) and given.endswith(".json"):
        given = read_recipe_file(given, recipes)
    if isinstance(given, Recipe):
        if prior != "deep" and not isinstance(given.network, Pixels.Config):
            raise InputError(
                f"prior {prior} is one of pixels, and the recipe has another network: give the recipe by name, "
                "recipe('fast', steps=100), or one whose network is Pixels.Config()",
                code="option",
            )
        return replace(given, **changes), ""
    choice = choose(recipes, given, changes)
    pixels = {} if prior == "deep" else PIXELS | pixel_changes
    return choice.adapted(lambda _, base: replace(base, **pixels)), choice.name or ""
