"""A classifier's forward pass, computed once for all terms of the loss that need it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from preimage.classifiers import Classifier
from preimage.errors import InputError
from preimage.explain.input_jitter import InputJitter


@dataclass(frozen=True, eq=False)
class ForwardPass:
    """Logits (b, classes), and {layer: features}."""

    logits: torch.Tensor
    features: dict[str, torch.Tensor]


class CachedForward:
    """The forward pass of a classifier on images (b, c, h, w) in 0 to 1, cached until another image comes.

    Example:
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
        >>> forward = CachedForward(Classifier(model, 2), ["0"])
        >>> forward(torch.rand(1, 3, 32, 32)).features["0"].shape
        torch.Size([1, 4, 30, 30])

    Args:
        classifier: on the device of the images.
        layers: whose features are kept besides the logits.
        image, region: where the region (1, 1, h, w) is 0 the classifier gets this image (1, c, h, w) instead.
        jitter: shifts the input, differently at each step; None: no shift.
    """

    def __init__(
        self,
        classifier: Classifier,
        layers: Sequence[str] = (),
        *,
        image: torch.Tensor | None = None,
        region: torch.Tensor | None = None,
        jitter: InputJitter | None = None,
    ) -> None:
        for layer in layers:
            if not isinstance(layer, str):
                raise InputError(
                    f"a layer is given by its name, as in Classifier.layers(), got {layer!r}", code="layer"
                )
        self.classifier, self.layers = classifier, list(dict.fromkeys(layers))
        self.image, self.region, self.jitter = image, region, jitter
        self._input: torch.Tensor | None = None
        self._output: ForwardPass | None = None

    def set_step(self, step: int | None) -> None:
        """Shift the input as at a step, counted from 0; None: no shift. Forgets what is cached."""
        if self.jitter is not None:
            self.jitter.set_step(step)
        self._input = self._output = None

    def composed(self, x: torch.Tensor) -> torch.Tensor:
        """(b, c, h, w) with the given image outside the region."""
        if self.region is None or self.image is None:
            return x
        image, region = self.image.to(x.device), self.region.to(x.device)
        return torch.lerp(image, x, region)

    def __call__(self, x: torch.Tensor) -> ForwardPass:
        """Logits and features of images (b, c, h, w) in 0 to 1."""
        if self._output is None or x is not self._input:
            composed = self.composed(x)
            shifted = composed if self.jitter is None else self.jitter(composed)
            logits, features = self.classifier.logits_and_features(shifted, self.layers)
            self._input = x
            self._output = ForwardPass(_wide(logits), {name: _wide(value) for name, value in features.items()})
        return self._output


def _wide(x: torch.Tensor) -> torch.Tensor:
    """At least in single precision, whatever the classifier computes in."""
    return x if x.dtype == torch.float64 else x.float()
