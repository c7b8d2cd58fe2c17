"""The one place in which studies run a fit: as a user would, with the clean picture looking on, and its pictures on the CPU.

What looks on changes nothing: the blind result is that of the run alone.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch

from preimage.engine.fit import Fit
from preimage.engine.recipe import Recipe
from preimage.engine.result import Result
from preimage.engine.run import Run as Fitting
from preimage.errors import MissingExtra
from preimage.networks import SkipNet
from preimage.problem import Problem
from preimage.recipes import NamedRecipe
from preimage.stopping import After
from preimage.tasks import TaskSpec
from studies.harness import figures

Score = Callable[[torch.Tensor], float]
LOOKAHEAD = 1.5  # the search for the peak goes on to so many times the stopping step at most
CLEARLY_PAST = 0.5  # dB below the peak after which it ends
NAN = float("nan")


def scores(run: Fitting, score: Score) -> Iterator[float]:
    """The score of the picture at every step of a fit, and of the steps that would have come after its stop.

    As `preimage.observe.OraclePeak`, with any score for the PSNR of the whole picture: when the fit has ended a copy of it goes
    on to LOOKAHEAD times its last step, or until it is CLEARLY_PAST the peak. The parts of a picture that is cut up are not
    looked at beyond their stops.
    """
    peak = -math.inf
    for step in run:
        value = score(step.picture.cpu())
        yield value
        peak = max(peak, value)
    fit = run.current
    last = math.floor(LOOKAHEAD * max(fit.stopped)) if fit is run else 0
    if last <= fit.index:
        return
    for further in fit.extended(After(last), steps=max(last, fit.recipe.steps)):
        value = score(further.picture.cpu())
        yield value
        peak = max(peak, value)
        if value < peak - CLEARLY_PAST:
            return


def blind_beside_peak(start: Callable[[], Fitting], score: Score | None = None) -> tuple[Result, dict[str, Any]]:
    """The result of a task, and what a study's row says of it: blind, peak, peak_step, kept_steps, steps, seconds, threads.

    Args:
        start: makes the fit, as a user would; what that takes is part of the seconds.
        score: dB of a picture (b, c, h, w), which knows the clean one; None where there is no truth, and dB are NaN.
    """
    begin = time.perf_counter()
    fit = start()
    preparing = time.perf_counter() - begin
    curve = list(scores(fit, score)) if score else []
    result, peak = fit.run(), max(curve, default=NAN)
    row = {"blind": score(result.image) if score else NAN, "peak": peak}
    row |= {"peak_step": curve.index(peak) + 1 if curve else "", "kept_steps": " ".join(map(str, result.kept_step))}
    return result, row | {"steps": result.steps, "seconds": preparing + result.seconds, "threads": result.threads}


def beside_rivals(
    start: Callable[[], Fitting], score: Score | None, rivals: Mapping[str, torch.Tensor | Callable[[], torch.Tensor]]
) -> tuple[dict[str, Any], list[tuple[str, torch.Tensor]], Result]:
    """A row with dB of the input and of its rivals by column, and of this library; and all pictures with their titles."""
    row, panels = of_rivals(score, rivals)
    result, fitted = blind_beside_peak(start, score)
    return row | fitted, [*panels, (figures.with_dB("ours", fitted["blind"]), result.image)], result


def of_rivals(
    score: Score | None, rivals: Mapping[str, torch.Tensor | Callable[[], torch.Tensor]]
) -> tuple[dict[str, Any], list[tuple[str, torch.Tensor]]]:
    """dB of pictures and rivals by column, and their pictures with titles.

    The dB of a rival are NaN, said on stderr, if what it needs is not installed.
    """
    row, panels = {}, []
    for column, rival in rivals.items():
        row[column] = NAN
        try:
            picture = rival() if callable(rival) else rival
            row[column] = score(picture) if score else NAN
            panels.append((figures.with_dB(column, row[column]), picture))
        except MissingExtra as error:
            print(f"{error}; the column {column} stays empty", file=sys.stderr)
    return row, panels


def fit_of(problem: Problem, recipe: Recipe) -> Fit:
    height, width = problem.target.shape[-2:]
    return Fit(problem, recipe.prior(problem.target.shape[1], (height, width)), recipe=recipe)


def named(smoke: bool, task: TaskSpec[Any, Any], steps: int, name: str = "fast") -> NamedRecipe:
    """A task's recipe by name, which the task adapts to the picture; for a smoke run of few steps and at most two restarts."""
    if not smoke or task.recipes is None:
        return NamedRecipe(name)
    return NamedRecipe(name, {"steps": steps, "restarts": min(2, task.recipes()[name].restarts)})


def mean_variation(weight: float, channels: int, height: int, width: int) -> float:
    """The weight of total variation as a mean over a picture's differences, for its weight as the published sum over them."""
    return weight * channels * (height - 1) * (width - 1)


def quick(smoke: bool, recipe: Recipe, steps: int, width: int = 0) -> Recipe:
    """A recipe, or for a smoke run one of few steps, at most two restarts and, if it is given, a network so narrow."""
    network = SkipNet.Config((width,) * 2, (width,) * 2, (2, 2), padding="zeros") if width else recipe.network
    return replace(recipe, steps=steps, restarts=min(2, recipe.restarts), network=network) if smoke else recipe
