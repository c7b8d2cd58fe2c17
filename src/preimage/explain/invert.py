"""Inversion: the pre-image of a picture's features at a layer; what the layer has kept of it, seen through a prior.

x* = argmin |Psi(x) - Psi(x0)|^2 / |Psi(x0)|^2 + R(x)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from numpy.typing import NDArray
from PIL.Image import Image

from preimage.classifiers import Classifier
from preimage.classifiers.loss_estimator import block_layers
from preimage.engine.checkpoint import fingerprint
from preimage.engine.recipe import Recipe
from preimage.engine.result import Result
from preimage.engine.step import Step
from preimage.errors import InputError
from preimage.explain.explanation import Explaining, Explanation, extended
from preimage.explain.fitting import explain
from preimage.explain.forward import AnyClassifier, CachedForward, Features, as_model, at_working_size, one_picture
from preimage.explain.input_jitter import InputJitter
from preimage.explain.recipes import FAST_INVERSION, PAPER_INVERSION, PIXELS, is_published
from preimage.images import Picture
from preimage.metrics import psnr
from preimage.problem import Problem, Regularizer
from preimage.regularizers import alpha_norm, total_variation
from preimage.stopping import StoppingRule

PriorName = Literal["deep", "tv", "alpha", "none"]

FAST, PAPER = FAST_INVERSION, PAPER_INVERSION
LIMITS = ("What a layer keeps is shown as this prior fills it in: what looks sharp need not have been kept.",)
# Mahendran and Vedaldi, IJCV 2016: R is 1 where values lie B from the mean and differ by V from their neighbors, in 0..1 here;
# what is given counts C times as much.
B, V, C = 80 / 255, 80 / 255 / 6.5, 100.0


def regularizers_of(prior: PriorName, size: tuple[int, int], channels: int) -> tuple[tuple[float, Regularizer], ...]:
    """R of the rivals, over what E counts: total variation, or that and the alpha norm."""
    count = size[0] * size[1] * channels * C
    smooth: tuple[tuple[float, Regularizer], ...] = (
        (1 / (V**2 * count), partial(total_variation, beta=2.0, reduction="sum")),
    )
    if prior == "tv":
        return smooth
    return (*smooth, (1 / (B**6 * count), partial(alpha_norm, alpha=6.0, reduction="sum"))) if prior == "alpha" else ()


def with_prior(recipe: Recipe, prior: PriorName) -> Recipe:
    """The recipe, with pixels instead of its network where the deep prior is not what is asked for.

    Raises:
        InputError: an unknown prior.
    """
    if prior not in get_args(PriorName):
        raise InputError(f"prior must be {', '.join(get_args(PriorName))}, got {prior!r}")
    return recipe if prior == "deep" else replace(recipe, **PIXELS)


def invert(
    image: torch.Tensor | NDArray[Any] | Image | str | Path | Picture,
    *,
    classifier: AnyClassifier,
    layer: str,
    prior: Literal["deep", "tv", "alpha", "none"] = "deep",
    recipe: Recipe = FAST,
    stop: StoppingRule | None = None,
    initial: Any = None,
    seed: int = 0,
    device: str | torch.device = "auto",
) -> Explaining:
    """Find a picture that has the features of a given one at a layer.

    Example:
        >>> found = invert("photo.png", classifier="torchvision:resnet18", layer="layer2").run()
        >>> found.save("layer2.png")

    Args:
        image: a tensor (c, h, w) in 0..1, a numpy array, a PIL image, or a path; one or three channels. A picture much larger
            than what the classifier looks at is inverted at that size.
        classifier: FILE.pt of `preimage train`, torchvision:NAME, timm:NAME, hf:NAME (each perhaps with @FILE of weights), or
            module.path:function; in Python a Classifier or what load_model returns, too.
        layer: the name of the layer, as in Classifier.layers().
        prior: deep (the network's structure), tv (pixels with total variation), alpha (and the alpha norm), none (pixels).
        recipe: FAST, or PAPER for the published settings.
        stop: a stopping rule; None: all steps.
        initial: a Result, or the weights of one, to start from.
        seed: of all randomness.
        device: "auto", "cpu", "cuda", "mps".

    Raises:
        InputError: an unknown layer, of which the near ones are named, or a classifier without gradient.

    Source: Ulyanov, Vedaldi, Lempitsky, Deep Image Prior, CVPR 2018; Mahendran and Vedaldi, CVPR 2015.
    """
    model = as_model(classifier)
    picture = one_picture(image)
    x0 = at_working_size(picture.tensor, model.classifier)
    size = (x0.shape[-2], x0.shape[-1])
    recipe = with_prior(recipe, prior)
    model.classifier.check_gradient(x0.to(model.classifier.mean.device))
    view = CachedForward(model, [layer], shifts=None if is_published(recipe) else InputJitter(size))

    @cache
    def features_of() -> Features:
        return Features(view, layer, x0.to(model.classifier.mean.device))

    def problem() -> Problem:
        features = features_of()
        return Problem(features.wanted, operator=features, regularizers=regularizers_of(prior, size, x0.shape[1]))

    def told(result: Result) -> Explanation:
        found = result.image.clamp(0, 1)
        error = features_of().error(found.to(model.classifier.mean.device))
        return extended(
            result,
            Explanation,
            given=x0,
            numbers={"layer": layer, "prior": prior, "feature_error": error, "psnr": float(psnr(found, x0))},
            panels={"given": x0[0], f"{layer}, {prior} prior": found[0]},
            limits=LIMITS,
        )

    return explain(
        "invert",
        view,
        problem,
        size,
        told,
        recipe=recipe,
        channels=x0.shape[1],
        picture=picture,
        rule=stop,
        initial=initial,
        seed=seed,
        device=device,
        options={"input": fingerprint(picture.tensor), "layer": layer, "prior": prior},
        remarks=(f"layer {layer}, {prior} prior",),
    )


def depth(classifier: Classifier, image: torch.Tensor) -> list[str]:
    """Layers from shallow to deep: the last of each block, then the logits' own."""
    shapes = classifier.shapes(image.to(classifier.mean.device))
    blocks = block_layers(classifier, image.to(classifier.mean.device))
    last = [name for name, shape in shapes.items() if shape[1:] == (len(classifier.classes),)]
    return [*blocks, *last[-1:]]


class Sheet:
    """Inversions at several layers, one after another, as one Run; its Explanation has a panel for each."""

    def __init__(self, image: Any, layers: Sequence[str], *, classifier: AnyClassifier, **settings: Any) -> None:
        self.layers = list(layers)
        if not self.layers:
            raise InputError("a sheet needs one layer at least, got none")
        self.runs = [invert(image, classifier=classifier, layer=layer, **settings) for layer in self.layers]
        first = self.runs[0]
        self.task = "invert"
        self.fingerprint = {**first.fingerprint, "layer": self.layers}
        self.remarks = (f"layers {', '.join(self.layers)}",)

    def __iter__(self) -> Iterator[Step]:
        return self

    def __next__(self) -> Step:
        return next(self._current)

    def run(self) -> Explanation:
        """All of them; the Explanation."""
        for _ in self:
            pass
        return self.result()

    def result(self) -> Explanation:
        """The sheet of those that have begun; its picture is the deepest of them."""
        found = [run.result() for run in self.runs if run.fit.index]
        if not found:
            raise InputError("there is no result before the first step: iterate the run, or call run()")
        panels = {"given": next(iter(found[0].panels.values()))}
        for each in found:
            panels |= dict(list(each.panels.items())[1:])
        last: Explanation = found[-1]
        numbers = {"layers": [each.numbers for each in found]}
        whole = {name: getattr(last, name) for name in last.__dataclass_fields__}
        return Explanation(**whole | {"panels": panels, "numbers": numbers, "seconds": sum(f.seconds for f in found)})

    @property
    def _current(self) -> Explaining:
        return next((run for run in self.runs if not run.finished), self.runs[-1])

    @property
    def current(self) -> Any:
        """The fit at hand."""
        return self._current.current

    @property
    def number(self) -> int:
        """Which layer is at hand, 0 for the first."""
        return self.runs.index(self._current)

    def part(self, whole: torch.Tensor) -> torch.Tensor:
        """The whole: each layer makes all of the image."""
        return whole

    @property
    def size(self) -> tuple[int, int]:
        return self.runs[0].size

    @property
    def finished(self) -> bool:
        return self.runs[-1].finished

    def state_dict(self) -> dict[str, Any]:
        return {"runs": [run.state_dict() if run.fit.index else None for run in self.runs]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for run, saved in zip(self.runs, state["runs"], strict=True):
            if saved is not None:
                run.load_state_dict(saved)
