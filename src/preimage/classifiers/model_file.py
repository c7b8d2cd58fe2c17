"""A model file: a classifier that was trained here, and its loss estimator, as plain data and tensors; no pickled code."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from preimage.classifiers.classifier import Classifier
from preimage.classifiers.libraries import imported_timm
from preimage.classifiers.loss_estimator import LossEstimator
from preimage.classifiers.thin_resnet import BLOCKS, ThinResNet
from preimage.errors import InputError
from preimage.extras import extra
from preimage.images.atomic import write_bytes_atomically
from preimage.images.files import read_bytes
from preimage.images.ranges import ValueRange
from preimage.images.sealed import sealed, unsealed
from preimage.version import __version__

ModuleT = TypeVar("ModuleT", bound=nn.Module)
KIND, FORMAT = "preimage model", 2
_KEYS = {"backbone", "small", "spec", "classes", "mean", "std", "size", "weights", "estimator", "about"}
# Below it ResNets begin with a 3x3 convolution of stride 1, without max-pooling; VGGs halve only four times.
SMALL_SIDE = 96
_UNUSED = 600 * 2**20  # bytes that a module may make and drop: the layers of a VGG that its smaller ones replace
_LARGEST = 1e5  # mean or deviation of a channel


@dataclass(frozen=True)
class Backbone:
    """An architecture that is trained here.

    Example:
        >>> Backbone("thin_resnet10").build(classes=3)(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 3])

    Args:
        name: `resnet18` and the like of torchvision, `timm:NAME`, or `thin_resnet10` and `thin_resnet18`.
        small: for images under 96 px.
    """

    name: str
    small: bool = False

    def build(self, classes: int) -> nn.Module:
        """An untrained module from images to logits.

        Raises:
            InputError: an unknown name.
        """
        if self.name in BLOCKS:
            return ThinResNet(BLOCKS[self.name], classes)
        if self.name.startswith("timm:"):
            timm, own = imported_timm(), self.name.removeprefix("timm:")
            if not timm.is_model(own):  # hf-hub:... and local-dir:... would be fetched
                raise InputError(f"timm has no model {own!r}: give one of timm.list_models()", code="not-found")
            return timm.create_model(own, pretrained=False, num_classes=classes)
        with extra("classifiers"):
            from torchvision import models

        try:
            model = models.get_model(self.name, weights=None, num_classes=classes)
        except (ValueError, TypeError) as error:
            way = "give resnet18, resnet34, mobilenet_v3_small, ..."
            raise InputError(f"torchvision has no model {self.name!r}: {way}", code="not-found") from error
        if self.small and isinstance(model, models.ResNet):
            model.conv1 = nn.Conv2d(3, model.conv1.out_channels, 3, padding=1, bias=False)
            model.maxpool = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
        if self.small and isinstance(model, models.VGG):
            *_, last = dict(model.features.named_children())
            setattr(model.features, last, nn.Identity())  # the fifth halving
            model.avgpool = nn.AdaptiveAvgPool2d(1)
            model.classifier = nn.Sequential(nn.Linear(512, classes))
        return model


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A classifier and the estimator of its loss, if one was trained: what `preimage train` writes and `load_model` returns.

    Args:
        about: numbers and settings of the training, plain data; `target_quantile` among them.
        origin: how its architecture is built: a Backbone, or a specification for `load_classifier`; None: it cannot be written.
        remarks: what is to be said of how it was loaded.
    """

    classifier: Classifier
    estimator: LossEstimator | None = None
    about: dict[str, Any] = field(default_factory=dict)
    origin: Backbone | str | None = None
    remarks: tuple[str, ...] = ()


def write_model(path: Path, model: TrainedModel, *, overwrite: bool = False) -> Path:
    """Write a model file, whole or not at all. The weights are in it, wherever the classifier came from.

    Example:
        >>> origin = Backbone("thin_resnet10")
        >>> model = TrainedModel(Classifier(origin.build(2), ["benign", "malignant"]), origin=origin)
        >>> write_model(Path("lesions.pt"), model).name
        'lesions.pt'

    Raises:
        InputError: a file that exists, a place that cannot be written, a model of unknown origin.
    """
    classifier, estimator, origin = model.classifier, model.estimator, model.origin
    if origin is None or classifier.label is not None:
        raise InputError("a file without origin cannot be read again: give TrainedModel one", code="classifier")
    held: dict[str, Any] = {
        "format": FORMAT,
        "kind": KIND,
        "written_by": __version__,
        "backbone": None if isinstance(origin, str) else origin.name,
        "small": not isinstance(origin, str) and origin.small,
        "spec": origin if isinstance(origin, str) else None,
        "classes": list(classifier.classes),
        "mean": classifier.mean.flatten().tolist(),
        "std": classifier.std.flatten().tolist(),
        "size": None if classifier.size is None else list(classifier.size),
        "resizing": asdict(classifier.resizing),
        "channel_order": classifier.channel_order,
        "values": None if classifier.values is None else list(astuple(classifier.values)),
        "weights": _weights(classifier.model),
        "estimator": None,
        "about": model.about,
    }
    if classifier.output not in (None, "logits"):
        held["output"] = classifier.output
    if estimator is not None:
        own = _weights(estimator)
        terms = {"moments": estimator.moments, "rank": 0 if estimator.unusual is None else estimator.unusual.rank}
        terms["shifts"] = estimator.shifted is not None
        held["estimator"] = {"channels": estimator.channels, "units": estimator.units, **terms, "weights": own}
    return write_bytes_atomically(path, sealed(lambda file: torch.save(held, file)), overwrite=overwrite)


