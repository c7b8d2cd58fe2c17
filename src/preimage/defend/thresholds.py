"""The threshold of an inspection: a score that few unattacked images exceed, of one classifier and recipe, as a JSON file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from torch import nn

from preimage.defend.inspection import false_alarm_threshold
from preimage.defend.purification import as_given
from preimage.defend.users_model import fingerprint_of
from preimage.differences import first_difference
from preimage.errors import InputError
from preimage.images import write_bytes_atomically
from preimage.images.files import read_text
from preimage.recipes import RecipeLike
from preimage.version import __version__

KIND, FORMAT = "preimage thresholds", 2
FALSE_ALARMS = 0.05


@dataclass(frozen=True)
class Threshold:
    """A score above which an image is suspicious, for one classifier and one purification.

    Example:
        >>> from torch.nn import Flatten
        >>> threshold = Threshold.of([0.1, 0.3, 0.2], Flatten(), "fast")
        >>> threshold.checked(Flatten(), "fast").value, threshold.exceeded_by(0.31)
        (0.3, True)

    Recipe and `every` are as given: where the number of steps depends on the image's size, one threshold serves all sizes.
    """

    value: float  # the score
    false_alarms: float  # the share of unattacked images that may exceed it
    images: int  # how many unattacked images it was calibrated on
    classifier: str  # its fingerprint
    recipe: dict[str, Any]  # of the purification, as plain data
    every: int | None  # steps between two classified outputs; None: twelve outputs
    scores: tuple[float, ...] = ()  # of the unattacked images

    @classmethod
    def of(cls, scores: Sequence[float], model: nn.Module, recipe: RecipeLike, every: int | None = None) -> Threshold:
        """The threshold that is calibrated on the scores of unattacked images."""
        value, mark = false_alarm_threshold(scores, FALSE_ALARMS), fingerprint_of(model)
        return cls(value, FALSE_ALARMS, len(scores), mark, _plain(recipe), every, tuple(scores))

    @property
    def guaranteed(self) -> bool:
        """Whether there were enough images to guarantee the share of false alarms."""
        return (self.images + 1) * self.false_alarms >= 1 - 1e-9

    def exceeded_by(self, score: float) -> bool:
        """Whether an image of this score is suspicious."""
        return score > self.value

    def report(self) -> dict[str, Any]:
        """Threshold and scores as plain data."""
        own = {"images": self.images, "threshold": self.value, "false_alarms": self.false_alarms}
        return {**own, "scores": list(self.scores)}

    def summary_lines(self) -> list[str]:
        """The threshold and what it guarantees, for people."""
        share = f"{self.false_alarms:.0%}"
        lines = [
            f"{self.images} unattacked images",
            f"threshold {self.value:.3f}: about {share} of such images exceed it",
        ]
        return lines if self.guaranteed else [*lines, f"it takes 19 images to guarantee {share}: more may exceed it"]

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write it as JSON, whole or not at all."""
        held = {"kind": KIND, "format": FORMAT, "written_by": __version__, **asdict(self)}
        content = json.dumps(held, indent=2, allow_nan=False)
        return write_bytes_atomically(path, f"{content}\n".encode(), overwrite=overwrite)

    @classmethod
    def read(cls, path: str | Path) -> Threshold:
        """What `save` wrote; a file that does not exist, is something else, or has another format number is an InputError."""
        way = f"`preimage inspect --calibrate FOLDER --classifier ... -o {path}` makes one"
        held: Any = None
        try:
            held = json.loads(read_text(path))
        except InputError as error:
            raise InputError(f"{error} ({way})", code=error.code) from error
        except (ValueError, RecursionError):
            pass  # another file, as one of other JSON
        if not isinstance(held, dict) or KIND not in (held.get("kind"), held.get("format")):
            raise InputError(f"{path} is not a file of thresholds: {way}", code="unreadable")
        if held.get("format") != FORMAT:
            written = f"was written by preimage {held.get('written_by')}, in another format than {FORMAT}"
            raise InputError(f"{path} {written}: {way}", code="format")
        try:
            values = {field.name: held[field.name] for field in fields(cls)}
            return cls(**values | {"value": float(held["value"]), "scores": tuple(map(float, held["scores"]))})
        except (KeyError, TypeError, ValueError) as error:
            message = f"{path} is an incomplete file of thresholds ({error}): {way}"
            raise InputError(message, code="unreadable") from error

    def checked(self, model: nn.Module, recipe: RecipeLike, every: int | None = None) -> Threshold:
        """Itself, if it is of this classifier and this purification; else an InputError."""
        if self.classifier != fingerprint_of(model):
            way = "preimage inspect --calibrate FOLDER --classifier ... makes a new one"
            raise InputError(f"the threshold is for another classifier: {way}", code="classifier")
        now = {"every": every or "default", "recipe": _plain(recipe)}
        difference = first_difference(now, {"every": self.every or "default", "recipe": self.recipe})
        if difference:
            message = f"the threshold is for {difference}: inspect with the former, or calibrate anew"
            raise InputError(message, code="option")
        return self


def _plain(recipe: RecipeLike) -> dict[str, Any]:
    return json.loads(json.dumps(as_given(recipe).describe()))
