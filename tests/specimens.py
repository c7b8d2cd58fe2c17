"""Small pictures, thin recipes and ready fits, for every test that needs one."""

from __future__ import annotations

from dataclasses import replace

import torch

from preimage.codes import Masked
from preimage.fit import Fit
from preimage.optimizers import adam, muon
from preimage.problem import Problem
from preimage.recipes import Hourglass, Noise, Recipe
from preimage.stopping import Rule
from studies.harness.imaging import generated_picture, with_gaussian_noise

THIN = Recipe(
    network=Hourglass(down=(16,) * 3, up=(16,) * 3, skip=(4,) * 3, upsample="nearest", padding="zeros"),
    code=Noise(8),
    jitter_pool=2,
    optimizer=muon,
    rate=0.02,
    steps=30,
    averaging=0.9,
)
THIN_ADAM = replace(THIN, optimizer=adam, rate=0.01, jitter_pool=None)
THIN_MASKED = replace(THIN, code=Masked(0.7), jitter=0.0)


def clean(side: int = 32, channels: int = 3) -> torch.Tensor:
    return generated_picture(side, channels)


def noisy(side: int = 32, channels: int = 3, sigma: float = 0.1) -> torch.Tensor:
    return with_gaussian_noise(clean(side, channels), sigma)


def fit_of(
    target: torch.Tensor,
    recipe: Recipe = THIN,
    *,
    rule: Rule | None = None,
    restarts: int = 1,
    seed: int = 0,
    **options,
) -> Fit:
    """A denoising fit without the task around it."""
    members = len(target) * restarts
    prior = recipe.prior(target.shape[1], tuple(target.shape[-2:]), members=members, seed=seed, device="cpu")
    return Fit(Problem(target), prior, recipe=recipe, rule=rule, restarts=restarts, seed=seed, **options)
