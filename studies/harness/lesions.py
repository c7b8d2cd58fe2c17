"""What the studies of explanations share: held-out lesions with their masks, and what the classifiers say of them.

Data: `lesions/` of the data folder, dermatoscopic pictures of HAM10000 (Tschandl, Rosendahl, Kittler 2018) with lesion masks.
The pictures have the size that the classifier was trained in; smoke runs have discs on shades.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from preimage.classifiers import Classifier
from preimage.classifiers.labelled import TEST
from preimage.explain.quality import estimated_loss
from preimage.networks import SkipNet
from studies.harness import Run, classifiers
from studies.harness.classifiers import SHADES, classifier, labelled, untrained
from studies.harness.imaging import shaded_disc

SEED = 0  # of the choice of lesions
AREAS = (0.05, 0.6)  # of the picture, for lesions whose place is judged
THIN: dict[str, Any] = {"network": SkipNet.Config(down=(8, 8), up=(8, 8), skip=(2, 2), padding="zeros"), "steps": 12}


@dataclass(frozen=True, eq=False)
class Lesion:
    """A held-out picture (1, 3, h, w) in 0 to 1, and bool (h, w), where the lesion is."""

    name: str
    diagnosis: str
    patient: str  # what no two of a choice have in common: of a lesion there may be several pictures
    picture: torch.Tensor
    mask: torch.Tensor

    @property
    def area(self) -> float:
        return float(self.mask.float().mean())


def thinned(run: Run, prior: str, steps: int) -> dict[str, Any]:
    """What a smoke run changes in the recipe of a prior: few steps, and of the deep prior a thin network; else nothing."""
    if not run.smoke:
        return {}
    return {"steps": steps} | ({"network": THIN["network"]} if prior == "deep" else {})


def held_out(run: Run) -> list[Lesion]:
    """All pictures of the test part, in the order of their table; of a smoke run discs, each what the classifier says it is."""
    if run.smoke:
        model, drawn = untrained(run, "lesions").classifier, [shaded_disc(number) for number in range(SHADES)]
        return [Lesion(f"disc-{k}", prediction(model, x), f"disc-{k}", x, mask) for k, (x, mask) in enumerate(drawn)]
    data = labelled(run, "lesions").part(TEST)
    with run.path("lesions/labels.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == TEST]
    with np.load(run.path("lesions/lesion_masks.npz")) as held:
        packed = dict(zip(map(str, held["image_id"]), held["masks_packed"], strict=True))
    found = []
    for row, pixels in zip(rows, data.pictures, strict=True):
        name = Path(row["filename"]).stem
        mask = torch.from_numpy(np.unpackbits(packed[name], axis=-1, count=200)).float()[None, None]
        small = functional.interpolate(mask, size=data.size, mode="area")[0, 0] > 0.5
        found.append(Lesion(name, row["dx"], row["lesion_id"], pixels[None].float() / 255, small))
    return found


def some_lesions(run: Run, count: int) -> list[Lesion]:
    return in_turn(run.once(held_out), count)


def numbered(run: Run, count: int, judged: bool = False) -> dict[str, tuple[int, Lesion]]:
    """By name, with their numbers; judged: classified correctly, with masks of a size by which place can be judged."""
    correct = classifier(run, "lesions").classifier if judged else None
    return {lesion.name: (k, lesion) for k, lesion in enumerate(in_turn(run.once(held_out), count, correct))}


def in_turn(lesions: list[Lesion], count: int, correct: Classifier | None = None) -> list[Lesion]:
    """So many lesions by a fixed seed, one picture of each, the classes in turn as long as they last."""
    by_class: dict[str, list[Lesion]] = {name: [] for name in sorted({lesion.diagnosis for lesion in lesions})}
    patients: set[str] = set()
    for lesion in (lesions[i] for i in np.random.default_rng(SEED).permutation(len(lesions))):
        judged = AREAS[0] <= lesion.area <= AREAS[1] if correct else True
        if lesion.patient in patients or not judged:
            continue
        if correct is None or prediction(correct, lesion.picture) == lesion.diagnosis:
            patients.add(lesion.patient)
            by_class[lesion.diagnosis].append(lesion)
    return classifiers.in_turn(list(by_class.values()), count)


@torch.no_grad()
def prediction(classifier: Classifier, picture: torch.Tensor) -> str:
    return classifier.classes[int(classifier(picture).argmax())]


def loss_of(run: Run, picture: torch.Tensor) -> float:
    """The estimated loss of a picture (1, 3, h, w), in units of its spread, from the median of held-out pictures."""
    model = classifier(run, "lesions")
    assert model.estimator is not None
    return float(estimated_loss(model.classifier, model.estimator, picture))
