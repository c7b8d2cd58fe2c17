"""Problem, distances and regularizers: what is minimized."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from preimage.distances import absolute, cross_entropy, huber, laplacian_pyramid, poisson_nll, squared
from preimage.errors import InputError
from preimage.problem import PerMember, Problem, join
from preimage.regularizers import alpha_norm, total_variation
from preimage.stopping import held_out


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
    with pytest.raises(InputError, match=r"\(3, 8, 8\).*\(3, 16, 16\)") as caught:
        Problem(y, operator=lambda x: x[..., :8, :8]).terms(x)
    assert caught.value.code == "operator"


def test_members_keep_their_own_target():
    x, _ = pictures(3)
    problem = Problem(x).members([2, 0])
    assert torch.equal(problem.target, x[[2, 0]])
    assert problem.for_members(4).target.shape[0] == 4
    assert torch.equal(problem.for_members(4).target[1], x[2])


def test_total_variation_is_a_mean_over_values_or_their_sum():
    step = torch.zeros(1, 1, 4, 4)
    step[..., 2:] = 1
    assert float(total_variation(step, reduction="sum")) == pytest.approx(3, abs=1e-3)
    assert float(total_variation(step)) == pytest.approx(3 / 9, abs=1e-3)
    assert float(total_variation(torch.ones(1, 1, 4, 4))) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("regularizer", [total_variation, alpha_norm])
def test_the_mean_does_not_depend_on_the_size_and_the_sum_does(regularizer):
    tile = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    image = torch.cat([tile, tile.flip(3)], 3)
    image = torch.cat([image, image.flip(2)], 2)
    assert float(regularizer(image, reduction="mean") / regularizer(tile, reduction="mean")) == pytest.approx(
        1, abs=0.1
    )
    assert float(regularizer(image, reduction="sum") / regularizer(tile, reduction="sum")) == pytest.approx(4, rel=0.1)


def test_alpha_norm_of_a_constant_is_zero():
    assert float(alpha_norm(torch.full((1, 3, 16, 16), 0.7))) == pytest.approx(0, abs=1e-9)


def test_terms_of_one_name_are_kept_apart():
    """Lambdas, partials of one function, a distance and a regularizer that are called alike: none overwrites another."""
    x, y = pictures()
    regularizers = (
        (1.0, lambda x: x.flatten(1).mean(1)),
        (2.0, lambda x: x.flatten(1).amax(1)),
        (3.0, partial(total_variation, beta=1.0)),
        (4.0, partial(total_variation, beta=2.0)),
    )
    problem = Problem(y, distance=lambda a, b: (a - b).square(), regularizers=regularizers)
    terms = problem.terms(x)
    assert [name for name, _ in terms] == problem.term_names()
    assert problem.term_names() == ["<lambda>", "<lambda>_2", "<lambda>_3", "total_variation", "total_variation_2"]
    expected = Problem(y).data_term(x) + sum(strength * regularizer(x) for strength, regularizer in regularizers)
    assert torch.allclose(sum(values for _, values in terms), expected)


# ---------------------------------------------------------------------- weights need one value for each entry


def of_whole_image(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (prediction - target).square().flatten(1).mean(1)


def marked(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return of_whole_image(prediction, target)


marked.whole_image = True  # pyright: ignore[reportFunctionMemberAccess]


def test_a_distance_of_the_whole_image_takes_no_weight_and_no_mask():
    """It would ignore them without a word, and fit what is held out."""
    x, y = pictures()
    mask = torch.ones(2, 3, 16, 16)
    calls = [
        lambda: Problem(y, distance=of_whole_image, weight=mask[:1]).terms(x),
        lambda: Problem(y, distance=of_whole_image).terms(x, mask),
        lambda: Problem(y, distance=of_whole_image).data_term(x, mask),
        lambda: Problem(y, distance=marked, weight=mask[:1]),
        lambda: Problem(y, distance=partial(marked), weight=mask[:1]),
        lambda: held_out().start(Problem(y, distance=marked), members=range(1), total=10),
    ]
    for call in calls:
        with pytest.raises(InputError) as caught:
            call()
        assert caught.value.code == "operator"
    assert Problem(y, distance=of_whole_image).terms(x)[0][1].shape == (2,)


# ---------------------------------------------------------------------- problems of unlike images as one


def unlike() -> list[Problem]:
    x, _ = pictures(3)
    return [
        Problem(x[:1], regularizers=((0.1, total_variation),), noise_level=0.01),
        Problem(
            x[1:2],
            operator=half,
            distance=partial(poisson_nll, gain=0.1),
            regularizers=((0.2, alpha_norm),),
            weight=torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(1)),
            noise_level=0.5,
            finish=lambda x: x + 1,
        ),
        Problem(x[2:], distance=absolute, regularizers=((0.3, total_variation),), noise_level=0.02),
    ]


@pytest.mark.parametrize("restarts", [1, 2])
def test_each_image_of_joined_problems_is_compared_by_its_own(restarts):
    problems = unlike()
    members = 3 * restarts
    joined = join(problems).for_members(members)
    x = torch.rand(members, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    mask = (torch.rand(members, 3, 16, 16, generator=torch.Generator().manual_seed(3)) < 0.5).float()
    terms = joined.terms(x, mask)
    for i in range(members):
        own = problems[i // restarts].terms(x[i : i + 1], mask[i : i + 1])
        some = joined.members([i, 0]).terms(x[[i, 0]], mask[[i, 0]])
        for (_, values), (_, alone), (_, chosen) in zip(terms, own, some, strict=True):
            assert float(values[i]) == pytest.approx(float(alone), rel=1e-5)
            assert float(chosen[0]) == pytest.approx(float(alone), rel=1e-5)
    assert torch.allclose(joined.noise_level, torch.tensor([0.01, 0.5, 0.02]).repeat_interleave(restarts))
    assert joined.finish is not None
    assert torch.equal(joined.finish(x[:3])[1], x[1] + 1)
    assert torch.equal(joined.finish(x[:3])[2], x[2])


def test_like_problems_are_joined_as_one_that_is_computed_in_one_go():
    x, _ = pictures(2)
    joined = join([Problem(x[:1], noise_level=0.1), Problem(x[1:], noise_level=0.2)])
    assert joined.operator is Problem(x).operator
    assert joined.distance is squared
    assert joined.weight is None
    assert joined.noise_level.tolist() == pytest.approx([0.1, 0.2])
    assert join([Problem(x[:1], noise_level=0.1), Problem(x[1:], noise_level=0.1)]).noise_level == 0.1


def test_what_cannot_be_joined_is_an_error():
    x, _ = pictures(2)
    whole = Problem(x)
    calls = [
        lambda: join([]),
        lambda: join([whole, whole]),
        lambda: join([Problem(x[:1]), Problem(x[:1, :1])]),
        lambda: join([Problem(x[:1]), Problem(x[1:], regularizers=((1.0, alpha_norm),))]),
        lambda: join([Problem(x[:1]), Problem(x[1:], noise_level=0.1)]),
    ]
    for call in calls:
        with pytest.raises(InputError) as caught:
            call()
        assert caught.value.code in ("shape", "noise")


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
    with pytest.raises(InputError) as caught:
        Problem(y, operator=Physics(view)).terms(x)
    assert caught.value.code == "operator"
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
