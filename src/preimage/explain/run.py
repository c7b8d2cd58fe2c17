"""The Run of an explaining task: a Fit whose Result is built into an Explanation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import torch

from preimage.engine.fit import Fit
from preimage.engine.recipe import Recipe
from preimage.engine.result import Result
from preimage.engine.step import Step
from preimage.explain.explanation import Explanation
from preimage.explain.forward import CachedForward
from preimage.explain.inputs import model_fingerprint
from preimage.explain.options import ExplainOptions
from preimage.problem import Problem
from preimage.rng import checked_seed
from preimage.stopping import After, StoppingRule

Built = TypeVar("Built", bound=Explanation)


class ExplanationRun(Generic[Built]):
    """A Fit whose Result is built into an Explanation, and whose classifier's input is shifted at each step.

    Args:
        fit: with members that are images of their own.
        build: makes the Explanation from a Result and the fit.
        forward: of the classifier.
    """

    def __init__(self, fit: Fit, build: Callable[[Result, Fit], Built], forward: CachedForward) -> None:
        self.fit, self.build, self.forward = fit, build, forward
        self.task, self.fingerprint, self.remarks = fit.task, fit.fingerprint, fit.remarks

    def __iter__(self) -> Iterator[Step]:
        return self

    def __next__(self) -> Step:
        self.forward.set_step(self.fit.index)
        return next(self.fit)

    def run(self) -> Built:
        """To the end; the Explanation."""
        for _ in self:
            pass
        return self.result()

    def result(self) -> Built:
        """The Explanation by the steps so far, at any time after the first one."""
        result = self.fit.result()
        self.forward.set_step(None)
        return self.build(result, self.fit)

    @property
    def current(self) -> Fit:
        """The fit at hand."""
        return self.fit

    number = 0

    def part(self, whole: torch.Tensor) -> torch.Tensor:
        """What the fit makes of an image: all of it."""
        return whole

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image that is fitted."""
        return self.fit.size

    @property
    def finished(self) -> bool:
        """Whether the result is final."""
        return self.fit.finished

    def state_dict(self) -> dict[str, Any]:
        return self.fit.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.fit.load_state_dict(state)


def explanation_run(
    task: str,
    problem: Problem,
    build: Callable[[Result, Fit], Built],
    *,
    forward: CachedForward,
    model: Any,
    options: ExplainOptions,
    recipe: Recipe,
    size: tuple[int, int],
    channels: int,
    fingerprint: dict[str, Any],
    members: int = 1,
    streams: Sequence[int] | None = None,
    picture: Any = None,
    rule: StoppingRule | None = None,
    initial: Any = None,
    remarks: tuple[str, ...] = (),
) -> ExplanationRun[Built]:
    """The Run that fits `members` images of this (height, width) to one problem, on the device of the classifier.

    Args:
        model: the classifier with its loss estimator, on the device of the fit.
        fingerprint: the task's own options as plain data, by which a checkpoint is known.
    """
    seed, rule = checked_seed(options.seed), rule or After()
    place = model.classifier.mean.device
    fit = Fit(
        problem,
        recipe.prior(channels, size, members=members, seed=seed, device=place, streams=streams),
        recipe=recipe,
        rule=rule,
        restarts=1,
        seed=seed,
        initial=initial,
        picture=picture,
        task=task,
        fingerprint={
            **fingerprint,
            "model": model_fingerprint(model),
            "recipe": recipe.describe(),
            "rule": rule.name,
            "seed": seed,
        },
        remarks=remarks,
    )
    return ExplanationRun(fit, build, forward)
