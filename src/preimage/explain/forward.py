"""A classifier's forward pass, computed once for all terms of the loss, and Phi, the features of one layer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import torch

from preimage.classifiers import Classifier
from preimage.classifiers.folding import folded
from preimage.classifiers.modules import takes_unit_range
from preimage.errors import InputError
from preimage.explain.coarse_to_fine import CoarseToFine
from preimage.explain.copies import Copies

SIDE = 4  # shifts along each axis: the stride of a ResNet's first block


class InputJitter:
    """Shifts images of (height, width) pixels by 0 to 3 pixels, in a fixed random order; `set_step(None)` shifts nothing.

    The gradient of strided convolutions has checkerboard artifacts at fixed places. With the input shifted at each step they
    fall on other pixels each time and average out.

    Example:
        >>> jitter = InputJitter((20, 30))
        >>> jitter.set_step(5)
        >>> jitter(torch.rand(1, 3, 20, 30)).shape
        torch.Size([1, 3, 20, 30])
    """

    def __init__(self, size: tuple[int, int], device: torch.device | str = "cpu") -> None:
        shifts = list(product(range(SIDE), repeat=2))
        order = torch.randperm(len(shifts), generator=torch.Generator().manual_seed(0)).tolist()
        self.shifts: list[tuple[int, ...]] = [shifts[i] for i in order]
        # The indices of every shift, and last those of none: on the device at once, for a copy to it at each step would wait.
        axes = zip(size, zip(*self.shifts, (0, 0), strict=True), strict=True)
        self._rows, self._columns = (_indices(count, by).to(device) for count, by in axes)
        # Changed in place: what was recorded of a step holds these very tensors.
        self.rows: torch.Tensor = self._rows[-1].clone()
        self.columns: torch.Tensor = self._columns[-1].clone()
        self.number: torch.Tensor = torch.zeros(1, dtype=torch.long, device=device)
        self.current: int | None = None

    def __len__(self) -> int:
        return len(self.shifts)

    def set_step(self, step: int | None) -> None:
        """Take the shift of a step, counted from 0; None: no shift."""
        number = None if step is None else step % len(self)
        if number != self.current:
            self.current = number
            self.rows.copy_(self._rows[-1 if number is None else number])
            self.columns.copy_(self._columns[-1 if number is None else number])
            self.number.fill_(number or 0)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(b, c, h, w) shifted up and to the left, the border reflected."""
        return x.index_select(-2, self.rows).index_select(-1, self.columns)


def _indices(count: int, shifts: Sequence[int]) -> torch.Tensor:
    """(shifts, count): the source index of each pixel after each shift, those beyond the end reflected."""
    shifted = torch.tensor(shifts)[:, None] + torch.arange(count)
    return torch.where(shifted < count, shifted, 2 * count - 2 - shifted)


class ForwardPass(NamedTuple):
    """Logits (b, classes), and {layer: features}."""

    logits: torch.Tensor
    features: dict[str, torch.Tensor]


