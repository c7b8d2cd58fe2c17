"""The one place in which studies run a fit: as a user would, with the clean picture looking on, and its pictures on the CPU.

What looks on changes nothing: the blind result is that of the run alone.
"""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch

from preimage.errors import MissingExtra
from preimage.fit import Fit
from preimage.fit import Run as Fitting
from preimage.problem import Problem
from preimage.recipes import Hourglass, Recipe
from preimage.result import Result
from studies.harness import figures

Score = Callable[[torch.Tensor], float]
LOOKAHEAD = 1.5  # the search for the peak goes on to so many times the stopping step at most
CLEARLY_PAST = 0.5  # dB below the peak after which it ends
NAN = float("nan")


def pictures(fit: Fitting, lookahead: float = 1.0) -> Iterator[tuple[bool, torch.Tensor]]:
    """Whether a step is part of the blind fit, and its picture (b, c, h, w)."""
    if lookahead > 1:
        fit.overrun = lookahead
    for step in fit:
        yield step.blind, step.picture.cpu()


def blind_beside_peak(start: Callable[[], Fitting], score: Score | None = None) -> tuple[Result, dict[str, Any]]:
    """The result of a task, and what a study's row says of it: blind, peak, peak_step, kept_steps, steps, seconds, threads.

    Args:
        start: makes the fit, as a user would; what that takes is part of the seconds.
        score: dB of a picture (b, c, h, w), which knows the clean one; None where there is no truth, and dB are NaN.
    """
    begin = time.perf_counter()
    fit = start()
    preparing = time.perf_counter() - begin
    curve: list[float] = []
    for blind, picture in pictures(fit, LOOKAHEAD if score else 1.0):
        if score:
            curve.append(score(picture))
            if not blind and curve[-1] < max(curve) - CLEARLY_PAST:
                break
    result = fit.result()
    return result, {
        "blind": score(result.image) if score else NAN,
        "peak": max(curve, default=NAN),
        "peak_step": curve.index(max(curve)) + 1 if curve else "",
        "kept_steps": " ".join(map(str, result.kept_step)),
        "steps": result.steps,
        "seconds": preparing + result.seconds,
        "threads": result.threads,
    }


def beside_rivals(
    start: Callable[[], Fitting], score: Score | None, rivals: Mapping[str, torch.Tensor | Callable[[], torch.Tensor]]
) -> tuple[dict[str, Any], list[tuple[str, torch.Tensor]], Result]:
    """A row with dB of the input and of its rivals by column, and of this library; and all pictures with their titles.

    The dB of a rival are NaN, said on stderr, if what it needs is not installed.
    """
    row, panels = {}, []
    for column, rival in rivals.items():
        row[column] = NAN
        try:
            picture = rival if isinstance(rival, torch.Tensor) else rival()
        except MissingExtra as error:
            print(f"{error}; the column {column} stays empty", file=sys.stderr)
            continue
        row[column] = score(picture) if score else NAN
        panels.append((figures.with_dB(column, row[column]), picture))
    result, fitted = blind_beside_peak(start, score)
    return row | fitted, [*panels, (figures.with_dB("ours", fitted["blind"]), result.image)], result


def fit_of(problem: Problem, recipe: Recipe) -> Fit:
    """A fit of a problem as it stands, without a task."""
    height, width = problem.target.shape[-2:]
    return Fit(problem, recipe.prior(problem.target.shape[1], (height, width)), recipe=recipe)


def quick(smoke: bool, recipe: Recipe, steps: int, width: int | None = None) -> Recipe:
    """A recipe, or for a smoke run one of few steps, at most two restarts and, if it is given, a network so narrow."""
    if not smoke:
        return recipe
    recipe = replace(recipe, steps=steps, restarts=min(2, recipe.restarts))
    network = None if width is None else Hourglass((width,) * 2, (width,) * 2, (2, 2), padding="zeros")
    return recipe if network is None else replace(recipe, network=network)
