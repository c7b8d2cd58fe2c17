"""Calibration: which recipe and number of steps a search found best, what that is worth, and the file that hands it on."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from preimage.engine.recipe import Recipe
from preimage.errors import InputError
from preimage.images import write_bytes_atomically
from preimage.recipes import read_recipe
from preimage.restore.degradations import Degradation


@dataclass(frozen=True)
class Tuned:
    """One candidate on one tuning picture: PSNR in dB at the candidate's best step for all of them, and at the picture's."""

    candidate: int  # from 0
    settings: dict[str, Any]  # what the candidate changes, but for its steps
    picture: str
    step: int
    psnr: float
    best_step: int
    best_psnr: float


@dataclass(frozen=True)
class HeldOut:
    """One picture that had no part in the choice: PSNR in dB of the choice, and of the default that stops by itself."""

    picture: str
    chosen: float
    default: float
    default_steps: int
    seconds: float = field(compare=False)
    default_seconds: float = field(compare=False)


@dataclass(frozen=True)
class Calibration:
    """What was found.

    Example:
        >>> from preimage.restore.calibrate import calibrate
        >>> thin = Recipe(network=SkipNet.Config((8,), (8,), (2,)), steps=2)
        >>> search = calibrate("clean", degradation="gaussian:25", recipe=thin, candidates=[thin], device="cpu")
        >>> calibration = search.run()
        >>> calibration.recipe.steps, calibration.settings, len(calibration.held_out)
        (2, {}, 1)

    Args:
        degradation: what it holds for, and the task.
        recipe: the choice; it does its steps and stops (stop="steps").
        candidate, settings: which it was, from 0, and what that one changes besides steps: {"rate": 0.04}, say.
        curves: of each candidate the mean PSNR in dB over the tuning images, step by step.
        table: one row for each candidate and tuning picture.
        held_out: one row for each picture that was held out.
        seed: of which these are, the noise and all fits.
    """

    degradation: Degradation
    recipe: Recipe
    candidate: int
    settings: dict[str, Any]
    curves: tuple[tuple[float, ...], ...]
    table: tuple[Tuned, ...]
    held_out: tuple[HeldOut, ...]
    seed: int

    @property
    def chosen(self) -> float:
        """PSNR in dB of the choice, the mean over the held-out images."""
        return statistics.fmean(row.chosen for row in self.held_out)

    @property
    def default(self) -> float:
        """The same of the default, which stops without knowing the truth."""
        return statistics.fmean(row.default for row in self.held_out)

    @property
    def gain(self) -> float:
        """dB by which the choice is better than the default on the held-out images; below 0: worse."""
        return self.chosen - self.default

    @property
    def remarks(self) -> tuple[str, ...]:
        """What its user should know before using it, in plain sentences."""
        said = []
        if self.gain < 0:
            said.append(
                f"warning: on the held-out images the choice is {-self.gain:.2f} dB worse than the default, "
                "which should be kept"
            )
        if self.recipe.steps == len(self.curves[self.candidate]):
            said.append("the best step is the last that was tried: with more steps it might be better still")
        return tuple(said)

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the recipe as JSON, whole or not at all; every task takes it with --recipe FILE.

        Example:
            >>> from preimage.restore.calibrate import calibrate
            >>> thin = Recipe(network=SkipNet.Config((8,), (8,), (2,)), steps=1)
            >>> search = calibrate("clean", degradation="gaussian:25", recipe=thin, candidates=[thin], device="cpu")
            >>> search.run().save("recipe.json").name
            'recipe.json'

        Raises:
            InputError: a place that cannot be written to, or a recipe with functions of its own, which no file holds.
        """
        described = self.recipe.describe()
        if not _can_be_read(described, self.recipe):
            raise InputError(
                "this recipe has functions of its own, which no file can hold: keep it in Python", code="format"
            )
        return write_bytes_atomically(path, f"{json.dumps(described, indent=2)}\n".encode(), overwrite=overwrite)

    def summary_lines(self) -> list[str]:
        """What was tried, what is best, and what that is worth, for people."""
        settings = {row.candidate: row.settings for row in self.table}
        names = [in_words(settings[k]) + " (chosen)" * (k == self.candidate) for k in range(len(self.curves))]
        width = max(map(len, names))
        best = [max(curve) for curve in self.curves]
        rows = [
            f"{name:{width}}   {value:8.2f}   {curve.index(value) + 1:9d}"
            for name, value, curve in zip(names, best, self.curves, strict=True)
        ]
        count, gain = len(self.held_out), self.gain
        flags = f" {self.degradation.flags}" if self.degradation.flags else ""
        return [
            f"{'':{width}}   PSNR, dB   best step",
            *rows,
            f"on {count} held-out image{'s' if count > 1 else ''}: {self.chosen:.2f} dB, {abs(gain):.2f} dB "
            f"{'worse' if gain < 0 else 'better'} than the default that stops by itself ({self.default:.2f} dB)",
            *self.remarks,
            f"use it: preimage {self.degradation.task} INPUT{flags} --recipe FILE.json",
        ]

    def report(self) -> dict[str, Any]:
        """All that was measured, as plain data for JSON, which knows no infinity: null."""
        return {
            "degradation": self.degradation.name,
            "task": self.degradation.task,
            "seed": self.seed,
            "recipe": self.recipe.describe(),
            "settings": self.settings,
            "steps": self.recipe.steps,
            "tuning": [_plain(asdict(row)) for row in self.table],
            "held_out": [_plain(asdict(row)) for row in self.held_out],
            **_plain({"chosen": self.chosen, "default": self.default, "gain": self.gain}),
            "curves": [[value if math.isfinite(value) else None for value in curve] for curve in self.curves],
            "remarks": list(self.remarks),
        }


def differences(recipe: Recipe, base: Recipe) -> dict[str, Any]:
    """What a recipe changes in another, as plain data.

    Example:
        >>> from preimage.engine.recipe import Recipe
        >>> differences(Recipe(rate=0.04), Recipe())
        {'rate': 0.04}
    """
    new, old = recipe.describe(), base.describe()
    return {name: value for name, value in new.items() if value != old[name]}


def in_words(settings: dict[str, Any]) -> str:
    """What a candidate changes: "rate 0.04", or "as it is".

    Example:
        >>> in_words({"rate": 0.04, "averaging": 0.9})
        'rate 0.04, averaging 0.9'
    """
    return ", ".join(f"{name} {value}" for name, value in settings.items()) or "as it is"


def _can_be_read(described: dict[str, Any], recipe: Recipe) -> bool:
    try:
        return read_recipe(described, Recipe()) == recipe
    except InputError:
        return False


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
