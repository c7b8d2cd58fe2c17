"""Faults of the optimizers: Muon and kernels that have no gradient."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from faults.parts import THIN, fit_of, picture, problem
from torch import nn

from preimage.optimizers import muon

FROZEN = "fault 5: Muon freezes all kernels of a shape when one of them has no gradient"


def kernels(count: int = 2) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(8, 8, 3, 3, generator=generator)) for _ in range(count)]


def stepped(parameters: list[nn.Parameter], gradients: list[list[torch.Tensor | None]]) -> None:
    """The steps of Muon along gradients, one for each parameter at each step."""
    optimizers = muon(parameters, 0.02)
    for each in gradients:
        for parameter, gradient in zip(parameters, each, strict=True):
            parameter.grad = None if gradient is None else gradient.clone()
        for optimizer in optimizers:
            optimizer.step()


@pytest.mark.parametrize("place", [0, 1], ids=["first", "last"])
def test_a_kernel_moves_beside_one_without_gradient_as_it_does_alone(place):
    gradient = torch.randn(8, 8, 3, 3, generator=torch.Generator().manual_seed(1))
    pair, alone = kernels(), [kernels()[1 - place]]
    still = pair[place].detach().clone()
    stepped(pair, [[None if k == place else gradient for k in range(2)]] * 3)
    stepped(alone, [[gradient]] * 3)
    torch.testing.assert_close(pair[1 - place], alone[0], atol=1e-3, rtol=0)
    assert torch.equal(pair[place], still)


def test_a_kernel_that_has_a_gradient_now_and_then_holds_up_no_other():
    gradient = torch.randn(8, 8, 3, 3, generator=torch.Generator().manual_seed(1))
    pair, alone = kernels(), [kernels()[0]]
    stepped(pair, [[gradient, gradient if step % 2 else None] for step in range(4)])
    stepped(alone, [[gradient]] * 4)
    torch.testing.assert_close(pair[0], alone[0], atol=1e-3, rtol=0)


class Small(nn.Module):
    """Two convolutions of one shape, of which the second may be unused or frozen."""

    def __init__(self, c_in: int, c_out: int, *, unused: bool = False, frozen: bool = False) -> None:
        super().__init__()
        self.first, self.inner = nn.Conv2d(c_in, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.last = nn.Conv2d(8, c_out, 1)
        self.extra = nn.Conv2d(8, 8, 3, padding=1) if unused or frozen else nn.Identity()
        self.uses = not unused
        if frozen:
            nn.init.dirac_(self.extra.weight)
            nn.init.zeros_(self.extra.bias)
            self.extra.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.inner(self.first(x).relu()).relu()
        return self.last(self.extra(x) if self.uses else x).sigmoid()


def plain(c_in, c_out, height, width):
    return Small(c_in, c_out)


def with_unused(c_in, c_out, height, width):
    return Small(c_in, c_out, unused=True)


def with_frozen(c_in, c_out, height, width):
    return Small(c_in, c_out, frozen=True)


@pytest.mark.parametrize("members", [1, 2], ids=["alone", "two members"])
@pytest.mark.parametrize("network", [with_unused, with_frozen], ids=["unused", "frozen"])
def test_a_network_of_ones_own_learns_beside_a_kernel_that_does_not(network, members):
    given = problem(picture())
    alone, beside = (
        fit_of(given, replace(THIN, network=each, steps=8), members=members).run() for each in (plain, network)
    )
    for own, wanted in zip(beside.weights, alone.weights, strict=True):
        for name in ("first.weight", "inner.weight"):
            torch.testing.assert_close(own["network"][name], wanted["network"][name], atol=2e-3, rtol=0)
