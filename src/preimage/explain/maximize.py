"""Activation maximization: the image that excites a class, a channel or a window of a channel the most, under a prior.

    x* = argmax Psi_unit(x) - R(x)

Source: Ulyanov, Vedaldi, Lempitsky, Deep Image Prior, CVPR 2018, supplementary material; Erhan et al. 2009.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from preimage.errors import InputError
from preimage.explain.options import (
    ExplainOptions,
    FrequencyOptions,
    PriorOptions,
    StopOptions,
    check_finite,
    explaining,
    further_images,
)
from preimage.tasks import option

if TYPE_CHECKING:
    import torch

    from preimage.engine.result import Result
    from preimage.explain.explanation import Explanation
    from preimage.explain.forward import ForwardPass
    from preimage.explain.run import ExplanationRun
    from preimage.stopping import Tracker

DEFAULT_SIDE = 224
DIVERSITY = 1.0
ALTERED: dict[str, float] = {"noise": 0.0, "turn": 10.0}
LIKENESS = 10.0  # of logits: the scale of the diversity's weight
NOISE = 0.05  # standard deviation of the initial pixels around gray
LIMITS = (
    "The image shows what excites the classifier, which need not be what the class looks like.",
    "Another prior or seed gives another image that excites it as much.",
)


@dataclass(frozen=True, kw_only=True)
class MaximizeOptions(ExplainOptions, PriorOptions, FrequencyOptions, StopOptions):
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
    copies: int | None = option(
        None,
        help="Altered copies (shift, scale, turn, color) of the image at each step, all of which are to excite it; 0: the image "
        "itself alone, as published (default: 4; with recipe paper, prior none, or images under 96 pixels 0).",
        minimum=0,
    )
    count: int = option(1, help="Number of images, of different seeds, 1 to 100.", minimum=1, maximum=100)
    diversity: float = option(
        DIVERSITY, help="Weight, at least 0, of how alike several images are, as the classifier sees them.", minimum=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_finite(diversity=self.diversity)


def start(image: None, options: MaximizeOptions) -> ExplanationRun[Explanation]:
    """The Run; the options are those of `maximize`.

    Raises:
        InputError: an image, neither a class nor a channel, or both; an unknown class or layer; a channel or window that does
            not exist; a size under 16 pixels, or above the largest of any image.
    """
    from dataclasses import replace

    import torch

    from preimage.classifiers.blocks import block_layers
    from preimage.classifiers.layout import layout_of
    from preimage.classifiers.resizing import for_input
    from preimage.engine.devices import choose_device
    from preimage.explain.coarse_to_fine import CoarseToFine
    from preimage.explain.copies import Alteration, Copies
    from preimage.explain.defaults import copies_to_maximize
    from preimage.explain.explanation import Explanation, extended
    from preimage.explain.forward import CachedForward
    from preimage.explain.inputs import Given, model_on
    from preimage.explain.recipes import MAXIMIZATION, chosen, pixel_regularizers
    from preimage.explain.run import ExplanationRun
    from preimage.problem import Problem

    if image is not None:
        raise InputError("maximize makes an image and takes none: leave it out", code="option")
    place = choose_device(options.device)
    model = model_on(options.classifier, place, options.stated)
    # The image is the classifier's input: no crop is made of it.
    classifier, prior, channel, window = for_input(model.classifier), options.prior, options.channel, options.window
    _check_unit(options)
    index = None if options.target is None else classifier.class_index(options.target)
    size = _size((classifier.size or (DEFAULT_SIDE, DEFAULT_SIDE)) if options.size is None else options.size)
    recipe, name = chosen(MAXIMIZATION, options.recipe, options.steps, prior)
    blank = torch.full((1, classifier.mean.shape[1], *size), 0.5)
    given = Given(model, blank, blank.to(place))
    classifier.check_gradient(given.on_device)
    layer, diverse = options.layer or "", options.count > 1 and options.diversity > 0
    try:
        compared = (layer or block_layers(classifier, given.on_device)[-1]) if diverse else ""
    except InputError as error:
        if error.code != "layer":
            raise
        message = "no layer with places was found, by which several images are made unlike: take diversity 0"
        raise InputError(message, code="layer") from error
    copied = copies_to_maximize(options, name, size)
    copies = Copies(Alteration(copied, **ALTERED), blank.shape[1], size, place) if copied else None
    coarse = bool(copied) if options.coarse_to_fine is None else options.coarse_to_fine
    coarse_to_fine = CoarseToFine(size, recipe.steps, place) if coarse else None
    layers = [each for each in dict.fromkeys((layer, compared)) if each]
    forward = CachedForward(classifier, layers, copies=copies, coarse_to_fine=coarse_to_fine)
    layout = None if index is not None else layout_of(classifier, given.on_device, layer)

    def channels_first(features: torch.Tensor) -> torch.Tensor:
        return features if layout is None else layout.channels_first(features)

    if index is None:
        shape = channels_first(classifier.features(given.on_device, layer)).shape
        maximized = _channel(shape, layer, channel, window)
    else:
        maximized = f"class {classifier.classes[index]}"

    def of(passed: ForwardPass) -> torch.Tensor:
        if index is not None:
            return passed.logits[:, index]
        return _mean_of_channel(channels_first(passed.features[layer]), channel, window)

    def excitation(x: torch.Tensor) -> torch.Tensor:
        return of(forward.of_copies(x)).unflatten(0, (len(x), -1)).mean(1)

    def alike(x: torch.Tensor) -> torch.Tensor:
        return likeness(forward(x).features[compared])

    def build(result: Result, _: Tracker) -> Explanation:
        found = result.image.clamp(0, 1)
        with torch.no_grad():
            excited = of(forward(found.to(place))).float().cpu()
            probabilities = classifier.probabilities(found.to(place)).float().cpu()
        numbers: dict[str, Any] = {"maximized": maximized, "excitation": float(excited[0]), "prior": prior}
        numbers["copies"] = copied
        if index is not None:
            numbers["confidence"] = float(probabilities[0, index])
        numbers["prediction"] = classifier.predicted(probabilities[0])
        if options.count > 1:
            numbers |= {"count": options.count, "excitations": excited.tolist()}
        titles = [f"{maximized}: {value:.1f}" for value in excited.tolist()]
        panels = dict(zip(titles if len(titles) == 1 else map(" ".join, _counted(titles)), found, strict=True))
        own = [replace(result, image=each[None]) for each in found]
        first, *others = [extended(each, Explanation, numbers=numbers, panels=panels, limits=LIMITS) for each in own]
        return replace(first, others=tuple(others))

    run = ExplanationRun(
        "maximize",
        given,
        options,
        Problem(
            torch.zeros(1, device=place),
            operator=excitation,
            distance=shortfall,
            regularizers=(
                *pixel_regularizers(prior, blank),
                *(((options.diversity * LIKENESS, alike),) if diverse else ()),
            ),
        ),
        build,
        forward=forward,
        recipe=recipe,
        rule=options.stop,
        fingerprint={
            "maximized": maximized,
            "prior": prior,
            "size": list(size),
            "copies": copied,
            "coarse_to_fine": coarse,
            "count": options.count,
            "diversity": options.diversity,
        },
        remark=f"{maximized}, {prior} prior" + (f", {copied} altered copies a step" if copied else ""),
        streams=range(options.count),
    )
    if prior != "deep" and options.initial is None:
        _add_noise(run.prior.networks, options.seed)
    return run


def likeness(features: torch.Tensor) -> torch.Tensor:
    """The mean cosine of each image's Gram matrix of channels to those of the others, (b,).

    Source: Olah, Mordvintsev, Schubert, Feature Visualization, Distill 2017, diversity.
    """
    rows = features.flatten(2) if features.ndim > 2 else features[..., None]
    gram = rows @ rows.transpose(1, 2)
    gram = gram.flatten(1) / gram.flatten(1).norm(dim=1, keepdim=True).clamp_min(1e-12)
    cosines = gram @ gram.T
    return (cosines.sum(1) - cosines.diagonal()) / max(1, len(cosines) - 1)


def _counted(titles: Sequence[str]) -> list[tuple[str, str]]:
    return [(f"{number}:", title) for number, title in enumerate(titles, 1)]


def _check_unit(options: MaximizeOptions) -> None:
    """Raise InputError for neither a class nor a channel, both, or a window of a class."""
    parts_of_channel = (options.layer is not None) + (options.channel is not None)
    if parts_of_channel != (2 if options.target is None else 0):
        raise InputError("maximize a class (target) or a channel (layer and channel): name one of them", code="option")
    if options.target is not None and options.window is not None:
        raise InputError(f"window is of a channel, a class has none: leave out {options.window}", code="option")


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


def _mean_of_channel(features: torch.Tensor, channel: Any, window: int | None) -> torch.Tensor:
    """The mean of a channel of features (b, c, h, w), (b, c) or tokens (b, n, c), or of the window in its middle; (b,)."""
    one = features[..., channel] if features.ndim == 3 else features[:, channel]
    if window is not None and one.ndim == 3:
        top, left = ((side - window) // 2 for side in one.shape[1:])
        one = one[:, top : top + window, left : left + window]
    return one.flatten(1).mean(1) if one.ndim > 1 else one


def _channel(shape: Sequence[int], layer: str, channel: Any, window: int | None) -> str:
    """The name of a channel or window, which must be one of features of this shape."""
    from preimage.rng import is_whole

    count = shape[2] if len(shape) == 3 else shape[1]
    if not is_whole(channel) or not 0 <= channel < count:
        raise InputError(f"layer {layer!r} has channels 0 to {count - 1}, got {channel!r}", code="layer")
    if window is None:
        return f"{layer} channel {channel}"
    if not is_whole(window) or window < 1 or len(shape) != 4 or window > min(shape[2:]):
        units = f"{shape[3]} x {shape[2]} units" if len(shape) == 4 else "no spatial units"
        raise InputError(f"window {window} does not fit: layer {layer!r} has {units} a channel", code="layer")
    return f"{layer} channel {channel}, middle {f'{window} x {window}' if window > 1 else 'unit'}"


def _size(size: Any) -> tuple[int, int]:
    from preimage.images.samples import MOST_PIXELS, SMALLEST_SIDE
    from preimage.rng import is_whole

    if not isinstance(size, list | tuple) or len(size) != 2 or not all(map(is_whole, size)):
        raise InputError(f"size must be two whole numbers, (height, width), got {size!r}: give 224 224", code="type")
    height, width = int(size[0]), int(size[1])
    if min(height, width) < SMALLEST_SIDE or height * width > MOST_PIXELS:
        limits = f"sides of {SMALLEST_SIDE} pixels or more, {MOST_PIXELS} pixels in all at most"
        raise InputError(f"the image must have {limits}, got {height} {width}: give another --size", code="size")
    return height, width


maximize: Final = explaining(
    "maximize",
    "Find an image that excites a class, a channel or a unit the most.",
    "preimage maximize --classifier lesions.pt --target mel",
    MaximizeOptions,
    start,
    "MAXIMIZATION",
    inputs="none",
    further=further_images,
)
