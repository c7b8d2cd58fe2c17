"""Activation maximization: the image that excites a class, a channel or a window of a channel the most, under a prior.

    x* = argmax Psi_unit(x) - R(x)

Source: Ulyanov, Vedaldi, Lempitsky, Deep Image Prior, CVPR 2018, supplementary material; Erhan et al. 2009.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from preimage.explain.options import ExplainOptions, PriorOptions, StopOptions, outputs, report, summary_lines
from preimage.tasks import TaskSpec, option

if TYPE_CHECKING:
    import torch

    from preimage.engine.fit import Fit
    from preimage.engine.recipe import Recipe
    from preimage.engine.result import Result
    from preimage.explain.explanation import Explanation
    from preimage.explain.run import ExplanationRun

DEFAULT_SIDE = 224
NOISE = 0.05  # standard deviation of the initial pixels around gray
LIMITS = (
    "The image shows what excites the classifier, which need not be what the class looks like.",
    "Another prior or seed gives another image that excites it as much.",
)


@dataclass(frozen=True, kw_only=True)
class MaximizeOptions(ExplainOptions, PriorOptions, StopOptions):
    """Options of `maximize`."""

    target: str | int | None = option(None, help="Class whose logit is maximized, by name or number from 0.")
    layer: str | None = option(None, help="Layer of the channel to maximize instead, as in Classifier.layers().")
    channel: int | None = option(None, help="Channel of the layer, from 0.")
    window: int | None = option(
        None, help="Side of a window in the middle of the channel, in units, at least 1 (default: the whole channel)."
    )
    size: tuple[int, int] | None = option(
        None,
        help="HEIGHT WIDTH of the image in pixels, 16 or more (default: the classifier's input size, else 224 224).",
    )


def recipes() -> Mapping[str, Recipe]:
    """The recipes by name."""
    from preimage.explain.recipes import MAXIMIZATION

    return MAXIMIZATION


def start(image: None, options: MaximizeOptions) -> ExplanationRun[Explanation]:
    """The Run; the options are those of `maximize`.

    Raises:
        InputError: an image, neither a class nor a channel, or both; an unknown class or layer; a channel or window that does
            not exist; a size under 16 pixels, or above the largest of any image.
    """
    import torch

    from preimage.engine.devices import choose_device
    from preimage.errors import InputError
    from preimage.explain.checks import checked_size
    from preimage.explain.explanation import Explanation, extended
    from preimage.explain.forward import CachedForward
    from preimage.explain.inputs import as_model, model_on
    from preimage.explain.pixel_prior import pixel_regularizers
    from preimage.explain.recipes import chosen
    from preimage.explain.run import explanation_run
    from preimage.problem import Problem

    if image is not None:
        raise InputError("maximize makes an image and takes none: leave it out", code="option")
    place = choose_device(options.device)
    model = model_on(as_model(options.classifier), place)
    classifier, layer, channel, window = model.classifier, options.layer, options.channel, options.window
    index = _target(classifier, options)
    size = checked_size((classifier.size or (DEFAULT_SIDE, DEFAULT_SIDE)) if options.size is None else options.size)
    channels = classifier.mean.shape[1]
    recipe, _ = chosen(recipes(), options.recipe, options.steps, options.prior)
    blank = torch.full((1, channels, *size), 0.5, device=place)
    classifier.check_gradient(blank)
    forward = CachedForward(classifier, [] if layer is None else [layer])
    if layer is not None and channel is not None:
        _check_channel(tuple(classifier.features(blank, layer).shape), layer, channel, window)
    maximized = f"class {classifier.classes[index]}" if index is not None else _description(layer, channel, window)

    def excitation(x: torch.Tensor) -> torch.Tensor:
        passed = forward(x)
        if index is not None:
            return passed.logits[:, index]
        assert layer is not None
        assert channel is not None
        return _middle(_channel(passed.features[layer], channel), window)

    def build(result: Result, fit: Fit) -> Explanation:
        del fit
        found = result.image.clamp(0, 1)
        with torch.no_grad():
            excited = float(excitation(found.to(place)))
            probabilities = classifier.probabilities(found.to(place))[0].float().cpu()
        numbers: dict[str, Any] = {"maximized": maximized, "excitation": excited, "prior": options.prior}
        if index is not None:
            numbers["confidence"] = float(probabilities[index])
        numbers["prediction"] = classifier.classes[int(probabilities.argmax())]
        panels = {f"{maximized}: {excited:.1f}": found[0]}
        return extended(result, Explanation, numbers=numbers, panels=panels, limits=LIMITS)

    run = explanation_run(
        "maximize",
        Problem(
            torch.zeros(1, device=place),
            operator=excitation,
            distance=shortfall,
            regularizers=pixel_regularizers(options.prior, size, channels),
        ),
        build,
        forward=forward,
        model=model,
        options=options,
        recipe=recipe,
        size=size,
        channels=channels,
        rule=options.stop,
        initial=options.initial,
        fingerprint={"maximized": maximized, "prior": options.prior, "size": list(size)},
        remarks=(f"{maximized}, {options.prior} prior",),
    )
    if options.prior != "deep" and options.initial is None:
        _add_noise(run.fit.prior.networks, options.seed)
    return run


def _target(classifier: Any, options: MaximizeOptions) -> int | None:
    """The index of the class to maximize; None: a channel.

    Raises:
        InputError: neither of the two or both, a window of a class, or an unknown class.
    """
    from preimage.errors import InputError

    target, of_channel = options.target, options.layer is not None and options.channel is not None
    of_some = options.layer is not None or options.channel is not None
    if (target is None) != of_channel or (target is not None and of_some):
        raise InputError(
            "maximize a class (target) or a channel (layer and channel): name one of the two", code="option"
        )
    if target is not None and options.window is not None:
        raise InputError(
            f"window is of a channel, and a class has none: leave it out, got {options.window}", code="option"
        )
    return None if target is None else classifier.class_index(target)


def _add_noise(networks: Any, seed: int) -> None:
    """Initial noise of pixels: all alike, a unit that is 0 for flat gray would have no gradient anywhere."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for network in networks:
            for pixels in network.parameters():
                pixels.add_(NOISE * torch.randn(pixels.shape, generator=generator).to(pixels))


