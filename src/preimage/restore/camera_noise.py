"""How `denoise` treats the noise of a camera: recipe, loss, rule, and what is returned of a fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from preimage.engine.recipe import Recipe
from preimage.images import Picture
from preimage.noise.camera import CameraNoise
from preimage.noise.estimation import Noise
from preimage.noise.likelihood import noise_problem
from preimage.noise.returned import Returned
from preimage.noise.whiteness import white_sigma
from preimage.problem import Problem
from preimage.restore.recipes import NEAREST
from preimage.series.tiling import tile_side
from preimage.tasks import FitOptions

LENGTH = 3.0  # pixels over which it is correlated, for whitening: the exact value is of no account
# A camera's noise is of low frequencies: above FULL pixels an image is fitted at half the width and height, in a quarter of the
# time, and its finest details come back as far as they are above the noise. MEASURED on the tuned sets of the study camera_noise:
# 0.4 dB less at 512 x 512, as good at 256 x 256.
FULL = 2**18
STEPS, HALVED_STEPS = 200, 240  # of x of 256 x 256; MEASURED in the study camera_noise
WHITE = 1.2 / 255  # white noise of a lower deviation is rounding, or what a scanner leaves
WEAK = 12 / 255  # hiding a value costs about as much as noise of this deviation
TEXTURED = 1.5  # the estimate from flat parts over that from the highest frequencies, above which it is of texture


def is_cameras(picture: Picture, noise: Noise) -> bool:
    """Whether an image is to be taken as a camera's, given what is found of noise that is white."""
    white = white_sigma(picture.tensor)
    if white is None or noise.kind == "impulse" or noise.length:
        return False
    return white < WHITE and noise.sigma < WEAK


def shrinking(size: tuple[int, int]) -> int:
    """How many times smaller than an image of this height and width the x is that is fitted to it."""
    return 2 if size[0] * size[1] > FULL else 1


def for_camera(recipe: Recipe, size: tuple[int, int], options: FitOptions) -> Recipe:
    """A recipe as it serves this noise: noise as code, and steps by the root of the side of what is fitted at a time."""
    from preimage.restore.denoise import from_noise

    side = tile_side(size, options)
    h, w = (min(length, side) / shrinking(size) for length in size)
    steps = round((STEPS if shrinking(size) == 1 else HALVED_STEPS) * (h * w) ** 0.25 / 16)
    return replace(from_noise(recipe), network=NEAREST, restarts=recipe.restarts, steps=steps)


def camera_problem(part: Picture, returned: Returned, shrink: int = 1) -> Problem:
    """The squared error after a filter that makes the noise whiter; without it where values are missing."""
    noise = Noise("gaussian", WHITE, WHITE, "", LENGTH / shrink)
    target, valid = part.tensor, None if part.unfitted is None else (~part.unfitted).to(part.tensor)
    if shrink > 1:
        target, valid = _shrunk(target, valid, shrink)
    problem = noise_problem(target, noise, whiten=valid is None)
    finish = replace(returned, image=part.tensor, missing=part.missing)
    return replace(problem, noise_level=None, weight=valid, finish=finish)


def _shrunk(image: Tensor, valid: Tensor | None, by: int) -> tuple[Tensor, Tensor | None]:
    """The means of squares of so many pixels, of the valid ones, and which of them have any."""
    size = (-(-image.shape[-2] // by), -(-image.shape[-1] // by))
    if valid is None:
        return F.interpolate(image, size=size, mode="area"), None
    valid = valid.expand_as(image)
    share = F.interpolate(valid, size=size, mode="area")
    seen = F.interpolate(torch.where(valid > 0, image, 0), size=size, mode="area")
    return seen / share.clamp_min(1e-6), (share > 0).to(image)


def returned_of_white(part: Picture, noise: Noise, returned: Returned) -> Returned | None:
    """What is returned of an image with white noise: if it is weak, hiding a value costs a fit more than its noise, and a blend
    of both is returned; None: the fit."""
    here = replace(returned, image=part.tensor, missing=part.missing, sigma=None)
    if noise.kind != "gaussian" or noise.length or noise.sigma >= WEAK:
        return replace(here, blended=False) if returned.changes else None
    sigma, seen = noise.sigma, white_sigma(part.tensor)
    if returned.sigma is None and seen and sigma > TEXTURED * seen:
        sigma = seen
    return replace(here, noise=CameraNoise.white(sigma, planes=part.tensor.shape[1]))


def strengths(image: torch.Tensor, options: Any, sigma: float | None) -> Returned:
    """Returned with the strengths that were specified."""
    return Returned(image, sigma=sigma, luma=options.luma, chroma=options.chroma, grain=options.grain)
