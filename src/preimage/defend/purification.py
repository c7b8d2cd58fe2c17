"""Purification: the early output of the prior. A network learns an image before it learns the perturbation of an attack.

Phi = identity, y = the given image, and the fit ends after a fixed number of steps, long before it has learned everything.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch

from preimage.codes import Noise
from preimage.engine.fit import Fit
from preimage.engine.recipe import Recipe
from preimage.networks import SkipNet
from preimage.optimizers import muon
from preimage.prior import Prior
from preimage.problem import Problem
from preimage.recipes import RecipeLike, choose, qualities
from preimage.stopping import After

# MEASURED (`python -m benchmarks.defence --tune`, and 64 and 160): the most accurate number of steps, averaged over attacked and
# unattacked images of SIDE pixels; it grows with the side. PAPER's 750 steps retain nearly all of an attack at that size.
STEPS, SIDE = 25, 32
# MEASURED at 224 pixels on photographs that EfficientNet-Lite0 knows (benchmarks/LOG.md): with the jitter of small images nothing
# of them is recognized after 175 steps (14 dB), for three levels cannot average it away; without it 100 to 125 steps are best.
MOST_STEPS, LARGE = 125, 192

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

# From noise, because a code that is the image itself would hand the network the very perturbation that is to be removed. Thin
# enough that small images are fitted in one stacked call (Prior), and of three levels at any size.
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
RECIPES: Mapping[str, Recipe] = {**qualities(FAST), "paper": PAPER}


def adapted(recipe: RecipeLike, size: Sequence[int], steps: int | None = None) -> Recipe:
    """The recipe for images of (height, width); a recipe given by name is adapted to the size, a value never is.

    "fast", "balanced" and "best" have 25 steps up to 32 pixels a side; larger images take as many times more as their side (the
    root of the area) is larger, at most 125, and those of 192 pixels and more no jitter.

    Example:
        >>> adapted("fast", (64, 64)).steps, adapted(FAST, (64, 64)).steps, adapted("fast", (64, 64), steps=30).steps
        (50, 25, 30)

    Raises:
        InputError: an unknown name or setting, or a number of steps below 1.
    """
    choice = choose(RECIPES, recipe, {"steps": steps})
    return replace(choice.adapted(lambda name, base: _of_size(base, size)), stop="steps")


def _of_size(base: Recipe, size: Sequence[int]) -> Recipe:
    if base.stop == "steps":
        return base
    side = math.sqrt(size[0] * size[1])
    steps = min(MOST_STEPS, round(max(1.0, side / SIDE) * base.steps))
    return replace(base, steps=steps, jitter=base.jitter if side < LARGE else 0.0)


def as_given(recipe: RecipeLike, steps: int | None = None) -> Recipe:
    """The recipe before its adaptation to a size; its `stop` is "auto" if its number of steps depends on the size.

    Example:
        >>> as_given("fast").stop, as_given("fast", 30).stop, as_given(FAST).stop
        ('auto', 'steps', 'steps')
    """
    choice = choose(RECIPES, recipe, {"steps": steps})
    exact = choice.name is None or "steps" in choice.changes
    return replace(choice.adapted(), stop="steps") if exact else choice.adapted()


def prior_of(
    images: torch.Tensor, recipe: Recipe, seed: int, streams: Sequence[int] | None, device: torch.device
) -> Prior:
    """The prior of images (b, c, h, w) side by side, each with weights, code and jitter of its own."""
    channels, height, width = images.shape[1:]
    return recipe.prior(channels, (height, width), members=len(images), seed=seed, device=device, streams=streams)


def purifying(images: torch.Tensor, recipe: Recipe, seed: int = 0, streams: Sequence[int] | None = None) -> Fit:
    """The fit of images (b, c, h, w) in 0 to 1 side by side, for all steps, with the streams (None: 0, 1, 2, ...) of a seed."""
    target = images.detach().float().clone()
    prior = prior_of(target, recipe, seed, streams, target.device)
    return Fit(Problem(target), prior, recipe=recipe, rule=After(), restarts=1, seed=seed)


@contextmanager
def fitting(device: torch.device) -> Iterator[None]:
    """A context for fits in whatever gradient mode and precision the caller is: a fit takes gradients of its own."""
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
        yield
