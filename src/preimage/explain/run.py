"""The Runs of the explaining tasks: a Fit whose Result is built into an Explanation, and the inversions of several layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any, Generic, TypeVar

import torch

from preimage.classifiers import Classifier
from preimage.classifiers.blocks import block_layers
from preimage.classifiers.fingerprint import model_fingerprint
from preimage.engine.checkpoint import fingerprint as content
from preimage.engine.fit import Fit
from preimage.engine.recipe import Recipe
from preimage.engine.result import Result
from preimage.engine.step import Step
from preimage.errors import InputError
from preimage.explain.explanation import Explanation
from preimage.explain.forward import CachedForward
from preimage.explain.inputs import Given
from preimage.explain.options import ExplainOptions
from preimage.problem import Problem
from preimage.series.parts import Series
from preimage.stopping import After, StoppingRule, Tracker

CLIPPED = "the classifier takes images in 0 to 1 alone: it is given the pixels clipped to that"
Built = TypeVar("Built", bound=Explanation)


class ExplanationRun(Fit, Generic[Built]):
    """A Fit of one image for each of `streams`, whose Result is built into an Explanation.

    Args:
        build: makes the Explanation of a Result and the rule's tracker; the classifier's input is not shifted meanwhile.
        forward: of the classifier, whose input is shifted at each step.
        fingerprint: the task's own options as plain data, by which a checkpoint is known.
        rule: None: all steps.
        initial: weights to start from where the options name none.
    """

    def __init__(
        self,
        task: str,
        given: Given,
        options: ExplainOptions,
        problem: Problem,
        build: Callable[[Result, Tracker], Built],
        *,
        forward: CachedForward,
        recipe: Recipe,
        fingerprint: dict[str, Any],
        remark: str,
        further_remarks: Sequence[str] = (),
        rule: StoppingRule | None = None,
        initial: Any = None,
        streams: Sequence[int] = (0,),
    ) -> None:
        self.build = build
        self.given = given
        self.forward = forward
        rule, seed, channels, count = rule or After(), int(options.seed), given.image.shape[1], len(streams)
        model = model_fingerprint(given.model.classifier, given.model.estimator)
        recognized = {**fingerprint, "model": model, "recipe": recipe.describe(), "rule": rule.name, "seed": seed}
        if given.frame is not None:
            recognized["frame"] = asdict(given.frame)
        if given.picture is not None:
            recognized |= {"input": content(given.picture.tensor), "input_jitter": forward.jitter is not None}
        remarks = [remark, *given.remarks, *further_remarks]
        if forward.is_clipped and getattr(options, "prior", "deep") != "deep":
            remarks.append(CLIPPED)
        super().__init__(
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
            remarks=tuple(remarks),
        )

    def __next__(self) -> Step:
        self.forward.set_step(self.index)
        return super().__next__()

    def run(self) -> Built:
        """To the end; the Explanation."""
        return super().run()

    def result(self) -> Built:
        """The Explanation by the steps so far, at any time after the first one."""
        self.forward.set_step(None)
        found = self.build(super().result(), self.tracker)
        return replace(found, numbers=found.numbers | self.given.report())


# ---------------------------------------------------------------------- several layers


def blocks_of(classifier: Classifier, image: torch.Tensor) -> list[str]:
    """Layers from shallow to deep: the last layer of each block, then that of the logits; image: (1, c, h, w) in 0 to 1."""
    image = image.to(classifier.mean.device)
    shapes = classifier.shapes(image)
    of_logits = [name for name, shape in shapes.items() if shape[1:] == (len(classifier.classes),)]
    return [*block_layers(classifier, image), *of_logits[-1:]]


class Layers(Series):
    """The inversions at several layers, one after another; its Explanation has a panel for each.

    Args:
        layers: their names.
        make: makes the Run of one layer.

    Raises:
        InputError: no layer, or what `make` raises for any of them, known before the first step.
    """

    def __init__(self, layers: Sequence[str], make: Callable[[str], ExplanationRun[Explanation]]) -> None:
        if not layers:
            raise InputError("several layers must be one at least, got none", code="layer")
        super().__init__("layer", len(layers))
        self._make = make
        self.layers: list[str] = list(layers)
        for layer in self.layers[1:]:
            make(layer)  # an error of a later layer is raised before the first step
        self.current: ExplanationRun[Explanation] = make(self.layers[0])
        self.task: str = self.current.task
        self.fingerprint: dict[str, Any] = {**self.current.fingerprint, "layer": self.layers}
        self.remarks: tuple[str, ...] = (f"layers {', '.join(self.layers)}", *self.current.remarks[1:])

    def made(self, turn: int) -> ExplanationRun[Explanation]:
        return self._make(self.layers[turn])

    def end(self, result: Result) -> dict[str, Any]:
        return {name: getattr(result, name) for name in ("panels", "numbers", "steps", "seconds")}

    def run(self) -> Explanation:
        """All layers; the Explanation."""
        return super().run()

    def result(self) -> Explanation:
        """The layers that have begun: a panel for each; the image is that of the last one.

        Raises:
            InputError: before the first step.
        """
        last = self.current.result()
        parts = [*self.done, self.end(last)]
        return replace(
            last,
            panels={name: panel for part in parts for name, panel in part["panels"].items()},
            numbers={"layers": [part["numbers"] for part in parts]},
            steps=sum(part["steps"] for part in parts),
            seconds=sum(part["seconds"] for part in parts),
        )

    @property
    def number(self) -> int:
        """Which layer is at hand, 0 for the first."""
        return len(self.done)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image that is fitted."""
        return self.current.size
