"""load_classifier, load_model: a classifier by its specification: of a library, of a file, or a function of yours."""

from __future__ import annotations

import copy
import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import nn

from preimage.classifiers.classifier import Classifier
from preimage.classifiers.model_file import Backbone, TrainedModel, estimator_of, read_held
from preimage.errors import InputError, MissingExtra
from preimage.rng import drawing_from

NO_WEIGHTS = "none"
_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_LONGEST = 300  # characters of what somebody else's code says of its failure
_WAYS = (
    "torchvision:resnet18, timm:NAME, hf:NAME or hf:FOLDER, FILE.pt of `preimage train`, or module.path:function; "
    "with @FILE weights of your own (torchvision:resnet18@weights.pth)"
)


Function = Callable[[], Classifier]


def load_classifier(
    spec: str | Path, *, backbone: str | Function | None = None, device: str | torch.device = "cpu"
) -> Classifier:
    """Load the classifier of a specification, with its classes and normalization.

    Example:
        >>> load_classifier("torchvision:resnet18@none").classes[1]
        'goldfish'

    Args:
        spec: `torchvision:NAME`, `timm:NAME` or `hf:NAME` (transformers; also a folder) with pretrained weights;
            `NAME@FILE`: weights of a file; `NAME@none`: untrained; `FILE.pt` of `preimage train`;
            `module.path:function`, your function without arguments that returns a Classifier.
        backbone: for a FILE.pt trained on the classifier of your function: that function again, or its `module.path:function`.
            A file never imports or calls anything.
        device: where it runs.

    Raises:
        InputError: nothing of that name, weights that cannot be downloaded or do not fit, a package that is not installed, a
            function of yours that fails, a file that needs a backbone.
    """
    return load_model(spec, backbone=backbone).classifier.to(device)


def load_model(spec: str | Path, *, backbone: str | Function | None = None) -> TrainedModel:
    """Load a classifier, as `load_classifier`, together with its loss estimator; on the CPU.

    Example:
        >>> load_model("torchvision:resnet18@none").estimator is None
        True

    Args:
        spec, backbone: as for `load_classifier`; only a `FILE.pt` of `preimage train` has an estimator and `about`.

    Raises:
        InputError: as `load_classifier`.
    """
    text = _specification(spec)
    if Path(text).suffix in (".pt", ".pth") and text.partition(":")[0] not in _LIBRARIES:
        return read_model(Path(text), backbone=backbone)
    if backbone is not None:
        raise InputError(f"a backbone is only for a model file, and {text} is none: leave it out", code="option")
    kind, _, name = text.partition(":")
    name, _, weights = name.partition("@")
    if kind in _LIBRARIES and name:
        # Where the weights are in the model file, none are to be fetched to read it.
        place = str(Path(name).resolve()) if Path(name).is_dir() else name
        return TrainedModel(_of_library(kind, name, weights or None), origin=f"{kind}:{place}@{NO_WEIGHTS}")
    if _FUNCTION.fullmatch(text):
        return TrainedModel(_of_function(text), origin=text)
    raise InputError(f"no classifier is called {text!r}: give {_WAYS}", code="not-found")


def read_model(path: Path, *, backbone: str | Function | None = None) -> TrainedModel:
    """Read a model file. It is data alone: nothing that it names is imported or called.

    Args:
        backbone: as for `load_classifier`.

    Raises:
        InputError: a file that does not exist, that is no model file or of another format, one that needs a backbone, or
            weights that do not fit it.
    """
    held = read_held(path)
    model, origin = _architecture(held, path, backbone)
    try:
        model.load_state_dict(held["weights"])
        size = None if held["size"] is None else (held["size"][0], held["size"][1])
        classifier = Classifier(model, held["classes"], held["mean"], held["std"], size, copy=False)
        return TrainedModel(classifier, estimator_of(held), held["about"], origin)
    except (RuntimeError, TypeError, KeyError, AttributeError, IndexError) as error:
        named = origin.name if isinstance(origin, Backbone) else origin
        raise InputError(f"{path} does not fit its backbone {named}: train it anew", code="classifier") from error


