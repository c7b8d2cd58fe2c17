"""Denoising: Phi = identity, y = the noisy picture; what the noise is like chooses the distance, the weights and the rule."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch.nn import functional

from preimage.codes import Masked, Noise
from preimage.distances import absolute, filtered, poisson_nll, squared
from preimage.engine.optimizers import muon
from preimage.engine.recipe import Recipe
from preimage.engine.run import Run
from preimage.images import Picture, as_picture
from preimage.networks import SkipNet
from preimage.noise import estimation as noises
from preimage.noise.correlation import whitening
from preimage.problem import Problem, identity
from preimage.recipes import qualities
from preimage.regularizers import total_variation
from preimage.restore.start import Initial, Tile, start, variant
from preimage.stopping import After, StoppingRule, discrepancy, held_out, holds_out, moving_variance, risk

# Ulyanov et al. 2018, supplementary material: sigma 25.
PAPER = Recipe(debiased=False, precision="float32", stop="steps")

_WIDTHS = {"down": (32, 64, 64, 64, 64), "up": (32, 64, 64, 64, 64), "padding": "zeros"}
_NEAREST, _BILINEAR = SkipNet.Config(**_WIDTHS, upsample="nearest"), SkipNet.Config(**_WIDTHS, upsample="bilinear")

# MEASURED on set12 and kodak24 (benchmarks/LOG.md): with the noisy picture itself as a masked code a fit is 0.5 to 2 dB better
# than from noise, and over-fits slowly; Muon needs ten times fewer steps than Adam.
FAST = Recipe(
    network=_NEAREST,
    code=Masked(0.85),
    jitter=0.0,
    optimizer=muon,
    rate=0.03,
    steps=600,
    averaging=0.95,
    restarts=1,
)
QUALITIES = qualities(FAST, balanced=3, best=8, network=_BILINEAR)
BALANCED, BEST = QUALITIES["balanced"], QUALITIES["best"]

# One channel tells nothing of a hidden value but by its neighbors: more must be asked for at a time.
KEPT_OF_GREY = 0.4

# From noise: what neighboring pixels share of the noise, a masked code would tell from what is shown.
FROM_NOISE = replace(FAST, code=Noise(32), jitter=1 / 30, jitter_pool=4, rate=0.02, restarts=3)

# Where given values carry no noise (impulses) nothing is over-fitted for long, and all steps are done. MEASURED on kodak24 07,
# half of the values impulses, 500 steps: 36.4 dB; a masked code, nearest or bilinear: 33.0, 35.0; noise and bilinear: 31.0.
SCATTERED = replace(FROM_NOISE, restarts=1, steps=800, stop="steps")

# Of the noise's own error: there a fit of correlated noise is best, MEASURED in benchmarks/correlated.py.
CORRELATED = 0.8
# Steps without a lesser variance after which a fit from a masked code ends, and how many values tell that variance.
PATIENCE, JUDGED = 30, 2**15
FAINT = 2 / 255  # below this deviation noise cannot be told from texture


def denoise(
    image: torch.Tensor | NDArray[Any] | Image | str | Path | Picture,
    *,
    noise: Literal["auto", "gaussian", "poisson", "speckle", "impulse"] = "auto",
    sigma: float | None = None,
    tv: float = 0.0,
    recipe: Recipe = FAST,
    stop: StoppingRule | None = None,
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
        tv: weight of a total variation regularizer, a sum over pixels; 0 for none. 1e-7 is light, 1e-6 strong at 256 x 256.
        recipe: FAST, BALANCED (3 fits) or BEST (8 fits, bilinear up-sampling), or PAPER for the published settings.
        stop: a stopping rule; None takes the default of the recipe and the noise.
        restarts: fits that are averaged; None takes the recipe's.
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
        impulses = torch.cat([noises.impulse_mask(page[None]) for page in target])
    if recipe.code == FAST.code:
        recipe = suited(recipe, found, target.shape[1])

    # The published settings fit what was given as it is.
    clipped = recipe.stop != "steps" and noises.is_clipped(target)

    def problem(part: Picture) -> Problem:
        stated = noise_problem(part.tensor, found, tv, impulses=part.missing, clipped=clipped)
        # Left-out pixels judge only an error that does not mix pixels; the published settings have one.
        whitens = found.length and recipe.stop != "steps" and not holds_out(stop)
        return whitened(stated, found) if whitens else stated

    return start(
        "denoise",
        problem,
        picture,
        recipe,
        rule=lambda problem: stop or default_rule(problem, recipe, found),
        restarts=restarts,
        initial=initial,
        seed=seed,
        device=device,
        tile=tile,
        options={"noise": noise, "sigma": sigma, "tv": tv},
        missing=impulses,
        remarks=(found.explanation, _in_units(found.sigma, low, high), *_advice(found, told=sigma is not None)),
    )


def suited(recipe: Recipe, noise: noises.Noise, channels: int) -> Recipe:
    """The recipe as it serves this noise in pictures of so many channels."""
    if noise.kind == "impulse":  # gaps among exact values
        own = replace(recipe, network=FAST.network) if recipe.network == BEST.network else recipe
        return variant(own, FAST, SCATTERED)
    if noise.length:
        return unmasked(recipe)
    return replace(recipe, code=Masked(KEPT_OF_GREY)) if channels == 1 else recipe


def unmasked(recipe: Recipe) -> Recipe:
    """The recipe with the code of FROM_NOISE, its jitter and rate, and at least as many restarts."""
    changes = {name: getattr(FROM_NOISE, name) for name in ("code", "jitter", "jitter_pool", "rate")}
    return replace(recipe, **changes, restarts=max(recipe.restarts, FROM_NOISE.restarts))


def _in_units(sigma: float, low: float, high: float) -> str:
    return f"sigma is {sigma * (high - low):.4g} in units of the input, {sigma:.4f} in 0..1"


def _advice(found: noises.Noise, *, told: bool) -> tuple[str, ...]:
    """Noise that a camera or JPEG has smoothed over neighbors looks like the picture's own texture."""
    if found.length:
        return (
            "neighboring pixels share the noise, so that held-out pixels cannot tell when it is being fitted: the fit stops "
            "by the size of its error instead, in which all frequencies of the noise weigh alike",
        )
    if told or found.sigma >= FAINT:
        return ()
    return (
        "hardly any noise was found: if there is some, it is not independent between pixels; say how much with sigma",
    )


