"""Denoising: Phi = identity, y = the noisy picture; what the noise is like chooses the distance, the weights and the rule."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch.nn import functional

from preimage.distances import absolute, poisson_nll, squared
from preimage.fit import Run
from preimage.images import Picture, as_picture
from preimage.optimizers import muon
from preimage.penalties import total_variation
from preimage.problem import Problem
from preimage.recipes import Hourglass, Noise, Recipe
from preimage.restore import noise as noises
from preimage.restore.start import Initial, Tile, start
from preimage.stopping import After, Rule, held_out, risk

# Ulyanov et al. 2018, supplementary material: sigma 25.
PAPER = Recipe(debiased=False, precision="float32", stop="steps")

# MEASURED on set12 and kodak24: Muon needs ten times fewer steps; nearest up-sampling peaks sooner and sharper, so that
# several restarts fit into the time of one; the thin full-resolution level costs 0.1 dB on smooth pictures and none elsewhere.
FAST = Recipe(
    network=Hourglass(down=(32, 64, 64, 64, 64), up=(32, 64, 64, 64, 64), upsample="nearest", padding="zeros"),
    code=Noise(32),
    jitter_pool=4,
    optimizer=muon,
    rate=0.02,
    steps=1000,
    averaging=0.95,
    restarts=3,
)

FAINT = 2 / 255  # below this deviation noise cannot be told from texture


def denoise(
    image: torch.Tensor | NDArray[Any] | Image | str | Path | Picture,
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
    tile: Tile = "auto",
) -> Run:
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
        restarts: fits that are averaged; None takes the recipe's, but one for impulses, whose other values have no noise.
        initial: a Result, or the weights of one, to start from.
        seed: of all randomness: the same seed, device and thread count give the same picture.
        device: "auto", "cpu", "cuda", "mps".
        tile: side of the tiles that a large picture is cut into, or (side, overlap), in pixels; "auto": only if memory asks for
            it; None: never. Each tile is a fit with a stop of its own, and they are blended.

    Raises:
        InputError: a picture, option or device that cannot be used.

    Source: Ulyanov, Vedaldi, Lempitsky, Deep Image Prior, CVPR 2018, section 3; the rule by Wang et al., TMLR 2023, and ours.
    """
    picture = as_picture(image)
    target = picture.tensor
    low, high = picture.units()
    relative = None if sigma is None else sigma / (high - low)
    found = noises.estimate_noise(target[:1], kind=noise, sigma=relative)
    impulses = None
    if found.kind == "impulse":
        restarts = restarts or 1
        impulses = torch.cat([noises.impulse_mask(page[None]) for page in target])
    return start(
        "denoise",
        lambda part: noise_problem(part.tensor, found, tv, impulses=part.missing),
        picture,
        recipe,
        rule=lambda problem: stop or default_rule(problem, recipe),
        restarts=restarts,
        initial=initial,
        seed=seed,
        device=device,
        tile=tile,
        options={"noise": noise, "sigma": sigma, "tv": tv},
        missing=impulses,
        remarks=(found.explanation, _in_units(found.sigma, low, high), *_advice(found.sigma, told=sigma is not None)),
    )


def _in_units(sigma: float, low: float, high: float) -> str:
    return f"sigma is {sigma * (high - low):.4g} in units of the input, {sigma:.4f} in 0..1"


def _advice(sigma: float, *, told: bool) -> tuple[str, ...]:
    """Noise that a camera or JPEG has smoothed over neighbors looks like the picture's own texture."""
    if told or sigma >= FAINT:
        return ()
    return (
        "hardly any noise was found: if there is some, it is not independent between pixels; say how much with sigma",
    )


def noise_problem(
    target: torch.Tensor, noise: noises.Noise, tv: float = 0.0, impulses: torch.Tensor | None = None
) -> Problem:
    """E for one kind of noise, and its value at the clean picture: squared for Gaussian, Poisson's own likelihood, squared
    over the variance for speckle, and absolute on the values that are not impulses (which carry no noise).

    `impulses`: where they are, (b, c, h, w) bool, if that is known."""
    penalties = ((tv, total_variation),) if tv else ()
    if noise.kind == "impulse":
        if impulses is None:
            impulses = torch.cat([noises.impulse_mask(page[None]) for page in target])
        weight = 1.0 - impulses.float()
        return Problem(target, distance=absolute, weight=weight, penalties=penalties, noise_level=0.0)
    # A box average stands for the clean picture where only the local brightness matters.
    smooth = functional.avg_pool2d(target, 5, stride=1, padding=2, count_include_pad=False)
    variance = noise.clipped_variance(smooth)
    if noise.kind == "poisson":
        # Before clipping each value's likelihood ratio is half a squared standard normal deviate, whatever the brightness.
        level = 0.5 * float((variance / noise.variance(smooth).clamp_min(1e-12)).clamp_max(1).mean())
        distance = partial(poisson_nll, gain=max(noise.level, 1e-6))
        return Problem(target, distance=distance, penalties=penalties, noise_level=level)
    if noise.kind == "speckle" and noise.sigma:
        weight = noise.sigma**2 / variance.clamp_min(0.1 * noise.sigma**2)
        level = float((weight * variance).sum() / weight.sum())
        return Problem(target, distance=squared, weight=weight, penalties=penalties, noise_level=level)
    return Problem(target, distance=squared, penalties=penalties, noise_level=float(variance.mean()))


def default_rule(problem: Problem, recipe: Recipe) -> Rule:
    """All steps where the recipe says so, as published; else the least risk, or held-out pixels where no noise was found."""
    if recipe.stop == "steps":
        return After()
    if problem.noise_level:
        return risk()
    # Where the given values carry no noise (impulses) a fit gets better ever more slowly: it ends when 3 % is not worth it.
    return held_out() if problem.weight is None else risk(worth=0.03)
