"""Problem, distances and penalties: what is minimized."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from preimage.distances import absolute, cross_entropy, huber, laplacian_pyramid, poisson_nll, squared
from preimage.errors import InputError
from preimage.penalties import alpha_norm, total_variation
from preimage.problem import Problem


def pictures(b: int = 2, side: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(b, 3, side, side, generator=generator), torch.rand(1, 3, side, side, generator=generator)


@pytest.mark.parametrize(
    "distance", [squared, absolute, huber, partial(poisson_nll, gain=0.1), laplacian_pyramid], ids=lambda d: str(d)[:30]
)
def test_distances_are_zero_only_at_the_target_and_differentiable(distance):
    x, y = pictures()
    problem = Problem(y, distance=distance)
    assert float(problem.data_term(y.clone())) == pytest.approx(0, abs=1e-6)
    x.requires_grad_()
    values = problem.data_term(x)
    assert values.shape == (2,)
    assert bool((values > 0).all())
    values.sum().backward()
    assert x.grad is not None
    assert bool(torch.isfinite(x.grad).all())


def test_poisson_likelihood_is_half_a_unit_at_the_truth():
    clean = torch.full((1, 1, 128, 128), 0.5)
    seen = torch.poisson(clean * 100, generator=torch.Generator().manual_seed(1)) / 100
    assert float(poisson_nll(clean, seen, gain=0.01).mean()) == pytest.approx(0.5, rel=0.03)


def test_complex_values_are_measured_by_their_modulus():
    a, b = torch.tensor([[3 + 4j]]), torch.tensor([[0j]])
    assert float(squared(a, b)) == pytest.approx(25)
    assert float(absolute(a, b)) == pytest.approx(5)


def test_cross_entropy_is_per_member():
    logits = torch.tensor([[0.0, 0.0], [100.0, 0.0]])
    assert cross_entropy(logits, torch.tensor([0, 0])).tolist() == pytest.approx([0.6931, 0.0], abs=1e-3)


def test_terms_have_names_and_are_per_member():
    x, y = pictures()
    terms = Problem(y, penalties=((1e-3, total_variation), (1e-6, alpha_norm))).terms(x)
    assert list(terms) == ["squared", "total_variation", "alpha_norm"]
    alone = Problem(y, penalties=((1e-3, total_variation), (1e-6, alpha_norm))).terms(x[1:])
    for name, values in terms.items():
        assert values.shape == (2,)
        assert float(values[1]) == pytest.approx(float(alone[name]), rel=1e-5)


def test_values_of_weight_zero_do_not_count():
    x, y = pictures(1)
    mask = torch.ones(1, 1, 16, 16)
    mask[..., :8, :] = 0
    other = x.clone()
    other[..., :8, :] = 9
    problem = Problem(y, weight=mask)
    assert torch.equal(problem.data_term(x), problem.data_term(other))
    expected = squared(x, y)[..., 8:, :].mean()
    assert float(problem.data_term(x)) == pytest.approx(float(expected), rel=1e-5)


def test_an_operator_of_the_wrong_shape_is_named():
    x, y = pictures()
    with pytest.raises(InputError, match=r"\(3, 8, 8\) where the target is \(3, 16, 16\)"):
        Problem(y, operator=lambda x: x[..., :8, :8]).terms(x)


def test_members_keep_their_own_target():
    x, _ = pictures(3)
    problem = Problem(x).members([2, 0])
    assert torch.equal(problem.target, x[[2, 0]])
    assert problem.for_members(4).target.shape[0] == 4
    assert torch.equal(problem.for_members(4).target[1], x[2])


def test_total_variation_sums_over_pixels():
    step = torch.zeros(1, 1, 4, 4)
    step[..., 2:] = 1
    assert float(total_variation(step)) == pytest.approx(3, abs=1e-3)
    assert float(total_variation(torch.ones(1, 1, 4, 4))) == pytest.approx(0, abs=1e-6)


def test_alpha_norm_of_a_constant_is_zero():
    assert float(alpha_norm(torch.full((1, 3, 16, 16), 0.7))) == pytest.approx(0, abs=1e-9)
