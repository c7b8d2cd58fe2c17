"""A task's fit run as a user would, with the clean picture looking on: its blind result beside the best of any step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch

from preimage.engine.result import Result
from preimage.engine.run import Run
from preimage.metrics import psnr
from preimage.stopping import After
from preimage.studies.scales import Row

CLEARLY_PAST = 0.5
"""dB below the peak after which the search for it ends; it goes on to 1.5 times the stopping step at most."""


def blind_beside_peak(
    start: Callable[[], Run], score: Callable[[torch.Tensor], float] | None = None
) -> tuple[Result, Row]:
    """The result of a task, and what a study's row says of it: blind, peak, peak_step, kept_steps, steps, seconds, threads.

    Args:
        start: makes the fit, as a user would; what that takes is part of the seconds.
        score: dB of a picture (b, c, h, w), which knows the clean one; None where there is no truth, and dB are NaN.
    """
    begin = time.perf_counter()
    fit = start()
    preparing = time.perf_counter() - begin
    curve: list[float] = []
    if score is None:
        fit.run()
    else:
        curve = scores_of(fit, score, lookahead=1.5)
    result = fit.result()
    peak = max(curve, default=float("nan"))
    return result, {
        "blind": score(result.image) if score else float("nan"),
        "peak": peak,
        "peak_step": curve.index(peak) + 1 if curve else "",
        "kept_steps": " ".join(map(str, result.kept_step)),
        "steps": result.steps,
        "seconds": preparing + result.seconds,
        "threads": result.threads,
    }


def scores_of(fit: Run, score: Callable[[torch.Tensor], float], *, lookahead: float) -> list[float]:
    """The score at every step of a fit, and of a copy that goes on beyond its stop until it is clearly past its peak."""
    curve = [score(step.picture) for step in fit]
    atom = fit.current
    last = math.floor(lookahead * max(atom.stopped))
    if last > atom.index:
        for step in atom.extended(After(last), steps=max(last, atom.recipe.steps)):
            curve.append(score(step.picture))
            if curve[-1] < max(curve) - CLEARLY_PAST:
                break
    return curve


def dB(image: torch.Tensor, clean: torch.Tensor) -> float:  # noqa: N802
    """PSNR of one picture, clipped to its range."""
    return float(psnr(image.clamp(0, 1), clean))


def size_of(picture: torch.Tensor) -> str:
    """(b, c, h, w) -> "c x h x w"."""
    return " x ".join(map(str, picture.shape[1:]))
