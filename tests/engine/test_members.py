"""Which members are computed in one call, and how their weights lie in memory: by the table of what was measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from specimens import THIN, fit_of, noisy

from preimage.engine.fit import Fit
from preimage.engine.members import Members, stacking_pays
from preimage.engine.recipe import Recipe
from preimage.prior import Prior
from preimage.problem import Problem


class Elsewhere:
    """A prior, said to be on another device or of another precision."""

    def __init__(self, prior: Prior, device: str, dtype: torch.dtype = torch.float32) -> None:
        self._prior, self.device, self.dtype = prior, torch.device(device), dtype
        self.formats: list[torch.memory_format] = []

    def __len__(self) -> int:
        return len(self._prior)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._prior, name)

    def to_memory_format(self, kind: torch.memory_format) -> None:
        self.formats.append(kind)


def prior_of(size: tuple[int, int], members: int = 2, recipe: Recipe = THIN) -> Prior:
    return recipe.prior(3, size, members=members, device="cpu")


@pytest.mark.parametrize(
    ("device", "size", "pays"),
    [
        ("cuda", (64, 64), True),
        ("cuda", (64, 65), False),
        ("cuda", (40, 96), True),
        ("mps", (64, 96), True),
        ("cpu", (64, 64), True),
        ("cpu", (64, 65), False),
    ],
)
def test_one_call_for_all_is_by_the_table_of_the_device(device, size, pays):
    prior = prior_of(size)
    assert sum(each.numel() for each in prior.networks[0].parameters()) <= 100_000
    assert stacking_pays(Elsewhere(prior, device)) is pays  # type: ignore[arg-type]
    assert not stacking_pays(Elsewhere(prior_of(size, members=1), device))  # type: ignore[arg-type]


class OwnLayers(torch.nn.Module):
    """A network of layers that do not take the weights of several members."""

    def __init__(self, inner: int, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(inner, channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


def test_layers_of_ones_own_share_a_call_in_single_precision_alone():
    prior = prior_of((32, 32), recipe=replace(THIN, network=OwnLayers))
    assert stacking_pays(prior)
    assert not stacking_pays(Elsewhere(prior, "cpu", torch.bfloat16))  # type: ignore[arg-type]
    assert stacking_pays(Elsewhere(prior_of((32, 32)), "cpu", torch.bfloat16))  # type: ignore[arg-type]


def test_large_networks_share_a_call_for_small_pictures_alone():
    assert stacking_pays(prior_of((32, 32), recipe=Recipe()))
    assert not stacking_pays(prior_of((64, 64), recipe=Recipe()))


@pytest.mark.parametrize(
    ("device", "dtype", "stacked", "plain"),
    [
        ("cpu", torch.float32, False, False),
        ("cpu", torch.float32, True, True),
        ("cuda", torch.float32, False, True),
        ("cuda", torch.bfloat16, False, False),
        ("mps", torch.float32, False, False),
    ],
)
def test_weights_lie_as_is_best_for_the_device(device, dtype, stacked, plain):
    prior = Elsewhere(prior_of((32, 32)), device, dtype)
    Members(prior, stacked)  # type: ignore[arg-type]
    assert prior.formats == [torch.contiguous_format if plain else torch.channels_last]


def test_groups_are_of_all_or_of_each():
    assert Members(prior_of((32, 32), 3), stacked=True).groups([0, 2]) == [[0, 2]]
    assert Members(prior_of((32, 32), 3), stacked=False).groups([0, 2]) == [[0], [2]]
    assert Members(prior_of((32, 32), 3), stacked=True).groups([]) == []


def outputs_of(members: Members) -> torch.Tensor:
    prior = members.prior
    return members.outputs(range(len(prior)), [torch.ones(1, 8, 32, 32) * (k + 1) for k in range(len(prior))])


@pytest.mark.parametrize("network", [THIN.network, OwnLayers], ids=["ours", "one's own"])
def test_members_in_one_call_give_what_each_gives_alone(network):
    recipe = replace(THIN, network=network, jitter_pool=None)
    apart, together = (Members(prior_of((32, 32), 3, recipe), stacked=stacked) for stacked in (False, True))
    torch.testing.assert_close(outputs_of(together), outputs_of(apart), rtol=1e-4, atol=1e-5)
    assert not apart.weights  # nothing is copied together where each is alone
    assert together._weights_of(range(3)) is together.weights  # and for all there is nothing to copy
    assert all(len(each) == 2 for each in together._weights_of([0, 2]).values())


def test_a_step_leaves_no_gradients():
    fit = fit_of(noisy())
    next(iter(fit))
    assert all(each.grad is None for network in fit.prior.networks for each in network.parameters())
    operator = torch.nn.Conv2d(3, 3, 1)
    fit = Fit(Problem(noisy(), operator=operator), prior_of((32, 32), members=1), recipe=THIN)
    next(iter(fit))
    assert all(each.grad is None for own in fit.theta.operators for each in own.parameters())
