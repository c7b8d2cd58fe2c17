"""The estimate of memory: it grows with what a fit holds, and costs none itself."""

from __future__ import annotations

import gc
from dataclasses import replace

import pytest
import torch
from specimens import THIN

from preimage.codes import Noise
from preimage.engine.memory import estimated_bytes, saved_bytes
from preimage.engine.recipe import Recipe
from preimage.networks import SkipNet
from preimage.optimizers import adam, muon

WIDE = replace(THIN, network=SkipNet.Config((32,) * 3, (32,) * 3, (4,) * 3))


def estimate(recipe: Recipe = WIDE, size: tuple[int, int] = (64, 64), members: int = 1, **changes) -> int:
    recipe = replace(recipe, **changes)
    needed = estimated_bytes(recipe.prior(3, size, members=members, device="cpu"), recipe)
    assert needed is not None
    return needed


def test_it_grows_linearly_with_pixels():
    small, large, larger = (estimate(size=(side, side)) for side in (128, 256, 512))
    assert (larger - large) / (large - small) == pytest.approx(4, rel=0.02)
    assert estimate(size=(128, 512)) == pytest.approx(large, rel=0.02)


def test_it_grows_linearly_with_members_held():
    """Members are computed one after another, so only what each holds is added: weights, optimizer, snapshot, code."""
    one, two, five = (estimate(size=(128, 128), members=b, precision="float32") for b in (1, 2, 5))
    assert five - one == pytest.approx(4 * (two - one), rel=1e-6)
    weights = 4 * sum(p.numel() for p in WIDE.network(8, 3, 128, 128).parameters())
    assert two - one >= 4 * weights


def test_stacked_members_are_held_all_at_once():
    recipe = replace(THIN, network=SkipNet.Config((16,) * 2, (16,) * 2, (4,) * 2))
    prior = recipe.prior(3, (64, 64), members=3, device="cpu")
    activations = saved_bytes(prior)
    needed = [estimated_bytes(prior, recipe, stacked=stacked) for stacked in (False, True)]
    assert activations is not None
    assert needed[0] is not None
    assert needed[1] is not None
    assert needed[1] - needed[0] >= 2 * activations


def test_bfloat16_needs_less_and_adam_more():
    assert estimate(precision="bfloat16") < 0.75 * estimate(precision="float32")
    assert estimate(optimizer=adam) > estimate(optimizer=muon)
    assert estimate(jitter_pool=8) > estimate(jitter_pool=2)


def test_saved_activations_are_those_that_autograd_keeps():
    """Of a network whose saved tensors can be counted by hand: x * x * x keeps x, and x * x."""

    class Cube(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(1, 1, 1, 1))

        def forward(self, x):
            y = self.scale * x
            return torch.exp(torch.exp(y))

    prior = replace(THIN, network=lambda a, b, h, w: Cube(), code=Noise(3)).prior(3, (64, 64), device="cpu")
    picture = 3 * 64 * 64 * 4
    saved = saved_bytes(prior)
    assert saved is not None
    assert saved == pytest.approx(3 * picture, rel=0.01)  # the code, exp(y) and exp(exp(y))


def test_no_memory_is_taken_for_a_huge_picture():
    prior = replace(THIN, network=SkipNet.Config((64,) * 3, (64,) * 3, (4,) * 3), code=Noise(1)).prior(
        1, (4096, 4096), device="cpu"
    )
    needed = estimated_bytes(prior, THIN)
    assert needed is not None
    assert needed > 4e9


@pytest.mark.parametrize("error", [RuntimeError, NotImplementedError])
def test_a_network_that_cannot_run_without_data_has_no_estimate(error):
    class Stubborn(torch.nn.Conv2d):
        def forward(self, input):  # noqa: A002
            if input.device.type == "meta":
                raise error("needs values")
            return super().forward(input)

    recipe = replace(THIN, network=lambda a, b, h, w: Stubborn(a, b, 1))
    assert estimated_bytes(recipe.prior(3, (32, 32), device="cpu"), recipe) is None


def test_nothing_of_an_estimate_stays():
    """A graph that held its own outputs would stay for good: a quarter of a megabyte for each picture of a folder."""

    def left() -> int:
        gc.collect()
        return sum(each.is_meta for each in gc.get_objects() if isinstance(each, torch.nn.Parameter))

    prior = THIN.prior(3, (32, 32), members=1, device="cpu")
    before = left()
    for _ in range(3):
        assert saved_bytes(prior)
    assert left() == before
