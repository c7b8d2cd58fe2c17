"""Inspection: the predictions for an image and for its early outputs under the prior, and how far they are inconsistent.

The perturbation of an attack is learned late. Inconsistent predictions for the image and its early outputs are a sign of one:
their total variation distance is the score. They are no proof: any image whose class depends on faint detail has them. A
threshold is a score that few unattacked images exceed, of one classifier and recipe, as a JSON file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from preimage.classifiers.classifier import check_answer, on_device
from preimage.classifiers.fingerprint import short_fingerprint
from preimage.defend.checks import checked_images, checked_model
from preimage.defend.defence import random_source
from preimage.defend.purification import adapted, as_given, prior_of
from preimage.defend.users_model import at_rest, check_logits, device_of, logits_of, probabilities_of
from preimage.differences import first_difference
from preimage.engine.fit import Fit
from preimage.engine.recipe import Recipe
from preimage.engine.step import Step
from preimage.errors import InputError
from preimage.images import write_bytes_atomically
from preimage.images.files import read_text
from preimage.images.sealed import has_digest, with_digest
from preimage.problem import Problem
from preimage.recipes import RecipeLike
from preimage.rng import is_whole
from preimage.stopping import After
from preimage.version import __version__

POINTS = 12  # outputs that are classified by default
COUNTED = 0.5  # of the steps: earlier outputs are blurs whose predictions mean nothing
KIND, FORMAT = "preimage thresholds", 2
FALSE_ALARMS = 0.05


@dataclass(frozen=True, eq=False)
class Inspection:
    """The predictions for one image and for its early outputs."""

    given: torch.Tensor  # (classes,): the class probabilities of the image
    steps: tuple[int, ...]  # at which outputs were classified, n of them
    early: torch.Tensor  # (n, classes): the class probabilities of these outputs
    outputs: torch.Tensor  # (n, c, h, w): the outputs themselves
    counted: int  # the step from which on outputs count for the score
    independent: bool = False  # whether the classes are labels that do not exclude one another

    @property
    def mean(self) -> torch.Tensor:
        """(classes,) the mean of the class probabilities of the outputs that count."""
        return self.early[[step >= self.counted for step in self.steps]].mean(0)

    @property
    def score(self) -> float:
        """The total variation distance of `given` and `mean`, half the sum of their differences: 0 (consistent) to 1.

        Of independent labels it is that of the label for which it is largest.
        """
        differences = (self.given - self.mean).abs()
        return float(differences.max()) if self.independent else min(1.0, 0.5 * float(differences.sum()))

    @property
    def predicted(self) -> int:
        """The predicted class of the image; of independent labels the one that the score is of."""
        return self._most_different() if self.independent else int(self.given.argmax())

    @property
    def early_predicted(self) -> int:
        """The predicted class of the early outputs, by their mean; of independent labels the same one."""
        return self._most_different() if self.independent else int(self.mean.argmax())

    def _most_different(self) -> int:
        return int((self.given - self.mean).abs().argmax())

    def curve(self, index: int) -> list[tuple[int, float]]:
        """(step, probability) of a class over the early outputs."""
        return list(zip(self.steps, self.early[:, index].tolist(), strict=True))


class Inspecting(Fit):
    """The inspections of images of one size: one fit, as an iterator of Steps, whose outputs are classified.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4))
        >>> [inspection.steps for inspection in Inspecting(torch.rand(2, 3, 16, 16), model, steps=2).run()]
        [(1, 2), (1, 2)]

    Args:
        images: (b, 3, h, w) in 0 to 1, as they are fitted; `seen` as they are classified, if not so (larger, for example).
        model: a Classifier, or any module from images in 0 to 1 to logits; it stays on its own device.
        recipe, steps: of the purification, as in `purify`.
        every: steps between two classified outputs; None: twelve outputs.
        seed: None: fresh random numbers from the operating system.
        device: where it is fitted and classified; None: the classifier's.
    """

    def __init__(
        self,
        images: torch.Tensor,
        model: nn.Module,
        *,
        seen: torch.Tensor | None = None,
        recipe: RecipeLike = "fast",
        steps: int | None = None,
        every: int | None = None,
        seed: int | None = None,
        device: torch.device | None = None,
    ) -> None:
        images, model = checked_images(images), checked_model(model)
        recipe = adapted(recipe, images.shape[-2:], steps)
        self.every: int = steps_between(recipe, every)
        self.counted: int = math.ceil(COUNTED * recipe.steps)
        self.place: torch.device = device or device_of(model)
        self.model: nn.Module = on_device(model, self.place)
        known, streams = random_source(len(images), seed)
        self.given: torch.Tensor = self._probabilities(images if seen is None else checked_images(seen, "seen"))
        with at_rest(self.model), torch.no_grad():
            check_logits(self.model, images.to(self.place))
        self.classified: dict[str, list[Any]] = {"steps": [], "early": [], "outputs": []}  # as in Inspection
        prior = prior_of(images, recipe, known, streams, self.place)
        problem, rule = Problem(images.detach().float()), After()
        super().__init__(problem, prior, recipe=recipe, rule=rule, restarts=1, seed=known, task="inspect")

    def __next__(self) -> Step:
        step = super().__next__()
        if step.index % self.every == 0 or step.index == step.total:
            row = step.index, self._probabilities(step.picture), step.picture.cpu()
            for column, value in zip(self.classified.values(), row, strict=True):
                column.append(value)
        return step

    def result(self) -> Any:
        """An Inspection for each image, once all steps are done; an InputError earlier than that."""
        if not self.finished:
            raise InputError("an inspection ends with the last step: iterate to the end, or call run()")
        steps, early, outputs = self.classified.values()
        each = zip(self.given, torch.stack(early, 1), torch.stack(outputs, 1), strict=True)
        shared = self.counted, bool(getattr(self.model, "independent", False))
        return [Inspection(given, tuple(steps), rows, images, *shared) for given, rows, images in each]

    def state_dict(self) -> dict[str, Any]:
        """The state of the fit, and the outputs that are classified so far."""
        classified = {name: list(column) for name, column in self.classified.items()}
        return {**super().state_dict(), "seed": self.seed, "given": self.given, "classified": classified}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state of `state_dict`; a seed from the operating system is that of the state."""
        super().load_state_dict(state)
        self.seed: int = state["seed"]
        self.given = state["given"]
        self.classified = {name: list(column) for name, column in state["classified"].items()}

    @torch.no_grad()
    def _probabilities(self, images: torch.Tensor) -> torch.Tensor:
        with at_rest(self.model):
            logits = logits_of(self.model, images.to(self.place)).float()
            probabilities = probabilities_of(self.model, logits).cpu()
        check_answer(probabilities)
        return probabilities


