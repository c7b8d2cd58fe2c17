"""The classifiers of studies, and labelled pictures: CIFAR-10, ten classes of Tiny ImageNet, ImageNet.

A classifier is trained once, into the output folder, and read from there by all that need it. Smoke runs have discs on shades,
and small networks with their first weights, by whose own predictions the discs are named.

Data, of the data folder: `cifar10/cifar10_10k_2k.npz`, 10,000 training and 2,000 test pictures (Krizhevsky 2009);
`tiny_imagenet10/`; at scale paper `imagenet_sample/labels.csv` (columns filename and class_index, in torchvision's order), with
torchvision's resnet18, the file of whose weights PREIMAGE_WEIGHTS names; at scale imagenet the same pictures, with
EfficientNet-Lite0 or a stated classifier.
"""

import csv
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from preimage.classifiers import Classifier, LossEstimator, TrainedModel, load_classifier, load_model
from preimage.classifiers.labelled import TEST, TRAIN, Labelled, read_labelled
from preimage.classifiers.resizing import explained_frame, for_input
from preimage.engine.devices import choose_device
from preimage.images import read
from studies.harness import Run, StudyError, imaging
from studies.harness.rows import append_rows, locked, read_rows

T = TypeVar("T")
# The data of each kind, as `preimage train` reads them, with the columns of its table; and how each classifier is trained of it.
LESIONS = {"label_column": "dx", "split_column": "split", "group": "lesion_id"}
DATA: dict[str, tuple[str, dict[str, str]]] = {
    "cifar10": ("cifar10/cifar10_10k_2k.npz", {}),
    "tiny_imagenet10": ("tiny_imagenet10", {}),
    "lesions": ("lesions/labels.csv", LESIONS),
}
OPTIONS = {"cifar10": "", "cifar10-second": "--backbone vgg13_bn --seed 1", "cifar10-robust": "--adversarial 8"}
OPTIONS |= {"tiny_imagenet10": "", "lesions": "--turned --shifts blur,cutout,mix,color"}
OPTIONS |= {"lesions-second": "--turned --seed 1 --backbone timm:resnet10t"}
IMAGENET = "imagenet_sample/labels.csv"
CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
LESION_CLASSES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
SHADES = 8  # pictures of a smoke run
SEED = 0  # of the choice of pictures
SHORT_SIDE, SIDE = 256, 224  # pixels: torchvision's classifiers were tested on the middle of pictures so reduced
LITE0 = "studies.harness.lite:lite0"
UNTRAINED = "Smoke run: generated pictures, classifiers that have learned nothing."


def classifier(run: Run, name: str) -> TrainedModel:
    """One of OPTIONS, on the GPU if there is one; it is trained if it is not there. Of a smoke run: an untrained one."""
    return run.once(untrained if run.smoke else trained, name)


def trained(run: Run, name: str) -> TrainedModel:
    """A model file of the output folder; made first where it is missing. How good it is stands in a table of its own."""
    path, table = (run.output or Path("out")) / "models" / f"{name}.pt", run.table(name="classifiers")
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f"{path.name}.lock")  # of several processes one trains, the others wait
    with lock.open("w", encoding="utf-8") as file, locked(file):
        if not path.exists():
            place, columns = DATA[name.split("-")[0]]
            print(f"{run.name}: {path} is not there: trained now", file=sys.stderr, flush=True)
            options = [f"--{key.replace('_', '-')}={value}" for key, value in columns.items()] + OPTIONS[name].split()
            command = [sys.executable, "-m", "preimage", "train", str(run.path(place)), *options]
            if subprocess.run([*command, "--output", str(path), "--resume"], stdout=sys.stderr.fileno()).returncode:
                raise StudyError(f"{path} could not be trained, see above: {' '.join(command[1:])}")
    lock.unlink(missing_ok=True)
    model = load_model(path)
    for part in (model.classifier, model.estimator):
        if part is not None:
            part.to(choose_device())
    if not read_rows(table, classifier=name):
        scores, attacked = model.about["test"], model.about.get("adversarial", {})
        row = {"classifier": name, "backbone": model.about["settings"]["backbone"]}
        row |= {part: model.about["pictures"][part] for part in ("train", "test")}
        row |= {column: scores.get(column, "") for column in ("accuracy", "balanced_accuracy", "rank_correlation")}
        row |= {
            "attack": attacked.get("attack", ""),
            "eps": attacked.get("eps", ""),
            "robust": attacked.get("test", ""),
        }
        append_rows(table, [row])
    return model


