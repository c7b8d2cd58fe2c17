"""The Run of an explaining task: a Fit whose Result is built into an Explanation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from preimage.engine.fit import Fit
from preimage.engine.recipe import Recipe, is_whole
from preimage.engine.result import Result
from preimage.engine.step import Step
from preimage.errors import InputError
from preimage.explain.explanation import Explanation
from preimage.explain.forward import CachedForward
from preimage.explain.inputs import model_fingerprint
from preimage.explain.options import ExplainOptions
from preimage.problem import Problem
from preimage.stopping import After, StoppingRule

Built = TypeVar("Built", bound=Explanation)


class ExplanationRun(Generic[Built]):
    """A Fit whose Result is built into an Explanation, and whose classifier's input is shifted at each step.

    Args:
        fit: with members that are images of their own.
        build: makes the Explanation from a Result.
        forward: of the classifier.
    """

    def __init__(self, fit: Fit, build: Callable[[Result], Built], forward: CachedForward) -> None:
        self.fit, self.build, self.forward = fit, build, forward
        self.task, self.fingerprint, self.remarks = fit.task, fit.identity, fit.remarks
        self.overrun = 1.0
        self._steps: Iterator[Step] | None = None

    def __iter__(self) -> Iterator[Step]:
        return self

    def __next__(self) -> Step:
        if self._steps is None:
            self._steps = iter(self.fit)
        self.forward.set_step(self.fit.index)
        return next(self._steps)

    def run(self) -> Built:
        """To the end; the Explanation."""
        for _ in self:
            pass
        return self.result()

    def result(self) -> Built:
        """The Explanation by the steps so far, at any time after the first one."""
        result = self.fit.result()
        self.forward.set_step(None)
        return self.build(result)

    @property
    def rule(self) -> Any:
        return self.fit.rule

    @property
    def current(self) -> Fit:
        """The fit at hand."""
        return self.fit

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image that is fitted."""
        return self.fit.size

    @property
    def identity(self) -> dict[str, Any]:
        return self.fingerprint

    @property
    def finished(self) -> bool:
        """Whether the result is final."""
        return self.fit.blind_finished

    @property
    def blind_finished(self) -> bool:
        return self.finished

    def state_dict(self) -> dict[str, Any]:
        return self.fit.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.fit.load_state_dict(state)


def explanation_run(
    task: str,
    problem: Problem,
    build: Callable[[Result], Built],
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
    if not is_whole(options.seed) or not 0 <= options.seed < 2**31:
        raise InputError(f"seed must be from 0 to {2**31 - 1}, got {options.seed}")
    rule = rule or After()
    place = model.classifier.mean.device
    fit = Fit(
        problem,
        recipe.prior(channels, size, members=members, seed=options.seed, device=place, streams=streams),
        recipe=recipe,
        rule=rule,
        seed=options.seed,
        initial=initial,
        picture=picture,
        task=task,
        identity={
            **fingerprint,
            "model": model_fingerprint(model),
            "recipe": recipe.describe(),
            "rule": rule.name,
            "seed": options.seed,
        },
        remarks=remarks,
    )
    return ExplanationRun(fit, build, forward)
