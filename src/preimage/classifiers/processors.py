"""What an image processor of transformers does to an image, as the arguments of a Classifier.

Sizes are read from its configuration. Scale, mean, deviation and the order of the channels are measured, by images of one color:
do_rescale, do_normalize, offsets and flips differ from class to class. The whole is then compared with the processor on one
image, so that a step that is not known here is an error and not another answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from preimage.classifiers.arguments import in_one_line
from preimage.classifiers.classifier import ChannelOrder
from preimage.classifiers.filters import Filter
from preimage.classifiers.resizing import Resizing, Size
from preimage.errors import InputError

# Pillow's numbers; of transformers' own default as well.
_FILTERS: dict[int, Filter] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
_SHORT_OF_CONVNEXT = 384  # from this size on, images are squeezed and not cropped
# Of values of 8 bits: both passes of Pillow round, and its weights of bicubic have 8 bits, too.
_ROUNDING = 3 / 255


@dataclass(frozen=True)
class Preprocessing:
    """The arguments of a Classifier that say how images become the model's input."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: Size | None
    resizing: Resizing
    channel_order: ChannelOrder


def preprocessing_of(processor: Any, name: str) -> Preprocessing:
    """What a processor does, checked on one image; `name`: of the classifier, for messages.

    Raises:
        InputError: a processor that does something else than resize, cut, and scale the values of each channel.
    """
    try:
        size, resizing = _geometry(processor)
        found = Preprocessing(*_values(processor), size, resizing, _order(processor))
        difference = _difference(processor, found)
    except (TypeError, ValueError, KeyError, RuntimeError, AttributeError, IndexError) as error:
        difference = in_one_line(error, 100)
    else:
        if difference <= _ROUNDING:
            return found
        difference = f"values differ by up to {255 * difference:.0f} of 255"
    way = "load the model yourself and wrap it: Classifier(model, classes, mean, std, size, resizing=...)"
    kind = type(processor).__name__
    raise InputError(f"{name} prepares images in a way not known here ({kind}: {difference}): {way}", code="classifier")


def _geometry(processor: Any) -> tuple[Size | None, Resizing]:
    """The input's size, and how an image becomes it."""
    kind, size, crop = type(processor).__name__, _entries(processor, "size"), _entries(processor, "crop_size")
    cuts = bool(getattr(processor, "do_center_crop", False)) and bool(crop)
    by = _FILTERS[int(getattr(processor, "resample", 2))]
    rounding: Any = "down" if kind.endswith("Pil") or not hasattr(processor, "backend") else "nearest"
    if not getattr(processor, "do_resize", True):
        return (_both(crop), Resizing("crop", filter=by, rounding=rounding)) if cuts else (None, Resizing())
    short = size.get("shortest_edge")
    before: Any = int(short) if short else _both(size)
    if kind.startswith("ConvNext"):
        side = int(size["shortest_edge"])
        percentage = float(getattr(processor, "crop_pct", None) or 224 / 256)
        if side >= _SHORT_OF_CONVNEXT:
            return (side, side), Resizing(filter=by)
        return (side, side), Resizing("crop", int(side / percentage), by, rounding)
    if kind.startswith("Levit") and short:
        before = int(256 / 224 * before)
    if kind.startswith("PPLCNet") and getattr(processor, "resize_short", None):
        before = int(processor.resize_short)
    if kind.startswith("PoolFormer") and getattr(processor, "crop_pct", None):
        before = _of_poolformer(size, float(processor.crop_pct))
    if cuts:
        return _both(crop), Resizing("crop", before, by, rounding, keep="none")
    if isinstance(before, int):  # images of other proportions remain so
        raise ValueError("it keeps the proportions of each image, and inputs of many sizes")
    return before, Resizing(filter=by)


def _of_poolformer(size: dict[str, Any], percentage: float) -> Any:
    short = size.get("shortest_edge")
    if short:
        return int(short / percentage)
    height, width = _both(size)
    return int(height / percentage) if height == width else (int(height / percentage), int(width / percentage))


def _entries(processor: Any, name: str) -> dict[str, Any]:
    """A size of a processor by its entries; a number is both sides."""
    size = getattr(processor, name, None)
    if isinstance(size, int):
        return {"height": size, "width": size}
    entries = dict(size or {}) if not hasattr(size, "__dataclass_fields__") else vars(size)
    return {name: value for name, value in entries.items() if value is not None}


def _both(size: dict[str, Any]) -> Size:
    if "height" not in size and "shortest_edge" in size:
        return int(size["shortest_edge"]), int(size["shortest_edge"])
    return int(size["height"]), int(size["width"])


def _applied(processor: Any, image: np.ndarray) -> np.ndarray:
    """(3, h, w) of an image (h, w, 3) of 8 bits."""
    found = processor(images=image, return_tensors="np")["pixel_values"]
    return np.asarray(found, np.float64)[0]


def _of_color(processor: Any, color: tuple[int, int, int]) -> np.ndarray:
    """(3,): what an image of one color becomes, in the middle."""
    found = _applied(processor, np.full((256, 256, 3), color, np.uint8))
    return found[:, found.shape[1] // 2, found.shape[2] // 2]


def _values(processor: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation, of the channels in the order of the input."""
    black, white = (_of_color(processor, (value, value, value)) for value in (0, 255))
    std = 1 / (white - black)
    # Of single precision; and no zero has a sign.
    mean, std = (np.round(each, 7) + 0.0 for each in (-black * std, std))
    return tuple(mean.tolist()), tuple(std.tolist())


def _order(processor: Any) -> ChannelOrder:
    black, red = (_of_color(processor, color) for color in ((0, 0, 0), (255, 0, 0)))
    changed = np.flatnonzero(np.abs(red - black) > 1e-6).tolist()
    orders: dict[tuple[int, ...], ChannelOrder] = {(0,): "rgb", (2,): "bgr"}
    return orders[tuple(changed)]


def _difference(processor: Any, found: Preprocessing) -> float:
    """The largest difference from the processor's own input, of images of both orientations, in units of the image's range."""
    largest = 0.0
    for height, width in ((300, 409), (357, 288)):
        rows, columns = np.meshgrid(np.linspace(0, 6, height), np.linspace(0, 6, width), indexing="ij")
        waves = [0.5 + 0.4 * np.sin(rows + k * columns) for k in (0.5, 1.0, 1.5)]
        image = np.round(255 * np.stack(waves, 2)).astype(np.uint8)
        own = torch.from_numpy(_applied(processor, image))[None]
        x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
        x = x.flip(1) if found.channel_order == "bgr" else x
        x = x if found.size is None else found.resizing.frame((height, width), found.size)(x)
        mean, std = (torch.tensor(each, dtype=torch.float64).reshape(1, -1, 1, 1) for each in (found.mean, found.std))
        largest = max(largest, float((own * std + mean - x).abs().max()))
    return largest
