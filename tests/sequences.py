"""Steps that no network made: sequences with a known best step, and a rule led along them as a Fit leads it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch

from preimage.engine.step import Step
from preimage.problem import Problem
from preimage.stopping import StoppingRule

TOTAL = 240
LEVEL = 0.01  # sigma^2 of the synthetic problem


def step_of(
    index: int,
    average: torch.Tensor,
    *,
    image: torch.Tensor | None = None,
    loss: torch.Tensor | float = 1.0,
    total: int = TOTAL,
    active: tuple[bool, ...] | None = None,
) -> Step:
    members = len(average)
    losses = torch.as_tensor(loss, dtype=torch.float32).expand(members)
    return Step(
        index, total, 0.0, average if image is None else image, average, {"loss": losses}, active or (True,) * members
    )


def started(rule: StoppingRule, problem: Problem, *, members: int = 1, total: int = TOTAL, seed: int = 0) -> Any:
    """The tracker of a rule."""
    return rule.start(problem, members=range(members), total=total, seed=seed)[1]


def look(tracker: Any, step: Step) -> list[bool]:
    """Measure and decide in one go."""
    return tracker.decide(step, tracker.measure(step).tolist())


def follow(tracker: Any, steps: list[Step]) -> list[int]:
    """Show a tracker steps as a Fit does, members that have stopped no longer active; where each stopped, 0 for never."""
    stopped = [0] * len(steps[0].active)
    for step in steps:
        stops = look(tracker, replace(step, active=tuple(not at for at in stopped)))
        stopped = [at or (step.index if stop else 0) for at, stop in zip(stopped, stops, strict=True)]
        if all(stopped):
            break
    return stopped


def synthetic_fit(members: int = 2) -> tuple[Problem, list[Step]]:
    """The picture is learned fast, its noise slowly: the error to the picture is least somewhere in the middle.

    What is held out is not known to the sequence, so held-out rules see no over-fitting in it; their properties have
    tests of their own.
    """
    generator = torch.Generator().manual_seed(5)
    picture = 0.5 + 0.3 * torch.sin(torch.arange(24) / 4).expand(1, 1, 24, 24)
    target = picture + LEVEL**0.5 * torch.randn(1, 1, 24, 24, generator=generator)
    steps = []
    for index in range(1, TOTAL + 1):
        averages = []
        for member in range(members):
            time = index * (1 + member / 2)
            averages.append(picture * (1 - math.exp(-time / 15)) + (target - picture) * (1 - math.exp(-time / 150)))
        average = torch.cat(averages)
        wiggle = 0.02 * torch.randn(average.shape, generator=generator)
        loss = (average - target).square().flatten(1).mean(1)
        steps.append(step_of(index, average, image=average + wiggle, loss=loss))
    return Problem(target, noise_level=LEVEL), steps
