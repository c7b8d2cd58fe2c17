"""Features: the operator Phi of an explanation, one layer's features relative to those of the given image."""

from __future__ import annotations

import torch

from preimage.errors import InputError
from preimage.explain.forward import CachedForward


class Features:
    """Phi = one layer's features over the root mean square of the given image's, so that E is relative.

    With input jitter Phi(x) is the difference from the features of the given image, shifted alike, and its target is 0.

    Args:
        forward: has the layer among its own.
        image: the given image, (1, c, h, w), on the classifier's device.

    Raises:
        InputError: a layer whose features are all zero.
    """

    def __init__(self, forward: CachedForward, layer: str, image: torch.Tensor) -> None:
        self.forward, self.layer = forward, layer
        forward.set_step(None)
        features = self._of(image)
        self.scale = float(features.square().mean().sqrt())
        if not self.scale > 0:
            raise InputError(f"layer {layer!r} gives only zeros for this image: take another layer", code="layer")
        self.of_image = features / self.scale
        self.of_shifted: torch.Tensor | None = None
        if forward.jitter is not None:
            shifted = []
            for step in range(len(forward.jitter)):
                forward.set_step(step)
                shifted.append(self._of(image) / self.scale)
            self.of_shifted = torch.cat(shifted)
            forward.set_step(None)

    @torch.no_grad()
    def _of(self, image: torch.Tensor) -> torch.Tensor:
        return self.forward(image).features[self.layer]

    @property
    def target(self) -> torch.Tensor:
        """y of E(Phi(x), y)."""
        return self.of_image if self.of_shifted is None else torch.zeros_like(self.of_image)

    def error(self, x: torch.Tensor) -> float:
        """The mean of E over images (b, c, h, w), without any shift."""
        self.forward.set_step(None)
        return float((self._of(x) / self.scale - self.of_image).square().mean())

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Phi(x)."""
        features = self.forward(x).features[self.layer] / self.scale
        if self.of_shifted is None or self.forward.jitter is None:
            return features
        return features - self.of_shifted.index_select(0, self.forward.jitter.number)
