"""What the studies of explanations share: the classifiers, held-out lesions with their masks, and how they are drawn.

Data: `lesions/` of the data folder, dermatoscopic pictures of HAM10000 (Tschandl, Rosendahl, Kittler 2018) with lesion masks.
The pictures have the size that the classifier was trained in; smoke runs have discs on shades, and classifiers that have
learned nothing, by whose own answers the discs are named.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from preimage.classifiers import Classifier, LossEstimator
from preimage.classifiers.labelled import TEST, Labelled, read_labelled
from preimage.classifiers.model_file import TrainedModel
from preimage.classifiers.settings import Settings
from preimage.engine.recipe import Recipe
from preimage.explain.quality import estimated_loss
from preimage.explain.recipes import FAST_RECOVERY
from preimage.networks import SkipNet
from preimage.studies.classifiers import small_network, trained
from preimage.studies.scales import Row, Study

FIRST, SECOND = Settings(upright=False), Settings(upright=False, backbone="timm:resnet10t", seed=1)
SEED = 0  # of the choice of lesions
AREAS = (0.05, 0.6)  # of the picture, for lesions whose place is judged
SHADES = 8  # pictures of a smoke run
CLASSES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
THIN = {"network": SkipNet.Config(down=(8, 8), up=(8, 8), skip=(2, 2), padding="zeros"), "steps": 12}


@dataclass(frozen=True, eq=False)
class Lesion:
    """A held-out picture.

    Args:
        name: of its file, without the ending.
        diagnosis: its class.
        patient: what no two of a choice have in common: the lesion, of which there may be several pictures.
        picture: (1, 3, h, w) in 0 to 1.
        mask: bool (h, w), where the lesion is.
    """

    name: str
    diagnosis: str
    patient: str
    picture: torch.Tensor
    mask: torch.Tensor

    @property
    def area(self) -> float:
        return float(self.mask.float().mean())


# ---------------------------------------------------------------------- classifiers


def classifiers(study: Study) -> tuple[TrainedModel, Classifier]:
    """The classifier that is explained, and a second one that was trained for itself; both are trained if they are not there.

    They are what these commands make:
        preimage train lesions/labels.csv --label-column dx --split-column split --group lesion_id --turned -o lesions.pt
        ... --seed 1 --backbone timm:resnet10t -o lesions-second.pt
    """
    if study.scale == "smoke":
        return untrained(0), untrained(1).classifier
    return first_classifier(study), trained(study, "lesions-second.pt", SECOND, labelled).classifier


def first_classifier(study: Study) -> TrainedModel:
    """The classifier that is explained."""
    return untrained(0) if study.scale == "smoke" else trained(study, "lesions.pt", FIRST, labelled)


def described(study: Study, model: TrainedModel) -> str:
    """How good a classifier is, in words, of its own test part."""
    scores = model.about.get("test")
    if not scores:
        return "Smoke run: generated pictures, classifiers that have learned nothing."
    return (
        f"Classifier: {model.about['settings']['backbone']}, trained on {model.about['pictures']['train']} pictures; on the "
        f"{model.about['pictures']['test']} held-out ones balanced accuracy {scores['balanced_accuracy']:.3f}, rank correlation "
        f"of estimated and true loss {scores['rank_correlation']:.3f}."
    )


def untrained(seed: int) -> TrainedModel:
    """A small convolutional network with its first weights, and a loss estimator that knows its scale."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = small_network(len(CLASSES))
        estimator = LossEstimator({"1": 8, "3": 12}, units=4).eval().requires_grad_(False)
    classifier = Classifier(model, CLASSES, (0.5,) * 3, (0.05,) * 3)
    pictures = torch.cat([shaded_disc(k)[0] for k in range(SHADES)])
    estimator.settle(estimator(classifier.logits_and_features(pictures, estimator.layers)[1]))
    return TrainedModel(classifier, estimator, {"target_quantile": 0.1})


def recipe_of(study: Study) -> Recipe:
    """That of recoveries and counterfactuals, or in a smoke run a thin one of few steps."""
    return replace(FAST_RECOVERY, **THIN) if study.scale == "smoke" else FAST_RECOVERY


# ---------------------------------------------------------------------- lesions


