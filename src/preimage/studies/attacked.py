"""What the studies of the defence share: which pictures are attacked, by which recipes they are cleaned, curves over steps.

Up to `small` the pictures are CIFAR-10's (studies/cifar.py). At `paper` they are ImageNet's, the classifier torchvision's
ResNet-18 with its weights, as in Kattamis, Adel, Weller 2019: `imagenet_sample/labels.csv` of the data folder names them
(columns filename and class_index, in the order of torchvision's classes; published: 500 pictures of 200 classes).
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn import functional

from preimage.classifiers import Classifier, load_classifier
from preimage.defend.attacks import attack
from preimage.defend.purification import FAST, PAPER, early_outputs
from preimage.defend.threat import NONE
from preimage.defend.users_model import device_of
from preimage.engine.devices import choose_device
from preimage.engine.recipe import Recipe
from preimage.errors import InputError
from preimage.images import read
from preimage.networks import SkipNet
from preimage.studies.cifar import SEED, Pictures, first_classifier, told_right
from preimage.studies.scales import Study, center_crop

IMAGENET, CLASSIFIER = "imagenet_sample/labels.csv", "torchvision:resnet18"
BATCH = 32  # pictures that are fitted side by side
SHORT_SIDE, SIDE = 256, 224  # pixels, as the classifier was tested by those who trained it
# Of the two networks that were published the one that 32 pixels are fitted with: three levels of 16 channels.
THIN = replace(PAPER, network=SkipNet.Config((16,) * 3, (16,) * 3, (4,) * 3))
_TINY = SkipNet.Config((8, 8), (8, 8), (2, 2), upsample="nearest", padding="zeros")
TINY, TINY_FAST = replace(PAPER, network=_TINY), replace(FAST, network=_TINY, steps=4)  # of smoke runs


def subject(study: Study, count: int) -> tuple[Classifier, Pictures]:
    """The classifier that is attacked, and so many pictures that it tells right (fewer, where there are not as many)."""
    if study.scale != "paper":
        classifier = first_classifier(study)
        return classifier, told_right(study, classifier, count)
    study.path(IMAGENET)  # asked for before weights are
    classifier = load_classifier(CLASSIFIER).to(choose_device("auto"))
    return classifier, imagenet_told_right(study, classifier, count)


def imagenet_told_right(study: Study, classifier: Classifier, count: int) -> Pictures:
    """So many pictures of the table by a fixed seed that the classifier tells right."""
    table = study.path(IMAGENET)
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    images, labels, numbers = [], [], []
    for number in torch.randperm(len(rows), generator=torch.Generator().manual_seed(SEED)).tolist():
        if len(numbers) == count:
            break
        picture = as_tested(read(table.parent / rows[number]["filename"]).tensor)
        label = int(rows[number]["class_index"])
        with torch.no_grad():
            right = int(classifier(picture).argmax()) == label
        if right:
            images.append(picture)
            labels.append(label)
            numbers.append(number)
    if not images:
        raise InputError(
            f"{table}: the classifier tells none of {len(rows)} pictures right: is class_index torchvision's?"
        )
    return Pictures(torch.cat(images), torch.tensor(labels), tuple(numbers))


def as_tested(picture: torch.Tensor) -> torch.Tensor:
    """The central 224 pixels of a picture (1, 1 or 3, h, w) whose short side was brought to 256: (1, 3, 224, 224)."""
    factor = SHORT_SIDE / min(picture.shape[-2:])
    size = [round(side * factor) for side in picture.shape[-2:]]
    resized = functional.interpolate(picture, size=size, mode="bilinear", antialias=True, align_corners=False)
    return center_crop(resized, SIDE).clamp(0, 1).expand(1, 3, -1, -1).contiguous()


@dataclass(frozen=True)
class Condition:
    """An attack and its eps, in 1/255; none and 0: the pictures as they are."""

    attack: str
    eps: float = 0.0

    def of(self, classifier: Classifier, pictures: Pictures) -> torch.Tensor:
        """The pictures under this attack of the bare classifier."""
        if self.attack == NONE:
            return pictures.images
        name: Any = self.attack
        return attack(name, classifier, pictures.images, pictures.labels, self.eps, seed=SEED)

    def __str__(self) -> str:
        return "as they are" if self.attack == NONE else f"{self.attack.upper()} {self.eps:g}"


CLEAN = Condition(NONE)


@torch.no_grad()
def told(classifier: Classifier, images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(b,) the probability of each picture's true class, and (b,) bool: whether it is what the classifier says; on the CPU."""
    chances, labels = torch.cat([classifier.probabilities(part) for part in images.split(BATCH)]).cpu(), labels.cpu()
    return chances.gather(1, labels[:, None])[:, 0], chances.argmax(1) == labels


def told_early(
    classifier: Classifier, images: torch.Tensor, labels: torch.Tensor, recipe: Recipe, looks: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same of the early outputs: (looks, b) both. A picture has the same random numbers whatever was done to it.

    They are fitted where the classifier is.
    """
    each, place = [], device_of(classifier)
    for first in range(0, len(images), BATCH):
        some, streams = slice(first, first + BATCH), range(first, min(first + BATCH, len(images)))
        early = early_outputs(images[some].to(place), looks, recipe=recipe, seed=SEED, streams=streams)
        seen = [told(classifier, outputs, labels[some]) for outputs in early]
        each.append([torch.stack(values) for values in zip(*seen, strict=True)])
    confidence, right = (torch.cat(parts, 1) for parts in zip(*each, strict=True))
    return confidence, right
