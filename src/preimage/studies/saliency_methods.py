"""[K], figure 4: MIG-SG beside the other ways to tell where a classifier looks, on pictures that it tells right, by number.

Insertion and deletion say whether a map is true of the classifier; on lesions the share of the saliency inside the lesion says
whether it is in its place, and shuffled weights whether it hangs on what was learned. Two controls look at no classifier: pixels
by chance, and MIG-SG's own factor |x - x0|. The settings of MIG-SG that are not published are varied one by one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import torch

from preimage.classifiers import Classifier
from preimage.defend.faithfulness import deletion, insertion
from preimage.defend.methods import Method, saliency
from preimage.explain.sanity import randomized, sanity
from preimage.explain.similarity import inside_share, inside_share_of_others
from preimage.figures.saliency import overlay
from preimage.studies.lesions import chosen, first_classifier, held_out, known
from preimage.studies.objects import specimens
from preimage.studies.saliency_methods_tables import CONTROLS, FACTOR, section
from preimage.studies.saliency_over_steps import factor
from preimage.studies.scales import Row, Study
from preimage.studies.sheets import keep_picture, save_sheet

COUNTS = {"smoke": 2, "small": 24, "paper": 200}
FEW = {"smoke": 1, "small": 8, "paper": 40}  # of these the settings are varied, and the weights shuffled
SHOWN = {"smoke": 1, "small": 6, "paper": 6}  # of these a figure is drawn
CURVE = {"smoke": 5, "small": 25, "paper": 50}  # steps of insertion and deletion

SETTINGS: dict[str, dict[str, Any]] = {
    "baseline black": {"baseline": "black"},
    "baseline mean": {"baseline": "mean"},
    "N 1": {"n_samples": 1},
    "N 8": {"n_samples": 8},
    "sigma 0": {"sigma": 0.0},
    "sigma 0.05": {"sigma": 0.05},
    "sigma 0.3": {"sigma": 0.3},
}
"""Each differs from the defaults of MIG-SG (blur, N = 4, sigma 0.15) in one thing."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A picture (1, 3, h, w), its class, and the mask (h, w) of a lesion."""

    name: str
    picture: torch.Tensor
    label: int
    mask: torch.Tensor | None = None


@dataclass(frozen=True, eq=False)
class Collection:
    """Pictures that one classifier tells right."""

    name: str
    classifier: Classifier
    subjects: list[Subject]
    few: int

    @cached_property
    def unlearned(self) -> Classifier:
        """The classifier with its weights shuffled."""
        pictures = torch.cat([each.picture for each in self.subjects[: self.few]])
        return randomized(self.classifier, pictures.to(self.classifier.mean.device))


@dataclass(frozen=True)
class Way:
    """How a map comes about: a method and what is asked of it, none for a control; `judged` by shuffled weights, too."""

    method: Method | None
    options: dict[str, Any] = field(default_factory=dict)
    few: bool = False
    judged: bool = True


WAYS: dict[str, Way] = {
    **{name: Way(name) for name in get_args(Method)},
    **{name: Way(None, judged=False) for name in CONTROLS},
    **{name: Way("mig-sg", options, few=True, judged=False) for name, options in SETTINGS.items()},
}


def run(study: Study) -> Path:
    """Every picture in every way, those in the CSV left out; the figures; then the section of results.md."""
    model, pictures = specimens(study, COUNTS[study.scale])
    subjects = [
        Subject(str(number), x, label)
        for number, x, label in zip(pictures.numbers, pictures.images.split(1), pictures.labels.tolist(), strict=True)
    ]
    collections = [Collection("objects", model.classifier, subjects, FEW[study.scale]), lesions(study)]
    for collection in collections:
        for row in measured(study, collection):
            study.keep(row)
        if not study.is_shared:
            figure(study, collection)
    if study.is_shared:
        return study.table
    return study.write_section(
        "Ways to tell where a classifier looks (Kattamis et al. 2019, figure 4)", section(study, model, list(SETTINGS))
    )


