"""Inspection: what a classifier says of a picture, and what it says of the picture's early outputs under the prior.

An attack's pattern is learned late. Where the classifier is of another mind about the early outputs than about the picture
itself, the picture may carry one: their disagreement is the score. It shows disagreement, not guilt: any picture whose class
hangs on faint detail has some.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from preimage.classifiers.classifier import check_answer
from preimage.defend.checks import at_rest, checked_pictures, device_of, logits_of
from preimage.defend.defence import random_source
from preimage.defend.logits import checked_model
from preimage.defend.purify import FAST, MOST_STEPS, for_size, goes_by_size
from preimage.engine.fit import Fit
from preimage.engine.recipe import Recipe
from preimage.engine.step import Step
from preimage.errors import InputError
from preimage.problem import Problem
from preimage.stopping import After

LOOKS = 12  # how often the classifier is asked on the way, unless it is said
COUNTED = 0.5  # of the steps: earlier outputs are blurs of which a classifier says anything


@dataclass(frozen=True, eq=False)
class Inspection:
    """What the classifier said of one picture and of its early outputs.

    Args:
        given: (classes,) the class probabilities of the picture.
        steps: at which the outputs were looked at.
        early: (looks, classes) the class probabilities of these outputs.
        outputs: (looks, c, h, w) the outputs themselves.
        counted: from which step on outputs count for the score.
    """

    given: torch.Tensor
    steps: tuple[int, ...]
    early: torch.Tensor
    outputs: torch.Tensor
    counted: int

    @property
    def mean(self) -> torch.Tensor:
        """(classes,) the mean of the class probabilities of the outputs that count."""
        return self.early[[step >= self.counted for step in self.steps]].mean(0)

    @property
    def score(self) -> float:
        """The total variation distance of `given` and `mean`, half the sum of their differences: 0 (of one mind) to 1."""
        return min(1.0, 0.5 * float((self.given - self.mean).abs().sum()))

    @property
    def predicted(self) -> int:
        """The class of the picture as it was given."""
        return int(self.given.argmax())

    @property
    def cleaned(self) -> int:
        """The class of the early outputs, by their mean."""
        return int(self.mean.argmax())

    def curve(self, index: int) -> list[tuple[int, float]]:
        """(step, probability) of a class over the early outputs."""
        return list(zip(self.steps, self.early[:, index].tolist(), strict=True))


class Inspecting:
    """The inspections of pictures of one size, as an iterator of Steps: one fit, whose outputs are shown to the classifier.

    Example:
        >>> inspecting = Inspecting(torch.rand(8, 3, 32, 32), classifier)
        >>> for step in inspecting: ...
        >>> [inspection.score for inspection in inspecting.result()]

    Args:
        images: (b, 3, h, w) in 0 to 1, as they are fitted.
        model: a Classifier, or any module from pictures in 0 to 1 to logits.
        seen: the pictures as the classifier is asked about them, if not as they are fitted (larger ones, say).
        recipe, steps: of the purification, as in `purify`.
        every: steps between two looks; None: twelve looks in all.
        seed: None: fresh random numbers from the operating system.
        device: where it is fitted, and the classifier goes; None: where the classifier is.

    Raises:
        InputError: pictures or settings that cannot be, or a classifier that gives no logits, or NaN.
    """

    def __init__(
        self,
        images: torch.Tensor,
        model: nn.Module,
        *,
        seen: torch.Tensor | None = None,
        recipe: Recipe = FAST,
        steps: int | None = None,
        every: int | None = None,
        seed: int | None = None,
        device: torch.device | None = None,
    ) -> None:
        checked_model(model)
        recipe = for_size(recipe, images.shape[-2:], steps)
        self.every = looks_every(recipe, every)
        self.place = device or device_of(model)
        self.model = model.to(self.place)
        self.counted = math.ceil(COUNTED * recipe.steps)
        self.seed, streams = random_source(len(checked_pictures(images)), seed)
        self.given = self._chances(checked_pictures(images if seen is None else seen))
        members: dict[str, Any] = {"members": len(images), "seed": self.seed, "streams": streams, "device": self.place}
        channels, height, width = images.shape[1:]
        prior = recipe.prior(channels, (height, width), **members)
        self.fit = Fit(Problem(images.detach().float()), prior, recipe=recipe, rule=After(), restarts=1, seed=self.seed)
        self.steps: list[int] = []
        self.early: list[torch.Tensor] = []
        self.outputs: list[torch.Tensor] = []

    def __iter__(self) -> Iterator[Step]:
        for step in self.fit:
            if step.index % self.every == 0 or step.index == step.total:
                self.steps.append(step.index)
                self.outputs.append(step.picture.cpu())
                self.early.append(self._chances(step.picture))
            yield step

    def run(self) -> list[Inspection]:
        """Iterate to the end and return the inspections, one for each picture."""
        for _ in self:
            pass
        return self.result()

    def result(self) -> list[Inspection]:
        """The inspections, once all steps are done.

        Raises:
            InputError: before that.
        """
        if not self.fit.finished:
            raise InputError("an inspection ends with the last step: iterate to the end, or call run()")
        early, outputs = torch.stack(self.early, 1), torch.stack(self.outputs, 1)
        steps = tuple(self.steps)
        each = zip(self.given, early, outputs, strict=True)
        return [Inspection(given, steps, chances, pictures, self.counted) for given, chances, pictures in each]

    @torch.no_grad()
    def _chances(self, pictures: torch.Tensor) -> torch.Tensor:
        with at_rest(self.model):
            chances = logits_of(self.model, pictures.to(self.place)).softmax(1).float().cpu()
        check_answer(chances)
        return chances


def looks_every(recipe: Recipe, every: int | None) -> int:
    """The steps between two looks.

    Raises:
        InputError: less than 1, or more than there are.
    """
    chosen = max(1, recipe.steps // LOOKS) if every is None else every
    most = MOST_STEPS if goes_by_size(recipe) else recipe.steps
    if not 1 <= chosen <= most:
        raise InputError(f"every must be from 1 to the {most} steps, got {every}")
    return chosen


def false_alarm_threshold(scores: Sequence[float], share: float = 0.05) -> float:
    """The threshold that at most a share of clean pictures like these exceeds: the ceil((n + 1)(1 - share))-th smallest score.

    With fewer than 1 / share - 1 scores none is high enough to promise that, and the largest is returned.

    Example:
        >>> false_alarm_threshold([k / 100 for k in range(100)])
        0.95

    Source: split conformal prediction (Vovk et al. 2005): the promise holds for a new picture drawn as these were.

    Raises:
        InputError: no scores.
    """
    if not scores:
        raise InputError("a threshold needs the scores of clean pictures, got none")
    ordered = sorted(scores)
    place = math.ceil(round((len(ordered) + 1) * (1 - share), 9))  # 0.95 is no binary fraction
    return ordered[min(place, len(ordered)) - 1]
