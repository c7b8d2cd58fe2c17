"""Observers look on at a Run and change nothing: its Steps pass through `observe`, and what each observer notes is its own.

for step in observe(run, oracle, film): ...

Only observers may know the ground truth; no rule and no default ever does.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch.nn import functional

from preimage.engine.checkpoint import Remembers, save
from preimage.engine.fit import Fit
from preimage.engine.run import Run
from preimage.engine.step import Step
from preimage.errors import InputError
from preimage.images.film import write_film
from preimage.metrics import psnr
from preimage.stopping import After

Curve = list[tuple[int, float]]


class Observer(Remembers, Protocol):
    """What is shown each step of a run, and can be saved beside it in a checkpoint."""

    def note(self, run: Run, step: Step) -> None:
        """Look at a step; change neither it nor the run."""


def observe(run: Run, *observers: Observer) -> Iterator[Step]:
    """Pass the Steps of a run through, each shown to every observer first, in this order.

    Example:
        >>> curves = Curves(reference=torch.rand(1, 3, 32, 32))
        >>> for step in observe(denoise("noisy.png", steps=2), curves): pass
        >>> len(curves.psnr)
        2
    """
    for step in run:
        for observer in observers:
            observer.note(run, step)
        yield step


def autosave(
    run: Run, path: str | Path, every: int, observers: Mapping[str, Remembers] | None = None
) -> Iterator[Step]:
    """Pass the Steps of a run through, saving a checkpoint every so many of them.

    Example:
        >>> for step in autosave(denoise("noisy.png", steps=2), "noisy.checkpoint", every=50): pass  # none in two steps
    """
    if every < 1:
        raise InputError(f"autosave must be every 1 step or more, got {every}")
    for step in run:
        if step.index % every == 0:
            save(run, path, observers)
        yield step


class OraclePeak:
    """The best PSNR that any step would have returned, and that step: what a perfect stopping rule could reach.

    Each fit goes on, once it has ended, on a copy (`Fit.extended`) to `lookahead` times its last step, so that a peak after the
    stop is found, too; the run itself is not changed, nor is the time counted in its seconds.

    Example:
        >>> oracle = OraclePeak(torch.rand(1, 3, 32, 32), lookahead=1.5)
        >>> oracle.peak is None  # before the first step
        True

    Args:
        reference: the ground truth, (b, c, h, w) in 0 to 1, of the result's size.
        lookahead: 1 for none.
        margin: dB below the peak at which looking ahead ends early; None: it does not.
        strength: the fraction of the result that is returned, the rest being `input`.
        input: (b, c, h, w), of the result's size, for a strength below 1.
    """

    def __init__(
        self,
        reference: torch.Tensor,
        *,
        lookahead: float = 1.5,
        margin: float | None = None,
        strength: float = 1.0,
        input: torch.Tensor | None = None,  # noqa: A002 (the word of the field)
    ) -> None:
        self.reference = reference
        self.lookahead = lookahead
        self.margin = margin
        self.strength = strength
        self.input = input
        self.curve: Curve = []  # (step of the fit at hand, PSNR); (0, NaN) between two fits
        self.peaks: dict[int, tuple[float, int]] = {}  # of each image or tile the best PSNR so far, and its step
        self.exact_tiles: int | None = None  # tiles that are returned as given; None: it is no run of tiles

    def note(self, run: Run, step: Step) -> None:
        """Compare a step; after the last one of a fit, look ahead."""
        fit = run.current
        self.exact_tiles = getattr(run, "not_fitted", None)
        if self.curve and fit.index == 1:
            self.curve.append((0, math.nan))
        self._compare(run, fit, step)
        if not fit.finished or self.lookahead <= 1:
            return
        last = math.floor(self.lookahead * max(fit.stopped))
        if last <= fit.index:
            return
        longer = fit.extended(After(last), steps=max(last, fit.recipe.steps))
        for further in longer:
            value = self._compare(run, longer, further)
            if self.margin is not None and value < self._best_of_fit - self.margin:
                return

    @property
    def peak(self) -> tuple[float, int] | None:
        """The best PSNR and its step; of several images the mean of the best of each, and the median of their steps.

        Of tiles it is the PSNR of their mean squared error.
        """
        if not self.peaks:
            return None
        values, steps = zip(*self.peaks.values(), strict=True)
        if self.exact_tiles is not None:
            error = sum(10 ** (-value / 10) for value in values) / (len(values) + self.exact_tiles)
            return -10 * math.log10(error) if error else math.inf, statistics.median_low(steps)
        return statistics.fmean(values), statistics.median_low(steps)

    def _compare(self, run: Run, fit: Fit, step: Step) -> float:
        shown, truth = shown_by(fit, step), run.part(self.reference)
        if self.strength != 1 and self.input is not None:
            shown = torch.lerp(run.part(self.input), shown, self.strength)
        values: list[float] = psnr(_within(shown, truth), truth).tolist()
        for i, value in enumerate(values):
            key = run.number + i
            if value > self.peaks.get(key, (-math.inf, 0))[0]:
                self.peaks[key] = (value, fit.index)
        mean = statistics.fmean(values)
        self._best_of_fit = mean if fit.index == 1 else max(mean, self._best_of_fit)
        self.curve.append((fit.index, mean))
        return mean

    _best_of_fit = -math.inf

    def state_dict(self) -> dict[str, Any]:
        """Plain containers."""
        best, exact = self._best_of_fit, self.exact_tiles
        return {"curve": self.curve, "peaks": self.peaks, "best": best, "exact_tiles": exact}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.curve = [tuple(pair) for pair in state["curve"]]
        self.peaks = {key: tuple(best) for key, best in state["peaks"].items()}
        self._best_of_fit, self.exact_tiles = state["best"], state["exact_tiles"]


class Curves:
    """The score of the stopping rule at every step that has one, and the PSNR to a reference, if there is one.

    Example:
        >>> curves = Curves()
        >>> curves.score, curves.psnr
        ([], [])

    Args:
        reference: the ground truth, (b, c, h, w) in 0 to 1, of the result's size.
    """

    def __init__(self, reference: torch.Tensor | None = None) -> None:
        self.reference = reference
        self.score: Curve = []
        self.psnr: Curve = []

    def note(self, run: Run, step: Step) -> None:
        """Note score and PSNR."""
        fit = run.current
        if fit.index == 1:  # nothing joins the curves of two fits
            for curve in (self.score, self.psnr):
                curve += [(0, math.nan)] if curve else []
        score = fit.tracker.score(fit.index)
        if score is not None:
            self.score.append((fit.index, score))
        if self.reference is not None:
            truth = run.part(self.reference)
            value = psnr(_within(shown_by(fit, step), truth), truth).mean()
            self.psnr.append((fit.index, float(value)))

    def state_dict(self) -> dict[str, Any]:
        """Plain containers."""
        return {"score": self.score, "psnr": self.psnr}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.score, self.psnr = ([tuple(pair) for pair in state[name]] for name in ("score", "psnr"))


class Film:
    """Frames of what a run shows of its first page, small enough for a film; of many tiles no more frames than of one.

    Example:
        >>> Film(every=10, display=(0.0, 1.0)).frames
        []

    Args:
        every: steps between two frames, 1 or more; the first step always has one.
        display: the values that are black and white.
        side: longest side in pixels.
        shown: what makes gray or color of an image (c, h, w), if it is neither (`Picture.shown`).
    """

    def __init__(
        self,
        every: int,
        *,
        display: tuple[float, float] = (0.0, 1.0),
        side: int = 480,
        shown: Callable[[torch.Tensor], torch.Tensor] = torch.clone,
    ) -> None:
        self.every = every
        self.display = display
        self.side = side
        self.shown = shown
        self.frames: list[torch.Tensor] = []

    def note(self, run: Run, step: Step) -> None:
        """Take a frame if it is time for one."""
        every = self.every * len(getattr(run, "order", (0,)))  # the tiles
        if getattr(run, "page", 0) == 0 and (step.index % every == 0 or step.index == 1):
            self.frames.append(self.frame(step.picture[0].cpu()))

    def frame(self, image: torch.Tensor) -> torch.Tensor:
        """An image (c, h, w) as a frame, (h, w, 3) uint8."""
        image = self.shown(image)
        longest = max(image.shape[-2:])
        if longest > self.side:
            image = functional.interpolate(image[None], scale_factor=self.side / longest, mode="area")[0]
        low, high = self.display
        shown = ((image - low) / max(high - low, 1e-12)).clamp(0, 1)
        shown = shown[:3] if len(shown) >= 3 else shown[:1].expand(3, -1, -1)
        return shown.movedim(0, -1).mul(255).round().byte()

    def save(self, path: Path, last: torch.Tensor, *, overwrite: bool = False) -> Path:
        """Write the frames and one of `last`, (c, h, w), on which it rests, as an animated GIF or WebP."""
        return write_film([frame.numpy() for frame in [*self.frames, self.frame(last)]], path, overwrite=overwrite)

    def state_dict(self) -> dict[str, Any]:
        """The frames so far."""
        return {"frames": self.frames}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.frames = list(state["frames"])


def _within(image: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """An image clipped to 0 to 1, or to the truth where that is beyond: a bright source that is returned with its own values."""
    return image.clamp(truth.clamp(max=0), truth.clamp(min=1))


def shown_by(fit: Fit, step: Step) -> torch.Tensor:
    """What a fit would return at a step, on the CPU, also where the step is one of a series."""
    finish = fit.problem.finish
    return (step.mean if finish is None else finish(step.mean)).cpu()