def lesions(study: Study) -> Collection:
    """Held-out lesions that their classifier tells right, with masks by which place can be judged."""
    classifier = first_classifier(study).classifier
    some = chosen(held_out(study), COUNTS[study.scale], told_right_by=classifier)
    subjects = [Subject(each.name, each.picture, classifier.class_index(each.diagnosis), each.mask) for each in some]
    return Collection("lesions", classifier, subjects, FEW[study.scale])


# ---------------------------------------------------------------------- numbers


def measured(study: Study, collection: Collection) -> Iterator[Row]:
    """The rows of a collection that are not known, as they come."""
    done = known(study, "pictures", "picture", "way")
    for place, subject in study.mine(enumerate(collection.subjects)):
        for name, way in WAYS.items():
            if (collection.name, subject.name, name) not in done and not (way.few and place >= collection.few):
                yield of_way(study, collection, place, name)


def of_way(study: Study, collection: Collection, place: int, name: str) -> Row:
    """One map of one picture, and all that is to be said of it."""
    subject, way, classifier = collection.subjects[place], WAYS[name], collection.classifier
    begin = time.perf_counter()
    found = map_of(subject, name, classifier, place)
    seconds = time.perf_counter() - begin
    asked = (classifier, subject.picture, found, subject.label)
    steps = CURVE[study.scale]
    row: Row = {
        "pictures": collection.name,
        "picture": subject.name,
        "way": name,
        "insertion": float(insertion(*asked, steps=steps).area),
        "deletion": float(deletion(*asked, steps=steps).area),
        "deletion_to_blur": float(deletion(*asked, to="blur", steps=steps).area),
        **place_of(found, subject, collection.subjects),
        "rank_of_shuffled": "",
        "ssim_of_shuffled": "",
        "seconds": seconds,
    }
    if way.judged and place < collection.few:
        checked = sanity(found, map_of(subject, name, collection.unlearned, place))
        row |= {"rank_of_shuffled": float(checked.rank_correlation), "ssim_of_shuffled": float(checked.similarity)}
    if place < SHOWN[study.scale]:
        keep_picture(
            overlay(subject.picture[0], found[0])[None], shown_file(study, collection.name, subject.name, name)
        )
    return row


def map_of(subject: Subject, name: str, classifier: Classifier, place: int) -> torch.Tensor:
    """The map of a picture in one way, (1, 1, h, w), at least 0."""
    way = WAYS[name]
    if way.method is not None:
        return saliency(subject.picture, classifier, subject.label, way.method, **way.options).map
    if name == FACTOR:
        return factor(subject.picture)
    return torch.rand(1, 1, *subject.picture.shape[-2:], generator=torch.Generator().manual_seed(place))


def place_of(found: torch.Tensor, subject: Subject, subjects: list[Subject]) -> dict[str, float | str]:
    """Share of the saliency inside the mask over its share of the area, 1 by chance; the same under other pictures' masks."""
    if subject.mask is None:
        return {"inside": "", "inside_of_others": ""}
    others = [each.mask for each in subjects if each is not subject and each.mask is not None]
    size = found.sqrt()  # these count squares, and a map is a sum of sizes already
    return {
        "inside": float(inside_share(size, subject.mask)),
        "inside_of_others": float(inside_share_of_others(size, others)),
    }


# ---------------------------------------------------------------------- figures


def shown_file(study: Study, pictures: str, picture: str, way: str) -> Path:
    return study.figure(f"{study.name}-{study.scale}-{pictures}-{picture}-{way.replace(' ', '-')}.png")


def figure(study: Study, collection: Collection) -> None:
    """As figure 4: a row for each picture, the picture and then its map by each method."""
    shown = collection.subjects[: SHOWN[study.scale]]
    for subject in shown:
        keep_picture(subject.picture, shown_file(study, collection.name, subject.name, "given"))
    for told, ways in (("methods", [*get_args(Method), *CONTROLS]), ("settings", ["mig-sg", *SETTINGS])):
        save_sheet(
            [subject.name for subject in shown],
            ["given", *ways],
            lambda picture, way: shown_file(study, collection.name, picture, way),
            study.figure(f"{study.name}-{study.scale}-{collection.name}-{told}.png"),
        )