def _architecture(
    held: dict[str, Any], path: Path, backbone: str | Function | None
) -> tuple[nn.Module, Backbone | str]:
    """The untrained module that the weights of a model file belong to, and how it was made."""
    spec, name = held["spec"], held["backbone"]
    is_function = isinstance(spec, str) and _FUNCTION.fullmatch(spec) and spec.partition(":")[0] not in _LIBRARIES
    if is_function and backbone is not None:
        if isinstance(backbone, str):
            made, origin = _of_function(backbone), backbone
        else:
            made, origin = _called(backbone, str(spec)), str(spec)
        return copy.deepcopy(made.model), origin
    if is_function:
        raise InputError(
            f"{path} was trained on the classifier of {spec}, a function that no model file may call: give it again, "
            f"--backbone {spec}",
            code="classifier",
        )
    if backbone is not None:
        raise InputError(f"{path} names its own backbone: leave the backbone out", code="option")
    if isinstance(spec, str):
        kind, _, rest = spec.partition(":")
        if kind in _LIBRARIES and rest:
            own = rest.rpartition("@")[0] or rest
            return _of_library(kind, own, NO_WEIGHTS).model, f"{kind}:{own}@{NO_WEIGHTS}"
    elif isinstance(name, str):
        origin = Backbone(name, bool(held["small"]))
        with drawing_from(_unused()):
            return origin.build(len(held["classes"])), origin
    raise InputError(f"{path} names no backbone that its weights could belong to: train it anew", code="classifier")


def _specification(spec: Any) -> str:
    if isinstance(spec, Classifier):
        raise InputError(
            "load_classifier takes a specification, and got a Classifier, which needs no loading: use it as it is",
            code="type",
        )
    if not isinstance(spec, str | Path):
        way = "wrap it: Classifier(model, classes, mean, std, size)" if isinstance(spec, nn.Module) else f"give {_WAYS}"
        raise InputError(
            f"load_classifier takes a specification or a path, got {type(spec).__name__}: {way}", code="type"
        )
    text = str(spec)
    if text.strip() in ("", "."):  # an empty path reads "."
        raise InputError(f"the name of the classifier is empty: give {_WAYS}")
    return text


def _of_library(kind: str, name: str, weights: str | None) -> Classifier:
    # Libraries draw weights before those of a file take their place.
    with drawing_from(_unused()):
        return _LIBRARIES[kind](name, weights)


def _unused() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _torchvision(name: str, weights: str | None) -> Classifier:
    from torchvision import models

    try:
        known: Any = models.get_model_weights(name).DEFAULT  # pyright: ignore[reportAttributeAccessIssue]
    except (ValueError, AttributeError) as error:
        raise InputError(f"torchvision has no model {name!r}: {_some(models.list_models(module=models))}") from error
    preset = known.transforms()
    if not hasattr(preset, "crop_size"):
        raise InputError(f"torchvision:{name} is no classifier of pictures: {_some(models.list_models(module=models))}")
    pretrained = known if weights is None else None
    model = _downloaded(f"torchvision:{name}", known.url, lambda: models.get_model(name, weights=pretrained))
    _take(model, weights, name)
    return Classifier(model, known.meta["categories"], preset.mean, preset.std, size=preset.crop_size[0], copy=False)


def _timm(name: str, weights: str | None) -> Classifier:
    try:
        import timm  # pyright: ignore[reportMissingImports]
        from timm.data.config import resolve_data_config  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtra.of("timm", "explain") from error
    if not timm.is_model(name.split(".")[0]):
        near = timm.list_models(f"*{name}*")[:4] or timm.list_models()[:4]
        raise InputError(f"timm has no model {name!r}: there are {', '.join(near)}, ...")
    model = _downloaded(f"timm:{name}", None, lambda: timm.create_model(name, pretrained=weights is None))
    _take(model, weights, name)
    settings = resolve_data_config({}, model=model)
    return Classifier(
        model,
        _imagenet_names(model.num_classes),
        settings["mean"],
        settings["std"],
        size=tuple(settings["input_size"][1:]),
        copy=False,
    )


def _transformers(name: str, weights: str | None) -> Classifier:
    try:
        from transformers import (  # pyright: ignore[reportMissingImports]
            AutoConfig,
            AutoImageProcessor,
            AutoModelForImageClassification,
        )
    except ImportError as error:
        raise MissingExtra.of("transformers", "explain") from error
    spec = f"hf:{name}"
    if weights is None:
        model = _downloaded(
            spec, None, lambda: AutoModelForImageClassification.from_pretrained(name, trust_remote_code=False)
        )
    else:
        config = _downloaded(spec, None, lambda: AutoConfig.from_pretrained(name, trust_remote_code=False))
        model = AutoModelForImageClassification.from_config(config, trust_remote_code=False)
        _take(model, weights, name)
    processor = _downloaded(
        spec, None, lambda: AutoImageProcessor.from_pretrained(name, use_fast=False, trust_remote_code=False)
    )
    labels = _distinct([str(model.config.id2label[i]) for i in range(model.config.num_labels)])
    return Classifier(model, labels, processor.image_mean, processor.image_std, size=_side_of(processor), copy=False)


