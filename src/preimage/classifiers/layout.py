"""Where the axes of a layer's features are: channels first, channels last, or tokens; and which layers are of the image at all.

Modules tell it where they define the axes, as convolutions do; what passes features on without moving them keeps
theirs, and a block has those of the last features within it. Elsewhere shapes tell it where only one reading has the
proportions of the image. Where several may be, it is measured: a change in one half of the image moves along rows or
columns, and along no others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.modules import activation, batchnorm, conv, dropout, instancenorm, padding, pooling
from torch.utils.weak import WeakIdKeyDictionary

from preimage.classifiers.classifier import Classifier, tensor_in
from preimage.errors import InputError

Axes = Literal["channels-first", "channels-last", "tokens"]
_MOST_EXTRA = 8  # tokens beside those of the image: of the class, of a teacher, registers
_LOCAL = 0.05  # of a shift by half a side, which is 0.5: less of it is chance
_CHANNELS_FIRST = (  # of four axes
    *(conv.Conv2d, conv.ConvTranspose2d, batchnorm.BatchNorm2d, batchnorm.SyncBatchNorm, instancenorm.InstanceNorm2d),
    *(pooling.MaxPool2d, pooling.MaxUnpool2d, pooling.AvgPool2d, pooling.FractionalMaxPool2d, pooling.LPPool2d),
    *(pooling.AdaptiveMaxPool2d, pooling.AdaptiveAvgPool2d, nn.GroupNorm, nn.LocalResponseNorm, nn.Softmax2d),
    *(padding.ReflectionPad2d, padding.ReplicationPad2d, padding.ZeroPad2d, padding.ConstantPad2d, dropout.Dropout2d),
    *(nn.PixelShuffle, nn.PixelUnshuffle, nn.Upsample, nn.ChannelShuffle),
)
_ELEMENTWISE = (nn.Identity, nn.Dropout, nn.AlphaDropout)  # beside the activations


@dataclass(frozen=True)
class Layout:
    """The axes of features (b, c, h, w), (b, h, w, c) or tokens (b, n, c).

    Args:
        axes: which of the three.
        size: (h, w); of tokens that are no grid None.
        channels: c.
    """

    axes: Axes
    size: tuple[int, int] | None
    channels: int

    def channels_first(self, features: torch.Tensor) -> torch.Tensor:
        """(b, h, w, c) as (b, c, h, w); all others as they are."""
        return features.movedim(-1, 1) if self.axes == "channels-last" else features


@dataclass(frozen=True)
class LayerOutput:
    """The output of a layer that depends on the image: its name, module and layout, and the size of the layer's own input."""

    name: str
    module: nn.Module
    layout: Layout
    input_shape: tuple[int, ...]


@torch.no_grad()
def spatial_outputs(classifier: Classifier, x: torch.Tensor) -> list[LayerOutput]:
    """The outputs (b, c, h, w), (b, h, w, c) and (b, n, c) that depend on the image, in the order in which they are computed.

    Windows, masks, biases of positions and the like are not among them. x: (1, 1 or 3, h, w) in 0 to 1 on the device.
    """
    batch = _halves_changed(x)
    modules = dict(classifier.model.named_modules())
    found: dict[str, tuple[torch.Size, torch.Size, Axes]] = {}
    axes_of = _AxesOf(classifier.size or (x.shape[-2], x.shape[-1]))

    def note(name: str, inputs: Any, output: Any) -> None:
        try:
            features = tensor_in(output, name)
        except InputError:
            return
        shape = features.shape
        if features.ndim not in (3, 4) or len(shape) == 0 or shape[0] != len(batch) or not features.is_floating_point():
            return
        if not bool((features[1:] != features[:1]).any()):
            return  # it does not see the image
        given = next((each for each in inputs if isinstance(each, torch.Tensor)), None)
        axes = "tokens" if features.ndim == 3 else axes_of(name, modules[name], given, features)
        if axes is None:
            return  # windows, or attention
        found.pop(name, None)  # a module that is used several times is known by its last output
        found[name] = shape, torch.Size() if given is None else given.shape, axes

    classifier.observed(batch, note)
    return [
        LayerOutput(name, modules[name], _layout(tuple(shape[1:]), axes, axes_of.size), tuple(own[1:]))
        for name, (shape, own, axes) in found.items()
    ]


def layout_of(classifier: Classifier, x: torch.Tensor, layer: str) -> Layout | None:
    """The layout of one layer's features; None: they have no places, or are not of the image."""
    return next((each.layout for each in spatial_outputs(classifier, x) if each.name == layer), None)


def _halves_changed(x: torch.Tensor) -> torch.Tensor:
    """An image, and the same with the upper, lower, left and right half negated."""
    batch = x[:1].detach().repeat(5, 1, 1, 1)
    rows, columns = x.shape[-2] // 2, x.shape[-1] // 2
    for number, part in enumerate(
        (batch[1, :, :rows], batch[2, :, rows:], batch[3, ..., :columns], batch[4, ..., columns:])
    ):
        # Gray stays gray when it is negated.
        part.copy_((1 - part + 0.25 * (number + 1) * (part - 0.5).abs().lt(0.05)).clamp(0, 1))
    return batch


