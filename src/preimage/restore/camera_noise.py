"""How `denoise` treats the noise of a camera: recipe, loss, rule, and what is returned of a fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from preimage.engine.recipe import Recipe
from preimage.images import Picture
from preimage.noise.camera import CameraNoise
from preimage.noise.estimation import Noise
from preimage.noise.likelihood import noise_problem
from preimage.noise.returned import Returned
from preimage.noise.whiteness import white_sigma
from preimage.problem import Problem
from preimage.restore.recipes import NEAREST

LENGTH = 3.0  # pixels over which it is correlated, for whitening: the exact value is of no account
STEPS = 200  # of an image of 256 x 256; MEASURED in the study camera_noise
WHITE = 1.2 / 255  # white noise of a lower deviation is rounding, or what a scanner leaves
WEAK = 12 / 255  # hiding a value costs about as much as noise of this deviation
TEXTURED = 1.5  # the estimate from flat parts over that from the highest frequencies, above which it is of texture


def is_cameras(picture: Picture, noise: Noise) -> bool:
    """Whether an image is to be taken as a camera's, given what is found of noise that is white."""
    white = white_sigma(picture.tensor)
    if white is None or noise.kind == "impulse" or noise.length:
        return False
    return white < WHITE and noise.sigma < WEAK


def for_camera(recipe: Recipe, size: tuple[int, int]) -> Recipe:
    """A recipe as it serves this noise: noise as code, and steps by the root of the side."""
    from preimage.restore.denoise import from_noise

    steps = round(STEPS * (size[0] * size[1]) ** 0.25 / 16)
    # Two fits over-fit other noise: their mean is better by more than twice the steps are.
    return replace(from_noise(recipe), network=NEAREST, restarts=max(recipe.restarts, 2), steps=steps)


def camera_problem(part: Picture, returned: Returned) -> Problem:
    """The squared error after a filter that makes the noise whiter; without it where values are missing."""
    noise = Noise("gaussian", WHITE, WHITE, "", LENGTH)
    problem = noise_problem(part.tensor, noise, whiten=part.missing is None)
    weight = None if part.missing is None else (~part.missing).float()
    finish = replace(returned, image=part.tensor, missing=part.missing)
    return replace(problem, noise_level=None, weight=weight, finish=finish)


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
