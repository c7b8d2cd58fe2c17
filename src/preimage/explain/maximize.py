"""Activation maximization: the picture that excites a class, a unit or a window of a channel the most, under a prior.

x* = argmax Psi_unit(x) - R(x)
"""

from __future__ import annotations

from typing import Any, Literal

import torch

from preimage.engine.recipe import Recipe
from preimage.engine.result import Result
from preimage.errors import InputError
from preimage.explain.checks import checked_size
from preimage.explain.explanation import Explaining, Explanation, extended
from preimage.explain.fitting import explain
from preimage.explain.forward import AnyClassifier, CachedForward, as_model
from preimage.explain.invert import regularizers_of, with_prior
from preimage.explain.recipes import FAST_MAXIMIZATION, PAPER_MAXIMIZATION
from preimage.problem import Problem
from preimage.rng import is_whole
from preimage.stopping import StoppingRule

FAST, PAPER = FAST_MAXIMIZATION, PAPER_MAXIMIZATION
DEFAULT_SIDE = 224
NOISE = 0.05  # standard deviation of what pixels begin with, around gray
LIMITS = (
    "It shows what excites the classifier, which need not be what the class looks like.",
    "Another prior or seed gives another picture that excites it as much.",
)


def maximize(
    *,
    classifier: AnyClassifier,
    target: str | int | None = None,
    layer: str | None = None,
    channel: int | None = None,
    window: int | None = None,
    size: tuple[int, int] | None = None,
    prior: Literal["deep", "tv", "alpha", "none"] = "deep",
    recipe: Recipe = FAST,
    stop: StoppingRule | None = None,
    initial: Any = None,
    seed: int = 0,
    device: str | torch.device = "auto",
) -> Explaining:
    """Find a picture that excites a class, a channel of a layer, or a window of it as much as can be.

    Example:
        >>> found = maximize(classifier="lesions.pt", target="mel").run()
        >>> found.save("melanoma-as-seen.png")
        >>> found = maximize(classifier="torchvision:resnet18", layer="layer3", channel=17, window=3).run()

    Args:
        classifier: FILE.pt of `preimage train`, torchvision:NAME, timm:NAME, hf:NAME (each perhaps with @FILE of weights), or
            module.path:function; in Python a Classifier or what load_model returns, too.
        target: the class whose logit is maximized, by name or number; or, instead:
        layer, channel: a channel of a layer, counted from 0.
        window: side of the window in the middle of that channel, in units; 1: its middle unit; None: all of it.
        size: (height, width) of the picture; None: what the classifier looks at, else 224 pixels a side.
        prior: deep (the network's structure), tv (pixels with total variation), alpha (and the alpha norm), none (pixels).
        recipe: FAST, or PAPER for the published settings.
        stop: a stopping rule; None: all steps.
        initial: a Result, or the weights of one, to start from.
        seed: of all randomness.
        device: "auto", "cpu", "cuda", "mps".

    Raises:
        InputError: neither a class nor a channel, or both; an unknown class or layer; a channel or window that is not there;
            a size under 16 pixels, or of more than any picture has.

    Source: Ulyanov, Vedaldi, Lempitsky, Deep Image Prior, CVPR 2018, supplementary material; Erhan et al. 2009.
    """
    model = as_model(classifier)
    asked = model.classifier
    of_channel = layer is not None and channel is not None
    if (target is None) != of_channel or (target is not None and (layer is not None or channel is not None)):
        raise InputError("maximize a class (target) or a channel (layer and channel): name one of the two")
    if target is not None and window is not None:
        raise InputError(f"a window is of a channel, which a class has none of: leave window out, got {window}")
    wanted = None if target is None else asked.class_index(target)
    side = checked_size((asked.size or (DEFAULT_SIDE, DEFAULT_SIDE)) if size is None else size)
    channels = asked.mean.shape[1]
    recipe = with_prior(recipe, prior)
    blank = torch.full((1, channels, *side), 0.5, device=asked.mean.device)
    asked.check_gradient(blank)
    view = CachedForward(model, [] if layer is None else [layer])
    if layer is not None and channel is not None:
        _check(tuple(asked.features(blank, layer).shape), layer, channel, window)
    what = f"class {asked.classes[wanted]}" if wanted is not None else _in_words(layer, channel, window)

    def excitation(x: torch.Tensor) -> torch.Tensor:
        seen = view.seen(x)
        if wanted is not None:
            return seen.logits[:, wanted]
        assert layer is not None
        assert channel is not None
        return _middle(_channel(seen.features[layer], channel), window)

    def problem() -> Problem:
        zero = torch.zeros(1, device=asked.mean.device)
        return Problem(
            zero, operator=excitation, distance=shortfall, regularizers=regularizers_of(prior, side, channels)
        )

    def told(result: Result) -> Explanation:
        found = result.image.clamp(0, 1)
        with torch.no_grad():
            reached = float(excitation(found.to(asked.mean.device)))
            chances = asked.probabilities(found.to(asked.mean.device))[0].float().cpu()
        numbers: dict[str, Any] = {"maximized": what, "excitation": reached, "prior": prior}
        if wanted is not None:
            numbers["confidence"] = float(chances[wanted])
        numbers["prediction"] = asked.classes[int(chances.argmax())]
        panels = {f"{what}: {reached:.1f}": found[0]}
        return extended(result, Explanation, numbers=numbers, panels=panels, limits=LIMITS)

    run = explain(
        "maximize",
        view,
        problem,
        side,
        told,
        recipe=recipe,
        channels=channels,
        rule=stop,
        initial=initial,
        seed=seed,
        device=device,
        options={"maximized": what, "prior": prior, "size": list(side)},
        remarks=(f"{what}, {prior} prior",),
    )
    if prior != "deep" and initial is None:
        _roughen(run, seed)
    return run


def _roughen(run: Explaining, seed: int) -> None:
    """Pixels begin all alike, and a unit that flat gray leaves at 0 would have no gradient anywhere: with noise some have."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for network in run.fit.prior.networks:
            for image in network.parameters():
                image.add_(NOISE * torch.randn(image.shape, generator=generator).to(image))


def shortfall(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """target - prediction, (b,): the larger the excitation the better, without end."""
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


def _check(shape: tuple[int, ...], layer: str, channel: int, window: int | None) -> None:
    count = shape[2] if len(shape) == 3 else shape[1]
    if not is_whole(channel) or not 0 <= channel < count:
        raise InputError(f"layer {layer!r} has channels 0 to {count - 1}, got {channel!r}")
    if window is not None and (not is_whole(window) or window < 1 or len(shape) != 4 or window > min(shape[2:])):
        places = f"{shape[3]} x {shape[2]} units" if len(shape) == 4 else "no places"
        raise InputError(f"a window of {window} does not fit: layer {layer!r} has {places} a channel")


def _in_words(layer: str | None, channel: int | None, window: int | None) -> str:
    part = "" if window is None else f", middle {window} x {window}" if window > 1 else ", middle unit"
    return f"{layer} channel {channel}{part}"