class _AxesOf:
    """The axes of features of four axes, of one layer after another as they are computed; None: they have no places.

    Args:
        size: (h, w) of the image.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.size: tuple[int, int] = size
        self._of_tensor: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._known: list[tuple[str, torch.Size, Axes | None]] = []

    def __call__(self, name: str, module: nn.Module, given: torch.Tensor | None, features: torch.Tensor) -> Axes | None:
        if isinstance(module, _CHANNELS_FIRST):
            axes = self._of_channels_first(given, features)
        elif features in self._of_tensor:  # a block returns what its last part does
            axes = self._of_tensor[features]
        elif any(True for _ in module.children()):
            axes = self._as_last(features, name + ".")
        elif given is not None and given.shape == features.shape and _has_no_kernel(module):
            axes = self._passed_on(module, given, features)
        else:
            axes = self._by_shape(features)
        self._of_tensor[features] = axes
        self._known.append((name, features.shape, axes))
        return axes

    def _of_channels_first(self, given: torch.Tensor | None, features: torch.Tensor) -> Axes | None:
        """Of a module that takes only (b, c, h, w); None if it was called on attention, on patches or the like."""
        sides = features.shape[2], features.shape[3]
        if _is_like(*sides, self.size):
            return "channels-first"
        if given is not None and _may_be(*sides, self.size) and self._is_channels_first(given):
            return "channels-first"
        return "channels-first" if min(_measured(features)["channels-first"]) > _LOCAL else None

    def _is_channels_first(self, given: torch.Tensor) -> bool:
        """Whether it is known of what a module was given; of an image it is."""
        if given.shape[2:] == self.size:
            return True
        if given in self._of_tensor:
            return self._of_tensor[given] == "channels-first"
        last = next((axes for _, shape, axes in reversed(self._known) if shape == given.shape), None)
        return last == "channels-first" and not _is_cube(given)

    def _passed_on(self, module: nn.Module, given: torch.Tensor, features: torch.Tensor) -> Axes | None:
        """Of a module without kernels that gives features of the shape it was given."""
        elementwise = isinstance(module, _ELEMENTWISE) or type(module).__module__ == activation.__name__
        if given in self._of_tensor and (elementwise or not _is_cube(features)):
            return self._of_tensor[given]
        return self._as_last(features)

    def _as_last(self, features: torch.Tensor, within: str = "") -> Axes | None:
        """As the last features of this shape, of those within a module; a cube may have been turned between."""
        if not _is_cube(features):
            for name, shape, axes in reversed(self._known):
                if shape == features.shape and name.startswith(within):
                    return axes
        return self._by_shape(features)

    def _by_shape(self, features: torch.Tensor) -> Axes | None:
        """By proportions; by measurement where they leave several, or what only lack of padding explains."""
        _, first, middle, last = features.shape
        sides: dict[Axes, tuple[int, int]] = {"channels-first": (middle, last), "channels-last": (first, middle)}
        like: list[Axes] = [axes for axes, side in sides.items() if _is_like(*side, self.size)]
        possible: list[Axes] = [axes for axes, side in sides.items() if _may_be(*side, self.size)]
        if possible == like and len(like) < 2:
            return like[0] if like else None
        local = {axes: min(both) for axes, both in _measured(features).items()}
        sure: list[Axes] = [axes for axes in possible if axes in like or local[axes] > 2 * _LOCAL]
        return max(sure, key=lambda axes: local[axes], default=None)


def _has_no_kernel(module: nn.Module) -> bool:
    return all(parameter.ndim < 2 for parameter in module.parameters())


def _is_cube(features: torch.Tensor) -> bool:
    return len(set(features.shape[1:])) == 1


def _is_like(height: int, width: int, size: tuple[int, int]) -> bool:
    return abs(height * size[1] - width * size[0]) <= max(size)


def _may_be(height: int, width: int, size: tuple[int, int]) -> bool:
    """Whether sides are in proportion, or relatively longer along the image's longer side, as without padding."""
    return _is_like(height, width, size) or (height * size[1] - width * size[0]) * (size[1] - size[0]) < 0


def _measured(features: torch.Tensor) -> dict[Axes, tuple[float, float]]:
    """For both readings of five images' features, how far a change moves along rows and columns with the changed half.

    0.5 where the lower half of the image changes the lower half of the rows alone, and the right half the columns
    alike; about 0 along channels.
    """
    changes = (features[1:] - features[:1]).float().abs()

    def moved(axis: int, halves: tuple[int, int]) -> float:
        profiles = changes.mean([each for each in (1, 2, 3) if each != axis])
        places = (torch.arange(profiles.shape[1], device=profiles.device) + 0.5) / profiles.shape[1]
        sums = profiles.sum(1)
        middles = (profiles * places).sum(1) / sums
        # A half that changes nothing, as where units are dead, tells nothing.
        return float(middles[halves[1]] - middles[halves[0]]) if bool((sums[list(halves)] > 0).all()) else 0.0

    rows, columns = (0, 1), (2, 3)  # upper and lower, left and right
    return {
        "channels-first": (moved(2, rows), moved(3, columns)),
        "channels-last": (moved(1, rows), moved(2, columns)),
    }


def _layout(shape: tuple[int, ...], axes: Axes, size: tuple[int, int]) -> Layout:
    if axes == "tokens":
        return Layout("tokens", _grid(shape[0], size), shape[1])
    height, width, channels = (*shape[1:], shape[0]) if axes == "channels-first" else shape
    return Layout(axes, (height, width), channels)


def _grid(count: int, size: tuple[int, int]) -> tuple[int, int] | None:
    """(h, w) of tokens, of which a few may be no part of the image."""
    for extra in range(min(_MOST_EXTRA, count - 1) + 1):
        height = round(math.sqrt((count - extra) * size[0] / size[1]))
        if height > 0 and (count - extra) % height == 0:
            width = (count - extra) // height
            if abs(height * size[1] - width * size[0]) < max(size):  # of a square a square
                return height, width
    return None
