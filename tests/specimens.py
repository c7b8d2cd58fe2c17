"""Small pictures, thin recipes and ready fits, for every test that needs one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from preimage.codes import Masked, Noise
from preimage.engine.fit import Fit
from preimage.engine.recipe import Recipe
from preimage.images.sealed import sealed
from preimage.networks import SkipNet
from preimage.optimizers import adam, muon
from preimage.problem import Problem
from preimage.stopping import ScoreTracker, StoppingRule
from studies.harness.imaging import generated_picture, with_gaussian_noise


def save_sealed(values: object, path: str | Path) -> None:
    """Write what a file of this library could hold, sealed as the library does, whether or not it makes sense."""
    with Path(path).open("wb") as file:
        sealed(lambda through: torch.save(values, through))(file)


THIN = Recipe(
    network=SkipNet.Config(down=(16,) * 3, up=(16,) * 3, skip=(4,) * 3, upsample="nearest", padding="zeros"),
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


@dataclass(frozen=True)
class StopApart(StoppingRule):
    """Stops member 0 at one step and all others at another."""

    first: int = field(kw_only=False)
    others: int = field(kw_only=False)

    name = "apart"

    def score(self, step):
        return -torch.full((len(step.active),), float(step.index))

    def start(self, problem, *, members, total, seed=0, streams=None):
        return problem, ApartTracker(self, members=len(members), total=total)


class ApartTracker(ScoreTracker):
    rule: StopApart

    def patience_ends(self, step, member):
        return step.index >= (self.rule.others if member else self.rule.first)


def fit_of(
    target: torch.Tensor,
    recipe: Recipe = THIN,
    *,
    rule: StoppingRule | None = None,
    restarts: int | None = None,
    seed: int = 0,
    **options,
) -> Fit:
    """A denoising fit without the task around it."""
    members = len(target) * (recipe.restarts if restarts is None else restarts)
    prior = recipe.prior(target.shape[1], tuple(target.shape[-2:]), members=members, seed=seed, device="cpu")
    return Fit(Problem(target), prior, recipe=recipe, rule=rule, restarts=restarts, seed=seed, **options)
