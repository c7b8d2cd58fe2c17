"""Calibrate a task: the recipe and the number of steps that work best on pictures like one's own, for one degradation.

    (recipe, n)* = argmax  mean over tuning pictures of  PSNR( x_n(recipe, y), x ),        y = Phi(x) + noise

This is what the authors of the deep image prior did by hand. Clean pictures x are known here and nowhere else; those that are
held out from the choice then tell what it is worth beside the task's default, which stops without knowing them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from preimage.engine.fit import Fit
from preimage.engine.recipe import Recipe
from preimage.engine.step import Step
from preimage.errors import InputError
from preimage.networks import SkipNet
from preimage.restore.calibration import Calibration, HeldOut, Tuned, differences
from preimage.restore.degradations import Source, Specimen, read_degradation, specimens

RATES = (1.0, 0.5, 2.0)  # times the recipe's own
AVERAGES = (0.9, 0.95, 0.98)


def calibrate(
    pictures: str | Path | Sequence[Source],
    degradation: str,
    *,
    recipe: Recipe | None = None,
    steps: int | None = None,
    candidates: Sequence[Recipe] | None = None,
    held_out: float = 1 / 3,
    side: int = 192,
    limit: int | None = None,
    seed: int = 0,
    device: str | torch.device = "auto",
) -> Calibration:
    """Find the recipe and the number of steps that restore pictures like these best, and what that is worth.

    Example:
        >>> calibration = calibrate("clean/", "gaussian:25", limit=6)
        >>> calibration.recipe.steps, calibration.gain
        >>> calibration.save("recipe.json")  # preimage denoise photo.png --recipe recipe.json

    Args: those of Search.

    Raises:
        InputError: an unknown degradation, fewer than two pictures, one that cannot be read or is too small, or an option.

    Source: Ulyanov, Vedaldi, Lempitsky, Deep Image Prior, CVPR 2018, the talk: a fixed number of steps, tuned on a hold-out
    set for each kind of noise.
    """
    return Search(
        pictures,
        degradation,
        recipe=recipe,
        steps=steps,
        candidates=candidates,
        held_out=held_out,
        side=side,
        limit=limit,
        seed=seed,
        device=device,
    ).run()


@dataclass(frozen=True)
class Trial:
    """One fit of a calibration: which of how many, from 1, and of what, in words."""

    number: int
    total: int
    what: str


class Search:
    """The fits of a calibration, as an iterator of (Trial, Step) that its caller loops over; left early, it can go on.

    Example:
        >>> search = Search("clean/", "gaussian:25")
        >>> for trial, step in search:  # a progress bar and cancelling are bodies of this loop
        ...     print(trial.number, trial.total, trial.what, step.index)
        >>> calibration = search.result()

    All pictures are read, spoiled and tried with every candidate when it is made; nothing is fitted before it is iterated.

    Args:
        pictures: clean ones, two or more: a folder, or a sequence of arrays, tensors, PIL images and paths.
        degradation: what they suffer, which also names the task: gaussian:25, poisson:30, speckle:0.2, impulse:0.3, jpeg:20,
            downsample:4, missing:0.5, blur:1.6 (with noise of 0.01) or blur:15,30; see `read_degradation`.
        recipe: what is varied, and, stopped by its own rule, what the choice is held against; the task's FAST if None.
        steps: the most that are tried; those of the recipe, or of each candidate, if None.
        candidates: recipes to choose from; those of `neighbors` if None.
        held_out: share of the pictures that have no part in the choice; at least one picture has, and one has not.
        side: central pixels a side that are taken of each picture.
        limit: the most pictures that are taken, chosen at random.
        seed: of which pictures these are, the noise and all fits.
        device: "auto", "cpu", "cuda", "mps".

    Raises:
        InputError: as `calibrate`.
    """

    def __init__(
        self,
        pictures: str | Path | Sequence[Source],
        degradation: str,
        *,
        recipe: Recipe | None = None,
        steps: int | None = None,
        candidates: Sequence[Recipe] | None = None,
        held_out: float = 1 / 3,
        side: int = 192,
        limit: int | None = None,
        seed: int = 0,
        device: str | torch.device = "auto",
    ) -> None:
        if not 0 < held_out < 1:
            raise InputError(f"held_out must be a share above 0 and below 1, got {held_out}")
        self.degradation = read_degradation(degradation)
        self.seed, self.device = seed, device
        chosen = specimens(pictures, self.degradation, side=side, limit=limit, seed=seed)
        count = min(len(chosen) - 1, max(1, round(held_out * len(chosen))))
        # They come in random order; reports have that of their names.
        self.held_out, self.tuning = (
            sorted(part, key=lambda specimen: specimen.name) for part in (chosen[:count], chosen[count:])
        )
        self.default = recipe or self.degradation.module.FAST
        self.base = self._start(self.default, self.tuning[0]).recipe  # a task may suit its default to the picture
        given = neighbors(self.base) if candidates is None else tuple(candidates)
        if not given:
            raise InputError("candidates must be at least one recipe, got none")
        self.candidates = tuple(
            self._kept(replace(each, stop="steps", steps=each.steps if steps is None else steps)) for each in given
        )
        self._curves: dict[tuple[int, int], list[float]] = {}
        self._compared: dict[int, HeldOut] = {}

    def __iter__(self) -> Iterator[tuple[Trial, Step]]:
        tuning, held_out = len(self.tuning), len(self.held_out)
        before, total = len(self.candidates) * tuning, len(self.candidates) * tuning + 2 * held_out
        for k in range(len(self.candidates)):
            for i, specimen in enumerate(self.tuning):
                if (k, i) not in self._curves:
                    what = f"{in_words(self._settings(k))}, {specimen.name}"
                    yield from self._tune(Trial(k * tuning + i + 1, total, what), k, i)
        for i in range(held_out):
            if i not in self._compared:
                yield from self._compare(before + 2 * i + 1, total, i)

    @property
    def finished(self) -> bool:
        """Whether all fits are done."""
        return len(self._compared) == len(self.held_out)

    def run(self) -> Calibration:
        """Iterate to the end and return what was found."""
        for _ in self:
            pass
        return self.result()

    def result(self) -> Calibration:
        """What was found; an InputError before all fits are done."""
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
            held_out=tuple(self._compared[i] for i in range(len(self.held_out))),
            seed=self.seed,
        )

    # ------------------------------------------------------------------ the fits

    def _start(self, recipe: Recipe, specimen: Specimen) -> Fit:
        return self.degradation.start(specimen, recipe, seed=self.seed, device=self.device)

    def _tune(self, trial: Trial, k: int, i: int) -> Iterator[tuple[Trial, Step]]:
        curve: list[float] = []
        for step in self._start(self.candidates[k], self.tuning[i]):
            curve.append(self.tuning[i].psnr(step.picture))
            yield trial, step
        # A fit that gave up would return its last picture at any later step.
        self._curves[k, i] = curve + curve[-1:] * (self.candidates[k].steps - len(curve))

    def _compare(self, number: int, total: int, i: int) -> Iterator[tuple[Trial, Step]]:
        specimen = self.held_out[i]
        found: list[tuple[float, float, int]] = []
        for what, recipe in (("the choice", self._chosen_recipe()), ("the default", self.default)):
            trial = Trial(number + len(found), total, f"{what}, {specimen.name}")
            fit = self._start(recipe, specimen)
            for step in fit:
                yield trial, step
            result = fit.result()
            found.append((specimen.psnr(result.image), result.seconds, result.steps))
        (chosen, seconds, _), (default, default_seconds, steps) = found
        self._compared[i] = HeldOut(specimen.name, chosen, default, steps, seconds, default_seconds)

    # ------------------------------------------------------------------ the choice

    def _mean(self, k: int) -> torch.Tensor:
        """(steps,) dB, the mean over the tuning pictures; -inf where one was no picture at all, for it had diverged."""
        curves = torch.tensor([self._curves[k, i] for i in range(len(self.tuning))], dtype=torch.float64)
        return curves.mean(0).nan_to_num(nan=-math.inf, posinf=math.inf, neginf=-math.inf)

    def _choice(self) -> tuple[int, int]:
        """The candidate, from 0, and its number of steps; of equal ones the first."""
        means = [self._mean(k) for k in range(len(self.candidates))]
        k = max(range(len(means)), key=lambda k: float(means[k].max()))
        return k, int(means[k].argmax()) + 1

    def _chosen_recipe(self) -> Recipe:
        k, steps = self._choice()
        return self._kept(replace(self.candidates[k], steps=steps))

    def _row(self, k: int, i: int) -> Tuned:
        curve = self._curves[k, i]
        step, best = int(self._mean(k).argmax()) + 1, max(curve)
        return Tuned(k, self._settings(k), self.tuning[i].name, step, curve[step - 1], curve.index(best) + 1, best)

    def _settings(self, k: int) -> dict[str, Any]:
        """What a candidate changes, but for its steps."""
        candidate, base = (replace(r, network=spelled_out(r.network)) for r in (self.candidates[k], self.base))
        return differences(candidate, replace(base, steps=candidate.steps, stop=candidate.stop))

    def _kept(self, recipe: Recipe) -> Recipe:
        """The recipe in words that the task takes as they are.

        A recipe with the network of a task's default is taken for that default with something changed, and what it does not
        change is suited to the picture (`start.variant`). The same network in other words stands for itself.
        """
        for each in (recipe, replace(recipe, network=spelled_out(recipe.network))):
            if self._start(each, self.tuning[0]).recipe == each:
                return each
        raise InputError(f"{self.degradation.task} changes this recipe to suit the picture: give it another network")


def neighbors(recipe: Recipe) -> tuple[Recipe, ...]:
    """The recipe, and others that differ from it in one setting: half and twice its rate, and other averages.

    Example:
        >>> [(each.rate, each.averaging) for each in neighbors(FAST)]
        [(0.02, 0.95), (0.01, 0.95), (0.04, 0.95), (0.02, 0.9), (0.02, 0.98)]
    """
    rates = [replace(recipe, rate=factor * recipe.rate) for factor in RATES]
    return (*rates, *(replace(recipe, averaging=each) for each in AVERAGES if each != recipe.averaging))


def spelled_out(network: Any) -> Any:
    """The same network, a SkipNet.Config with its kernel size said for each level; any other as it is.

    Example:
        >>> spelled_out(SkipNet.Config()).down_kernel
        (3, 3, 3, 3, 3)
    """
    if not isinstance(network, SkipNet.Config) or isinstance(network.down_kernel, tuple):
        return network
    return replace(network, down_kernel=(network.down_kernel,) * len(network.down))


def in_words(settings: dict[str, Any]) -> str:
    """What a candidate changes: "rate 0.04", or "as it is".

    Example:
        >>> in_words({"rate": 0.04, "averaging": 0.9})
        'rate 0.04, averaging 0.9'
    """
    return ", ".join(f"{name} {value}" for name, value in settings.items()) or "as it is"
