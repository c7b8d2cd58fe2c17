"""How `denoise` treats the noise of a camera: recipe, loss, rule, and what is returned of a fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from preimage.engine.recipe import Recipe
from preimage.images import Picture
from preimage.noise.camera import CameraNoise
from preimage.noise.chroma import chroma_sigma
from preimage.noise.estimation import Noise
from preimage.noise.likelihood import noise_problem
from preimage.noise.returned import Returned
from preimage.problem import Problem
from preimage.restore.recipes import NEAREST

SMALLEST = 48  # pixels of a side: smaller images hold too few blocks for its noise to be measured
LENGTH = 3.0  # pixels over which it is correlated, for whitening: the exact value is of no account
STEPS = 190  # of an image of 256 x 256; MEASURED in benchmarks/camera.py
WHITE = 1.2 / 255  # white noise of a lower deviation is rounding, or what a scanner leaves
FAINT = 2 / 255  # noise of a lower deviation cannot be distinguished from texture by the image alone
WEAK = 12 / 255  # hiding a value costs about as much as noise of this deviation


def is_cameras(picture: Picture, noise: Noise) -> bool:
    """Whether an image is to be taken as a camera's, given what is found of noise that is white."""
    if min(picture.tensor.shape[-2:]) < SMALLEST or noise.kind == "impulse":
        return False
    if picture.tensor.shape[1] == 3:
        return bool(noise.length) or chroma_sigma(picture.tensor) < WHITE
    return bool(noise.length) or (noise.kind == "gaussian" and noise.sigma < FAINT)


def for_camera(recipe: Recipe, size: tuple[int, int]) -> Recipe:
    """A recipe as it serves this noise: noise as code, and steps by the root of the side."""
    from preimage.restore.denoise import from_noise

    steps = round(STEPS * (size[0] * size[1]) ** 0.25 / 16)
    return replace(from_noise(recipe), network=NEAREST, restarts=recipe.restarts, steps=steps)


def camera_problem(part: Picture, returned: Returned) -> Problem:
    """The squared error after a filter that makes the noise whiter; without it where values are missing."""
    noise = Noise("gaussian", WHITE, WHITE, "", LENGTH)
    problem = noise_problem(part.tensor, noise, whiten=part.missing is None)
    weight = None if part.missing is None else (~part.missing).float()
    finish = replace(returned, image=part.tensor, missing=part.missing)
    return replace(problem, noise_level=None, weight=weight, finish=finish)


def returned_of_weak(part: Picture, noise: Noise, returned: Returned) -> Returned | None:
    """What is returned of an image with weak white noise: hiding a value costs a fit from a masked code more than its noise."""
    if noise.kind != "gaussian" or noise.length or noise.sigma >= WEAK:
        return None
    white = CameraNoise.white(noise.sigma, planes=part.tensor.shape[1])
    return replace(returned, image=part.tensor, noise=white, sigma=None, missing=part.missing)


def strengths(image: torch.Tensor, options: Any, sigma: float | None) -> Returned:
    """Returned with the strengths that were specified."""
    return Returned(image, sigma=sigma, luma=options.luma, chroma=options.chroma, grain=options.grain)