def _side_of(processor: Any) -> int | tuple[int, int] | None:
    """What side an image processor of transformers crops or resizes pictures to."""
    for said in (getattr(processor, "crop_size", None), getattr(processor, "size", None)):
        size = dict(said) if said else {}
        if "height" in size:
            return int(size["height"]), int(size["width"])
        if "shortest_edge" in size:
            return int(size["shortest_edge"])
    return None


def _of_function(spec: str) -> Classifier:
    """What a user's function returns; modules of the working folder are found as well."""
    if not _FUNCTION.fullmatch(spec):
        raise InputError(f"{spec!r} names no function: give module.path:function", code="not-found")
    module, _, function = spec.partition(":")
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        found: Any = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise InputError(f"{spec} cannot be imported ({error}): give module.path:function", code="not-found") from error
    except Exception as error:  # whatever the user's own code raises
        raise InputError(
            f"{spec} cannot be imported ({_in_one_line(error)}): fix {module}", code="classifier"
        ) from error
    finally:
        if added:
            sys.path.remove(here)
    return _called(found, spec)


def _called(function: Any, name: str) -> Classifier:
    try:
        made = function()
    except Exception as error:
        raise InputError(
            f"{name}() failed ({_in_one_line(error)}): it must return a Classifier, called without arguments",
            code="classifier",
        ) from error
    if not isinstance(made, Classifier):
        raise InputError(
            f"{name}() returned {type(made).__name__}: it must return a preimage.Classifier, which has the classes, mean, std "
            "and size of your model",
            code="classifier",
        )
    return made


_LIBRARIES: dict[str, Callable[[str, str | None], Classifier]] = {
    "torchvision": _torchvision,
    "timm": _timm,
    "hf": _transformers,
}


def _downloaded(spec: str, address: str | None, make: Callable[[], Any]) -> Any:
    """What a library makes with weights from the network; one line where these cannot be had."""
    try:
        return make()
    except (URLError, OSError, RuntimeError, ValueError) as error:  # each library raises others
        reason = " ".join(str(error).split())[:100]
        fetch = f"fetch {address} elsewhere and " if address else ""
        way = (
            f"{fetch}give the file: {spec}@FILE"
            if not spec.startswith("hf:")
            else "give a folder that holds it: hf:FOLDER"
        )
        raise InputError(f"the weights of {spec} could not be loaded ({reason}): {way}") from error


def _take(model: nn.Module, weights: str | None, name: str) -> None:
    """Weights of a file (a state dict, or a checkpoint that holds one), read without running code of it."""
    if weights in (None, NO_WEIGHTS):
        return
    path = Path(str(weights))
    if not path.is_file():
        raise InputError(f"{path} does not exist: give the weights of {name} as {name}@FILE")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file  # pyright: ignore[reportMissingImports]

            held: Any = load_file(path)
        else:
            held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and safetensors each raise their own
        raise InputError(f"{path} holds no weights that can be read: give a state dict saved by torch.save") from error
    for key in ("state_dict", "model"):
        held = held[key] if isinstance(held, dict) and isinstance(held.get(key), dict) else held
    try:
        model.load_state_dict(held)
    except (RuntimeError, TypeError, AttributeError) as error:
        first = " ".join(str(error).split())[:160]
        raise InputError(f"{path} does not hold the weights of {name}: {first}") from error


def _in_one_line(error: Exception) -> str:
    text = " ".join(str(error).split())[:_LONGEST]
    if isinstance(error, InputError):
        return text
    return f"{type(error).__name__}: {text or 'no message'}"


def _imagenet_names(count: int) -> list[str] | int:
    from timm.data.imagenet_info import ImageNetInfo  # pyright: ignore[reportMissingImports]

    return _distinct([str(label) for label in ImageNetInfo().label_descriptions()]) if count == 1000 else count


def _distinct(names: list[str]) -> list[str]:
    """Names of classes with the number behind one that was there before: ImageNet has two cranes, a bird and a machine."""
    return [f"{name} ({number})" if name in names[:number] else name for number, name in enumerate(names)]


def _some(names: list[str]) -> str:
    return f"there are {', '.join(names[:6])}, ... ({len(names)} in all)"
