"""The threshold of an inspection: a score that few clean pictures exceed, and whose it is, as a file that can be read again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from torch import nn

from preimage.defend.checks import fingerprint_of
from preimage.defend.inspection import false_alarm_threshold
from preimage.engine.recipe import Recipe
from preimage.errors import InputError
from preimage.images import write_bytes_atomically
from preimage.version import __version__

FORMAT, VERSION = "preimage thresholds", 1
FALSE_ALARMS = 0.05


@dataclass(frozen=True)
class Threshold:
    """A score above which a picture is suspicious, to one classifier and under one purification.

    Example:
        >>> threshold = Threshold.of(scores, model, FAST)
        >>> threshold.save("thresholds.json")
        >>> Threshold.read("thresholds.json").checked(model, FAST).value
        0.31

    Args:
        value: the score; `false_alarms`: the share of clean pictures that may exceed it.
        pictures: how many clean pictures told it.
        classifier: the fingerprint of the classifier.
        recipe, every: of the purification, as plain data, and the steps between two looks (None: twelve looks), both as they
            were given: where steps go by the size of a picture, one threshold serves all sizes.
        scores: those of the clean pictures.
    """

    value: float
    false_alarms: float
    pictures: int
    classifier: str
    recipe: dict[str, Any]
    every: int | None
    scores: tuple[float, ...] = ()

    @classmethod
    def of(
        cls,
        scores: Sequence[float],
        model: nn.Module,
        recipe: Recipe,
        every: int | None = None,
        false_alarms: float = FALSE_ALARMS,
    ) -> Threshold:
        """The threshold that the scores of clean pictures tell."""
        return cls(
            value=false_alarm_threshold(scores, false_alarms),
            false_alarms=false_alarms,
            pictures=len(scores),
            classifier=fingerprint_of(model),
            recipe=recipe.describe(),
            every=every,
            scores=tuple(scores),
        )

    @property
    def promises(self) -> bool:
        """Whether there were enough pictures for the share of false alarms to be kept."""
        return (self.pictures + 1) * self.false_alarms >= 1 - 1e-9

    def exceeded_by(self, score: float) -> bool:
        """Whether a picture of this score is suspicious."""
        return score > self.value

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write it as JSON, whole or not at all."""
        held = {"format": FORMAT, "version": VERSION, "written_by": __version__, **asdict(self)}
        content = json.dumps(held, indent=2, allow_nan=False)
        return write_bytes_atomically(path, f"{content}\n".encode(), overwrite=overwrite)

    @classmethod
    def read(cls, path: str | Path) -> Threshold:
        """What `save` wrote.

        Raises:
            InputError: a file that is not there, is something else, or of a later version.
        """
        way = f"`preimage inspect --calibrate FOLDER --classifier ... -o {path}` makes one"
        try:
            held = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}): {way}") from error
        except ValueError as error:
            raise InputError(f"{path} is no file of thresholds: {way}") from error
        if not isinstance(held, dict) or held.get("format") != FORMAT:
            raise InputError(f"{path} is no file of thresholds: {way}")
        if held.get("version") != VERSION:
            raise InputError(
                f"{path} was written by preimage {held.get('written_by')}, with another version of the format: {way}"
            )
        try:
            values = {field.name: held[field.name] for field in fields(cls)}
            return cls(**values | {"value": float(held["value"]), "scores": tuple(map(float, held["scores"]))})
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} is no whole file of thresholds ({error}): {way}") from error

    def checked(self, model: nn.Module, recipe: Recipe, every: int | None = None) -> Threshold:
        """Itself, if it is of this classifier and this purification.

        Raises:
            InputError: it is of another one.
        """
        if self.classifier != fingerprint_of(model):
            raise InputError(
                "the threshold is of another classifier: calibrate anew, preimage inspect --calibrate FOLDER --classifier ..."
            )
        own = json.loads(json.dumps(recipe.describe()))
        for name in sorted(own.keys() | self.recipe.keys()):
            if own.get(name) != self.recipe.get(name):
                raise InputError(
                    f"the threshold is of a recipe with {name} {self.recipe.get(name)}, not {own.get(name)}: inspect with that "
                    "recipe, or calibrate anew"
                )
        if every != self.every:
            way = "leave --every out" if self.every is None else f"give every {self.every}"
            raise InputError(f"the threshold is of {_looks(self.every)}, not {_looks(every)}: {way}")
        return self


def _looks(every: int | None) -> str:
    return "twelve looks" if every is None else f"a look every {every} steps"
