"""What the studies of saliency share: pictures of objects, and a classifier that tells them right.

At scale small: `tiny_imagenet10/` of the data folder, the held-out pictures of ten classes of Tiny ImageNet at 64 pixels, and a
classifier that `preimage train tiny_imagenet10` makes; it is trained if it is not there. At scale paper: ImageNet pictures,
`imagenet_sample/labels.csv` of the data folder (columns filename and class_index, in torchvision's order), and torchvision's
resnet18 with the weights of the file that PREIMAGE_WEIGHTS names. Smoke runs have what smoke runs of CIFAR-10 have.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

import torch
from torch.nn import functional

from preimage.classifiers import Classifier
from preimage.classifiers.labelled import TEST, Labelled, read_labelled
from preimage.classifiers.model_file import TrainedModel
from preimage.classifiers.train import Settings
from preimage.errors import InputError
from preimage.images import read
from preimage.studies import cifar
from preimage.studies.cifar import Pictures, right_in_turn
from preimage.studies.classifiers import trained
from preimage.studies.crops import center_window
from preimage.studies.feature_inversion import of_own_weights
from preimage.studies.scales import Study

FIRST = Settings()  # preimage train tiny_imagenet10 -o tiny_imagenet10.pt
FOLDER, SAMPLE = "tiny_imagenet10", "imagenet_sample/labels.csv"
SHORT_SIDE, SIDE = 256, 224  # torchvision's: the short side of ImageNet pictures, and the window in their middle


def specimens(study: Study, count: int) -> tuple[TrainedModel, Pictures]:
    """The classifier, and so many held-out pictures that it tells right.

    Raises:
        InputError: pictures or weights that are not there.
    """
    if study.scale == "smoke":
        classifier = cifar.first_classifier(study)
        return TrainedModel(classifier), cifar.told_right(study, classifier, count)
    if study.scale == "paper":
        images, labels = imagenet(study)
        classifier = of_own_weights(study)
        if classifier is None:
            raise InputError(
                f"study {study.name} at scale paper asks torchvision's resnet18: name the file of its weights in PREIMAGE_WEIGHTS"
            )
        return TrainedModel(classifier), right_in_turn(images, labels, classifier, count)
    model = trained(study, f"{FOLDER}.pt", FIRST, labelled)
    held_out = labelled(study).part(TEST)
    return model, right_in_turn(held_out.pictures.float() / 255, held_out.labels, model.classifier, count)


def classifier(study: Study) -> Classifier:
    """That of small; it is trained if it is not there."""
    return trained(study, f"{FOLDER}.pt", FIRST, labelled).classifier


def labelled(study: Study) -> Labelled:
    """The pictures of small as `preimage train` reads them."""
    return _read(str(study.path(FOLDER)))


@cache
def _read(path: str) -> Labelled:
    return read_labelled(path)


def imagenet(study: Study) -> tuple[torch.Tensor, torch.Tensor]:
    """The pictures of paper, (n, 3, 224, 224) in 0 to 1, and their labels (n,)."""
    table = study.path(SAMPLE)
    if not table.exists():
        raise InputError(
            f"{table} does not exist: study {study.name} at scale paper takes its ImageNet pictures from there"
        )
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    images = torch.cat([_window(table.parent / row["filename"]) for row in rows])
    return images, torch.tensor([int(row["class_index"]) for row in rows])


def _window(path: Path) -> torch.Tensor:
    """The middle of a picture as torchvision shows it to its classifiers, (1, 3, 224, 224)."""
    picture = read(path).tensor
    scale = SHORT_SIDE / min(picture.shape[-2:])
    size = [round(scale * side) for side in picture.shape[-2:]]
    resized = functional.interpolate(picture, size=size, mode="bilinear", align_corners=False, antialias=True)
    return center_window(resized, SIDE, SIDE).expand(-1, 3, -1, -1)


def described(study: Study, model: TrainedModel) -> str:
    """What is shown to which classifier, in words."""
    scores = model.about.get("test")
    if scores:
        return (
            f"Pictures: {FOLDER}, held out, 64 pixels, told right. Classifier: {model.about['settings']['backbone']}, trained on "
            f"{model.about['pictures']['train']} pictures; balanced accuracy on the {model.about['pictures']['test']} held-out "
            f"ones {scores['balanced_accuracy']:.3f}."
        )
    if study.scale == "paper":
        return (
            "Pictures: imagenet_sample, 224 pixels, told right. Classifier: torchvision's resnet18, weights of a file."
        )
    return "Smoke run: generated pictures, a classifier that has learned nothing."
