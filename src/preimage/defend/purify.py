"""Purifying: the early output of the prior. A network learns the picture before it learns the pattern that misleads a classifier.

Phi = identity, y = the picture as it was given, and the fit ends after a fixed number of steps, long before it has learned all.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from PIL.Image import Image

from preimage.fit import Run
from preimage.images import Picture, as_picture
from preimage.optimizers import muon
from preimage.prior import Noise
from preimage.problem import Problem
from preimage.recipes import Hourglass, Recipe, qualities
from preimage.restore.start import Initial, Tile, start
from preimage.stopping import After, Rule

# A first guess for pictures of 32 pixels, to be measured on CIFAR-10 by a study: as good to a classifier as PAPER's 750.
STEPS = 60

# Kattamis, Adel, Weller 2019: three levels of 128 channels, 750 steps. Whether outputs were averaged is not published: the last
# output is taken here, which is what a fit without averaging returns.
PAPER = Recipe(
    network=Hourglass((128,) * 3, (128,) * 3, (4,) * 3),
    code=Noise(32),
    jitter=1 / 30,
    rate=0.01,
    steps=750,
    averaging=0.0,
    debiased=False,
    precision="float32",
    stop="steps",
)

# From noise, for a code that is the picture itself would show the network the very pattern that is to be lost. So thin that small
# pictures are fitted in one stacked call (Prior), and of three levels at any size.
FAST = replace(
    PAPER,
    network=Hourglass((32,) * 3, (32,) * 3, (4,) * 3, upsample="nearest", padding="zeros"),
    jitter_pool=4,
    optimizer=muon,
    rate=0.02,
    steps=STEPS,
    averaging=0.9,
    debiased=True,
    precision="auto",
)
QUALITIES = qualities(FAST)


def purify(
    image: torch.Tensor | NDArray[Any] | Image | str | Path | Picture,
    *,
    recipe: Recipe = FAST,
    steps: int | None = None,
    stop: Rule | None = None,
    restarts: int | None = None,
    initial: Initial = None,
    seed: int = 0,
    device: str | torch.device = "auto",
    tile: Tile = "auto",
) -> Run:
    """Clean a picture of what was added to it to mislead a classifier; nothing is computed before the Run is iterated or run.

    Pictures of one size are members of one fit, each with its own weights, code and jitter.

    Example:
        >>> purify("suspicious.png").run().save("clean.png")
        >>> purify(torch.rand(8, 3, 32, 32)).run().image.shape
        torch.Size([8, 3, 32, 32])

    Args:
        image: a tensor (c, h, w) or (b, c, h, w) in 0..1, a numpy array, a PIL image, or a path; 16 pixels a side or more.
        recipe: FAST, or PAPER for the published settings (750 steps).
        steps: how many; None takes the recipe's. Fewer keep less of an attack, and less of the picture.
        stop: a stopping rule; None does all steps and keeps the last, as published.
        restarts: fits of each picture that are averaged; None takes the recipe's.
        initial: a Result, or the weights of one, to start from.
        seed: of all randomness. Who knows it can prepare for it: a DefendedClassifier takes a fresh one for each picture.
        device: "auto", "cpu", "cuda", "mps".
        tile: side of the tiles that a large picture is cut into, or (side, overlap), in pixels; "auto": only if memory asks for
            it; None: never.

    Raises:
        InputError: a picture, option or device that cannot be used.

    Source: Kattamis, Adel, Weller, Exploring Properties of the Deep Image Prior, 2019.
    """
    return start(
        "purify",
        lambda part: Problem(part.tensor),
        as_picture(image),
        recipe if steps is None else replace(recipe, steps=steps),
        rule=lambda _: stop or After(),
        restarts=restarts,
        initial=initial,
        seed=seed,
        device=device,
        tile=tile,
    )
