"""The recipes of the explaining tasks: what was published, and what is fast."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from preimage.codes import Noise
from preimage.engine.recipe import Recipe
from preimage.networks import Pixels, SkipNet, UNet
from preimage.optimizers import adam, muon

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

# The rivals of the deep prior: the pixels themselves.
PIXELS: dict[str, Any] = {
    "optimizer": adam,
    "network": Pixels.Config(),
    "code": Noise(1),
    "jitter": 0.0,
    "jitter_pool": None,
    "rate": 0.02,
    "averaging": 0.0,
}


def is_published(recipe: Recipe) -> bool:
    """Whether a recipe has a published network: then nothing is added to what was published."""
    return recipe.network in (PAPER_RECOVERY.network, PAPER_INVERSION.network, PAPER_MAXIMIZATION.network)
