"""Psi by default: the first block of a classifier whose inversion keeps color and light, measured once for each classifier.

A layer that loses them gives an image back in false colors, and so does every explanation that keeps its features. Two images
of noise with the spectrum and the colors of photographs are inverted by a few steps of gradient descent on their spectrum (Olah,
Mordvintsev, Schubert, Feature Visualization, Distill 2017); what counts is the correlation of their blurred light and colors with
those of the inversion. MEASURED on EfficientNet-Lite0 (docs/explain.md): blocks that pass keep the colors of a photograph in 150
steps of the deep prior as well, and those that come back in false colors are far below.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from preimage.classifiers import Classifier
from preimage.classifiers.blocks import KERNELS_OF_BLOCK, MOST_LAYERS, kernels, stages
from preimage.classifiers.model_file import TrainedModel
from preimage.classifiers.resizing import for_input
from preimage.networks.spectrum import amplitudes, image_of
from preimage.operators.blur import gaussian_blurred

KEPT = 0.9  # correlation, of the least of light and two colors, from which on a layer keeps the image
IMAGES, STEPS, RATE = 2, 48, 0.05
SIDE, STRIDE = 128, 32  # pixels, for networks that take any size
BLUR = 1 / 28  # of a side: 8 pixels of 224
PUBLISHED = "layer1"  # the first residual block of a ResNet

_YUV = ((0.299, 0.587, 0.114), (-0.147, -0.289, 0.436), (0.615, -0.515, -0.1))


class Psi(NamedTuple):
    """A layer, and how much of color and light its inversion keeps, -1 to 1; None where it was not measured."""

    layer: str
    kept: float | None = None

    @property
    def remarks(self) -> tuple[str, ...]:
        """A warning where even the best layer loses them."""
        if self.kept is None or self.kept >= KEPT:
            return ()
        found = f"no layer was found that keeps color and light: {self.layer} keeps them with a correlation of {self.kept:.2f}"
        return (f"{found}; name another layer if the reconstruction is in false colors",)


def psi_of(model: TrainedModel, x: torch.Tensor, layer: str | None = None) -> Psi:
    """Psi of eq. 4: the first of the loss estimator's layers, of a ResNet the first residual block, else by measurement.

    Args:
        x: (1, 1 or 3, h, w) in 0 to 1 on the classifier's device, of the size that is explained.
        layer: the one that was named, which is taken as it is.
    """
    if layer is not None:
        return Psi(layer)
    if model.estimator is not None:
        return Psi(model.estimator.layers[0])
    classifier = model.classifier
    size = classifier.size or (x.shape[-2], x.shape[-1])
    key = f"psi {size[0]} {size[1]}"
    if key not in classifier.measured:
        classifier.measured[key] = _measured(classifier, x, size)
    return classifier.measured[key]


def _measured(classifier: Classifier, x: torch.Tensor, size: tuple[int, int]) -> Psi:
    """The first of the candidates that keeps the image; if there is none, the best of them."""
    tried: list[Psi] = []
    for layer in candidates(classifier, x):
        if layer == PUBLISHED:
            return Psi(layer)
        tried.append(Psi(layer, kept_by(classifier, layer, size)))
        if (tried[-1].kept or 0) >= KEPT:
            return tried[-1]
    return max(tried, key=lambda each: each.kept or -1)


def candidates(classifier: Classifier, x: torch.Tensor) -> list[str]:
    """The first whole block of the last four stages, where ResNets have the published one; then those before it, from deep on."""
    found = stages(classifier, x)
    modules = dict(classifier.model.named_modules())
    late = found[-MOST_LAYERS:]
    if PUBLISHED in late:
        return [PUBLISHED]
    first = next((layer for layer in late if kernels(modules[layer]) >= KERNELS_OF_BLOCK), late[0])
    return found[found.index(first) :: -1]


@torch.enable_grad()
def kept_by(classifier: Classifier, layer: str, size: tuple[int, int]) -> float:
    """The least correlation of light and colors, blurred, of an image and its inversion at a layer; mean of the images, -1 to 1.

    A short inversion of images of this size, (height, width), or of 128 pixels a side for networks that take those, too. A
    classifier of gray images has light alone.
    """
    place = classifier.mean.device
    classifier, size = _smaller(classifier, layer, size)
    scale = amplitudes(size).to(place)
    random = torch.Generator().manual_seed(0)
    image = image_of(torch.randn(IMAGES, 3, *scale.shape, 2, generator=random).to(place), scale, size)
    with torch.no_grad():
        features = classifier.features(image, layer)
        energy = features.flatten(1).square().mean(1).clamp_min(1e-12)
    start = 0.01 * torch.randn(IMAGES, 3, *scale.shape, 2, generator=random)
    spectrum = start.to(place).requires_grad_()
    optimizer = torch.optim.Adam([spectrum], lr=RATE)
    for _ in range(STEPS):
        optimizer.zero_grad()
        error = (classifier.features(image_of(spectrum, scale, size), layer) - features).square()
        (error.flatten(1).mean(1) / energy).sum().backward()
        optimizer.step()
    with torch.no_grad():
        found = image_of(spectrum, scale, size)
        channels = 1 if classifier.mean.shape[1] == 1 else 3
        pair = (gaussian_blurred(_yuv(each)[:, :channels], min(size) * BLUR).flatten(2) for each in (image, found))
        a, b = (each - each.mean(2, keepdim=True) for each in pair)
        correlations = (a * b).sum(2) / (a.norm(dim=2) * b.norm(dim=2)).clamp_min(1e-12)
    return float(correlations.mean(0).min())


@torch.no_grad()
def _smaller(classifier: Classifier, layer: str, size: tuple[int, int]) -> tuple[Classifier, tuple[int, int]]:
    """The classifier for images that are its input already, and their size: the smaller one if the network takes it."""
    factor = SIDE / min(size)
    if factor < 1:
        smaller = (STRIDE * round(size[0] * factor / STRIDE), STRIDE * round(size[1] * factor / STRIDE))
        free = for_input(classifier)
        free.size = None
        try:
            free.features(torch.full((1, 3, *smaller), 0.5, device=classifier.mean.device), layer)
            return free, smaller
        except (RuntimeError, AssertionError, ValueError, TypeError):  # each library has its own
            pass
    return for_input(classifier), size


def _yuv(x: torch.Tensor) -> torch.Tensor:
    return torch.einsum("oc,bchw->bohw", torch.tensor(_YUV, device=x.device), x)
