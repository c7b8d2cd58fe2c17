"""Flash and no flash: Phi = identity, y = the picture without flash, and the code is the picture with it.

The network starts from the sharp, noiseless flash picture, and learns to give it the light of the other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from PIL.Image import Image

from preimage.engine.checkpoint import fingerprint
from preimage.engine.optimizers import muon
from preimage.engine.recipe import Recipe
from preimage.engine.run import Run
from preimage.errors import InputError
from preimage.images import Picture, as_picture
from preimage.networks import DeepDecoder, Pixels, SkipNet
from preimage.problem import Problem
from preimage.recipes import qualities
from preimage.restore.start import Initial, Tile, start
from preimage.stopping import After, StoppingRule

# Ulyanov et al. 2018, supplementary material.
PAPER = Recipe(
    network=SkipNet.Config(upsample=("nearest", "nearest", "bilinear", "bilinear", "bilinear")),
    jitter=0.0,
    rate=0.1,
    steps=600,
    averaging=0.0,
    precision="float32",
    stop="steps",
)

FAST = Recipe(
    network=SkipNet.Config(down=(32, 64, 64, 64, 64), up=(32, 64, 64, 64, 64), padding="zeros"),
    jitter=0.0,
    optimizer=muon,
    rate=0.02,
    steps=150,
    averaging=0.95,
    stop="steps",
)
QUALITIES = qualities(FAST)


def flash_no_flash(
    image: torch.Tensor | NDArray[Any] | Image | str | Path | Picture,
    flash: torch.Tensor | NDArray[Any] | Image | str | Path | Picture,
    *,
    recipe: Recipe = FAST,
    stop: StoppingRule | None = None,
    restarts: int | None = None,
    initial: Initial = None,
    seed: int = 0,
    device: str | torch.device = "auto",
    tile: Tile = "auto",
) -> Run:
    """Clean a noisy picture taken without flash by the detail of one of the same scene taken with it.

    Example:
        >>> result = flash_no_flash("ambient.png", "flash.png").run()
        >>> result.save("clean.png")

    Args:
        image: the picture without flash, whose light is kept.
        flash: the picture with flash: of the same size, bit depth and number of pages, aligned with the other. On the command
            line also a folder with one of the input's name for each input.
        recipe: FAST, or PAPER for the published settings.
        stop: a stopping rule; None does the recipe's steps.
        restarts: fits that are averaged; None takes the recipe's.
        initial: a Result, or the weights of one, to start from.
        seed: of all randomness.
        device: "auto", "cpu", "cuda", "mps".
        tile: side of the tiles that a large picture is cut into, or (side, overlap), in pixels; "auto": only if memory asks for
            it; None: never. Each tile is a fit with a stop of its own, and they are blended.

    Raises:
        InputError: two pictures that do not belong together, or a picture or device that cannot be used.

    Source: Ulyanov, Vedaldi, Lempitsky, Deep Image Prior, CVPR 2018, section 3.5.
    """
    picture = as_picture(image)
    bright = as_picture(flash)
    _check_pair(picture, bright)
    if isinstance(recipe.network, DeepDecoder.Config | Pixels.Config):
        raise InputError(
            "the network must start from the flash picture: take a prior with the size of its code, such as skip"
        )
    return start(
        "flash-no-flash",
        lambda part: Problem(part.tensor),
        picture,
        recipe,
        rule=lambda _: stop or After(),
        restarts=restarts,
        initial=initial,
        seed=seed,
        device=device,
        tile=tile,
        options={"flash": fingerprint(bright.tensor)},
        code=bright.tensor,
    )


def _check_pair(picture: Picture, bright: Picture) -> None:
    (b, _, h, w), (pages, _, height, width) = picture.tensor.shape, bright.tensor.shape
    if (h, w) != (height, width):
        raise InputError(
            f"{picture.name} is {w} x {h} pixels and the flash picture {bright.name} {width} x {height}: "
            "both must have one size and be aligned"
        )
    if b != pages:
        raise InputError(
            f"{picture.name} has {b} pages and the flash picture {bright.name} {pages}: give as many of each"
        )
    if picture.dtype != bright.dtype:
        raise InputError(
            f"{picture.name} holds {picture.dtype} values and the flash picture {bright.name} {bright.dtype}: "
            "save both in one bit depth"
        )
