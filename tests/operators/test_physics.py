"""deepinv's physics as operators of a Problem: seen without their noise, fitted like any other."""

from __future__ import annotations

import pytest
import torch
from specimens import THIN, clean

from preimage.distances import poisson_nll
from preimage.engine.fit import Fit
from preimage.operators import Blur, compose, gaussian, noiseless
from preimage.problem import Problem

deepinv = pytest.importorskip("deepinv")
SIDE = 32


def kernel() -> torch.Tensor:
    return gaussian(1.0, 5)[None, None]


def mask() -> torch.Tensor:
    return (torch.rand(1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) < 0.5).float()


PHYSICS = {
    "blur": lambda noise: deepinv.physics.Blur(filter=kernel(), padding="valid", noise_model=noise),
    "circular blur": lambda noise: deepinv.physics.BlurFFT((3, SIDE, SIDE), filter=kernel(), noise_model=noise),
    "down-sampling": lambda noise: deepinv.physics.Downsampling(
        filter="bicubic", factor=2, img_size=(3, SIDE, SIDE), noise_model=noise
    ),
    "inpainting": lambda noise: deepinv.physics.Inpainting((3, SIDE, SIDE), mask=mask(), noise_model=noise),
    "denoising": lambda noise: deepinv.physics.Denoising(noise_model=noise),
}


@pytest.fixture(params=PHYSICS)
def physics(request):
    noise = deepinv.physics.PoissonNoise(gain=0.05, rng=torch.Generator().manual_seed(1))
    return PHYSICS[request.param](noise)


def test_the_noise_is_left_out(physics) -> None:
    x = clean(SIDE)
    view = noiseless(physics)
    assert torch.equal(view(x), physics.A(x))
    assert torch.equal(view(x), view(x))
    assert not torch.equal(physics(x), physics(x))


def test_a_problem_sees_through_a_physics(physics) -> None:
    x = clean(SIDE)
    problem = Problem(physics.A(x), operator=noiseless(physics))
    assert float(dict(problem.terms(x))["squared"]) == pytest.approx(0, abs=1e-12)
    assert not problem.trainable()
    guess = torch.full((2, 3, SIDE, SIDE), 0.5, requires_grad=True)
    losses = dict(problem.terms(guess))["squared"]
    assert losses.shape == (2,)
    losses.sum().backward()
    assert guess.grad is not None
    assert bool(guess.grad.any())


def test_a_fit_through_a_physics_and_its_noise(physics) -> None:
    x = clean(SIDE)
    torch.manual_seed(0)  # deepinv draws its noise from the global generator
    y = physics(x)

    def likelihood(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return poisson_nll(prediction, target, gain=0.05)

    prior = THIN.prior(3, (SIDE, SIDE), members=1, seed=0, device="cpu")
    fit = Fit(Problem(y, operator=noiseless(physics), distance=likelihood), prior, recipe=THIN)
    losses = [float(step.loss[0]) for step in fit]
    gray = torch.full_like(x, float(x.mean()))
    assert losses[-1] < losses[0]
    assert losses[-1] < float(likelihood(noiseless(physics)(gray), y).mean()), "likelier than no picture at all"
    assert float((fit.result().image - x).square().mean()) < float((gray - x).square().mean())


def test_a_physics_is_one_part_of_several(physics) -> None:
    x = clean(SIDE)
    blur = Blur(gaussian(0.6))
    torch.testing.assert_close(compose(physics, blur)(x), blur(physics.A(x)))


def test_blur_is_the_one_of_deepinv() -> None:
    """Not mirrored, and as large."""
    point_spread = torch.arange(15.0).view(3, 5) / 105
    physics = deepinv.physics.Blur(filter=point_spread[None, None], padding="valid")
    x = clean(SIDE)
    torch.testing.assert_close(Blur(point_spread)(x), physics.A(x), rtol=0, atol=1e-5)