def _weights(module: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.cpu() for key, value in module.state_dict().items()}


def read_held(path: Path) -> dict[str, Any]:
    """The contents of a file of `write_model`."""
    if not path.exists():
        raise InputError(f"{path} does not exist: `preimage train DATA -o {path}` makes it", code="not-found")
    data = read_bytes(path)
    way = "`preimage train DATA -o FILE.pt` makes one"
    other = f"{path} is damaged, or no model file of this version (weights alone are given as torchvision:NAME@{path})"
    try:
        content = unsealed(data)
        held = None if content is None else torch.load(content, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip: each raises its own
        raise InputError(f"{path} cannot be read as a model file of preimage: {way}", code="unreadable") from error
    if not isinstance(held, dict) or KIND not in (held.get("kind"), held.get("format")):
        raise InputError(f"{other}: {way}", code="unreadable")
    if held.get("format") != FORMAT:
        number = held.get("version") if held.get("format") == KIND else held.get("format")
        reason = f"{path} is a model file of format {number}, this version reads {FORMAT}"
        raise InputError(f"{reason}: make it anew by `preimage train`", code="format")
    if missing := ", ".join(sorted(_KEYS - held.keys())):
        raise InputError(f"{path} lacks {missing}: make it anew by `preimage train`", code="unreadable")
    if wrong := next((name for name in _SOUND if not _is_sound(name, held[name])), None):
        raise InputError(f"{path} has {wrong} that cannot be: make it anew by `preimage train`", code="unreadable")
    return held


def _is_sound(name: str, value: Any) -> bool:
    try:
        return _SOUND[name](value)
    except (TypeError, ValueError, AttributeError):
        return False


def _are_finite(values: Any) -> bool:
    return isinstance(values, dict) and all(
        isinstance(name, str)
        and isinstance(value, torch.Tensor)
        and (value.layout, value.device.type) == (torch.strided, "cpu")
        and not (value.is_complex() or value.is_quantized)
        and value.nbytes <= value.untyped_storage().nbytes()  # expanded, it could be of any size
        and bool(value.isfinite().all())
        for name, value in values.items()
    )


def _are_numbers(values: Any, *, least: float = -_LARGEST) -> bool:
    return isinstance(values, list) and all(isinstance(v, float) and least < v < _LARGEST for v in values)


_SOUND: dict[str, Callable[[Any], bool]] = {  # of each part, whether it can be
    "classes": lambda v: isinstance(v, list) and 0 < len(v) <= 10**6 and all(isinstance(each, str) for each in v),
    "small": lambda v: isinstance(v, bool),
    "mean": _are_numbers,
    "std": lambda v: _are_numbers(v, least=0),
    "size": lambda v: v is None or (len(v) == 2 and all(isinstance(side, int) and 0 < side <= 4096 for side in v)),
    "weights": _are_finite,
    "estimator": lambda v: v is None or (isinstance(v, dict) and _are_finite(v.get("weights"))),
    "about": lambda v: isinstance(v, dict) and math.isfinite(v.get("target_quantile") or 0),
}


class _Bounded(TorchFunctionMode):
    """Within it no more is made than so many bytes: what a file says of a module may be out of all proportion to its weights."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.left = most

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if func in (torch.empty, torch.zeros, torch.ones, torch.randn, torch.rand) and isinstance(made, torch.Tensor):
            self.left -= made.nbytes
            if self.left < 0:
                raise RuntimeError("fewer weights than the module has")
        return made


def built(make: Callable[[], ModuleT], weights: dict[str, torch.Tensor]) -> ModuleT:
    """A module with these weights.

    Raises:
        RuntimeError: weights that do not fit.
    """
    with _Bounded(2 * sum(value.nbytes for value in weights.values()) + _UNUSED):
        module = make()
    wanted = {name: (value.shape, value.dtype) for name, value in module.state_dict().items()}
    if wanted != {name: (value.shape, value.dtype) for name, value in weights.items()}:
        raise RuntimeError("weights of other names, shapes or types")
    module.load_state_dict(weights)
    return module


def values_of(held: dict[str, Any], path: Path) -> ValueRange | None:
    """The value range in the contents of a file; None in one of a version that did not store it."""
    values = held.get("values")
    if values is None:
        return None
    try:
        low, high, dtype = values
        return ValueRange(float(low), float(high), str(np.dtype(dtype).name))
    except (TypeError, ValueError) as error:
        wrong = f"{path} has the value range {str(values)[:60]}"
        raise InputError(f"{wrong}: make it anew by `preimage train`", code="unreadable") from error


def estimator_of(held: dict[str, Any]) -> LossEstimator | None:
    """The loss estimator in the contents of a file, if there is one."""
    if held["estimator"] is None:
        return None
    stated = held["estimator"]
    later = stated.get("moments", 1), stated.get("rank", 0), stated.get("shifts", False)  # of earlier files: these
    estimator = built(lambda: LossEstimator(stated["channels"], stated["units"], *later), stated["weights"])
    return estimator.eval().requires_grad_(False)
