"""Classifiers of torchvision, timm and transformers, with their classes and normalization; and weights of a file."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from preimage.classifiers.arguments import in_one_line, suggestion
from preimage.classifiers.classifier import Classifier
from preimage.classifiers.processors import preprocessing_of
from preimage.classifiers.resizing import Keep, Resizing
from preimage.errors import InputError, MissingExtra
from preimage.images.files import check_file
from preimage.rng import drawing_from

NO_WEIGHTS = "none"


def _torchvision(name: str, weights: str | None) -> Classifier:
    from torchvision import models

    try:
        known: Any = models.get_model_weights(name).DEFAULT  # pyright: ignore[reportAttributeAccessIssue]
    except (ValueError, AttributeError) as error:
        near = suggestion(name, models.list_models(module=models))
        raise InputError(f"torchvision has no model {name!r}{near}", code="not-found") from error
    preset = known.transforms()
    if not hasattr(preset, "crop_size"):
        raise InputError(f"torchvision:{name} is no classifier of images: give resnet18, say", code="classifier")
    pretrained, side = known if weights is None else None, preset.crop_size[0]
    own = {"image_size": side} if name.startswith("vit_") and pretrained is None else {}
    model = _downloaded(f"torchvision:{name}", known.url, lambda: models.get_model(name, weights=pretrained, **own))
    _take(model, weights, name)
    resizing = Resizing("crop", preset.resize_size[0], preset.interpolation.value)
    return Classifier(
        model, known.meta["categories"], preset.mean, preset.std, size=side, resizing=resizing, copy=False
    )


def imported_timm() -> Any:
    """The package timm, or the one line that says how it is installed."""
    try:
        import timm  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtra.of("timm", "explain") from error
    return timm


def _timm(name: str, weights: str | None) -> Classifier:
    timm = imported_timm()
    if not timm.is_model(name.split(".")[0]):
        raise InputError(f"timm has no model {name!r}{suggestion(name, timm.list_models())}", code="not-found")
    model = _downloaded(f"timm:{name}", None, lambda: timm.create_model(name, pretrained=weights is None))
    _take(model, weights, name)
    classes = model.num_classes
    if classes == 1000:
        classes = _distinct([str(label) for label in timm.data.ImageNetInfo().label_descriptions()])
    settings = timm.data.resolve_data_config({}, model=model)
    return Classifier(
        model,
        classes,
        settings["mean"],
        settings["std"],
        settings["input_size"][1:],
        resizing=_resizing_of_timm(settings),
        copy=False,
    )


def _resizing_of_timm(settings: dict[str, Any]) -> Resizing:
    """By crop_pct, crop_mode and interpolation, as timm.data.create_transform."""
    height, width = (math.floor(side / settings["crop_pct"]) for side in settings["input_size"][1:])
    keeps: dict[str, Keep] = {"squash": "none", "border": "long"}
    return Resizing("crop", (height, width), settings["interpolation"], keep=keeps.get(settings["crop_mode"], "short"))


def _transformers(name: str, weights: str | None) -> Classifier:
    try:
        import transformers  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtra.of("transformers", "explain") from error

    def read(kind: Any, **options: Any) -> Any:
        return _downloaded(f"hf:{name}", None, lambda: kind.from_pretrained(name, trust_remote_code=False, **options))

    models = transformers.AutoModelForImageClassification
    if weights is None:
        model = read(models)
    else:
        model = models.from_config(read(transformers.AutoConfig), trust_remote_code=False)
        _take(model, weights, name)
    processor = read(transformers.AutoImageProcessor, use_fast=False)
    labels = _distinct([str(model.config.id2label[i]) for i in range(model.config.num_labels)])
    output: Any = "labels" if model.config.problem_type == "multi_label_classification" else None
    found = preprocessing_of(processor, f"hf:{name}")
    return Classifier(model, labels, **vars(found), copy=False, output=output)


def _downloaded(spec: str, address: str | None, make: Callable[[], Any]) -> Any:
    """What a library makes with weights from the network; one line if these cannot be had."""
    try:
        return make()
    except (OSError, RuntimeError, ValueError) as error:  # each library raises others
        way = f"give the file: {spec}@FILE"
        if address:
            way = f"fetch {address} elsewhere and {way}"
        elif spec.startswith("hf:"):
            way = "give a folder that holds it: hf:FOLDER"
        reason = f"the weights of {spec} could not be loaded ({in_one_line(error, 100)})"
        raise InputError(f"{reason}: {way}", code="unreadable") from error


def _take(model: nn.Module, weights: str | None, name: str) -> None:
    """Weights of a file (a state dict, or a checkpoint that holds one), read without running code of it."""
    if weights in (None, NO_WEIGHTS):
        return
    path = Path(str(weights))
    if not path.exists():
        raise InputError(f"{path} does not exist: give the weights of {name} as {name}@FILE", code="not-found")
    check_file(path)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file  # pyright: ignore[reportMissingImports]

            held: Any = load_file(path)
        else:
            held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and safetensors each raise their own
        way = "give a state dict saved by torch.save"
        raise InputError(f"{path} holds no weights that can be read: {way}", code="unreadable") from error
    for key in ("state_dict", "model"):
        held = held[key] if isinstance(held, dict) and isinstance(held.get(key), dict) else held
    try:
        model.load_state_dict(held)
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = in_one_line(error, 160)
        raise InputError(f"{path} does not hold the weights of {name}: {reason}", code="classifier") from error


def _distinct(names: list[str]) -> list[str]:
    """Class names with the number behind one that occurred before: ImageNet has two cranes, a bird and a machine."""
    return [f"{name} ({number})" if name in names[:number] else name for number, name in enumerate(names)]


LIBRARIES: dict[str, Callable[[str, str | None], Classifier]] = {
    "torchvision": _torchvision,
    "timm": _timm,
    "hf": _transformers,
}
"""Loaders by the first word of a specification; each takes the name of a model, and None, "none" or a file of weights."""


def from_library(kind: str, name: str, weights: str | None) -> Classifier:
    """The classifier of a library, by the first word of its specification and the model's name.

    Args:
        kind, name: of LIBRARIES, and the model's name there.
        weights: None: the library's; "none": untrained; else a file.
    """
    # Libraries draw weights before those of a file take their place.
    with drawing_from(torch.Generator().manual_seed(0)):
        return LIBRARIES[kind](name, weights)
