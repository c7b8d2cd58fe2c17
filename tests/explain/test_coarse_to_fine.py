"""Coarse to fine: the image is as it was, and of its gradient low frequencies are left, the lower the earlier."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from classifiers.small import tiny
from explain.small import BRIEF, THIN, picture

from preimage.explain.class_term import ClassTerm, cross_entropy
from preimage.explain.coarse_to_fine import UNTIL_OF_FEATURES, CoarseToFine
from preimage.explain.counterfactual import counterfactual
from preimage.explain.forward import CachedForward, Features
from preimage.explain.invert import invert
from preimage.explain.maximize import maximize
from preimage.explain.similarity import high_frequency_share

SIZES = [(48, 48), (40, 72), (64, 33)]


def gradient_at(step: int | None, size: tuple[int, int], **settings: float) -> torch.Tensor:
    """Of the sum of weights drawn by chance, less a half: what is summed, blurred."""
    smoothed = CoarseToFine(size, total=100, **settings)
    smoothed.set_step(step)
    draws = torch.Generator().manual_seed(0)
    x, weights = (torch.rand(2, 3, *size, generator=draws).double() for _ in range(2))
    x.requires_grad_()
    found = smoothed(x)
    torch.testing.assert_close(found, x)
    (found * (weights - 0.5)).sum().backward()
    assert x.grad is not None
    return x.grad


@pytest.mark.parametrize("size", SIZES)
def test_the_gradient_is_blurred_less_from_step_to_step(size):
    shares = [float(high_frequency_share(gradient_at(step, size)).mean()) for step in (0, 40, 67)]
    assert shares == sorted(shares)
    assert shares[0] < 0.5 * shares[2]


@pytest.mark.parametrize("size", SIZES)
def test_the_highest_frequencies_never_follow(size):
    last, beyond, none = (gradient_at(step, size) for step in (67, 99, None))
    assert torch.equal(last, beyond)
    assert torch.equal(last, none)
    large = gradient_at(99, (224, 224))
    assert float(high_frequency_share(large).mean()) < 0.3  # of white noise: 0.8


@pytest.mark.parametrize("size", SIZES)
def test_of_features_all_frequencies_follow_after_a_third_of_the_steps(size):
    settings = {"until": UNTIL_OF_FEATURES, "last": 0}
    first, later, after, none = (gradient_at(step, size, **settings) for step in (0, 15, 30, None))
    draws = torch.Generator().manual_seed(0)
    torch.rand(2, 3, *size, generator=draws)
    whole = torch.rand(2, 3, *size, generator=draws).double() - 0.5
    torch.testing.assert_close(after, whole, rtol=1e-6, atol=1e-12)
    assert torch.equal(after, none)
    shares = [float(high_frequency_share(each).mean()) for each in (first, later, after)]
    assert shares == sorted(shares)
    assert shares[0] < 0.5 * shares[2]
    falling, x = CoarseToFine(size, total=100, until=UNTIL_OF_FEATURES, last=0), torch.rand(1, 3, *size)
    falling.set_step(30)
    assert falling(x) is x, "no work for a blur of nothing"
    falling.is_blurring = True
    assert torch.equal(falling(x), x), "bit by bit what a recorded step goes on with"


def test_the_class_term_keeps_its_value_and_the_reconstruction_its_gradient():
    classifier, loss = tiny(), partial(cross_entropy, 1)
    plain, smoothed = CachedForward(classifier), CachedForward(classifier, coarse_to_fine=CoarseToFine((32, 32), 10))
    smoothed.set_step(0)
    gradients = []
    for forward, is_altered in ((plain, True), (smoothed, True), (smoothed, False)):
        x = picture()[None].requires_grad_()
        term = ClassTerm(forward, loss, is_altered=is_altered)
        value = term(x)
        torch.testing.assert_close(value, ClassTerm(plain, loss)(x), rtol=1e-5, atol=1e-6)
        gradients += torch.autograd.grad(value.sum(), x)
    own, blurred, of_the_twin = gradients
    torch.testing.assert_close(own, of_the_twin)
    assert float(high_frequency_share(blurred)[0]) < float(high_frequency_share(own)[0])


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, True),
        ({"copies": 2}, True),
        ({"copies": 0}, False),
        ({"copies": 0, "coarse_to_fine": True}, True),
        ({"coarse_to_fine": False}, False),
        ({"prior": "none", "recipe": "fast", "steps": 2}, False),
    ],
)
def test_by_default_it_is_with_copies(options, wanted):
    run = counterfactual(picture(), **{"classifier": tiny(), "recipe": BRIEF, "uncertainty": "none"} | options)
    assert (run.forward.coarse_to_fine is not None) == wanted


def test_a_counterfactual_still_reaches_its_class():
    found = counterfactual(picture(), classifier=tiny(), recipe=THIN, uncertainty="none", copies=0, coarse_to_fine=True)
    result = found.run()
    assert result.confidence > float(result.probabilities["reconstruction"][result.target])


@pytest.mark.parametrize(("options", "wanted"), [({}, False), ({"copies": 2}, True), ({"coarse_to_fine": True}, True)])
def test_maximization_goes_from_coarse_to_fine_as_well(options, wanted):
    run = maximize(classifier=tiny(), target=1, size=(32, 32), recipe=BRIEF, device="cpu", **options)
    assert (run.forward.coarse_to_fine is not None) == wanted
    run.run()


def test_what_is_maximized_from_coarse_to_fine_has_fewer_high_frequencies():
    """The pixels alone, which follow the gradient as it is."""
    asked = {"classifier": tiny(), "target": 1, "size": (64, 64), "prior": "none", "steps": 40, "device": "cpu"}
    plain, smooth = (maximize(**asked, coarse_to_fine=on).run().image for on in (False, True))
    assert float(high_frequency_share(smooth)[0]) < 0.5 * float(high_frequency_share(plain)[0])


def test_features_keep_their_value_and_their_gradient_is_blurred():
    classifier, x0 = tiny(), picture()[None]
    falling = CoarseToFine((32, 32), 10, until=UNTIL_OF_FEATURES, last=0)
    plain, smoothed = (
        CachedForward(classifier, ["block1"]),
        CachedForward(classifier, ["block1"], coarse_to_fine=falling),
    )
    gradients = []
    for forward, step in ((plain, 0), (smoothed, 0), (smoothed, 9)):
        phi = Features(forward, "block1", x0, is_altered=True)
        forward.set_step(step)
        x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(3)).requires_grad_()
        error = (phi(x) - phi.target).square().mean()
        gradients += torch.autograd.grad(error, x)
        assert error.item() == pytest.approx(phi.error(x), rel=1e-4)
    own, blurred, late = gradients
    torch.testing.assert_close(own, late, rtol=1e-4, atol=1e-8)
    assert float(high_frequency_share(blurred)[0]) < 0.5 * float(high_frequency_share(own)[0])


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, True),
        ({"coarse_to_fine": False}, False),
        ({"prior": "tv", "recipe": "fast", "steps": 2}, False),
        ({"prior": "spectrum", "recipe": "fast", "steps": 2, "coarse_to_fine": True}, True),
        ({"recipe": "paper", "steps": 2}, False),
    ],
)
def test_an_inversion_by_the_deep_prior_goes_from_coarse_to_fine(options, wanted):
    run = invert(picture(), **{"classifier": tiny(), "layers": "block1", "recipe": BRIEF, "device": "cpu"} | options)
    assert (run.forward.coarse_to_fine is not None) == wanted
    assert run.fingerprint["coarse_to_fine"] == wanted
