"""What a classifier computes of an image: the features, logits and uncertainty that the terms of an explanation are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from preimage.classifiers import Classifier, LossEstimator
from preimage.classifiers.fingerprint import model_fingerprint
from preimage.classifiers.load import load_model
from preimage.classifiers.loss_estimator import block_layers
from preimage.classifiers.model_file import TrainedModel
from preimage.errors import InputError
from preimage.explain.checks import is_number, whole
from preimage.explain.input_jitter import InputJitter
from preimage.images import Picture, as_picture, read
from preimage.images.tiff_reading import SeveralPages

Uncertainty = Literal["auto", "loss", "entropy", "energy", "none"]
AnyClassifier = Classifier | TrainedModel | str | Path

# Pictures of more than so many times the pixels that the classifier looks at are explained at the classifier's own size.
LARGEST = 2.0


@dataclass(frozen=True, eq=False)
class Seen:
    """One pass of the classifier: logits (b, classes), and {layer: features}."""

    logits: torch.Tensor
    features: dict[str, torch.Tensor]


class CachedForward:
    """A classifier that looks at pictures for an explanation; several terms that ask about one picture share its pass.

    Args:
        model: the classifier, and the estimator of its loss if there is one.
        layers: what is looked at besides the logits.
        uncertainty: how M, the picture's strangeness to the classifier, is told; "auto": by the estimated loss where there is an
            estimator, else by the predictive entropy.
        quantile: of the estimated loss, that M asks for.
        given, region: where the region (1, 1, h, w) is 0 the classifier sees what was given instead.
        shifts: by which pictures are moved before it looks; None: they are not.
    """

    def __init__(
        self,
        model: TrainedModel,
        layers: Sequence[str] = (),
        *,
        uncertainty: Uncertainty = "none",
        quantile: float = 0.1,
        given: torch.Tensor | None = None,
        region: torch.Tensor | None = None,
        shifts: InputJitter | None = None,
    ) -> None:
        if uncertainty not in get_args(Uncertainty):
            raise InputError(f"uncertainty must be {', '.join(get_args(Uncertainty))}, got {uncertainty!r}")
        if uncertainty == "loss" and model.estimator is None:
            raise InputError(
                "this classifier has no loss estimator: `preimage train DATA --classifier ... --freeze -o FILE.pt` fits one, "
                "or take uncertainty entropy or energy"
            )
        if uncertainty == "auto":
            uncertainty = "loss" if model.estimator is not None else "entropy"
        if not (is_number(quantile) and 0 <= quantile <= 1):
            raise InputError(f"the target loss is a quantile from 0 (surest) to 1, got {quantile!r}")
        for layer in layers:
            if not isinstance(layer, str):
                raise InputError(f"a layer is the name of one, as in Classifier.layers(), got {layer!r}")
        self.model = model
        self.classifier, self.estimator = model.classifier, model.estimator if uncertainty == "loss" else None
        self.layers: list[str] = list(dict.fromkeys([*layers, *(self.estimator.layers if self.estimator else [])]))
        self.uncertainty, self.quantile = uncertainty, quantile
        self.given, self.region, self.shifts = given, region, shifts
        self.rest: float | None = None  # the energy of what was given
        self._asked: torch.Tensor | None = None
        self._seen: Seen | None = None

    def to(self, device: torch.device) -> CachedForward:
        """On another device: the classifier itself goes there, with the estimator of its loss, whether that is asked or not."""
        self.classifier.to(device)
        if self.model.estimator is not None:
            self.model.estimator.to(device)
        if self.shifts is not None:
            self.shifts.to(device)
        self.given, self.region = (None if each is None else each.to(device) for each in (self.given, self.region))
        return self

    @torch.no_grad()
    def remember(self, given: torch.Tensor) -> None:
        """What the energy is counted from: that of the given picture."""
        if self.uncertainty == "energy":
            self.rest = float(-self.seen(given).logits.logsumexp(1))

    def turn(self, step: int | None) -> None:
        """Look from where it is a step's turn to; None: straight on."""
        if self.shifts is not None:
            self.shifts.turn(step)
        self._asked = None

    def composed(self, x: torch.Tensor) -> torch.Tensor:
        """(b, c, h, w) with what may not change put back."""
        if self.region is None or self.given is None:
            return x
        return torch.lerp(self.given, x, self.region)

    def seen(self, x: torch.Tensor) -> Seen:
        """One pass over pictures (b, c, h, w) in 0 to 1, kept until another picture is asked about."""
        if self._seen is None or x is not self._asked:
            shown = self.composed(x) if self.shifts is None else self.shifts(self.composed(x))
            logits, features = self.classifier.logits_and_features(shown, self.layers)
            self._asked = x
            self._seen = Seen(_single(logits), {name: _single(value) for name, value in features.items()})
        return self._seen

    # ------------------------------------------------------------------ terms, (b,) each

    def estimated_loss(self, x: torch.Tensor) -> torch.Tensor:
        """M(x) = ((estimate - its quantile) / spread)^2 (Narayanaswamy et al. 2021, eq. 4)."""
        return self.relative_loss(self.seen(x)).square()

    def predictive_entropy(self, x: torch.Tensor) -> torch.Tensor:
        """The entropy of the class probabilities over its largest value, squared: 0 to 1, without any estimator."""
        chances = self.seen(x).logits.log_softmax(1)
        return (-(chances.exp() * chances).sum(1) / math.log(chances.shape[1])).square()

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        """How far -logsumexp(logits) is above that of the given picture, relative and squared (Liu et al., NeurIPS 2020)."""
        own = -self.seen(x).logits.logsumexp(1)
        rest = 0.0 if self.rest is None else self.rest
        return ((own - rest) / (abs(rest) + 1)).clamp_min(0).square()

    def relative_loss(self, seen: Seen) -> torch.Tensor:
        """(estimate - quantile) / spread, (b,)."""
        assert self.estimator is not None
        return self.estimator.relative(self.estimator(seen.features), self.quantile)

    def regularizers(self, strength: float) -> tuple[tuple[float, Any], ...]:
        """M with its weight, or nothing."""
        terms = {"loss": self.estimated_loss, "entropy": self.predictive_entropy, "energy": self.energy}
        return ((strength, terms[self.uncertainty]),) if strength and self.uncertainty in terms else ()

    def in_words(self) -> str:
        """What M is here."""
        return {
            "loss": f"the estimated loss (asked for: its {self.quantile:.0%} quantile)",
            "entropy": "the predictive entropy, for there is no loss estimator",
            "energy": "the energy, for there is no loss estimator",
            "none": "none",
        }[self.uncertainty]


