"""What the tests of known faults share, in the names of today: renames are followed here, the tests state behavior alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import specimens
import torch
from classifiers.small import tiny
from torch import nn

from preimage.classifiers import Classifier, LossEstimator, TrainedModel
from preimage.codes import Masked
from preimage.defend.purification import FAST as FAST_PURIFICATION
from preimage.engine.fit import Fit
from preimage.engine.recipe import Recipe
from preimage.explain.recipes import FAST_INVERSION, FAST_RECOVERY
from preimage.networks import SkipNet
from preimage.problem import Problem

NETWORK = SkipNet.Config(down=(8, 8), up=(8, 8), skip=(2, 2), upsample="nearest", padding="zeros")
THIN = replace(specimens.THIN, network=NETWORK, steps=24, precision="float32")
THIN_MASKED = replace(THIN, code=Masked(0.7), jitter=0.0, jitter_pool=None)
THIN_PURIFICATION = replace(FAST_PURIFICATION, network=NETWORK, steps=4, stop="steps")
EXPLAINING = replace(FAST_RECOVERY, network=NETWORK, steps=6)
INVERTING = replace(FAST_INVERSION, network=NETWORK, steps=24)

Value = TypeVar("Value")


def picture(side: int = 24, *, seed: int = 0, sigma: float = 0.0, channels: int = 3) -> torch.Tensor:
    """(c, side, side) in 0.2 to 0.8: shades and a wave of their own for each seed, with Gaussian noise of sigma / 255."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.linspace(0, 1, side), torch.linspace(0, 1, side), indexing="ij")
    phases = torch.rand(channels, 1, 1, generator=generator)
    clean = 0.5 + 0.2 * torch.sin(4 * phases + 5 * rows) * torch.cos(3 * columns - 6 * phases)
    return (clean + sigma / 255 * torch.randn(clean.shape, generator=generator)).clamp(0, 1)


def problem(target: torch.Tensor, regularizers: Sequence[tuple[Any, Any]] = (), **settings: Any) -> Problem:
    """The problem of denoising a picture (c, h, w) under some regularizers, (lambda, R) each."""
    return Problem(target[None], regularizers=tuple(regularizers), **settings)


def fit_of(stated: Problem, recipe: Recipe = THIN, *, rule: Any = None, seed: int = 0, members: int = 1) -> Fit:
    """The fit of a problem of one picture."""
    channels, height, width = stated.target.shape[1:]
    prior = recipe.prior(channels, (height, width), members=members, seed=seed, device="cpu")
    return Fit(stated, prior, recipe=recipe, rule=rule, seed=seed, restarts=members)


def with_estimator() -> TrainedModel:
    """The tiny classifier, and an untrained estimator of its loss."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(1)
        estimator = LossEstimator({"block1": 8, "block2": 12}, units=16)
    estimator.settle(torch.linspace(-1, 1, 50))
    return TrainedModel(tiny(), estimator.eval().requires_grad_(False), {"target_quantile": 0.2})


class Normalized(nn.Module):
    """A classifier with a normalization, which has buffers, and a ReLU; `gate` is called in every forward pass."""

    def __init__(self, gate: Callable[[], None] | None = None) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            self.block1 = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
            self.block2 = nn.Sequential(nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU())
            self.head = nn.Linear(12, 3)
        self.gate = gate or (lambda: None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.block1(x)
        self.gate()
        return self.head(self.block2(features).mean((2, 3)))


def normalized(gate: Callable[[], None] | None = None) -> Classifier:
    return Classifier(Normalized(gate), ["round", "square", "star"], (0.5,) * 3, (0.25,) * 3)


def in_threads(work: Callable[[int], Value], count: int = 8) -> list[Value]:
    """What `work(0)`, `work(1)`, ... return, each in a thread of its own, all begun at once; what one raises is raised here."""
    barrier, found, failures = threading.Barrier(count), {}, []

    def task(number: int) -> None:
        try:
            barrier.wait()
            found[number] = work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=task, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return [found[number] for number in range(count)]


def alike(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether two state dicts hold the same bits."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
