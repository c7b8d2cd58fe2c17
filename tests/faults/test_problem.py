"""Faults of the loss: terms of equal names, distances of whole pictures, regularizers that know the size of the picture."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from faults.parts import THIN, THIN_MASKED, fit_of, picture, problem

from preimage import InputError, denoise
from preimage.regularizers import alpha_norm, total_variation
from preimage.stopping import held_out

# ---------------------------------------------------------------------- 1: terms of the loss with equal names

SMOOTH, ROUGH = partial(total_variation, beta=1.0), partial(total_variation, beta=2.0)


class Brightness:
    """A regularizer that is an object."""

    def __init__(self, wanted: float) -> None:
        self.wanted = wanted

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return (x.flatten(1).mean(1) - self.wanted).square()


def squared(x: torch.Tensor) -> torch.Tensor:
    """A regularizer of the name of a distance."""
    return x.flatten(1).square().mean(1)


REGULARIZERS = {
    "two lambdas": ((1.0, lambda x: x.flatten(1).mean(1)), (2.0, lambda x: x.flatten(1).std(1))),
    "two partials of one function": ((1e-3, SMOOTH), (1e-3, ROUGH)),
    "one function twice": ((1e-3, total_variation), (2e-3, total_variation)),
    "two objects of one class": ((1.0, Brightness(0.0)), (1.0, Brightness(1.0))),
    "the name of the distance": ((1.0, squared),),
}


def first_loss(given: torch.Tensor, regularizers, distance=None) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss of the first step of a fit, and the sum of what it was made from, each worked out alone."""
    stated = problem(given, regularizers) if distance is None else problem(given, regularizers, distance=distance)
    step = next(iter(fit_of(stated)))
    error = (step.image - given).square() if distance is None else distance(step.image, given[None])
    wanted = error.flatten(1).mean(1) + sum(strength * each(step.image) for strength, each in regularizers)
    return step.loss, wanted


@pytest.mark.parametrize("regularizers", REGULARIZERS.values(), ids=REGULARIZERS)
def test_every_term_counts_whatever_its_name(regularizers):
    loss, wanted = first_loss(picture(), regularizers)
    torch.testing.assert_close(loss, wanted)


def test_a_lambda_as_distance_stays_beside_a_lambda_as_regularizer():
    loss, wanted = first_loss(picture(), ((0.5, lambda x: x.flatten(1).mean(1)),), lambda x, y: (x - y).abs())
    torch.testing.assert_close(loss, wanted)


def test_terms_of_one_kind_have_names_of_their_own():
    result = fit_of(problem(picture(), ((1e-3, SMOOTH), (1e-3, ROUGH)))).run()
    assert list(result.history.names) == ["squared", "total_variation", "total_variation_2"]
    parts = sum(result.history[name] for name in result.history.names)
    torch.testing.assert_close(parts, result.history["loss"])


# ---------------------------------------------------------------------- 4: a distance with one value per picture


def of_the_whole(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """One value per picture: nothing in it can be weighted or left out."""
    return (x - y).square().flatten(1).mean(1).sqrt()


def test_a_distance_of_whole_pictures_cannot_be_weighted():
    weight = torch.ones(1, 1, 24, 24)
    weight[..., :12] = 0
    with pytest.raises(InputError):
        fit_of(problem(picture(), distance=of_the_whole, weight=weight)).run()


def test_a_distance_of_whole_pictures_cannot_hold_pixels_out():
    with pytest.raises(InputError):
        fit_of(problem(picture(), distance=of_the_whole), rule=held_out(0.1)).run()


def test_a_distance_of_whole_pictures_cannot_be_masked():
    with pytest.raises(InputError):
        fit_of(problem(picture(), distance=of_the_whole), THIN_MASKED).run()


# ---------------------------------------------------------------------- 14: regularizers are means


@pytest.mark.parametrize(
    "regularizer",
    [
        pytest.param(total_variation, id="total_variation"),
        pytest.param(partial(total_variation, beta=2.0), id="total_variation, beta 2"),
        pytest.param(alpha_norm, id="alpha_norm"),
    ],
)
def test_a_regularizer_does_not_depend_on_the_size(regularizer):
    x = picture(40, sigma=10)[None]
    wide = torch.cat([x, x.flip(-1)], -1)  # mirrored: no edge where the copies meet
    once, often = regularizer(x), regularizer(torch.cat([wide, wide.flip(-2)], -2))
    border = 2 * 2 / 40  # the share of the differences that cross where the copies meet, and some room
    torch.testing.assert_close(often, once, rtol=border, atol=0)


def test_one_weight_of_total_variation_is_one_share_of_the_loss_at_every_size():
    small = picture(20, sigma=20)
    shares = []
    for given in (small, small.repeat(1, 2, 2)):
        step = next(iter(denoise(given, recipe=THIN, tv=1e-3, sigma=20 / 255, device="cpu", tile=None)))
        x, term = step.image, step.terms["total_variation"]
        # The outputs of two untrained networks differ: what is compared is lambda for one and the same roughness.
        dx, dy = x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]
        shares.append(float(term) / float(dx.square().mean() + dy.square().mean()) ** 0.5)
    assert shares[1] == pytest.approx(shares[0], rel=0.3)