class Features:
    """Phi = one layer's features over the root mean square of the given picture's, so that E is relative.

    Where the view moves pictures, what is left of Phi(x) - y is Phi here, and y is 0: the features of the given picture as it
    is moved at that step.
    """

    def __init__(self, view: CachedForward, layer: str, given: torch.Tensor) -> None:
        self.view, self.layer = view, layer
        view.turn(None)
        self.target = self._of(given)
        rms = float(self.target.square().mean().sqrt())
        if not rms > 0:
            raise InputError(f"layer {layer!r} gives nothing but zeros for this picture: take another layer")
        self.scale = rms
        self.target = self.target / rms
        self.moved: torch.Tensor | None = None
        if view.shifts is not None:
            moved = []
            for step in range(len(view.shifts)):
                view.turn(step)
                moved.append(self._of(given) / rms)
            self.moved = torch.cat(moved)
            view.turn(None)

    @torch.no_grad()
    def _of(self, picture: torch.Tensor) -> torch.Tensor:
        return self.view.seen(picture).features[self.layer]

    @property
    def wanted(self) -> torch.Tensor:
        """y: what `self` is held against."""
        return self.target if self.moved is None else torch.zeros_like(self.target)

    def error(self, x: torch.Tensor) -> float:
        """E of pictures seen straight on, averaged."""
        self.view.turn(None)
        return float((self._of(x) / self.scale - self.target).square().mean())

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        found = self.view.seen(x).features[self.layer] / self.scale
        if self.moved is None or self.view.shifts is None:
            return found
        return found - self.moved.index_select(0, self.view.shifts.number)


def _single(x: torch.Tensor) -> torch.Tensor:
    """At least in single precision, whatever the classifier computes in."""
    return x if x.dtype == torch.float64 else x.float()


