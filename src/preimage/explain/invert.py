"""Inversion: the pre-image of an image's features at a layer, which shows what the layer keeps of it.

    x* = argmin |Psi(x) - Psi(x0)|^2 / |Psi(x0)|^2 + R(x)

Source: Ulyanov, Vedaldi, Lempitsky, Deep Image Prior, CVPR 2018; Mahendran and Vedaldi, CVPR 2015.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from preimage.errors import InputError
from preimage.explain.options import JitterOptions, PriorOptions, StopOptions, explaining
from preimage.tasks import option

if TYPE_CHECKING:
    from preimage.engine.result import Result
    from preimage.explain.explanation import Explanation
    from preimage.explain.inputs import Given
    from preimage.explain.run import ExplanationRun, Layers
    from preimage.stopping import Tracker

LIMITS = ("Detail that the layer lost is completed by the prior: what looks sharp need not have been kept.",)
ALL = "all"


@dataclass(frozen=True, kw_only=True)
class InvertOptions(JitterOptions, PriorOptions, StopOptions):
    """Options of `invert`."""

    layers: str | tuple[str, ...] = option(
        ALL,
        help="Layer as in Classifier.layers(), several separated by commas, or all: the blocks from shallow to deep.",
        flags=("--layers", "--layer"),
    )
    coarse_to_fine: bool | None = option(
        None,
        help="Low frequencies follow the features first: for 30 % of the steps the gradient is blurred, less from step to step "
        "(default: with the deep prior, except with recipe paper).",
    )


def start(image: Any, options: InvertOptions) -> ExplanationRun[Explanation] | Layers:
    """The Run, for several layers a series of one for each; the options are those of `invert`.

    Raises:
        InputError: an unknown layer (near names are listed), or a classifier without gradient.
    """
    from preimage.explain.inputs import given_by
    from preimage.explain.run import Layers, blocks_of

    given = given_by(image, options.classifier, options.device, options.stated)
    if options.layers == ALL:
        layers = blocks_of(given.classifier, given.on_device)
    elif isinstance(options.layers, str):
        layers = [each.strip() for each in options.layers.split(",")]
    elif isinstance(options.layers, list | tuple):
        layers = list(options.layers)
    else:
        raise InputError(f"layers must be a layer's name, several, or all, got {options.layers!r}", code="layer")
    if len(layers) == 1:
        return inversion(given, layers[0], options)
    return Layers(layers, lambda layer: inversion(given, layer, options))


def inversion(given: Given, layer: str, options: InvertOptions) -> ExplanationRun[Explanation]:
    """The Run of one layer."""
    from preimage.explain.coarse_to_fine import UNTIL_OF_FEATURES, CoarseToFine
    from preimage.explain.explanation import Explanation, extended
    from preimage.explain.forward import CachedForward, Features
    from preimage.explain.recipes import INVERSION, chosen, pixel_regularizers
    from preimage.explain.run import ExplanationRun
    from preimage.metrics import psnr
    from preimage.problem import Problem

    prior, x0 = options.prior, given.image
    recipe, name = chosen(INVERSION, options.recipe, options.steps, prior)
    jitter = given.jitter(options.input_jitter, published=name == "paper" and prior == "deep")
    coarse = prior == "deep" and name != "paper" if options.coarse_to_fine is None else options.coarse_to_fine
    falling = CoarseToFine(given.size, recipe.steps, given.device, until=UNTIL_OF_FEATURES, last=0) if coarse else None
    forward = CachedForward(given.classifier, [layer], jitter=jitter, coarse_to_fine=falling)
    features = Features(forward, layer, given.on_device, is_altered=True)

    def build(result: Result, _: Tracker) -> Explanation:
        found = result.image.clamp(0, 1)
        error = features.error(found.to(given.device))
        numbers = {"layer": layer, "prior": prior, "feature_error": error, "psnr": float(psnr(found, x0))}
        panels = {"input": x0[0], f"{layer}, {prior} prior": found[0]}
        return extended(result, Explanation, given=x0, numbers=numbers, panels=panels, limits=LIMITS)

    return ExplanationRun(
        "invert",
        given,
        options,
        Problem(features.target, operator=features, regularizers=pixel_regularizers(prior, x0)),
        build,
        forward=forward,
        recipe=recipe,
        rule=options.stop,
        fingerprint={"layer": layer, "prior": prior, "coarse_to_fine": coarse},
        remark=f"layer {layer}, {prior} prior",
    )


invert: Final = explaining(
    "invert",
    "Find an image that has the features of the input at a layer.",
    "preimage invert photo.png --classifier torchvision:resnet18@weights.pth --layers all",
    InvertOptions,
    start,
    "INVERSION",
)
