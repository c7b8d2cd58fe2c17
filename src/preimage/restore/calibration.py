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
        >>> calibration.recipe.steps, calibration.settings, round(calibration.gain, 2)      # doctest: +SKIP
        (236, {'averaging': 0.98}, 0.14)

    Args:
        degradation: what it holds for, and the task.
        recipe: the choice; it does its steps and stops (stop="steps").
        candidate, settings: which it was, from 0, and what that one changes besides steps: {"rate": 0.04}, say.
        curves: of each candidate the mean PSNR in dB over the tuning pictures, step by step.
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
        """PSNR in dB of the choice, the mean over the held-out pictures."""
        return statistics.fmean(row.chosen for row in self.held_out)

    @property
    def default(self) -> float:
        """The same of the default, which stops without knowing the truth."""
        return statistics.fmean(row.default for row in self.held_out)

    @property
    def gain(self) -> float:
        """dB by which the choice is better than the default on the held-out pictures; below 0: worse."""
        return self.chosen - self.default

    @property
    def remarks(self) -> tuple[str, ...]:
        """What its user should know before using it, in plain sentences."""
        said = []
        if self.gain < 0:
            said.append(
                f"warning: on the held-out pictures the choice is {-self.gain:.2f} dB worse than the default, "
                "which should be kept"
            )
        if self.recipe.steps == len(self.curves[self.candidate]):
            said.append("the best step is the last that was tried: with more steps it might be better still")
        return tuple(said)

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the recipe as JSON, whole or not at all; every task takes it with --recipe FILE.

        Example:
            >>> calibration.save("recipe.json")                                              # doctest: +SKIP
            PosixPath('recipe.json')

        Raises:
            InputError: a place that cannot be written to, or a recipe with functions of its own, which no file holds.
        """
        described = self.recipe.describe()
        if not _can_be_read(described, self.recipe):
            raise InputError("this recipe has functions of its own, which no file can hold: keep it in Python")
        return write_bytes_atomically(path, f"{json.dumps(described, indent=2)}\n".encode(), overwrite=overwrite)

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
        >>> differences(replace(FAST, rate=0.04), FAST)
        {'rate': 0.04}
    """
    new, old = recipe.describe(), base.describe()
    return {name: value for name, value in new.items() if value != old[name]}


def _can_be_read(described: dict[str, Any], recipe: Recipe) -> bool:
    try:
        return read_recipe(described, Recipe()) == recipe
    except InputError:
        return False


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