# ---------------------------------------------------------------------- what a task is given


def as_model(classifier: AnyClassifier) -> TrainedModel:
    """A classifier however it is given, with its loss estimator if it has one.

    Raises:
        InputError: something that is no classifier.
    """
    if isinstance(classifier, TrainedModel):
        return classifier
    if isinstance(classifier, Classifier):
        return TrainedModel(classifier)
    if isinstance(classifier, str | Path):
        return load_model(classifier)
    what = type(classifier).__name__
    way = " (wrap it: Classifier(model, classes, mean, std, size))" if isinstance(classifier, nn.Module) else ""
    raise InputError(
        f"a classifier is a Classifier, what load_model returns, or a word as for load_classifier, got {what}{way}"
    )


def one_picture(image: Any, value_range: tuple[float, float] | None = None, *, page: int | None = None) -> Picture:
    """A single picture of one or three channels, whose black and white are those of its kind of values.

    16 bits go from 0 to 65535, floats within 0 to 1 from 0 to 1: stretched to its own values, as for a restoration, a picture
    would have another contrast than those the classifier knows. A Picture is taken as it was read. page: of a file of several.

    Raises:
        InputError: several pages, or another number of channels.
    """
    picture = one_page(image, value_range, page=page)
    if value_range is None and not isinstance(image, Picture):
        picture = _of_its_kind(picture)
    pages, channels = picture.tensor.shape[:2]
    if pages != 1:
        raise InputError(f"{picture.name} has {pages} pages: a classifier is asked about one at a time")
    if channels not in (1, 3):
        raise InputError(f"{picture.name} has {channels} channels: a classifier looks at gray or color, 1 or 3")
    return picture


def one_page(image: Any, value_range: tuple[float, float] | None = None, *, page: int | None = None) -> Picture:
    """A picture as it is; of a file of several pages one, for which there is no --page all here.

    Raises:
        InputError: several pages, and none is chosen.
    """
    try:
        if page is not None:
            return read(image, page=whole("page", page, least=1), value_range=value_range)
        return as_picture(image, value_range=value_range)
    except SeveralPages as error:
        raise InputError(
            f"{error.name} has {error.count} pages, and a classifier is asked about one: choose it with --page N (from 1), "
            f"in Python read(path, page=N)"
        ) from error


def _of_its_kind(picture: Picture) -> Picture:
    low, high = picture.units()
    if picture.dtype == np.uint16:
        black, white = 0.0, 65535.0
    elif picture.dtype.kind == "f" and low >= 0 and high <= 1:
        black, white = 0.0, 1.0
    else:
        return picture
    values = low + picture.tensor.double() * (high - low)
    return replace(picture, tensor=((values - black) / (white - black)).float(), low=black, high=white)


def at_working_size(picture: torch.Tensor, classifier: Classifier) -> torch.Tensor:
    """A picture (1, c, h, w), reduced where it is much larger than what the classifier looks at: the rest it never sees."""
    height, width = picture.shape[-2:]
    if classifier.size is None:
        return picture
    wanted = classifier.size[0] * classifier.size[1]
    if height * width <= LARGEST * wanted:
        return picture
    factor = math.sqrt(wanted / (height * width))
    size = tuple(max(16, 4 * round(side * factor / 4)) for side in (height, width))
    return functional.interpolate(picture, size=size, mode="bilinear", antialias=True, align_corners=False)


def quantile_of(model: TrainedModel, target_loss: float | None) -> float:
    """The quantile of the estimated loss that is asked for: as given, or what the training chose, or 0.1."""
    return float(model.about.get("target_quantile", 0.1)) if target_loss is None else target_loss


def first_block(model: TrainedModel, x: torch.Tensor) -> str:
    """Psi of eq. 4: the first of the layers that the loss estimator looks at, the first residual block of a ResNet."""
    return model.estimator.layers[0] if model.estimator is not None else block_layers(model.classifier, x)[0]


def model_mark(classifier: Classifier, estimator: LossEstimator | None = None) -> str:
    """By what a checkpoint knows the classifier it belongs to: all its parameters and buffers."""
    return model_fingerprint(classifier, estimator)