def held_out(study: Study) -> list[Lesion]:
    """All pictures of the test part, in the order of their table."""
    if study.scale == "smoke":
        return discs()
    data = labelled(study).part(TEST)
    with study.path("lesions/labels.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == TEST]
    names = [Path(row["filename"]).stem for row in rows]
    with np.load(study.path("lesions/lesion_masks.npz")) as held:
        place = {str(name): i for i, name in enumerate(held["image_id"])}
        packed = held["masks_packed"]
    found = []
    for i, (name, row) in enumerate(zip(names, rows, strict=True)):
        mask = torch.from_numpy(np.unpackbits(packed[place[name]], axis=-1, count=200)).float()[None, None]
        small = functional.interpolate(mask, size=data.size, mode="area")[0, 0] > 0.5
        picture = data.pictures[i : i + 1].float() / 255
        found.append(Lesion(name, row["dx"], row["lesion_id"], picture, small))
    return found


def labelled(study: Study) -> Labelled:
    """The lesions as `preimage train` reads them."""
    table = study.path("lesions/labels.csv")
    return read_labelled(table, label_column="dx", split_column="split", group="lesion_id")


def chosen(lesions: list[Lesion], count: int, *, told_right_by: Classifier | None = None) -> list[Lesion]:
    """So many lesions by a fixed seed, one picture of each, the classes in turn as long as they last.

    Args:
        told_right_by: only those that this classifier tells right, and whose mask has a size by which place can be judged.
    """
    order = [lesions[i] for i in np.random.default_rng(SEED).permutation(len(lesions))]
    by_class: dict[str, list[Lesion]] = {name: [] for name in sorted({lesion.diagnosis for lesion in lesions})}
    patients: set[str] = set()
    for lesion in order:
        if lesion.patient not in patients and (told_right_by is None or _is_fit(lesion, told_right_by)):
            patients.add(lesion.patient)
            by_class[lesion.diagnosis].append(lesion)
    rounds = range(max(map(len, by_class.values())))
    in_turn = [of_class[k] for k in rounds for of_class in by_class.values() if k < len(of_class)]
    return in_turn[:count]


def _is_fit(lesion: Lesion, classifier: Classifier) -> bool:
    return AREAS[0] <= lesion.area <= AREAS[1] and said(classifier, lesion.picture) == lesion.diagnosis


@torch.no_grad()
def said(classifier: Classifier, picture: torch.Tensor) -> str:
    """What a classifier says of a picture (1, 3, h, w)."""
    return classifier.classes[int(classifier(picture).argmax())]


def loss_of(model: TrainedModel, picture: torch.Tensor) -> float:
    """The estimated loss of a picture (1, 3, h, w), in units of its spread, from the median of held-out pictures."""
    assert model.estimator is not None
    return float(estimated_loss(model.classifier, model.estimator, picture))


def shaded_disc(number: int, side: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    """A dark disc on a light shade, (1, 3, side, side), and its mask; each number has another place, size and color."""
    draw = np.random.default_rng(number)
    y, x = np.mgrid[:side, :side] / side
    (top, left), radius = draw.uniform(0.35, 0.65, 2), draw.uniform(0.15, 0.3)
    mask = (y - top) ** 2 + (x - left) ** 2 < radius**2
    skin, color = draw.uniform(0.6, 0.9, 3), draw.uniform(0.1, 0.5, 3)
    picture = np.where(mask[..., None], color, skin + 0.1 * x[..., None])
    return torch.from_numpy(picture).float().permute(2, 0, 1)[None].clamp(0, 1), torch.from_numpy(mask)


def discs() -> list[Lesion]:
    """The lesions of a smoke run: each is what the first classifier says that it is."""
    classifier = untrained(0).classifier
    drawn = [shaded_disc(number) for number in range(SHADES)]
    return [
        Lesion(f"disc-{k}", said(classifier, picture), f"disc-{k}", picture, mask)
        for k, (picture, mask) in enumerate(drawn)
    ]


# ---------------------------------------------------------------------- rows


def known(study: Study, *columns: str) -> set[tuple[str, ...]]:
    """What the rows that are there have in some columns, as words."""
    return {tuple(str(row[column]) for column in columns) for row in study.rows()}


def with_words(rows: list[Row], **wanted: str) -> list[Row]:
    """Those rows that have these words in these columns."""
    return [row for row in rows if all(str(row[column]) == word for column, word in wanted.items())]
