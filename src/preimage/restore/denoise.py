"""Denoising: Phi = identity, y = the noisy picture; what the noise is like chooses the distance, the weights and the rule."""

from __future__ import annotations

from functools import partial
from os import PathLike
from typing import Any, Literal

import torch
from torch.nn import functional

from preimage.distances import absolute, poisson_nll, squared
from preimage.fit import Fit
from preimage.images import Picture, as_picture
from preimage.optimizers import muon
from preimage.penalties import total_variation
from preimage.problem import Problem
from preimage.recipes import Hourglass, Noise, Recipe
from preimage.restore import noise as noises
from preimage.restore.start import Initial, start
from preimage.stopping import After, Rule, held_out

# Ulyanov et al. 2018, supplementary material: sigma 25.
PAPER = Recipe(debiased=False, precision="float32", stop="steps")

# MEASURED on set12 and kodak24: Muon needs ten times fewer steps; nearest up-sampling peaks sooner and sharper, so that
# several restarts fit into the time of one; the thin full-resolution level costs 0.1 dB on smooth pictures and none elsewhere.
FAST = Recipe(
    network=Hourglass(
        down=(32, 64, 64, 64, 64), up=(32, 64, 64, 64, 64), upsample="nearest", padding="zeros"
    ),
    code=Noise(32),
    jitter_pool=4,
    optimizer=muon,
    rate=0.02,
    steps=600,
    averaging=0.95,
    restarts=3,
)


def denoise(
    image: torch.Tensor | str | PathLike[str] | Picture | Any,
    *,
    noise: Literal["auto", "gaussian", "poisson", "speckle", "impulse"] = "auto",
    sigma: float | None = None,
    tv: float = 0.0,
    recipe: Recipe = FAST,
    stop: Rule | None = None,
    restarts: int | None = None,
    initial: Initial = None,
    seed: int = 0,
    device: str | torch.device = "auto",
) -> Fit:
    """Remove noise from a picture; nothing is computed before the Run that is returned is iterated or run.

    Example:
        >>> result = denoise("photo.png").run()
        >>> result.save("clean.png"), result.reason

    Args:
        image: a tensor (c, h, w) or (b, c, h, w) in 0..1, a numpy array, a PIL image, or a path; 16 pixels a side or more.
        noise: what kind; "auto" decides from the picture.
        sigma: standard deviation of Gaussian noise in units of the input (0..255 for an 8-bit picture); estimated if None.
        tv: weight of a total variation penalty, a sum over pixels; 0 for none. 1e-7 is light, 1e-6 strong at 256 x 256.
        recipe: FAST, or PAPER for the published settings.
        stop: a stopping rule; None takes the default of the recipe and the noise.
        restarts: fits that are averaged; None takes the recipe's.
        initial: a Result, or the weights of one, to start from.
        seed: of all randomness: the same seed, device and thread count give the same picture.
        device: "auto", "cpu", "cuda", "mps".

    Raises:
        InputError: a picture, option or device that cannot be used.

    Source: Ulyanov, Vedaldi, Lempitsky, Deep Image Prior, CVPR 2018, section 3; the rule by Wang et al., TMLR 2023, and ours.
    """
    picture = as_picture(image)
    target = picture.tensor
    low, high = picture.units()
    relative = None if sigma is None else sigma / (high - low)
    found = noises.estimate_noise(target[:1], kind=noise, sigma=relative)
    return start(
        "denoise",
        noise_problem(target, found, tv),
        picture,
        recipe,
        rule=stop or (After() if recipe.stop == "steps" else held_out()),
        restarts=restarts,
        initial=initial,
        seed=seed,
        device=device,
        options={"noise": noise, "sigma": sigma, "tv": tv},
        remarks=(found.explanation,),
    )


def noise_problem(target: torch.Tensor, noise: noises.Noise, tv: float = 0.0) -> Problem:
    """E for one kind of noise: squared for Gaussian, Poisson's own likelihood, squared over the variance for speckle, and
    absolute on the values that are not impulses."""
    penalties = ((tv, total_variation),) if tv else ()
    variance = torch.full((1, 1, 1, 1), noise.sigma**2)
    if noise.kind == "poisson":
        return Problem(target, distance=partial(poisson_nll, gain=noise.level), penalties=penalties, variance=variance)
    if noise.kind == "speckle":
        smooth = functional.avg_pool2d(target, 5, stride=1, padding=2, count_include_pad=False)
        weight = noise.sigma**2 / noise.variance(smooth).clamp_min(0.1 * noise.sigma**2)
        return Problem(target, distance=squared, weight=weight, penalties=penalties, variance=variance)
    if noise.kind == "impulse":
        weight = torch.cat([1.0 - noises.impulse_mask(page[None]).float() for page in target])
        return Problem(target, distance=absolute, weight=weight, penalties=penalties)
    return Problem(target, distance=squared, penalties=penalties, variance=variance)
