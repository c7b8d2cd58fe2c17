"""A Run with an observer: its Steps pass through, and what reports, figures and films need is noted on the way.

The observer is saved and resumed with the Run, and never changes what it returns.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from typing import Any

import torch

from preimage.engine.fit import Run
from preimage.engine.result import Result
from preimage.engine.step import Step
from preimage.errors import InputError
from preimage.figures.restoration import display_range, displayed
from preimage.images import Picture
from preimage.metrics import psnr
from preimage.series.tiles import Tiles

# The fit goes on to this many times its last step, where a reference is given, to see how good it could have been.
OVERRUN = 1.5
_LONGEST_SIDE = 480  # of a picture in a film


class Watched:
    """A Run itself, so that it can be checkpointed as one.

    Args:
        run: what is watched.
        picture: the input.
        reference: the truth, (b, c, h, w) in the input's 0..1, or None.
        strength: how much of the result is returned, the rest being the input.
        film_every: steps between pictures of the film; None for no film.
    """

    def __init__(
        self, run: Run, picture: Picture, *, reference: torch.Tensor | None, strength: float, film_every: int | None
    ) -> None:
        self.run_inside = run
        self.picture, self.reference, self.strength, self.film_every = picture, reference, strength, film_every
        self.task, self.identity, self.remarks = run.task, run.identity, run.remarks
        self.overrun = run.overrun if reference is None else OVERRUN
        run.overrun = self.overrun
        self.scores: list[tuple[int, float]] = []
        self.psnrs: list[tuple[int, float]] = []
        self.peaks: dict[int, tuple[float, int]] = {}  # of each page or tile the best PSNR so far, and its step
        self.frames: list[torch.Tensor] = []
        self.begun = False  # whether there is a result, if only of one step

    def __iter__(self) -> Iterator[Step]:
        for step in self.run_inside:
            if not self.begun:
                self._check(step)
                self.begun = True
            self._note(step)
            yield step

    def run(self) -> Result:
        for _ in self:
            pass
        return self.result()

    def result(self) -> Result:
        return self.run_inside.result()

    def state_dict(self) -> dict[str, Any]:
        """The state of the run, with one entry more: a checkpoint of the run alone can be resumed as well."""
        notes = {"scores": self.scores, "psnrs": self.psnrs, "peaks": self.peaks, "frames": self.frames}
        return {**self.run_inside.state_dict(), "notes": notes}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        notes = state.get("notes", {})
        self.scores = [tuple(pair) for pair in notes.get("scores", ())]
        self.psnrs = [tuple(pair) for pair in notes.get("psnrs", ())]
        self.peaks = {page: tuple(best) for page, best in notes.get("peaks", {}).items()}
        self.frames = list(notes.get("frames", ()))
        self.run_inside.load_state_dict({name: value for name, value in state.items() if name != "notes"})
        self.begun = bool(state.get("index", 1))

    @property
    def size(self) -> tuple[int, int]:
        return self.run_inside.size

    @property
    def rule(self) -> Any:
        return self.run_inside.rule

    @property
    def stands(self) -> bool:
        """Whether the result is final: every member has stopped by itself."""
        return bool(getattr(self.run_inside, "blind_finished", False))

    def film(self, image: torch.Tensor) -> list[torch.Tensor]:
        """The frames so far, and what is returned as the last."""
        return [*self.frames, self._frame(image[0])]

    @property
    def peak(self) -> tuple[float, int] | None:
        """The best PSNR of what would have been returned at any step, and that step; of several pages, for each has a stop
        of its own, the mean of the best of each, and the middle one of their steps; of tiles that of their mean error."""
        if not self.peaks:
            return None
        values, steps = zip(*self.peaks.values(), strict=True)
        if isinstance(self.run_inside, Tiles):  # those that are returned as given have no error of the fit's
            error = sum(10 ** (-value / 10) for value in values) / (len(values) + self.run_inside.not_fitted)
            return -10 * math.log10(error) if error else math.inf, statistics.median_low(steps)
        return statistics.fmean(values), statistics.median_low(steps)

    def returned(self, image: torch.Tensor) -> torch.Tensor:
        """What the user gets for a result of the fit, (b, c, h, w)."""
        image = image.cpu()
        return image if self.strength == 1 else torch.lerp(self.picture.tensor, image, self.strength)

    def _note(self, step: Step) -> None:
        # In a Frames one page is at hand, of Tiles one tile, and steps are counted from its own first one, as in its result.
        page: int | None = getattr(self.run_inside, "page", None)
        offset = getattr(self.run_inside, "offset", 0)
        index = step.index - offset
        if offset and index == 1:  # nothing joins the curves of two pages or tiles
            for curve in (self.scores, self.psnrs):
                curve += [(0, math.nan)] if curve else []
        if self.reference is not None:
            self._compare(step, index, page)
        if not step.blind:
            return
        score = rule_score(self.rule, index)
        if score is not None:
            self.scores.append((index, score))
        if self.film_every and not page and self._films(index):
            self.frames.append(self._frame(step.picture[0].cpu()))

    def _films(self, index: int) -> bool:
        """Whether a step is one for the film, which has no more frames of many tiles than of one."""
        assert self.film_every is not None
        run, every = self.run_inside, self.film_every
        if isinstance(run, Tiles):
            index, every = run.steps_before + index, every * len(run.order)
        return index % every == 0 or index == 1

    def _compare(self, step: Step, index: int, page: int | None) -> None:
        assert self.reference is not None
        run = self.run_inside
        if isinstance(run, Tiles):  # the tile alone: the whole picture at every step would take longer than the step
            given = run.cut(self.picture.tensor) if self.strength != 1 else None
            tile = run.tile_of(step)
            shown = tile if given is None else torch.lerp(given, tile, self.strength)
            value = float(psnr(shown.clamp(0, 1), run.cut(self.reference)))
            self._compared(index, {run.number: value})
            return
        pages = slice(None) if page is None else slice(page, page + 1)
        values = psnr(self.returned(step.picture)[pages].clamp(0, 1), self.reference[pages]).tolist()
        self._compared(index, dict(zip(range(len(self.reference))[pages], values, strict=True)))

    def _compared(self, index: int, values: dict[int, float]) -> None:
        self.psnrs.append((index, statistics.fmean(values.values())))
        for each, value in values.items():
            if value > self.peaks.get(each, (-math.inf, 0))[0]:
                self.peaks[each] = (value, index)

    def _frame(self, image: torch.Tensor) -> torch.Tensor:
        """(h, w, 3) uint8, of the first page, small enough for a film."""
        shrunk = image[None]
        longest = max(image.shape[-2:])
        if longest > _LONGEST_SIDE:
            shrunk = torch.nn.functional.interpolate(shrunk, scale_factor=_LONGEST_SIDE / longest, mode="area")
        shown = displayed(shrunk[0], display_range(self.picture))
        return torch.from_numpy(shown).mul(255).round().byte()

    def _check(self, step: Step) -> None:
        shape = tuple(step.picture.shape)
        given = tuple(self.picture.tensor.shape)
        if self.reference is not None and tuple(self.reference.shape) != shape:
            raise InputError(
                f"the reference is {size_in_words(tuple(self.reference.shape))}, the result {size_in_words(shape)}"
            )
        if self.strength != 1 and given != shape:
            raise InputError(
                f"--strength needs a result of the input's size: {size_in_words(given)} became {size_in_words(shape)}"
            )


def rule_score(rule: Any, index: int) -> float | None:
    """The number a rule decides by, the mean over members, where it has one that was worked out at this step."""
    for part in getattr(rule, "rules", (rule,)):  # of rules joined by |, the first that has a score
        scores = [score for score in getattr(part, "last_score", ()) if math.isfinite(score)]
        if scores and getattr(part, "name", "") != "steps" and index % getattr(part, "every", 1) == 0:
            return sum(scores) / len(scores)
    return None


def size_in_words(shape: tuple[int, ...]) -> str:
    """(b, c, h, w) for a message: "640 x 480 pixels, 3 channels, 12 pages"."""
    pages, channels, height, width = shape
    return f"{width} x {height} pixels, {channels} channels" + (f", {pages} pages" if pages > 1 else "")