def noise_problem(
    target: torch.Tensor,
    noise: noises.Noise,
    tv: float = 0.0,
    impulses: torch.Tensor | None = None,
    *,
    clipped: bool = False,
) -> Problem:
    """E for one kind of noise, and its value at the clean picture: squared for Gaussian, Poisson's own likelihood, squared
    over the variance for speckle, and absolute on the values that are not impulses (which carry no noise).

    `impulses`: where they are, (b, c, h, w) bool, if that is known. `clipped`: whether noise was cut off at 0 and 1."""
    regularizers = ((tv, total_variation),) if tv else ()
    if noise.kind == "impulse":
        if impulses is None:
            impulses = torch.cat([noises.impulse_mask(page[None]) for page in target])
        weight = 1.0 - impulses.float()
        return Problem(target, distance=absolute, weight=weight, regularizers=regularizers, noise_level=0.0)
    # Where noise was cut off at black or white the values are not those of the clean picture on the mean: Phi says what they are.
    operator = noise.clipped_mean if clipped else identity
    # A box average stands for the clean picture where only the local brightness matters.
    smooth = functional.avg_pool2d(target, 5, stride=1, padding=2, count_include_pad=False)
    variance = noise.clipped_variance(smooth)
    if noise.kind == "poisson":
        # Before clipping each value's likelihood ratio is half a squared standard normal deviate, whatever the brightness.
        level = 0.5 * float((variance / noise.variance(smooth).clamp_min(1e-12)).clamp_max(1).mean())
        distance = partial(poisson_nll, gain=max(noise.level, 1e-6))
        return Problem(target, operator, distance=distance, regularizers=regularizers, noise_level=level)
    if noise.kind == "speckle" and noise.sigma:
        # No value weighs more than twice the middle one: what is dark in one color would lead the whole color astray.
        weight = noise.sigma**2 / variance.clamp_min(0.5 * noise.sigma**2)
        level = float((weight * variance).sum() / weight.sum())
        return Problem(target, operator, distance=squared, weight=weight, regularizers=regularizers, noise_level=level)
    return Problem(target, operator, distance=squared, regularizers=regularizers, noise_level=float(variance.mean()))


def whitened(problem: Problem, noise: noises.Noise) -> Problem:
    """E of correlated noise: the squared error after a filter that makes the noise whiter, nearer to its log likelihood."""
    response, share = whitening(noise.length, (problem.target.shape[-2], problem.target.shape[-1]))
    level = None if problem.noise_level is None else problem.noise_level * share
    return replace(problem, distance=partial(filtered, response=response), noise_level=level)


def default_rule(problem: Problem, recipe: Recipe, noise: noises.Noise | None = None) -> StoppingRule:
    """All steps where the recipe says so, as published; the least variance of the outputs from a masked code; from noise the
    least risk, or held-out pixels where no noise was found.
    Where neighbors share the noise, and so betray left-out pixels, the size of the error, as it is before any filter."""
    if recipe.stop == "steps":
        return After()
    if noise is not None and noise.length:
        return discrepancy(noise.sigma, factor=CORRELATED, distance=squared)
    # MEASURED in studies/blindness.py: under a masked code the outputs vary least where they are best. No value is held out.
    if isinstance(recipe.code, Masked):
        return moving_variance(patience=PATIENCE, values=JUDGED)
    if problem.noise_level:
        return risk()
    # Where the given values carry no noise (impulses) a fit gets better ever more slowly: it ends when 3 % is not worth it.
    return held_out() if problem.weight is None else risk(min_delta=0.03)
