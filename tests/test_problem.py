"""Problem, distances and regularizers: what is minimized."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from preimage.distances import absolute, cross_entropy, huber, laplacian_pyramid, poisson_nll, squared
from preimage.errors import InputError
from preimage.problem import PerMember, Problem
from preimage.regularizers import alpha_norm, total_variation


def pictures(b: int = 2, side: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(b, 3, side, side, generator=generator), torch.rand(1, 3, side, side, generator=generator)


@pytest.mark.parametrize(
    "distance",
    [squared, absolute, huber, partial(poisson_nll, gain=0.1), laplacian_pyramid],
    ids=["squared", "absolute", "huber", "poisson_nll", "laplacian_pyramid"],
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
    terms = dict(Problem(y, regularizers=((1e-3, total_variation), (1e-6, alpha_norm))).terms(x))
    assert list(terms) == ["squared", "total_variation", "alpha_norm"]
    alone = dict(Problem(y, regularizers=((1e-3, total_variation), (1e-6, alpha_norm))).terms(x[1:]))
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
        dict(Problem(y, operator=lambda x: x[..., :8, :8]).terms(x))


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


# ---------------------------------------------------------------------- the operator


class Physics:
    """What deepinv calls so: calling it adds noise, `A` does not."""

    noise_model = None

    def __init__(self, view: Any) -> None:
        self.view = view

    def A(self, x: torch.Tensor) -> torch.Tensor:  # noqa: N802
        return self.view(x)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self.view(x) + torch.randn_like(x)


def half(x: torch.Tensor) -> torch.Tensor:
    return x / 2


@pytest.mark.parametrize("operator", [half, Physics(half)], ids=["function", "Physics"])
def test_what_is_seen_has_no_noise(operator):
    x, y = pictures()
    problem = Problem(y, operator=operator)
    assert torch.equal(problem.apply(x), x / 2)
    assert torch.equal(dict(problem.terms(x))["squared"], dict(Problem(y).terms(x / 2))["squared"])


VIEWS = {
    "smaller": lambda x: x[..., :8, :8],
    "of one channel": lambda x: x.mean(1, keepdim=True),
    "flat": lambda x: x.flatten(1),
    "without channels": lambda x: x[:, 0],
    "of numbers": lambda x: x.flatten(1).mean(1),
    "of one member": lambda x: x[:1],
    "without members": lambda x: x[0],
}


@pytest.mark.parametrize(
    ("view", "members"),
    [(view, m) for name, view in VIEWS.items() for m in (1, 2) if (name, m) != ("of one member", 1)],
)
def test_a_physics_of_the_wrong_shape_is_one_line(view, members):
    x, y = pictures(members)
    with pytest.raises(InputError, match="the operator returned") as caught:
        dict(Problem(y, operator=Physics(view)).terms(x))
    assert "\n" not in str(caught.value)
    assert "16" in str(caught.value)


def test_a_target_that_is_no_picture_is_held_against_a_view_of_its_shape():
    x, _ = pictures()
    problem = Problem(torch.zeros(1, 12), operator=lambda x: x.flatten(1)[:, :12])
    assert torch.allclose(dict(problem.terms(x))["squared"], x.flatten(1)[:, :12].square().mean(1))
    logits = Problem(torch.tensor([1]), operator=lambda x: x.mean((2, 3)), distance=cross_entropy)
    assert dict(logits.terms(x[:1]))["cross_entropy"].shape == (1,)


# ---------------------------------------------------------------------- an operator that is fitted


class Brightness(torch.nn.Module):
    """One unknown factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(factor))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.factor * x


def test_each_member_goes_through_its_own_operator():
    x, _ = pictures(3)
    own = PerMember([Brightness(factor) for factor in (1.0, 2.0, 3.0)])
    assert torch.equal(own(x), x * torch.tensor([1.0, 2.0, 3.0]).reshape(3, 1, 1, 1))
    own(x)[1].sum().backward()
    grads = [operator.get_parameter("factor").grad for operator in own.operators]
    assert grads[1] is not None
    assert float(grads[1]) == pytest.approx(float(x[1].sum()), rel=1e-5)
    assert all(grad is None or float(grad) == 0 for grad in (grads[0], grads[2]))


def test_a_fitted_operator_becomes_one_for_each_member():
    _, y = pictures()
    operator = Brightness(2.0)
    problem = Problem(y, operator=operator)
    assert problem.trainable()
    many = problem.for_members(3)
    assert isinstance(many.operator, PerMember)
    parts = list(many.operator.operators)
    assert len(parts) == 3
    assert len({id(part) for part in (operator, *parts)}) == 4
    with torch.no_grad():
        parts[0].get_parameter("factor").fill_(9.0)
    assert [float(part.get_parameter("factor").detach()) for part in parts] == [9, 2, 2]
    assert float(operator.factor.detach()) == 2


@pytest.mark.parametrize("operator", [half, torch.nn.Identity(), torch.nn.AvgPool2d(1)])
def test_a_known_operator_is_shared(operator):
    _, y = pictures()
    problem = Problem(y, operator=operator)
    assert not problem.trainable()
    assert problem.for_members(3).operator is operator
    assert problem.for_members(3).members([1]).operator is operator


def test_some_members_take_their_own_operators_along_in_that_order():
    x, y = pictures(3)
    problem = Problem(y, operator=PerMember([Brightness(factor) for factor in (1.0, 2.0, 3.0)]))
    assert torch.equal(problem.members([2, 0]).apply(x[[2, 0]]), torch.stack([3 * x[2], x[0]]))
    chosen = problem.members([1]).operator
    assert isinstance(chosen, PerMember)
    assert isinstance(problem.operator, PerMember)
    assert chosen.operators[0] is problem.operator.operators[1]  # the very one, so that what is fitted stays


def test_a_wrong_number_of_members_is_no_silent_pairing():
    x, _ = pictures(3)
    with pytest.raises(ValueError, match="zip"):
        PerMember([Brightness(1.0)] * 2)(x)