def described(run: Run, name: str) -> str:
    if run.imagenet:
        return f"Classifier: {run.classifier or 'EfficientNet-Lite0'}."
    if run.scale != "small":
        return UNTRAINED if run.smoke else "Classifier: torchvision's resnet18, weights of a file."
    # A study whose rows are older than the classifier of that name has a row of its own there: NAME of STUDY.
    table = run.table(name="classifiers")
    row = (read_rows(table, classifier=f"{name} of {run.name}") or read_rows(table, classifier=name))[0]
    accuracy, ranks = f"{row['balanced_accuracy']:.3f}", row["rank_correlation"]
    accuracy += "" if ranks == "" else f", rank correlation of estimated and true loss {ranks:.3f}"
    trained = f"Classifier: {row['backbone']}, trained on {row['train']} pictures"
    return f"{trained}; balanced accuracy on the {row['test']} held-out ones {accuracy}."


def untrained(run: Run | None, name: str) -> TrainedModel:
    """A small convolutional network with its first weights; of lesions with a loss estimator that knows its scale."""
    of_lesions = name.startswith("lesions")
    classes, estimator = LESION_CLASSES if of_lesions else CIFAR_CLASSES, None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed({"second": 1, "robust": 2}.get(name.split("-")[-1], 0))
        layers = [nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU()]
        network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, len(classes)))
        model = Classifier(network, classes, (0.5,) * 3, (0.05,) * 3)
        if of_lesions:
            estimator = LossEstimator({"1": 8, "3": 12}, units=4).eval().requires_grad_(False)
            estimator.settle(estimator(model.logits_and_features(discs(), estimator.layers)[1]))
            estimator.to(choose_device())
    return TrainedModel(model.to(choose_device()), estimator, {"target_quantile": 0.1} if of_lesions else {})


