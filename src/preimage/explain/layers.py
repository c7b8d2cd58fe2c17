"""Layers: a Run made of Runs, the inversions of one image at several layers one after another."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from typing import Any

import torch

from preimage.classifiers import Classifier
from preimage.classifiers.loss_estimator import block_layers
from preimage.engine.fit import Fit
from preimage.engine.step import Step
from preimage.errors import InputError
from preimage.explain.explanation import Explanation
from preimage.explain.run import ExplanationRun

Inversion = ExplanationRun[Explanation]


def blocks_of(classifier: Classifier, image: torch.Tensor) -> list[str]:
    """Layers from shallow to deep: the last layer of each block, then that of the logits.

    Args:
        image: (1, c, h, w) in 0 to 1.
    """
    image = image.to(classifier.mean.device)
    shapes = classifier.shapes(image)
    of_logits = [name for name, shape in shapes.items() if shape[1:] == (len(classifier.classes),)]
    return [*block_layers(classifier, image), *of_logits[-1:]]


class Layers:
    """The inversions at several layers, each begun when the one before has finished; its Explanation has a panel for each.

    Args:
        layers: their names.
        make: makes the Run of one layer.

    Raises:
        InputError: no layer, or what `make` raises for any of them, known before the first step.
    """

    def __init__(self, layers: Sequence[str], make: Callable[[str], Inversion]) -> None:
        if not layers:
            raise InputError("several layers must be one at least, got none", code="layer")
        self.layers, self._make = list(layers), make
        for layer in self.layers[1:]:
            make(layer)  # an error of a later layer is raised before the first step
        self.run_at_hand = make(self.layers[0])
        self.done: list[tuple[Explanation, dict[str, Any]]] = []  # of each layer that has finished, result and state
        self.task = self.run_at_hand.task
        self.fingerprint = {**self.run_at_hand.fingerprint, "layer": self.layers}
        self.remarks = (f"layers {', '.join(self.layers)}",)

    # ------------------------------------------------------------------ the loop

    def __iter__(self) -> Iterator[Step]:
        return self

    def __next__(self) -> Step:
        while (step := next(self.run_at_hand, None)) is None:
            if len(self.done) + 1 == len(self.layers):
                raise StopIteration
            self._next_layer()
        taken = sum(each.steps for each, _ in self.done)
        left = len(self.layers) - len(self.done)
        return replace(
            step,
            index=taken + step.index,
            total=taken + step.total * left,
            seconds=step.seconds + sum(each.seconds for each, _ in self.done),
        )

    def _next_layer(self) -> None:
        self.done.append((self.run_at_hand.result(), copy.deepcopy(self.run_at_hand.state_dict())))
        self.run_at_hand = self._make(self.layers[len(self.done)])

    def run(self) -> Explanation:
        """All layers; the Explanation."""
        for _ in self:
            pass
        return self.result()

    # ------------------------------------------------------------------ the result

    def result(self) -> Explanation:
        """The layers that have begun: a panel for each; the image is that of the last one.

        Raises:
            InputError: before the first step.
        """
        found = [each for each, _ in self.done]
        if self.run_at_hand.fit.index or not found:
            found.append(self.run_at_hand.result())
        panels = {name: panel for each in found for name, panel in each.panels.items()}
        last = found[-1]
        whole = {each.name: getattr(last, each.name) for each in fields(last)}
        return Explanation(
            **whole
            | {
                "panels": panels,
                "numbers": {"layers": [each.numbers for each in found]},
                "steps": sum(each.steps for each in found),
                "seconds": sum(each.seconds for each in found),
            }
        )

    @property
    def current(self) -> Fit:
        """The fit at hand."""
        return self.run_at_hand.fit

    @property
    def number(self) -> int:
        """Which layer is at hand, 0 for the first."""
        return len(self.done)

    def part(self, whole: torch.Tensor) -> torch.Tensor:
        """What the layer at hand makes of an image: all of it."""
        return whole

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image that is fitted."""
        return self.run_at_hand.size

    @property
    def finished(self) -> bool:
        """Whether the result of every layer is final."""
        return len(self.done) + 1 == len(self.layers) and self.run_at_hand.finished

    # ------------------------------------------------------------------ state

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
