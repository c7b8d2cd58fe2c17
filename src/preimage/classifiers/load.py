"""load_classifier, load_model: a classifier by its specification, of a library, a model file or a function of yours."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from preimage.classifiers.arguments import class_names, requested_classes
from preimage.classifiers.classifier import Classifier
from preimage.classifiers.functions import FUNCTION, called, of_function
from preimage.classifiers.libraries import LIBRARIES, NO_WEIGHTS, from_library
from preimage.classifiers.model_file import Backbone, TrainedModel, built, estimator_of, read_held, values_of
from preimage.classifiers.outputs import OutputKind
from preimage.classifiers.resizing import Resizing
from preimage.classifiers.weights import module_of, without_auxiliary
from preimage.errors import InputError
from preimage.images.files import open_file
from preimage.images.ranges import ValueRange
from preimage.images.sealed import has_seal
from preimage.rng import drawing_from

_WAYS = (
    "torchvision:resnet18, timm:NAME, hf:NAME or hf:FOLDER, FILE.pt of `preimage train`, or module.path:function; "
    "with @FILE weights of your own (torchvision:resnet18@weights.pth, module.path:function@FILE.pt)"
)

Function = Callable[[], Classifier]
Classes = Sequence[str] | int | str | None
"""Names of classes, a text that holds them, or their number; None: as they are."""


def load_classifier(
    spec: str | Path,
    *,
    backbone: str | Function | None = None,
    classes: Classes = None,
    output: OutputKind | None = None,
    device: str | torch.device = "cpu",
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
        classes: their names, as a list or with commas between, or FILE.txt with one on each line; or their number. None: as the
            library, the file or your function names them. Of weights of a file their number is that of its head.
        output: what it returns, as of a Classifier; None: what the library, the file or your function says.
        device: where it runs.

    Raises:
        InputError: nothing of that name, weights that cannot be downloaded or do not fit, a package that is not installed, a
            function of yours that fails, a file that needs a backbone, another number of classes.
    """
    return load_model(spec, backbone=backbone, classes=classes, output=output).classifier.to(device)


def load_model(
    spec: str | Path,
    *,
    backbone: str | Function | None = None,
    classes: Classes = None,
    output: OutputKind | None = None,
) -> TrainedModel:
    """Load a classifier, as `load_classifier`, together with its loss estimator; on the CPU.

    Example:
        >>> load_model("torchvision:resnet18@none").estimator is None
        True

    Arguments and errors are those of `load_classifier`; only a `FILE.pt` of `preimage train` has an estimator and `about`.
    """
    _check_specification(spec)
    wanted = requested_classes(classes)
    model = _loaded(str(spec), backbone, len(wanted) if isinstance(wanted, tuple) else wanted)
    count, weights = len(model.classifier.classes), str(spec).partition("@")[2]
    if wanted is None and weights not in ("", NO_WEIGHTS) and model.classifier.classes == class_names(count):
        model = replace(model, remarks=(*model.remarks, f"the {count} classes have no names: --classes names them"))
    model = replace(model, classifier=model.classifier.with_output(output))
    return with_classes(model, wanted)


def with_classes(model: TrainedModel, classes: Classes) -> TrainedModel:
    """A model whose classes have these names, of which there must be as many; None: as it is.

    Example:
        >>> with_classes(load_model("torchvision:resnet18@none", classes=2), "benign,malignant").classifier.classes
        ('benign', 'malignant')

    Raises:
        InputError: another number of classes.
    """
    wanted, own = requested_classes(classes), model.classifier.classes
    count = len(wanted) if isinstance(wanted, tuple) else wanted
    if count not in (None, len(own)):
        way = f"give {len(own)} names, or leave --classes out"
        raise InputError(f"the classifier has {len(own)} classes, not {count}: {way}", code="class")
    if not isinstance(wanted, tuple):
        return model
    classifier = copy.copy(model.classifier)  # that of a caller keeps its names
    classifier.classes = wanted
    return replace(model, classifier=classifier)


def _loaded(text: str, backbone: str | Function | None, count: int | None) -> TrainedModel:
    function, at, file = text.rpartition("@")
    if at and not file.strip():
        own = "its own" if function.partition(":")[0] in LIBRARIES else "the function's own"
        way = f"give {function}@FILE, or {function} for {own}"
        raise InputError(
            f"{text!r} names no weights behind its @ (is a variable of the shell empty?): {way}", code="option"
        )
    if backbone is None and FUNCTION.fullmatch(function) and function.partition(":")[0] not in LIBRARIES:
        return _of_function_and_file(function, Path(file))
    if Path(text).suffix in (".pt", ".pth") and text.partition(":")[0] not in LIBRARIES:
        return read_model(Path(text), backbone=backbone)
    if backbone is not None:
        raise InputError(f"a backbone is only for a model file, and {text} is none: leave it out", code="option")
    kind, _, name = text.partition(":")
    name, _, weights = name.partition("@")
    if kind in LIBRARIES and name:
        # Where the weights are in the model file, none are to be fetched to read it.
        place = str(Path(name).resolve()) if Path(name).is_dir() else name
        classifier, remarks = from_library(kind, name, weights or None, count)
        return TrainedModel(classifier, origin=f"{kind}:{place}@{NO_WEIGHTS}", remarks=remarks)
    if FUNCTION.fullmatch(text):
        return TrainedModel(of_function(text), origin=text)
    raise InputError(f"there is no classifier {text!r}: give {_WAYS}", code="not-found")


