"""What every explaining task does once its Problem is stated: the prior of the recipe, the fit, and how its result is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from preimage.engine.devices import choose_device
from preimage.engine.fit import Fit
from preimage.engine.recipe import Recipe
from preimage.engine.result import Result
from preimage.explain.explanation import Explaining, Explanation
from preimage.explain.forward import CachedForward, model_mark
from preimage.images import Picture
from preimage.problem import Problem
from preimage.rng import checked_seed
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
    seed = checked_seed(seed)
    place = choose_device(device)
    view.to(place)
    rule = rule or After()
    # A member is a picture of its own here, never one of several that are averaged.
    fit = Fit(
        problem(),
        recipe.prior(channels, size, members=members, seed=seed, device=place, streams=streams),
        recipe=recipe,
        rule=rule,
        restarts=1,
        seed=seed,
        initial=initial,
        picture=picture,
        task=task,
        fingerprint={
            **(options or {}),
            "model": model_mark(view.classifier, view.estimator),
            "recipe": recipe.describe(),
            "rule": rule.name,
            "seed": seed,
        },
        remarks=remarks,
    )
    return Explaining(fit, told, view.turn)
