"""E for each kind of noise: how far a prediction is from a noisy image, and the value of that at the clean image."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch.nn import functional

from preimage.distances import absolute, filtered, poisson_nll, squared
from preimage.noise.correlation import whitening
from preimage.noise.estimation import Noise
from preimage.noise.impulses import impulse_mask
from preimage.problem import Problem, identity


def noise_problem(
    target: torch.Tensor,
    noise: Noise,
    *,
    impulses: torch.Tensor | None = None,
    clipped: bool = False,
    whiten: bool = False,
) -> Problem:
    """The Problem of denoising: squared error for Gaussian noise, Poisson's own likelihood, squared error over the variance
    for speckle, and absolute error on the values that are not impulses (which carry no noise).

    Example:
        >>> noise_problem(torch.rand(1, 3, 32, 32), Noise("gaussian", 0.1, 0.1, "")).noise_level
        0.010

    Args:
        target: the noisy image, (1, c, h, w), 0 to 1.
        noise: its kind and level.
        impulses: where impulses are, (1, c, h, w) bool; None: detected.
        clipped: whether noise was clipped at 0 and 1; the operator then maps a clean value to the mean of its clipped one.
        whiten: whether the error of noise that is correlated between pixels is whitened.
    """
    if noise.kind == "impulse":
        if impulses is None:
            impulses = torch.cat([impulse_mask(page[None]) for page in target])
        return Problem(target, distance=absolute, weight=1.0 - impulses.float(), noise_level=0.0)
    operator = noise.clipped_mean if clipped else identity
    # A box average stands for the clean image where only the local brightness matters.
    smooth = functional.avg_pool2d(target, 5, stride=1, padding=2, count_include_pad=False)
    variance = noise.clipped_variance(smooth)
    if noise.kind == "poisson":
        # Before clipping each value's likelihood ratio is half a squared standard normal deviate, whatever the brightness.
        level = 0.5 * float((variance / noise.variance(smooth).clamp_min(1e-12)).clamp_max(1).mean())
        return Problem(target, operator, distance=partial(poisson_nll, gain=max(noise.level, 1e-6)), noise_level=level)
    if noise.kind == "speckle" and noise.sigma:
        # No value weighs more than twice the middle one: what is dark in one color would lead the whole color astray.
        weight = noise.sigma**2 / variance.clamp_min(0.5 * noise.sigma**2)
        level = float((weight * variance).sum() / weight.sum())
        return Problem(target, operator, distance=squared, weight=weight, noise_level=level)
    problem = Problem(target, operator, distance=squared, noise_level=float(variance.mean()))
    return whitened(problem, noise) if whiten and noise.length else problem


def whitened(problem: Problem, noise: Noise) -> Problem:
    """The squared error after a filter that makes correlated noise whiter, nearer to its negative log likelihood."""
    response, share = whitening(noise.length, (problem.target.shape[-2], problem.target.shape[-1]))
    level = None if problem.noise_level is None else problem.noise_level * share
    return replace(problem, distance=partial(filtered, response=response), noise_level=level)
