"""A task's fit run as a user would, with the clean picture looking on: its blind result beside the best of any step."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from preimage.engine.fit import Run
from preimage.engine.result import Result
from preimage.metrics import psnr
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
        fit.overrun = 1.5  # for the peak alone
        for step in fit:
            curve.append(score(step.picture))
            if not step.blind and curve[-1] < max(curve) - CLEARLY_PAST:
                break
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


def dB(image: torch.Tensor, clean: torch.Tensor) -> float:  # noqa: N802
    """PSNR of one picture, clipped to its range."""
    return float(psnr(image.clamp(0, 1), clean))


def size_of(picture: torch.Tensor) -> str:
    """(b, c, h, w) -> "c x h x w"."""
    return " x ".join(map(str, picture.shape[1:]))