def shortfall(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """target - prediction, (b,): the larger the excitation the better, without bound."""
    return target - prediction


def _channel(features: torch.Tensor, channel: int) -> torch.Tensor:
    """(b, c, h, w), (b, c) or tokens (b, n, c) -> (b, h, w), (b,) or (b, n)."""
    return features[..., channel] if features.ndim == 3 else features[:, channel]


def _middle(features: torch.Tensor, window: int | None) -> torch.Tensor:
    """The mean of a channel (b, h, w), or of the window in its middle; (b,) as it is."""
    if window is not None and features.ndim == 3:
        top, left = ((side - window) // 2 for side in features.shape[1:])
        features = features[:, top : top + window, left : left + window]
    return features.flatten(1).mean(1) if features.ndim > 1 else features


def _check_channel(shape: tuple[int, ...], layer: str, channel: int, window: int | None) -> None:
    from preimage.errors import InputError
    from preimage.rng import is_whole

    count = shape[2] if len(shape) == 3 else shape[1]
    if not is_whole(channel) or not 0 <= channel < count:
        raise InputError(f"layer {layer!r} has channels 0 to {count - 1}, got {channel!r}", code="layer")
    if window is not None and (not is_whole(window) or window < 1 or len(shape) != 4 or window > min(shape[2:])):
        units = f"{shape[3]} x {shape[2]} units" if len(shape) == 4 else "no spatial units"
        raise InputError(f"window {window} does not fit: layer {layer!r} has {units} a channel", code="layer")


def _description(layer: str | None, channel: int | None, window: int | None) -> str:
    part = "" if window is None else f", middle {window} x {window}" if window > 1 else ", middle unit"
    return f"{layer} channel {channel}{part}"


maximize = TaskSpec(
    name="maximize",
    summary="Find an image that excites a class, a channel or a unit the most.",
    example="preimage maximize --classifier lesions.pt --target mel",
    options=MaximizeOptions,
    start=start,
    inputs="none",
    outputs=outputs(),
    recipes=recipes,
    report=report,
    summary_lines=summary_lines,
)