class CachedForward:
    """The forward pass of a classifier on images (b, c, h, w) in 0 to 1, cached until another image comes.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
        >>> forward = CachedForward(Classifier(model, 2), ["0"])
        >>> forward(torch.rand(1, 3, 32, 32)).features["0"].shape
        torch.Size([1, 4, 30, 30])

    Args:
        classifier: on the device of the images.
        layers: whose features are kept besides the logits.
        image, region: where the region (1, 1, h, w) is 0 the classifier gets this image (1, c, h, w) instead.
        jitter: shifts the input, differently at each step; None: no shift.
        copies: altered, for `of_copies`; None: the image alone.
        coarse_to_fine: of the gradient of `of_copies`; None: as it is.
    """

    def __init__(
        self,
        classifier: Classifier,
        layers: Sequence[str] = (),
        *,
        image: torch.Tensor | None = None,
        region: torch.Tensor | None = None,
        jitter: InputJitter | None = None,
        copies: Copies | None = None,
        coarse_to_fine: CoarseToFine | None = None,
    ) -> None:
        if wrong := [layer for layer in layers if not isinstance(layer, str)]:
            raise InputError(f"a layer is given by its name, as in Classifier.layers(), got {wrong[0]!r}", code="layer")
        self.classifier = classifier
        self.layers: list[str] = list(dict.fromkeys(layers))
        self.image = image
        self.region = region
        self.jitter = jitter
        self.copies = copies
        self.coarse_to_fine: CoarseToFine | None = coarse_to_fine
        # Pixel priors leave 0 to 1, and a classifier that purifies its images refuses such.
        self.is_clipped: bool = takes_unit_range(classifier)
        self._input: torch.Tensor | None = None
        self._output: ForwardPass | None = None
        self._folded: Classifier | None = None  # the classifier of the fit's passes, from the first one on

    def set_step(self, step: int | None) -> None:
        """Shift the input as at a step, counted from 0; None: no shift. Forgets what is cached."""
        if self.jitter is not None:
            self.jitter.set_step(step)
        if self.copies is not None:
            self.copies.set_step(step)
        if self.coarse_to_fine is not None:
            self.coarse_to_fine.set_step(step)
        self._input = self._output = None

    def composed(self, x: torch.Tensor) -> torch.Tensor:
        """(b, c, h, w) with the given image outside the region."""
        if self.region is None or self.image is None:
            return x
        return torch.lerp(self.image.to(x.device), x, self.region.to(x.device))

    def __call__(self, x: torch.Tensor) -> ForwardPass:
        """Logits and features of images (b, c, h, w) in 0 to 1."""
        if self._output is None or x is not self._input:
            composed = self.composed(x)
            self._input = x
            self._output = self._passed(composed if self.jitter is None else self.jitter(composed))
        return self._output

    def of_copies(self, x: torch.Tensor) -> ForwardPass:
        """The same of altered copies of images (b, c, h, w), those of the first image first; without copies of the images."""
        if not self.is_altering:
            return self(x)
        smoothed = self.composed(x) if self.coarse_to_fine is None else self.coarse_to_fine(self.composed(x))
        if self.copies is None:
            return self._passed(smoothed if self.jitter is None else self.jitter(smoothed))
        return self._passed(self.copies(smoothed))

    @property
    def is_altering(self) -> bool:
        """Whether `of_copies` is another pass than that of the images."""
        return self.copies is not None or self.coarse_to_fine is not None

    @torch.no_grad()
    def probabilities(self, x: torch.Tensor) -> torch.Tensor:
        """The class probabilities of images (b, c, h, w), the mean over copies that no step has, (b, classes)."""
        if self.copies is None:
            return self.plain_probabilities(x)
        composed = self.composed(x)
        found = self.classifier.probabilities(self._clipped(self.copies.fixed(composed)))
        return found.unflatten(0, (len(x), -1)).mean(1)

    @torch.no_grad()
    def plain_probabilities(self, x: torch.Tensor) -> torch.Tensor:
        """The class probabilities of images (b, c, h, w) as they are, (b, classes)."""
        return self.classifier.probabilities(self.composed(x))

    def _passed(self, x: torch.Tensor) -> ForwardPass:
        if self._folded is None:
            self._folded = folded(self.classifier, x, self.layers)
        logits, features = self._folded.logits_and_features(self._clipped(x), self.layers)
        return ForwardPass(_wide(logits), {name: _wide(value) for name, value in features.items()})

    def _clipped(self, x: torch.Tensor) -> torch.Tensor:
        return x.clamp(0, 1) if self.is_clipped else x


def _wide(x: torch.Tensor) -> torch.Tensor:
    """At least in single precision, whatever the classifier computes in."""
    return x if x.dtype == torch.float64 else x.float()


class Features:
    """Phi = one layer's features over the root mean square of the given image's, so that E is relative; `target` is y.

    With input jitter Phi(x) is the difference from the features of the given image, shifted alike, and its target is 0.

    Args:
        forward: has the layer among its own.
        image: the given image, (1, c, h, w), on the classifier's device.
        is_altered: of the pass of `CachedForward.of_copies`, whose gradient is from coarse to fine; it must have no copies.

    Raises:
        InputError: a layer whose features are all zero.
    """

    def __init__(self, forward: CachedForward, layer: str, image: torch.Tensor, *, is_altered: bool = False) -> None:
        self.forward = forward
        self.layer = layer
        self.is_altered = is_altered
        features = self._at_step(None, image)
        self.scale: float = float(features.square().mean().sqrt())
        if not self.scale > 0:
            raise InputError(f"layer {layer!r} gives only zeros for this image: take another layer", code="layer")
        self._of_image = features / self.scale
        self.target: torch.Tensor = self._of_image
        self.of_shifted: torch.Tensor | None = None
        if forward.jitter is not None:
            each = [self._at_step(step, image) / self.scale for step in range(len(forward.jitter))]
            self.of_shifted, self.target = torch.cat(each), torch.zeros_like(self._of_image)
            forward.set_step(None)

    @torch.no_grad()
    def _at_step(self, step: int | None, image: torch.Tensor) -> torch.Tensor:
        self.forward.set_step(step)
        return self.forward(image).features[self.layer]

    def error(self, x: torch.Tensor) -> float:
        """The mean of E over images (b, c, h, w), without any shift."""
        return float((self._at_step(None, x) / self.scale - self._of_image).square().mean())

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Phi(x)."""
        passed = self.forward.of_copies(x) if self.is_altered else self.forward(x)
        features = passed.features[self.layer] / self.scale
        if self.of_shifted is None or self.forward.jitter is None:
            return features
        return features - self.of_shifted.index_select(0, self.forward.jitter.number)
