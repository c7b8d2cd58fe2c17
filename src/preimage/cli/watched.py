"""A Run with an observer: its Steps pass through, and what reports, figures and films need is noted on the way.

The observer is saved and resumed with the Run, and never changes what it returns.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from typing import Any

import torch

from preimage.engine.result import Result
from preimage.engine.run import Run
from preimage.engine.step import Step
from preimage.errors import InputError
from preimage.figures.restoration import display_range, displayed
from preimage.images import Picture
from preimage.observe import Curves, OraclePeak
from preimage.series.tiles import Tiles

# A copy of the fit goes on to this many times its last step, where a reference is given, to see how good it could have been.
LOOKAHEAD = 1.5
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
        self.task, self.fingerprint, self.remarks = run.task, run.fingerprint, run.remarks
        self.curves = Curves()
        self.oracle: OraclePeak | None = None
        if reference is not None:
            given = picture.tensor if strength != 1 else None
            self.oracle = OraclePeak(reference, lookahead=LOOKAHEAD, strength=strength, input=given)
        self.frames: list[torch.Tensor] = []
        self.begun = False  # whether there is a result, if only of one step

    def __iter__(self) -> Iterator[Step]:
        return self

    def __next__(self) -> Step:
        step = next(self.run_inside)
        if not self.begun:
            self._check(step)
            self.begun = True
        self._note(step)
        return step

    def run(self) -> Result:
        for _ in self:
            pass
        return self.result()

    def result(self) -> Result:
        return self.run_inside.result()

    def state_dict(self) -> dict[str, Any]:
        """The state of the run, with one entry more: a checkpoint of the run alone can be resumed as well."""
        notes = {"curves": self.curves.state_dict(), "frames": self.frames}
        if self.oracle is not None:
            notes["oracle"] = self.oracle.state_dict()
        return {**self.run_inside.state_dict(), "notes": notes}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        notes = state.get("notes", {})
        if "curves" in notes:
            self.curves.load_state_dict(notes["curves"])
        if self.oracle is not None and "oracle" in notes:
            self.oracle.load_state_dict(notes["oracle"])
        self.frames = list(notes.get("frames", ()))
        self.run_inside.load_state_dict({name: value for name, value in state.items() if name != "notes"})
        self.begun = bool(state.get("index", 1))

    @property
    def size(self) -> tuple[int, int]:
        return self.run_inside.size

    @property
    def current(self) -> Any:
        return self.run_inside.current

    @property
    def number(self) -> int:
        return self.run_inside.number

    def part(self, whole: torch.Tensor) -> torch.Tensor:
        return self.run_inside.part(whole)

    @property
    def finished(self) -> bool:
        """Whether the result is final: every member has stopped by itself."""
        return self.run_inside.finished

    @property
    def scores(self) -> list[tuple[int, float]]:
        return self.curves.score

    @property
    def psnrs(self) -> list[tuple[int, float]]:
        return [] if self.oracle is None else self.oracle.curve

    def film(self, image: torch.Tensor) -> list[torch.Tensor]:
        """The frames so far, and what is returned as the last."""
        return [*self.frames, self._frame(image[0])]

    @property
    def peak(self) -> tuple[float, int] | None:
        """The best PSNR of what would have been returned at any step, and that step; of several pages, for each has a stop
        of its own, the mean of the best of each, and the middle one of their steps; of tiles that of their mean error."""
        if self.oracle is None or not self.oracle.peaks:
            return None
        values, steps = zip(*self.oracle.peaks.values(), strict=True)
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
        index = step.index - getattr(self.run_inside, "offset", 0)
        self.curves.note(self.run_inside, step)
        if self.oracle is not None:
            self.oracle.note(self.run_inside, step)
        if self.film_every and not page and self._films(index):
            self.frames.append(self._frame(step.picture[0].cpu()))

    def _films(self, index: int) -> bool:
        """Whether a step is one for the film, which has no more frames of many tiles than of one."""
        assert self.film_every is not None
        run, every = self.run_inside, self.film_every
        if isinstance(run, Tiles):
            index, every = run.steps_before + index, every * len(run.order)
        return index % every == 0 or index == 1

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


def size_in_words(shape: tuple[int, ...]) -> str:
    """(b, c, h, w) for a message: "640 x 480 pixels, 3 channels, 12 pages"."""
    pages, channels, height, width = shape
    return f"{width} x {height} pixels, {channels} channels" + (f", {pages} pages" if pages > 1 else "")