def steps_between(recipe: Recipe, every: int | None) -> int:
    """The steps between two classified outputs: `every`, or so many that there are twelve outputs."""
    chosen = max(1, recipe.steps // POINTS) if every is None else every
    if not is_whole(chosen) or not 1 <= chosen <= recipe.steps:
        raise InputError(f"every must be from 1 to the {recipe.steps} steps, got {every}")
    return chosen


def false_alarm_threshold(scores: Sequence[float], share: float = 0.05) -> float:
    """The threshold that at most a share of unattacked images exceeds: the ceil((n + 1)(1 - share))-th smallest score.

    Fewer than 1 / share - 1 scores cannot guarantee that; the largest is then returned. No scores are an InputError.

    Example:
        >>> false_alarm_threshold([k / 100 for k in range(100)])
        0.95

    Source: split conformal prediction (Vovk et al. 2005): the guarantee holds for a new image of the same distribution.
    """
    if not scores:
        raise InputError("a threshold needs the scores of unattacked images, got none", code="shape")
    ordered = sorted(scores)
    place = math.ceil(round((len(ordered) + 1) * (1 - share), 9))  # 0.95 is no binary fraction
    return ordered[min(place, len(ordered)) - 1]


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
        value, mark = false_alarm_threshold(scores, FALSE_ALARMS), short_fingerprint(model)
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
        content = json.dumps(with_digest(held), indent=2, allow_nan=False)
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
        if not has_digest(held):
            raise InputError(f"{path} is not as it was written, by its hash: {way}", code="unreadable")
        try:
            values = {field.name: held[field.name] for field in fields(cls)}
            return cls(**values | {"value": float(held["value"]), "scores": tuple(map(float, held["scores"]))})
        except (KeyError, TypeError, ValueError) as error:
            message = f"{path} is an incomplete file of thresholds ({error}): {way}"
            raise InputError(message, code="unreadable") from error

    def checked(self, model: nn.Module, recipe: RecipeLike, every: int | None = None) -> Threshold:
        """Itself, if it is of this classifier and this purification; else an InputError."""
        if self.classifier != short_fingerprint(model):
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
