"""Purifying: the early output of the prior. A network learns the picture before it learns the pattern that misleads a classifier.

Phi = identity, y = the picture as it was given, and the fit ends after a fixed number of steps, long before it has learned all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from PIL.Image import Image

from preimage.codes import Noise
from preimage.engine.fit import Fit
from preimage.engine.optimizers import muon
from preimage.engine.recipe import Recipe
from preimage.engine.run import Run
from preimage.errors import InputError
from preimage.images import Picture, as_picture
from preimage.networks import SkipNet
from preimage.problem import Problem
from preimage.recipes import qualities
from preimage.restore.start import Initial, Tile, start
from preimage.stopping import After, StoppingRule

# MEASURED (`python -m benchmarks.defence --tune`, and 64 and 160): what is best for a classifier under attack and not under
# attack, of pictures of SIDE pixels; it grows as the side does. PAPER's 750 steps keep nearly all of an attack at that size.
STEPS, SIDE = 25, 32
MOST_STEPS = 200

# Kattamis, Adel, Weller 2019: three levels of 128 channels, 750 steps. Whether outputs were averaged is not published: the last
# output is taken here, which is what a fit without averaging returns.
PAPER = Recipe(
    network=SkipNet.Config((128,) * 3, (128,) * 3, (4,) * 3),
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
    network=SkipNet.Config((32,) * 3, (32,) * 3, (4,) * 3, upsample="nearest", padding="zeros"),
    jitter_pool=4,
    optimizer=muon,
    rate=0.02,
    steps=STEPS,
    averaging=0.9,
    debiased=True,
    precision="auto",
    stop="auto",
)
QUALITIES = qualities(FAST)


def purify(
    image: torch.Tensor | NDArray[Any] | Image | str | Path | Picture,
    *,
    recipe: Recipe = FAST,
    steps: int | None = None,
    stop: StoppingRule | None = None,
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
        steps: how many; None takes the recipe's, of FAST more for larger pictures (`for_size`). Fewer keep less of an attack, and
            less of the picture.
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
    picture = as_picture(image)
    return start(
        "purify",
        lambda part: Problem(part.tensor),
        picture,
        for_size(recipe, picture.tensor.shape[-2:], steps),
        rule=lambda _: stop or After(),
        restarts=restarts,
        initial=initial,
        seed=seed,
        device=device,
        tile=tile,
    )


def for_size(recipe: Recipe, size: Sequence[int], steps: int | None = None) -> Recipe:
    """The recipe with the number of steps for pictures of (height, width): those that are said, or its own.

    FAST's number, and that of recipes which change something else in it, is for pictures of 32 pixels: larger ones take as many
    times more as their side (the root of the area) is larger, at most 200.

    Example:
        >>> for_size(FAST, (64, 64)).steps, for_size(PAPER, (64, 64)).steps, for_size(FAST, (64, 64), 30).steps
        (50, 750, 30)
    """
    if steps is not None:
        return replace(recipe, steps=steps, stop="steps")
    if not goes_by_size(recipe):
        return recipe
    larger = max(1.0, math.sqrt(size[0] * size[1]) / SIDE)
    return replace(recipe, steps=min(MOST_STEPS, round(larger * STEPS)), stop="steps")


def goes_by_size(recipe: Recipe) -> bool:
    """Whether a recipe leaves the number of its steps to the size of the picture."""
    return recipe.stop == "auto" and recipe.steps == STEPS


def early_outputs(
    images: torch.Tensor,
    at: Sequence[int],
    *,
    recipe: Recipe = FAST,
    seed: int = 0,
    streams: Sequence[int] | None = None,
) -> list[torch.Tensor]:
    """What one fit of each picture would hand out after several numbers of steps.

    Example:
        >>> [early.shape for early in early_outputs(torch.rand(8, 3, 32, 32), (500, 750), recipe=PAPER)]
        [torch.Size([8, 3, 32, 32]), torch.Size([8, 3, 32, 32])]

    Args:
        images: (b, 3, h, w) in 0 to 1, fitted side by side where they are, each with weights, code and jitter of its own.
        at: numbers of steps, in any order; the largest is how long the fit is, whatever the recipe says.
        recipe: all but the number of steps.
        seed, streams: of all randomness, and of each picture the stream of it; None: 0, 1, 2, ...

    Raises:
        InputError: no number of steps, or one below 1.
    """
    if not at or min(at) < 1:
        raise InputError(f"at must name numbers of steps, each at least 1, got {list(at)}")
    recipe = replace(recipe, steps=max(at))
    found: dict[int, torch.Tensor] = {}
    # Whatever the caller's gradients and precision are: a fit is made of gradients of its own.
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(images.device.type, enabled=False):
        target = images.detach().float().clone()
        members: dict[str, Any] = {"members": len(target), "seed": seed, "device": target.device, "streams": streams}
        channels, height, width = target.shape[1:]
        prior = recipe.prior(channels, (height, width), **members)
        fit = Fit(Problem(target), prior, recipe=recipe, rule=After(), restarts=1, seed=seed)
        found |= {step.index: step.picture for step in fit if step.index in at and step.index < recipe.steps}
        last = fit.result().image
    return [found.get(steps, last).to(images) for steps in at]
