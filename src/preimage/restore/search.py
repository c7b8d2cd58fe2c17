"""The fits of a calibration: what recipe and number of steps are best on images whose truth is known.

    (recipe, n)* = argmax  mean over tuning images of  PSNR( x_n(recipe, y), x ),        y = Phi(x) + noise

This is what the authors of the deep image prior did by hand. Clean images x are known here and nowhere else; those that are
held out from the choice then tell what it is worth beside the task's default, which stops without knowing them.

Source: Ulyanov, Vedaldi, Lempitsky, Deep Image Prior, CVPR 2018, the talk: a fixed number of steps, tuned on a hold-out set
for each kind of noise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch

from preimage.engine.checkpoint import fingerprint
from preimage.engine.recipe import Recipe
from preimage.engine.run import Run
from preimage.engine.step import Step
from preimage.errors import InputError
from preimage.recipes import RecipeLike
from preimage.restore.calibrate import CalibrateOptions
from preimage.restore.calibration import Calibration, HeldOut, Tuned, differences, in_words
from preimage.restore.degradations import Degradation, Source, Specimen, read_degradation, specimens

RATES = (1.0, 0.5, 2.0)  # times the recipe's own
AVERAGES = (0.9, 0.95, 0.98)


@dataclass(frozen=True)
class Trial:
    """One step of one of the fits.

    Args:
        index, total: of all steps of all fits; a fit that stops early leaves its last numbers out.
        number, fits: which of how many fits, from 1.
        what: the fit in words: "rate 0.04, a.png".
        step: the fit's own.
    """

    index: int
    total: int
    number: int
    fits: int
    what: str
    step: Step

    @property
    def status(self) -> str:
        """A few words for a progress line."""
        return f"fit {self.number} of {self.fits}: {self.what}"


class Search:
    """The Run of a calibration: an iterator of Trials that its caller loops over; left early, it can go on.

    Nothing is fitted before it is iterated. `next` after a pause goes on in the fit at hand; a state that is saved in the midst
    of a fit begins this one anew when it is loaded.

    Example:
        >>> from preimage.recipes import recipe
        >>> options = {"degradation": "gaussian:25", "side": 16, "device": "cpu"}
        >>> search = Search("clean", CalibrateOptions(recipe=recipe("fast", steps=2), **options))
        >>> trial = next(search)
        >>> trial.index, trial.status
        (1, 'fit 1 of 12: as it is, 1.png')

    Args:
        images: clean ones, two or more: a folder, or a sequence of arrays, tensors, PIL images and paths.
        options: the degradation names the task, too; the recipe is what is varied, and, stopped by its own rule, what the
            choice is compared with.

    Raises:
        InputError: an unknown degradation, fewer than two images, one that cannot be read or is too small, or a recipe.
    """

    task = "calibrate"
    remarks: tuple[str, ...] = ()

    def __init__(self, images: str | Path | Sequence[Source], options: CalibrateOptions) -> None:
        self.degradation: Degradation = read_degradation(options.degradation)
        self.seed: int = options.seed
        self.device: str | torch.device = options.device
        self.side: int = options.side
        chosen = specimens(images, self.degradation, side=options.side, limit=options.limit, seed=options.seed)
        count = min(len(chosen) - 1, max(1, round(options.held_out * len(chosen))))
        # They come in random order; reports have that of their names.
        self.held_out: list[Specimen] = sorted(chosen[:count], key=lambda specimen: specimen.name)
        self.tuning: list[Specimen] = sorted(chosen[count:], key=lambda specimen: specimen.name)
        self.default: RecipeLike = options.recipe
        # A named recipe is adapted to the image.
        self.base: Recipe = self._start(self.default, self.tuning[0]).current.recipe
        given = neighbors(self.base) if options.candidates is None else tuple(options.candidates)
        if not given:
            raise InputError("candidates must be at least one recipe, got none", code="option")
        self.candidates: tuple[Recipe, ...] = tuple(
            replace(each, stop="steps", steps=each.steps if options.steps is None else options.steps) for each in given
        )
        for candidate in self.candidates:  # what cannot be is said before any fit
            self._start(candidate, self.tuning[0])
        self.curves: dict[tuple[int, int], list[float]] = {}
        self.compared: dict[int, HeldOut] = {}
        self._trials: Iterator[Trial] | None = None
        self._last: int = 0  # the number of the last step

    # ------------------------------------------------------------------ a Run

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What identifies the job: the degraded images, and all recipes."""
        return {
            "degradation": self.degradation.name,
            "seed": self.seed,
            "side": self.side,
            "recipe": self.base.describe(),
            "candidates": [each.describe() for each in self.candidates],
            "tuning": [fingerprint(each.given.tensor) for each in self.tuning],
            "held_out": [fingerprint(each.given.tensor) for each in self.held_out],
        }

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the crops."""
        return self.side, self.side

    @property
    def current(self) -> Self:
        """Itself: it is one Run of many fits, and no image is its result."""
        return self

    @property
    def finished(self) -> bool:
        """Whether all fits are done."""
        return len(self.compared) == len(self.held_out)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Trial:
        if self._trials is None:
            self._trials = self._iterated()
        return next(self._trials)

    def run(self) -> Calibration:
        """Iterate to the end and return what was found."""
        for _ in self:
            pass
        return self.result()

    def result(self) -> Calibration:
        """What was found.

        Raises:
            InputError: not all fits are done.
        """
        if not self.finished:
            raise InputError("the calibration is not complete: iterate it to its end, or call run()")
        candidates = range(len(self.candidates))
        k, _ = self._choice()
        return Calibration(
            degradation=self.degradation,
            recipe=self._chosen_recipe(),
            candidate=k,
            settings=self._settings(k),
            curves=tuple(tuple(self._mean(k).tolist()) for k in candidates),
            table=tuple(self._row(k, i) for k in candidates for i in range(len(self.tuning))),
            held_out=tuple(self.compared[i] for i in range(len(self.held_out))),
            seed=self.seed,
        )

    def state_dict(self) -> dict[str, Any]:
        """The fits that are done."""
        return {
            "curves": [[k, i, list(curve)] for (k, i), curve in self.curves.items()],
            "compared": [[i, asdict(row)] for i, row in self.compared.items()],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after the fits that were done then."""
        self.curves = {(k, i): list(curve) for k, i, curve in state["curves"]}
        self.compared = {i: HeldOut(**row) for i, row in state["compared"]}
        self._trials = None

    # ------------------------------------------------------------------ the fits

    def _start(self, recipe: RecipeLike, specimen: Specimen) -> Run:
        return self.degradation.start(specimen, recipe, seed=self.seed, device=self.device)

    def _iterated(self) -> Iterator[Trial]:
        for k in range(len(self.candidates)):
            for i in range(len(self.tuning)):
                if (k, i) not in self.curves:
                    yield from self._tune(k, i)
        for i in range(len(self.held_out)):
            if i not in self.compared:
                yield from self._compare(i)

    def _tune(self, k: int, i: int) -> Iterator[Trial]:
        specimen, curve = self.tuning[i], []
        what = f"{in_words(self._settings(k))}, {specimen.name}"
        for trial in self._trials_of(k * len(self.tuning) + i, what, self._start(self.candidates[k], specimen)):
            curve.append(specimen.psnr(trial.step.picture))
            yield trial
        # A fit that gave up would return its last image at any later step.
        self.curves[k, i] = curve + curve[-1:] * (self.candidates[k].steps - len(curve))

    def _compare(self, i: int) -> Iterator[Trial]:
        specimen = self.held_out[i]
        number = len(self.candidates) * len(self.tuning) + 2 * i
        found: list[tuple[float, float, int]] = []
        for what, recipe in (("the choice", self._chosen_recipe()), ("the default", self.default)):
            fit = self._start(recipe, specimen)
            yield from self._trials_of(number + len(found), f"{what}, {specimen.name}", fit)
            result = fit.result()
            found.append((specimen.psnr(result.image), result.seconds, result.steps))
        (chosen, seconds, _), (default, default_seconds, steps) = found
        self.compared[i] = HeldOut(specimen.name, chosen, default, steps, seconds, default_seconds)

    def _trials_of(self, number: int, what: str, run: Run) -> Iterator[Trial]:
        """The steps of a fit, counted on from those before it: each has as many numbers as it may have steps."""
        tried = [each.steps for each in self.candidates for _ in self.tuning]
        counts = tried + [max(tried), self.base.steps] * len(self.held_out)
        # A recipe that is adapted to each image may have more steps for this one.
        counts[number] = max(counts[number], run.current.recipe.steps)
        before = max(sum(counts[:number]), self._last)
        for step in run:
            self._last = before + step.index
            yield Trial(self._last, before + sum(counts[number:]), number + 1, len(counts), what, step)

    # ------------------------------------------------------------------ the choice

    def _mean(self, k: int) -> torch.Tensor:
        """(steps,) dB, the mean over the tuning images; -inf where one diverged."""
        curves = torch.tensor([self.curves[k, i] for i in range(len(self.tuning))], dtype=torch.float64)
        return curves.mean(0).nan_to_num(nan=-math.inf, posinf=math.inf, neginf=-math.inf)

    def _choice(self) -> tuple[int, int]:
        """The candidate, from 0, and its number of steps; of equal ones the first."""
        means = [self._mean(k) for k in range(len(self.candidates))]
        k = max(range(len(means)), key=lambda k: float(means[k].max()))
        return k, int(means[k].argmax()) + 1

    def _chosen_recipe(self) -> Recipe:
        k, steps = self._choice()
        return replace(self.candidates[k], steps=steps)

    def _row(self, k: int, i: int) -> Tuned:
        curve = self.curves[k, i]
        step, best = int(self._mean(k).argmax()) + 1, max(curve)
        return Tuned(k, self._settings(k), self.tuning[i].name, step, curve[step - 1], curve.index(best) + 1, best)

    def _settings(self, k: int) -> dict[str, Any]:
        """What a candidate changes, but for its steps."""
        candidate = self.candidates[k]
        return differences(candidate, replace(self.base, steps=candidate.steps, stop=candidate.stop))


def neighbors(recipe: Recipe) -> tuple[Recipe, ...]:
    """The recipe, and others that differ from it in one setting: half and twice its rate, and other averages.

    Example:
        >>> from preimage.engine.recipe import Recipe
        >>> [(each.rate, each.averaging) for each in neighbors(Recipe(rate=0.02, averaging=0.95))]
        [(0.02, 0.95), (0.01, 0.95), (0.04, 0.95), (0.02, 0.9), (0.02, 0.98)]
    """
    rates = [replace(recipe, rate=factor * recipe.rate) for factor in RATES]
    return (*rates, *(replace(recipe, averaging=each) for each in AVERAGES if each != recipe.averaging))