def discs() -> torch.Tensor:
    return torch.cat([imaging.shaded_disc(k)[0] for k in range(SHADES)])


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures (n, 3, h, w) in 0 to 1 of a part, their labels (n,), and the number of each in that part."""

    images: torch.Tensor
    labels: torch.Tensor
    numbers: tuple[int, ...]

    def __getitem__(self, some: slice) -> "Pictures":
        return Pictures(self.images[some], self.labels[some], self.numbers[some])


def labelled(run: Run, name: str) -> Labelled:
    place, columns = DATA[name.split("-")[0]]
    return _read(str(run.path(place)), **columns)


_read = cache(read_labelled)


def subject(run: Run, name: str, count: int) -> tuple[Classifier, Pictures]:
    """A classifier, and so many held-out pictures that it classifies correctly (fewer, where there are not as many).

    Raises:
        StudyError: pictures or weights that are not there.
    """
    if run.imagenet:
        run.path(IMAGENET)  # what is missing is said before a classifier is loaded
        return as_input(run, load_classifier(run.classifier or LITE0, device=choose_device()), count)
    if run.scale == "paper":
        images, labels = imagenet(run)
        model = own_resnet18(run)
        if model is None:
            message = f"study {run.name} at scale paper: name the file of resnet18's weights in PREIMAGE_WEIGHTS"
            raise StudyError(message)
        return model, correctly_classified(images, labels, model, count)
    model = classifier(run, name).classifier
    if run.smoke:
        images = discs()[:count]
        return model, Pictures(images, predictions(model, images), tuple(range(len(images))))
    part = labelled(run, name).part(TEST)
    return model, correctly_classified(part.pictures.float() / 255, part.labels, model, count)


def as_input(run: Run, model: Classifier, count: int) -> tuple[Classifier, Pictures]:
    """A classifier of ImageNet, and what it sees of so many pictures that it is right about, to be attacked and fitted."""
    files = imagenet_files(run)
    frames = [explained_frame(model, (picture.shape[-2], picture.shape[-1])) for picture, _ in files]
    if any(frame is None for frame in frames):
        return model, correctly_classified(*imagenet(run), model, count)
    seen = [frame(x, model.mean.cpu()).clamp(0, 1) for (x, _), frame in zip(files, frames, strict=True) if frame]
    images, labels = torch.cat([x.expand(-1, 3, -1, -1) for x in seen]), torch.tensor([label for _, label in files])
    own = for_input(model)
    return own, correctly_classified(images, labels, own, count)


def on_gpu() -> bool:
    return choose_device().type == "cuda"


def as_many(run: Run, counts: Mapping[str, int], where_gpu: int) -> int:
    """The number of pictures of a scale; of imagenet another where there is a GPU."""
    return where_gpu if run.imagenet and on_gpu() else counts[run.scale]


def correctly_classified(images: torch.Tensor, labels: torch.Tensor, model: Classifier, count: int) -> Pictures:
    """So many of pictures (n, 3, h, w) that a classifier is right about; StudyError if it is about none."""
    chosen = _in_turn(labels, predictions(model, images) == labels, count)
    if not chosen:
        raise StudyError(
            f"the classifier is right about none of {len(images)} pictures: are the labels those of its classes?"
        )
    return Pictures(images[chosen], labels[chosen], tuple(chosen))


def learned_from(run: Run, name: str, count: int) -> Pictures:
    """So many pictures of the training part."""
    if run.smoke:
        return subject(run, name, count)[1]
    part = labelled(run, name).part(TRAIN)
    chosen = _in_turn(part.labels, torch.ones(len(part), dtype=torch.bool), count)
    return Pictures(part.pictures[chosen].float() / 255, part.labels[chosen], tuple(chosen))


@torch.no_grad()
def predictions(model: Classifier, images: torch.Tensor) -> torch.Tensor:
    return torch.cat([model(some).argmax(1).cpu() for some in images.split(256)])


def _in_turn(labels: torch.Tensor, allowed: torch.Tensor, count: int) -> list[int]:
    """The numbers of so many of the pictures that are allowed, by a fixed seed."""
    of_class: dict[int, list[int]] = {}
    for number in torch.randperm(len(labels), generator=torch.Generator().manual_seed(SEED)).tolist():
        if allowed[number]:
            of_class.setdefault(int(labels[number]), []).append(number)
    return in_turn([of_class[label] for label in sorted(of_class)], count)


def in_turn(classes: Sequence[Sequence[T]], count: int) -> list[T]:
    """So many of the members of some classes, the classes in turn as long as they last."""
    rounds = zip_longest(*classes)
    return [each for row in rounds for each in row if each is not None][:count]


def imagenet_files(run: Run) -> list[tuple[torch.Tensor, int]]:
    """The pictures of scale paper as they are, (1, c, h, w) in 0 to 1, each with its label."""
    table = run.path(IMAGENET)
    if not table.exists():
        raise StudyError(
            f"{table} does not exist: study {run.name} at scale {run.scale} takes its ImageNet pictures from it"
        )
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [(read(table.parent / row["filename"]).tensor, int(row["class_index"])) for row in rows]


def imagenet(run: Run) -> tuple[torch.Tensor, torch.Tensor]:
    """As torchvision shows them to its classifiers, (n, 3, 224, 224) in 0 to 1, and their labels."""
    found = []
    for picture, _ in (files := imagenet_files(run)):
        height, width = (round(SHORT_SIDE / min(picture.shape[-2:]) * side) for side in picture.shape[-2:])
        found.append(imaging.center_crop(imaging.resized(picture, height, width), SIDE).expand(-1, 3, -1, -1))
    return torch.cat(found), torch.tensor([label for _, label in files])


def own_resnet18(run: Run) -> Classifier | None:
    """torchvision's resnet18 with the weights that PREIMAGE_WEIGHTS names; None where it names none."""
    weights = None if run.smoke else os.environ.get("PREIMAGE_WEIGHTS")
    return load_classifier(f"torchvision:resnet18@{weights}", device=choose_device()) if weights else None
