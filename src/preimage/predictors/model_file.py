"""A model file: a classifier that was trained here, and its loss estimator, as plain data and tensors; no pickled code."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from preimage.errors import InputError, MissingExtra
from preimage.images.atomic import write_bytes_atomically
from preimage.predictors.loss_estimator import LossEstimator
from preimage.predictors.predictor import Predictor
from preimage.version import __version__

FORMAT, VERSION = "preimage model", 1
SMALL_SIDE = 96  # below it ResNets begin with a 3x3 convolution of stride 1, without max-pooling


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """What `preimage train` writes.

    Args:
        predictor: the classifier.
        estimator: its loss estimator, None if none was trained.
        about: numbers and settings of the training, plain data.
    """

    predictor: Predictor
    estimator: LossEstimator | None = None
    about: dict[str, Any] = field(default_factory=dict)


def backbone(name: str, classes: int, *, small: bool = False) -> nn.Module:
    """An untrained classifier: `resnet18` and the like of torchvision, or `timm:NAME`; `small`: for pictures under 96 px.

    Raises:
        InputError: a name that is not known.
    """
    if name.startswith("timm:"):
        try:
            import timm  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise MissingExtra.of("timm", "explain") from error
        try:
            return timm.create_model(name.removeprefix("timm:"), pretrained=False, num_classes=classes)
        except RuntimeError as error:
            raise InputError(f"timm has no model {name.removeprefix('timm:')!r}: see timm.list_models()") from error
    from torchvision import models

    try:
        model = models.get_model(name, weights=None, num_classes=classes)
    except ValueError as error:
        raise InputError(f"torchvision has no model {name!r}: resnet18, resnet34, mobilenet_v3_small, ...") from error
    if small and isinstance(model, models.ResNet):
        model.conv1 = nn.Conv2d(3, model.conv1.out_channels, 3, padding=1, bias=False)
        model.maxpool = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    return model


def write_model(path: Path, model: TrainedModel, name: str, *, small: bool, overwrite: bool = False) -> Path:
    """Write a model file, whole or not at all; `name`, `small`: what `backbone` made its classifier from."""
    predictor, estimator = model.predictor, model.estimator
    held = {
        "format": FORMAT,
        "version": VERSION,
        "written_by": __version__,
        "backbone": name,
        "small": small,
        "classes": list(predictor.classes),
        "mean": predictor.mean.flatten().tolist(),
        "std": predictor.std.flatten().tolist(),
        "size": None if predictor.size is None else list(predictor.size),
        "weights": {key: value.cpu() for key, value in predictor.model.state_dict().items()},
        "estimator": None
        if estimator is None
        else {
            "channels": estimator.channels,
            "units": estimator.units,
            "weights": {key: value.cpu() for key, value in estimator.state_dict().items()},
        },
        "about": model.about,
    }
    return write_bytes_atomically(path, lambda file: torch.save(held, file), overwrite=overwrite)


def read_model(path: Path) -> TrainedModel:
    """Read a model file.

    Raises:
        InputError: a file that is not there, that is no model file, or one of a later version.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist: `preimage train DATA -o {path}` makes it")
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip: each raises its own
        raise InputError(f"{path} is no model file of preimage: `preimage train DATA -o FILE.pt` makes one") from error
    if not isinstance(held, dict) or held.get("format") != FORMAT:
        raise InputError(
            f"{path} is no model file of preimage (weights alone are given as torchvision:NAME@{path}): "
            "`preimage train DATA -o FILE.pt` makes one"
        )
    if held["version"] > VERSION:
        raise InputError(f"{path} was written by preimage {held['written_by']}, a later one: update preimage")
    model = backbone(held["backbone"], len(held["classes"]), small=held["small"])
    model.load_state_dict(held["weights"])
    size = None if held["size"] is None else (held["size"][0], held["size"][1])
    predictor = Predictor(model, held["classes"], held["mean"], held["std"], size)
    estimator = None
    if held["estimator"] is not None:
        estimator = LossEstimator(held["estimator"]["channels"], held["estimator"]["units"])
        estimator.load_state_dict(held["estimator"]["weights"])
        estimator.eval().requires_grad_(False)
    return TrainedModel(predictor, estimator, held["about"])
