"""beyond: zero for whatever rounds to the target, a squared distance outside."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from preimage.distances import beyond, squared
from preimage.operators import JpegCoefficients, rounded
from preimage.problem import Problem


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_example():
    found = beyond(torch.tensor([1.0, 3.0]), torch.tensor([2.0, 2.0]), slack=torch.tensor([1.0, 0.5]))
    assert found.tolist() == [0.0, 0.25]


@pytest.mark.parametrize("offset", [-0.2, -0.1, 0.0, 0.05, 0.2])
def test_it_is_zero_up_to_the_slack_and_even(offset):
    target, slack = random(1, 50), torch.tensor(0.2)
    assert float(beyond(target + offset, target, slack=slack).max()) < 1e-12
    assert torch.allclose(beyond(target + 0.5, target, slack=slack), torch.full((1, 50), 0.09), atol=1e-6)
    assert torch.allclose(beyond(target - 0.5, target, slack=slack), torch.full((1, 50), 0.09), atol=1e-6)


def test_without_slack_it_is_the_square():
    a, b = random(2, 3, 8, 8), random(1, 3, 8, 8, seed=1)
    assert torch.allclose(beyond(a, b, slack=torch.tensor(0.0)), squared(a, b), atol=1e-7)


def test_it_is_the_squared_distance_to_the_nearest_value_within():
    x, target, slack = 4 * random(3, 40) - 2, random(1, 40, seed=1), random(40, seed=2)
    nearest = torch.maximum(torch.minimum(x, target + slack), target - slack)
    assert torch.allclose(beyond(x, target, slack=slack), (x - nearest).square(), atol=1e-6)


def test_its_gradient_pulls_only_what_is_outside():
    x = torch.tensor([0.0, 0.4, 1.0, -2.0], requires_grad=True)
    beyond(x, torch.zeros(4), slack=torch.tensor(0.5)).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 0.0, 1.0, -3.0]


def test_what_a_rounding_operator_says_is_nothing_but_its_rounding():
    """Every picture that rounds to what is stored is as good as any other: the term of them all is zero."""
    view = JpegCoefficients([torch.full((8, 8), 12.0)], (16, 24))
    x = random(2, 1, 16, 24)
    problem = Problem(rounded(view(x), view.steps), operator=view, distance=partial(beyond, slack=view.steps / 2))
    assert float(problem.terms(x)["beyond"].max()) < 1e-12
    values = problem.terms(x.flip(-1))["beyond"]
    assert values.shape == (2,)
    assert float(values.min()) > 0
