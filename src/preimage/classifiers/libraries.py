"""Classifiers of torchvision, timm and transformers, with their classes and normalization; and weights of a file."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from preimage.classifiers.arguments import in_one_line, suggestion
from preimage.classifiers.classifier import Classifier
from preimage.classifiers.processors import preprocessing_of
from preimage.classifiers.resizing import Keep, Resizing
from preimage.classifiers.weights import Taken, module_of
from preimage.errors import InputError
from preimage.extras import extra
from preimage.rng import drawing_from

NO_WEIGHTS = "none"
IMAGENET = 1000  # classes


Made = tuple[Classifier, tuple[str, ...]]
"""A classifier, and what is to be said of how it was made."""


def _torchvision(name: str, weights: str | None, count: int | None) -> Made:
    with extra("classifiers"):
        from torchvision import models

    try:
        known: Any = models.get_model_weights(name).DEFAULT  # pyright: ignore[reportAttributeAccessIssue]
    except (ValueError, AttributeError) as error:
        near = suggestion(name, models.list_models(module=models))
        raise InputError(f"torchvision has no model {name!r}{near}", code="not-found") from error
    preset, spec, own = known.transforms(), f"torchvision:{name}", known.meta["categories"]
    if not hasattr(preset, "crop_size"):
        raise InputError(f"{spec} is no classifier of images: give resnet18, say", code="classifier")
    pretrained, side = known if weights is None else None, preset.crop_size[0]
    as_pretrained = _options_of(name.lower(), side, weights == NO_WEIGHTS) if pretrained is None else {}

    def make(count: int | None) -> nn.Module:
        options = as_pretrained if count is None else {"num_classes": count, **as_pretrained}
        return _downloaded(spec, known.url, lambda: models.get_model(name, weights=pretrained, **options))

    taken = _taken(make, weights, name, len(own), count)
    resizing = Resizing("crop", preset.resize_size[0], preset.interpolation.value)
    statistics = preset.mean, preset.std, side
    return Classifier(taken.module, _classes(taken, own), *statistics, resizing=resizing, copy=False), taken.remarks


def _options_of(name: str, side: int, drawn: bool) -> dict[str, Any]:
    """What torchvision gives a network along with its own weights: without them it would make another one."""
    if name in ("googlenet", "inception_v3"):
        return {"transform_input": True, "init_weights": drawn}
    return {"image_size": side} if name.startswith("vit_") else {}


def imported_timm() -> Any:
    """The package timm, or the one line that says how it is installed."""
    with extra("explain"):
        import timm  # pyright: ignore[reportMissingImports]
    return timm


def _timm(name: str, weights: str | None, count: int | None) -> Made:
    timm = imported_timm()
    if not timm.is_model(name.split(".")[0]):
        raise InputError(f"timm has no model {name!r}{suggestion(name, timm.list_models())}", code="not-found")
    _check_tag(timm, name)

    def make(count: int | None) -> nn.Module:
        options = {} if count is None else {"num_classes": count}
        return _downloaded(f"timm:{name}", None, lambda: timm.create_model(name, pretrained=weights is None, **options))

    taken = _taken(make, weights, name, lambda model: model.num_classes, count)
    model: Any = taken.module
    labels = timm.data.ImageNetInfo().label_descriptions() if taken.count == IMAGENET else ()
    settings = timm.data.resolve_data_config({}, model=model)
    classes = _classes(taken, _distinct([str(label) for label in labels]))
    statistics, resizing = (settings["mean"], settings["std"], settings["input_size"][1:]), _resizing_of_timm(settings)
    return Classifier(model, classes, *statistics, resizing=resizing, copy=False), taken.remarks


def _check_tag(timm: Any, name: str) -> None:
    """That a name of timm has no tag (behind its dot) but those of its network."""
    try:
        timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        network, _, tag = name.partition(".")
        near = suggestion(name, timm.list_models(f"{network}.*", pretrained=True) or [network])
        raise InputError(f"timm has no weights {tag!r} of {network}{near}", code="not-found") from error


def _resizing_of_timm(settings: dict[str, Any]) -> Resizing:
    """By crop_pct, crop_mode and interpolation, as timm.data.create_transform."""
    height, width = (math.floor(side / settings["crop_pct"]) for side in settings["input_size"][1:])
    keeps: dict[str, Keep] = {"squash": "none", "border": "long"}
    return Resizing("crop", (height, width), settings["interpolation"], keep=keeps.get(settings["crop_mode"], "short"))


def _transformers(name: str, weights: str | None, count: int | None) -> Made:
    with extra("explain"):
        import transformers  # pyright: ignore[reportMissingImports]

    def read(kind: Any, **options: Any) -> Any:
        return _downloaded(f"hf:{name}", None, lambda: kind.from_pretrained(name, trust_remote_code=False, **options))

    def make(count: int | None) -> nn.Module:
        models = transformers.AutoModelForImageClassification
        if weights is None:
            return read(models)
        config = read(transformers.AutoConfig)
        if count not in (None, config.num_labels):
            config.num_labels = count
        return models.from_config(config, trust_remote_code=False)

    taken = _taken(make, weights, name, lambda model: model.config.num_labels, count)
    config: Any = taken.module.config
    labels = _distinct([str(config.id2label[i]) for i in range(config.num_labels)])
    processor = read(transformers.AutoImageProcessor, use_fast=False)
    output: Any = "labels" if config.problem_type == "multi_label_classification" else None
    found = vars(preprocessing_of(processor, f"hf:{name}"))
    return Classifier(taken.module, _classes(taken, labels), **found, copy=False, output=output), taken.remarks


def _taken(
    make: Callable[[int | None], nn.Module],
    weights: str | None,
    name: str,
    own: int | Callable[[Any], int],
    count: int | None,
) -> Taken:
    """A network with the library's weights, random ones for a number of classes, or those of a file."""
    if weights not in (None, NO_WEIGHTS):
        return module_of(make, Path(str(weights)), name, own)
    module = make(count if weights == NO_WEIGHTS else None)
    return Taken(module, (count if weights == NO_WEIGHTS else None) or (own if isinstance(own, int) else own(module)))


def _classes(taken: Taken, own: Sequence[str]) -> Sequence[str] | int:
    """The names in the file, else the network's own if it has as many classes, else their number; one logit is of two."""
    if taken.classes is not None:
        return taken.classes
    return own if len(own) == taken.count else max(taken.count, 2)


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


def _distinct(names: list[str]) -> list[str]:
    """Class names with the number behind one that occurred before: ImageNet has two cranes, a bird and a machine."""
    return [f"{name} ({number})" if name in names[:number] else name for number, name in enumerate(names)]


LIBRARIES: dict[str, Callable[[str, str | None, int | None], Made]] = {
    "torchvision": _torchvision,
    "timm": _timm,
    "hf": _transformers,
}
"""Loaders by the first word of a specification: of a model's name; None, "none" or a file of weights; a number of classes."""


def from_library(kind: str, name: str, weights: str | None, count: int | None = None) -> Made:
    """The classifier of a library, by the first word of its specification and the model's name, and remarks.

    Args:
        kind, name: of LIBRARIES, and the model's name there.
        weights: None: the library's; "none": untrained; else a file, which decides the number of classes.
        count: number of classes of an untrained one; None: the library's.
    """
    # Libraries draw weights before those of a file take their place.
    with drawing_from(torch.Generator().manual_seed(0)):
        return LIBRARIES[kind](name, weights, count)
