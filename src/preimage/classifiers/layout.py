"""Where the axes of a layer's features are: channels first, channels last, or tokens; and which layers are of the image at all.

Shapes tell it where only one reading has the proportions of the image. Where several have them, it is measured: a change in one
half of the image changes one half of rows or columns, and channels alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from preimage.classifiers.classifier import Classifier, tensor_in
from preimage.errors import InputError

Axes = Literal["channels-first", "channels-last", "tokens"]
_MOST_EXTRA = 8  # tokens beside those of the image: of the class, of a teacher, registers


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
    found: dict[str, tuple[torch.Size, torch.Size, list[Axes], dict[int, float]]] = {}
    height, width = classifier.size or (x.shape[-2], x.shape[-1])

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
        own = next((each.shape for each in inputs if isinstance(each, torch.Tensor)), torch.Size())
        readings = _readings(tuple(shape[1:]), (height, width))
        if not readings:
            return  # windows, or attention
        found.pop(name, None)  # a module that is used several times is known by its last output
        found[name] = shape, own, readings, _locality(features) if len(readings) > 1 else {}

    classifier.observed(batch, note)
    modules = dict(classifier.model.named_modules())
    return [
        LayerOutput(name, modules[name], _layout(tuple(shape[1:]), readings, local, (height, width)), tuple(own[1:]))
        for name, (shape, own, readings, local) in found.items()
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


def _readings(shape: tuple[int, ...], size: tuple[int, int]) -> list[Axes]:
    if len(shape) == 2:
        return ["tokens"]
    pairs: tuple[tuple[Axes, tuple[int, ...]], ...] = (("channels-first", shape[1:]), ("channels-last", shape[:2]))
    return [axes for axes, (height, width) in pairs if _is_like(height, width, size)]


def _is_like(height: int, width: int, size: tuple[int, int]) -> bool:
    return abs(height * size[1] - width * size[0]) <= max(size)


def _locality(features: torch.Tensor) -> dict[int, float]:
    """For axes 1 and 3 of five images' features, how differently the halves of the image change them: 0 to 1."""
    changes = (features[1:] - features[:1]).float().square()
    found: dict[int, float] = {}
    for axis, others in ((1, (2, 3)), (3, (1, 2))):
        profiles = changes.mean(others)
        profiles = profiles / profiles.sum(1, keepdim=True).clamp_min(1e-30)
        pairs = ((0, 1), (2, 3))  # upper and lower, left and right
        found[axis] = max(float((profiles[a] - profiles[b]).abs().sum()) / 2 for a, b in pairs)
    return found


def _layout(shape: tuple[int, ...], readings: Sequence[Axes], local: dict[int, float], size: tuple[int, int]) -> Layout:
    if readings[0] == "tokens":
        return Layout("tokens", _grid(shape[0], size), shape[1])
    axes = readings[0] if not local else ("channels-first" if local[1] <= local[3] else "channels-last")
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
