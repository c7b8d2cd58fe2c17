"""What the studies of attacks share: CIFAR-10, classifiers of it, and those of its test pictures that they tell right.

Data: `cifar10/cifar10_10k_2k.npz` of the data folder, 10,000 training and 2,000 test pictures of CIFAR-10 (Krizhevsky 2009).
Smoke runs have generated shapes, and classifiers that have learned nothing, by whose own answers the shapes are named.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch

from preimage.classifiers import Classifier, TrainedModel
from preimage.classifiers.labelled import TEST, TRAIN, Labelled, read_labelled
from preimage.classifiers.settings import Settings
from preimage.defend.adversarial import SETTINGS, AdversarialTraining
from preimage.engine.devices import choose_device
from preimage.studies.classifiers import small_network, trained
from preimage.studies.lesions import shaded_disc
from preimage.studies.scales import Study

FILE = "cifar10/cifar10_10k_2k.npz"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
# preimage train cifar10/cifar10_10k_2k.npz -o cifar10.pt; and the second with --backbone vgg13_bn --seed 1 -o cifar10-second.pt
FIRST, SECOND = Settings(), Settings(backbone="vgg13_bn", seed=1)
ROBUST = SETTINGS  # preimage train cifar10/cifar10_10k_2k.npz --adversarial 8 -o cifar10-robust.pt
SHADES = 8  # pictures of a smoke run
SEED = 0  # of the choice of pictures


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures (n, 3, h, w) in 0 to 1 of a part, their labels (n,), and the number of each in that part."""

    images: torch.Tensor
    labels: torch.Tensor
    numbers: tuple[int, ...]


def labelled(study: Study) -> Labelled:
    """The pictures as `preimage train` reads them."""
    return _read(str(study.path(FILE)))


@cache
def _read(path: str) -> Labelled:
    return read_labelled(path)


def first_classifier(study: Study) -> Classifier:
    """A ResNet-18; it is trained if it is not there. As all of them it is on the GPU, if there is one."""
    return untrained(0) if study.scale == "smoke" else trained(study, "cifar10.pt", FIRST, labelled).classifier


def second_classifier(study: Study) -> Classifier:
    """One of another kind that was trained for itself."""
    return untrained(1) if study.scale == "smoke" else trained(study, "cifar10-second.pt", SECOND, labelled).classifier


def robust_classifier(study: Study) -> TrainedModel:
    """One that was trained against perturbations of at most 8/255 in every value."""
    if study.scale == "smoke":
        return TrainedModel(untrained(2))
    return trained(study, "cifar10-robust.pt", ROBUST, labelled, AdversarialTraining)


def untrained(seed: int) -> Classifier:
    """A small convolutional network with its first weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = Classifier(small_network(len(CLASSES)), CLASSES, (0.5,) * 3, (0.05,) * 3)
    return classifier.to(choose_device("auto"))


def told_right(study: Study, classifier: Classifier, count: int) -> Pictures:
    """So many test pictures by a fixed seed that the classifier tells right, the classes in turn as long as they last."""
    if study.scale == "smoke":
        images = torch.cat([shaded_disc(k)[0] for k in range(SHADES)])
        with torch.no_grad():
            return Pictures(images[:count], classifier(images[:count]).argmax(1), tuple(range(SHADES))[:count])
    part = labelled(study).part(TEST)
    return right_in_turn(part.pictures.float() / 255, part.labels, classifier, count)


@torch.no_grad()
def right_in_turn(images: torch.Tensor, labels: torch.Tensor, classifier: Classifier, count: int) -> Pictures:
    """So many of pictures (n, 3, h, w) by a fixed seed that a classifier tells right, the classes in turn while they last."""
    said = torch.cat([classifier(some).argmax(1) for some in images.split(256)])
    chosen = _in_turn(labels, said == labels, count)
    return Pictures(images[chosen], labels[chosen], tuple(chosen))


def learned_from(study: Study, count: int) -> Pictures:
    """So many pictures of the training part by a fixed seed, the classes in turn as long as they last."""
    if study.scale == "smoke":
        return told_right(study, untrained(0), count)
    part = labelled(study).part(TRAIN)
    chosen = _in_turn(part.labels, torch.ones(len(part), dtype=torch.bool), count)
    return Pictures(part.pictures[chosen].float() / 255, part.labels[chosen], tuple(chosen))


def _in_turn(labels: torch.Tensor, allowed: torch.Tensor, count: int) -> list[int]:
    """The numbers of so many of the pictures that are allowed, by a fixed seed, the classes in turn as long as they last."""
    of_class: dict[int, list[int]] = {}
    for number in torch.randperm(len(labels), generator=torch.Generator().manual_seed(SEED)).tolist():
        if allowed[number]:
            of_class.setdefault(int(labels[number]), []).append(number)
    rounds = range(max(map(len, of_class.values()), default=0))
    return [of_class[label][k] for k in rounds for label in sorted(of_class) if k < len(of_class[label])][:count]
