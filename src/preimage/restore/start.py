"""What every restoration task does once its Problem stands: build the prior of the recipe, and hand out the Run."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import torch

from preimage.errors import InputError
from preimage.fit import Fit
from preimage.images import Picture
from preimage.problem import Problem
from preimage.recipes import Recipe
from preimage.result import Result
from preimage.stopping import Rule

Initial = Result | Sequence[dict[str, Any]] | None


def start(
    task: str,
    problem: Problem,
    picture: Picture,
    recipe: Recipe,
    *,
    rule: Rule,
    size: tuple[int, int] | None = None,
    restarts: int | None = None,
    initial: Initial = None,
    seed: int = 0,
    device: str | torch.device = "auto",
    options: dict[str, Any] | None = None,
    remarks: tuple[str, ...] = (),
    code: torch.Tensor | None = None,
) -> Fit:
    """The Run of a task: a fit of `restarts` members for each page of the picture, at the result's (height, width);
    `code`: an image to start from instead of the recipe's noise."""
    restarts = recipe.restarts if restarts is None else restarts
    if restarts < 1:
        raise InputError(f"restarts must be at least 1, got {restarts}")
    if not 0 <= seed < 2**31:
        raise InputError(f"seed must be from 0 to {2**31 - 1}, got {seed}")
    pages, channels, height, width = picture.tensor.shape
    members = pages * restarts
    prior = recipe.prior(channels, size or (height, width), members=members, seed=seed, device=device, code=code)
    identity = {
        **(options or {}),
        "recipe": recipe.describe(),
        "rule": rule.name,
        "restarts": restarts,
        "seed": seed,
        "input": fingerprint(picture.tensor),
    }
    return Fit(
        problem,
        prior,
        recipe=recipe,
        rule=rule,
        restarts=restarts,
        seed=seed,
        initial=initial,
        picture=picture,
        task=task,
        identity=identity,
        remarks=remarks,
    )


def variant(recipe: Recipe, base: Recipe, other: Recipe) -> Recipe:
    """`other`, with what `recipe` changes in `base`, if it has the base's network; else the recipe as it is.

    So that a user's --steps or --rate hold whichever of a task's settings the picture asks for.
    """
    if recipe.network != base.network:
        return recipe
    settings = [field.name for field in fields(Recipe)]
    changed = {name: getattr(recipe, name) for name in settings if getattr(recipe, name) != getattr(base, name)}
    return replace(other, **changed)


def fingerprint(tensor: torch.Tensor) -> str:
    """A hash of an input's values and shape, by which a checkpoint knows what it belongs to."""
    digest = hashlib.sha256(str(tuple(tensor.shape)).encode())
    digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
