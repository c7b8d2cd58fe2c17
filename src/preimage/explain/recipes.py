"""The recipes of the explaining tasks, by name: "paper" as published, "fast" ours; and the pixel priors to compare with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, get_args

import torch

from preimage.codes import Noise
from preimage.engine.recipe import Recipe
from preimage.errors import InputError
from preimage.explain.options import AnyPrior
from preimage.networks import Pixels, SkipNet, Spectrum, UNet
from preimage.networks.spectrum import coefficients_of
from preimage.optimizers import adam, muon
from preimage.problem import Regularizer
from preimage.recipes import choose
from preimage.regularizers import alpha_norm, total_variation

_PUBLISHED: dict[str, Any] = {"averaging": 0.0, "precision": "float32", "stop": "steps"}

# Narayanaswamy et al. 2021: U-Net with 4 levels, bilinear; noise code; 5000 steps. Its widths, rate and norm are unpublished:
# chosen as [U]'s U-Net of four levels, 0.01 and batch norm.
PAPER_RECOVERY = Recipe(
    network=UNet.Config(widths=(16, 32, 64, 128, 128)), jitter=0.0, rate=0.01, steps=5000, **_PUBLISHED
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
_WIDTHS = (16, 32, 64, 128, 128, 128)
_NOTEBOOKS: dict[str, Any] = {"down": _WIDTHS, "up": _WIDTHS, "downsample": "average", "padding": "zeros"}
PAPER_INVERSION = Recipe(
    network=SkipNet.Config(
        **_NOTEBOOKS, skip=(4,) * 6, down_kernel=(7, 7, 5, 5, 3, 3), up_kernel=(7, 7, 5, 5, 3, 3), upsample="nearest"
    ),
    jitter=0.0,
    rate=0.001,
    steps=3100,
    **_PUBLISHED,
)
PAPER_MAXIMIZATION = Recipe(
    network=SkipNet.Config(
        **_NOTEBOOKS,
        skip=(0, 4, 4, 4, 4, 4),
        down_kernel=(5, 3, 5, 5, 3, 5),
        up_kernel=(5, 3, 5, 3, 5, 3),
        upsample="bilinear",
    ),
    jitter=0.03,
    rate=0.01,
    steps=3100,
    **_PUBLISHED,
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
SPECTRUM_RATE = 0.05  # of coefficients (Olah et al. 2017)


# Mahendran and Vedaldi, IJCV 2016: R is 1 if values lie B from the mean and differ by V from their neighbors, in 0..1 here;
# the data term counts C times as much.
B, V, C = 80 / 255, 80 / 255 / 6.5, 100.0


def pixel_regularizers(prior: AnyPrior, image: torch.Tensor) -> tuple[tuple[float, Regularizer], ...]:
    """R of a prior for images like this (1, c, h, w), relative to the data term; none for deep and none.

    Example:
        >>> [regularizer.func.__name__ for _, regularizer in pixel_regularizers("alpha", torch.zeros(1, 3, 32, 32))]
        ['total_variation', 'alpha_norm']
    """
    count = image.numel() * C
    terms: tuple[tuple[float, Regularizer], ...] = (
        (1 / (V**2 * count), partial(total_variation, beta=2.0, reduction="sum")),
        (1 / (B**6 * count), partial(alpha_norm, alpha=6.0, reduction="sum")),
    )
    return terms[: {"tv": 1, "alpha": 2}.get(prior, 0)]


def pixels_of(prior: AnyPrior, image: torch.Tensor) -> dict[str, torch.Tensor]:
    """The weights of a prior without a network, with which it is the image (1, c, h, w)."""
    if prior == "spectrum":
        return {"coefficients": coefficients_of(image)[0].movedim(-1, 0).contiguous()}
    return {"image": image}


def chosen(
    recipes: Mapping[str, Recipe], given: Any, steps: int | None, prior: AnyPrior = "deep", **pixel_changes: Any
) -> tuple[Recipe, str]:
    """The recipe to use and its name, which is empty for a Recipe value.

    By name it is the deep prior's, or for another prior the same with pixels for a network. A value is used as it is.

    Args:
        steps: replaces the recipe's own; None: it does not.
        pixel_changes: settings of pixels that the task changes.

    Raises:
        InputError: an unknown name or prior, or the value of another network with a prior of pixels.
    """
    if prior not in get_args(AnyPrior):
        raise InputError(f"prior must be {', '.join(get_args(AnyPrior))}, got {prior!r}")
    choice = choose(recipes, given, {"steps": steps})
    if choice.name is None and prior != "deep" and not isinstance(choice.base.network, Pixels.Config | Spectrum.Config):
        raise InputError(
            f"prior {prior} is one of pixels, and the recipe has another network: give the recipe by name, "
            "recipe('fast', steps=100), or one whose network is Pixels.Config()",
            code="option",
        )
    spectrum = {"network": Spectrum.Config(), "rate": SPECTRUM_RATE} if prior == "spectrum" else {}
    pixels = {} if prior == "deep" else PIXELS | spectrum | pixel_changes
    return choice.adapted(lambda _, base: replace(base, **pixels)), choice.name or ""