def values_of_model(spec: Any) -> ValueRange | None:
    """The value range in the model file of a specification or path; None for any other, or one that cannot be read."""
    file = Path(str(spec).rpartition("@")[2])
    if isinstance(spec, nn.Module) or file.suffix not in (".pt", ".pth") or not file.is_file():
        return None
    found = file.stat()
    return _values_in(file.resolve(), found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=8)
def _values_in(file: Path, modified: int, size: int) -> ValueRange | None:
    """The same for a file as it is now: a batch of images asks for each of them, and the weights are read every time."""
    del modified, size
    try:
        return values_of(read_held(file), file)
    except InputError:
        return None  # weights alone, or what loading the classifier will say


def read_model(path: Path, *, backbone: str | Function | None = None) -> TrainedModel:
    """Read a model file, as `load_model`. It is data alone: nothing that it names is imported or called.

    Raises:
        InputError: a file that does not exist, that is no model file or of another format, one that needs a backbone, or
            weights that do not fit it.
    """
    held = read_held(path)
    model, origin = _architecture(held, path, backbone)
    try:
        size = None if held["size"] is None else (held["size"][0], held["size"][1])
        classifier = Classifier(
            model,
            held["classes"],
            held["mean"],
            held["std"],
            size,
            **preparation_of(held, path),
            copy=False,
            values=values_of(held, path),
            output=held.get("output"),
        )
        return TrainedModel(classifier, estimator_of(held), held["about"], origin)
    except (RuntimeError, TypeError, KeyError, AttributeError, IndexError) as error:
        named = origin.name if isinstance(origin, Backbone) else origin
        raise InputError(f"{path} does not fit its backbone {named}: train it anew", code="classifier") from error


def preparation_of(held: dict[str, Any], path: Path) -> dict[str, Any]:
    """Resizing and channel order in the contents of a file, as arguments of a Classifier; none of a version without them."""
    stated = held.get("resizing")
    try:
        before = stated["before"] if stated else None
        whole = {**stated, "before": tuple(before) if isinstance(before, list) else before} if stated else {}
        order = held.get("channel_order", "rgb")
        if order not in ("rgb", "bgr"):
            raise InputError(f"an order of channels {str(order)[:20]!r}")
        return {"resizing": Resizing(**whole), "channel_order": order}
    except (InputError, TypeError, KeyError) as error:
        wrong = f"{path} has the resizing {str(stated)[:60]}"
        raise InputError(f"{wrong}: make it anew by `preimage train`", code="unreadable") from error


def _architecture(
    held: dict[str, Any], path: Path, backbone: str | Function | None
) -> tuple[nn.Module, Backbone | str]:
    """The module of a model file with its weights, and how it was made."""
    spec, name = held["spec"], held["backbone"]
    if isinstance(spec, str) and FUNCTION.fullmatch(spec) and spec.partition(":")[0] not in LIBRARIES:
        if backbone is None:
            reason = f"{path} was trained on the classifier of {spec}, a function that no model file may call"
            raise InputError(f"{reason}: give both, --classifier {spec}@{path}", code="classifier")
        made = of_function(backbone) if isinstance(backbone, str) else called(backbone, spec)
        origin = backbone if isinstance(backbone, str) else spec
        return _built(lambda: copy.deepcopy(made.model), held, path, origin), origin
    if backbone is not None:
        raise InputError(f"{path} names its own backbone: leave the backbone out", code="option")
    if isinstance(spec, str):
        kind, _, rest = spec.partition(":")
        if kind in LIBRARIES and rest:
            own, count = rest.rpartition("@")[0] or rest, len(held["classes"])

            def make(outputs: int) -> nn.Module:
                return without_auxiliary(from_library(kind, own, NO_WEIGHTS, outputs)[0].model, held["weights"])

            try:
                module = built(lambda: make(count), held["weights"])
            except RuntimeError:  # one logit is that of the second of two classes
                module = _built(lambda: make(1 if count == 2 else count), held, path, spec)
            return module, f"{kind}:{own}@{NO_WEIGHTS}"
    elif isinstance(name, str):
        origin, classes = Backbone(name, bool(held["small"])), len(held["classes"])
        with drawing_from(torch.Generator().manual_seed(0)):
            return _built(lambda: origin.build(classes), held, path, name), origin
    raise InputError(f"{path} names no backbone that its weights could belong to: train it anew", code="classifier")


def _built(make: Callable[[], nn.Module], held: dict[str, Any], path: Path, name: str) -> nn.Module:
    try:
        return built(make, held["weights"])
    except RuntimeError as error:
        raise InputError(f"{path} does not fit its backbone {name}: train it anew", code="classifier") from error


def _of_function_and_file(function: str, path: Path) -> TrainedModel:
    """A model file on a user's function, or the function's classifier with weights of a file, of its number of classes."""
    if not path.exists():
        return read_model(path, backbone=function)
    with open_file(path) as file:
        if has_seal(file):
            return read_model(path, backbone=function)
    classifier = copy.deepcopy(of_function(function))
    taken = module_of(lambda _: classifier.model, path, function, own=len(classifier.classes))
    return with_classes(TrainedModel(classifier, origin=function, remarks=taken.remarks), taken.classes)


def _check_specification(spec: Any) -> None:
    if isinstance(spec, str | Path):
        return
    way = f"give {_WAYS}"
    if isinstance(spec, nn.Module):
        way = "wrap it: Classifier(model, classes, mean, std, size)"
    if isinstance(spec, Classifier):
        way = "it needs no loading, use it as it is"
    got = type(spec).__name__
    raise InputError(f"load_classifier takes a specification or a path, got {got}: {way}", code="type")
