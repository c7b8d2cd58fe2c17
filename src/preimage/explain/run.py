"""The Runs of the explaining tasks: a Fit whose Result is built into an Explanation, and the inversions of several layers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

import torch

from preimage.classifiers import Classifier
from preimage.classifiers.loss_estimator import block_layers
from preimage.classifiers.model_file import model_fingerprint
from preimage.engine.checkpoint import fingerprint as content
from preimage.engine.fit import Fit
from preimage.engine.recipe import Recipe
from preimage.engine.run import Run
from preimage.engine.step import Step
from preimage.errors import InputError
from preimage.explain.explanation import Explanation
from preimage.explain.forward import CachedForward
from preimage.explain.inputs import Given
from preimage.explain.options import ExplainOptions
from preimage.problem import Problem
from preimage.stopping import After, StoppingRule

Built = TypeVar("Built", bound=Explanation)


class ExplanationRun(Run, Generic[Built]):
    """A Fit whose Result is built into an Explanation, and whose classifier's input is shifted at each step.

    Args:
        fit: with members that are images of their own.
        build: makes the Explanation of the fit, without any shift.
        forward: of the classifier.
    """

    def __init__(self, fit: Fit, build: Callable[[Fit], Built], forward: CachedForward) -> None:
        self.fit = fit
        self.build = build
        self.forward = forward
        self.task: str = fit.task
        self.fingerprint: dict[str, Any] = fit.fingerprint
        self.remarks: tuple[str, ...] = fit.remarks

    def __next__(self) -> Step:
        self.forward.set_step(self.fit.index)
        return next(self.fit)

    def run(self) -> Built:
        """To the end; the Explanation."""
        return super().run()

    def result(self) -> Built:
        """The Explanation by the steps so far, at any time after the first one."""
        self.forward.set_step(None)
        return self.build(self.fit)

    @property
    def current(self) -> Fit:
        """The fit at hand."""
        return self.fit

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image that is fitted."""
        return self.fit.size

    @property
    def finished(self) -> bool:
        """Whether the result is final."""
        return self.fit.finished

    def state_dict(self) -> dict[str, Any]:
        """The state of the fit."""
        return self.fit.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.fit.load_state_dict(state)


def explanation_run(
    task: str,
    given: Given,
    options: ExplainOptions,
    problem: Problem,
    build: Callable[[Fit], Built],
    *,
    forward: CachedForward,
    recipe: Recipe,
    fingerprint: dict[str, Any],
    remark: str,
    rule: StoppingRule | None = None,
    initial: Any = None,
    streams: Sequence[int] = (0,),
) -> ExplanationRun[Built]:
    """The Run that fits one image for each of `streams` to one problem, on the device of the classifier.

    Args:
        fingerprint: the task's own options as plain data, by which a checkpoint is known.
        initial: weights to start from where the options name none.
    """
    rule, seed, channels, count = rule or After(), int(options.seed), given.image.shape[1], len(streams)
    model = model_fingerprint(given.model.classifier, given.model.estimator)
    recognized = {**fingerprint, "model": model, "recipe": recipe.describe(), "rule": rule.name, "seed": seed}
    if given.picture is not None:
        recognized |= {"input": content(given.picture.tensor), "input_jitter": forward.jitter is not None}
    fit = Fit(
        problem,
        recipe.prior(channels, given.size, members=count, seed=seed, device=given.device, streams=streams),
        recipe=recipe,
        rule=rule,
        restarts=1,
        seed=seed,
        initial=initial if options.initial is None else options.initial,
        picture=given.picture,
        task=task,
        fingerprint=recognized,
        remarks=(remark,),
    )
    return ExplanationRun(fit, build, forward)


# ---------------------------------------------------------------------- several layers


def blocks_of(classifier: Classifier, image: torch.Tensor) -> list[str]:
    """Layers from shallow to deep: the last layer of each block, then that of the logits; image: (1, c, h, w) in 0 to 1."""
    image = image.to(classifier.mean.device)
    shapes = classifier.shapes(image)
    of_logits = [name for name, shape in shapes.items() if shape[1:] == (len(classifier.classes),)]
    return [*block_layers(classifier, image), *of_logits[-1:]]


class Layers(Run):
    """The inversions at several layers, each begun when the one before has finished; its Explanation has a panel for each.

    Args:
        layers: their names.
        make: makes the Run of one layer.

    Raises:
        InputError: no layer, or what `make` raises for any of them, known before the first step.
    """

    def __init__(self, layers: Sequence[str], make: Callable[[str], ExplanationRun[Explanation]]) -> None:
        if not layers:
            raise InputError("several layers must be one at least, got none", code="layer")
        self._make = make
        self.layers: list[str] = list(layers)
        for layer in self.layers[1:]:
            make(layer)  # an error of a later layer is raised before the first step
        self.run_at_hand: ExplanationRun[Explanation] = make(self.layers[0])
        self.done: list[tuple[Explanation, dict[str, Any]]] = []  # of each layer that has finished, result and state
        self.task: str = self.run_at_hand.task
        self.fingerprint: dict[str, Any] = {**self.run_at_hand.fingerprint, "layer": self.layers}
        self.remarks: tuple[str] = (f"layers {', '.join(self.layers)}",)

    def __next__(self) -> Step:
        while (step := next(self.run_at_hand, None)) is None:
            if len(self.done) + 1 == len(self.layers):
                raise StopIteration
            self._next_layer()
        taken = sum(each.steps for each, _ in self.done)
        return replace(
            step,
            index=taken + step.index,
            total=taken + step.total * (len(self.layers) - len(self.done)),
            seconds=step.seconds + sum(each.seconds for each, _ in self.done),
        )

    def _next_layer(self) -> None:
        self.done.append((self.run_at_hand.result(), copy.deepcopy(self.run_at_hand.state_dict())))
        self.run_at_hand = self._make(self.layers[len(self.done)])

    def run(self) -> Explanation:
        """All layers; the Explanation."""
        return super().run()

    def result(self) -> Explanation:
        """The layers that have begun: a panel for each; the image is that of the last one.

        Raises:
            InputError: before the first step.
        """
        found = [each for each, _ in self.done]
        if self.run_at_hand.fit.index or not found:
            found.append(self.run_at_hand.result())
        return replace(
            found[-1],
            panels={name: panel for each in found for name, panel in each.panels.items()},
            numbers={"layers": [each.numbers for each in found]},
            steps=sum(each.steps for each in found),
            seconds=sum(each.seconds for each in found),
        )

    @property
    def current(self) -> Fit:
        """The fit at hand."""
        return self.run_at_hand.fit

    @property
    def number(self) -> int:
        """Which layer is at hand, 0 for the first."""
        return len(self.done)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image that is fitted."""
        return self.run_at_hand.size

    @property
    def finished(self) -> bool:
        """Whether the result of every layer is final."""
        return len(self.done) + 1 == len(self.layers) and self.run_at_hand.finished

    def state_dict(self) -> dict[str, Any]:
        """The states of the layers that have finished, and of the one at hand if it has begun."""
        begun = self.run_at_hand.fit.index > 0
        return {"done": [state for _, state in self.done], "fit": self.run_at_hand.state_dict() if begun else None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state: on a CPU with as many threads, bit for bit as if it had never stopped."""
        self.done, self.run_at_hand = [], self._make(self.layers[0])
        for of_layer in state["done"]:
            self.run_at_hand.load_state_dict(of_layer)
            self._next_layer()
        if state["fit"] is not None:
            self.run_at_hand.load_state_dict(state["fit"])
