"""What every explaining task does once its Problem is stated: the prior of the recipe, the fit, and how its result is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from preimage.engine.devices import choose_device
from preimage.engine.fit import Fit
from preimage.engine.recipe import Recipe, is_whole
from preimage.engine.result import Result
from preimage.errors import InputError
from preimage.explain.explanation import Explaining, Explanation
from preimage.explain.forward import CachedForward, model_mark
from preimage.images import Picture
from preimage.problem import Problem
from preimage.stopping import After, StoppingRule


def explain(
    task: str,
    view: CachedForward,
    problem: Callable[[], Problem],
    size: tuple[int, int],
    told: Callable[[Result], Explanation],
    *,
    recipe: Recipe,
    channels: int = 3,
    members: int = 1,
    streams: Sequence[int] | None = None,
    picture: Picture | None = None,
    rule: StoppingRule | None = None,
    initial: Any = None,
    seed: int = 0,
    device: str | torch.device = "auto",
    options: dict[str, Any] | None = None,
    remarks: tuple[str, ...] = (),
) -> Explaining:
    """The Run of an explaining task: `members` pictures of (height, width) fitted to one problem.

    Args:
        problem: states what is sought, asked for once the classifier is on the device.
        told: the Result as an Explanation.
        options: plain settings, by which a checkpoint is known.
    """
    if not is_whole(seed) or not 0 <= seed < 2**31:
        raise InputError(f"seed must be from 0 to {2**31 - 1}, got {seed}")
    place = choose_device(device)
    view.to(place)
    rule = rule or After()
    # A member is a picture of its own here, never one of several that are averaged.
    fit = Fit(
        problem(),
        recipe.prior(channels, size, members=members, seed=seed, device=place, streams=streams),
        recipe=recipe,
        rule=rule,
        seed=seed,
        initial=initial,
        picture=picture,
        task=task,
        identity={
            **(options or {}),
            "model": model_mark(view.classifier, view.estimator),
            "recipe": recipe.describe(),
            "rule": rule.name,
            "seed": seed,
        },
        remarks=remarks,
    )
    return Explaining(fit, told, view.turn)
