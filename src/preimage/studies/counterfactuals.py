"""[N], figure 4: what another diagnosis would need, by the deep prior with M and without it, in pixels, and with total variation.

Every number of explain/quality.py for each of them, on held-out lesions with masks that are told right. One row a lesion and
method; stability over seeds and the sanity check with a randomized classifier on a few.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from preimage.classifiers import Classifier
from preimage.classifiers.model_file import TrainedModel
from preimage.explain.abcd import abcd
from preimage.explain.counterfactual import counterfactual
from preimage.explain.explanation import Counterfactual
from preimage.explain.quality import judge
from preimage.explain.sanity import randomized, sanity, stability
from preimage.figures.panels import magnified
from preimage.studies.counterfactual_tables import section
from preimage.studies.lesions import Lesion, chosen, classifiers, held_out, known, recipe_of
from preimage.studies.panels import save_panels
from preimage.studies.preimage_recovery import WEIGHT
from preimage.studies.scales import Row, Study

COUNTS = {"smoke": 2, "small": 40, "paper": 200}
FEW = {"smoke": 1, "small": 4, "paper": 20}
"""Lesions for which stability and sanity are measured."""
SEEDS = 3  # of the stability
SHOWN = {"smoke": 1, "small": 10, "paper": 10}  # lesions of which a figure is drawn
TARGETS = {"akiec": "bcc", "bcc": "akiec", "bkl": "mel", "df": "nv", "mel": "nv", "nv": "mel", "vasc": "nv"}
"""The diagnosis that is asked for: what each is mistaken for."""


@dataclass(frozen=True)
class Method:
    """How a counterfactual is made; `few`: whether its stability and sanity are measured."""

    title: str
    prior: Literal["deep", "tv", "none"]
    weight: float
    few: bool


METHODS = {
    "plain": Method("plain DIP", "deep", 0.0, True),
    "m": Method("DIP with M", "deep", WEIGHT, True),
    "pixels": Method("pixels (adversarial)", "none", 0.0, False),
    "tv": Method("pixels with total variation", "tv", 0.0, False),
}


def run(study: Study) -> Path:
    """Every lesion by every method, those already in the CSV left out; then the section of results.md."""
    pictures = held_out(study)
    model, second = classifiers(study)
    lesions = chosen(pictures, COUNTS[study.scale], told_right_by=model.classifier)
    done = known(study, "picture", "method")
    for number, lesion in study.mine(enumerate(lesions)):
        left = [name for name in METHODS if (lesion.name, name) not in done]
        masks = [other.mask for other in lesions if other is not lesion]
        found = {}
        for name in left:
            found[name], row = measured(study, model, second, lesion, name, masks, number)
            study.keep(row)
        if found and number < SHOWN[study.scale]:
            save_panels(panels_of(lesion, found), study.figure(f"counterfactuals-{lesion.name}.png"))
    if study.is_shared:
        return study.table
    return study.write_section(
        "Counterfactuals of lesions", section(study, model, {n: m.title for n, m in METHODS.items()})
    )


def measured(
    study: Study,
    model: TrainedModel,
    second: Classifier,
    lesion: Lesion,
    name: str,
    other_masks: list[torch.Tensor],
    number: int,
) -> tuple[Counterfactual, Row]:
    """One counterfactual, and all that is to be said of it."""
    found = made(study, model, lesion, name, seed=0)
    base = base_of(found, lesion, name)
    quality = judge(
        lesion.picture,
        found.changed,
        classifier=model.classifier,
        target=found.target,
        reconstruction=base,
        estimator=model.estimator,
        mask=lesion.mask,
        other_masks=other_masks,
        second=second,
        signs=True,
    )
    row: Row = {
        "picture": lesion.name,
        "method": name,
        "diagnosis": lesion.diagnosis,
        "target": model.classifier.classes[found.target],
        "area": lesion.area,
    }
    row |= {key: float(value) if value is not None else "" for key, value in quality.as_dict().items()}
    signs = abcd(base)
    row |= {f"{key}_reconstruction": value for key, value in vars(signs).items()}
    few = METHODS[name].few and number < FEW[study.scale]
    row |= stability_and_sanity(study, model, lesion, name, found) if few else dict.fromkeys(FEW_COLUMNS, "")
    row |= {"kept_step": found.kept_step[0], "steps": found.steps, "seconds": found.seconds}
    return found, row


def base_of(found: Counterfactual, lesion: Lesion, name: str) -> torch.Tensor:
    """What the change is counted from: the reconstruction without the class.

    Pixels that start as the picture and are asked for nothing else are the picture: what Adam makes of rounding is no change.
    """
    return lesion.picture if name == "pixels" else found.reconstruction


def made(study: Study, model: TrainedModel, lesion: Lesion, name: str, *, seed: int) -> Counterfactual:
    """The counterfactual of a lesion towards its target, or towards the runner-up where the classifier says that already."""
    method = METHODS[name]
    with torch.no_grad():
        chances = model.classifier.probabilities(lesion.picture)[0]
    target = model.classifier.class_index(TARGETS[lesion.diagnosis])
    if target == int(chances.argmax()):
        target = int(chances.argsort(descending=True)[1])
    return counterfactual(
        lesion.picture,
        classifier=model,
        target=target,
        uncertainty="loss" if method.weight else "none",
        loss_weight=method.weight,
        prior=method.prior,
        recipe=recipe_of(study),
        seed=seed,
    ).run()


FEW_COLUMNS = ("stability", "stability_of_heat_maps", "randomized_rank_correlation", "randomized_similarity")


def stability_and_sanity(
    study: Study, model: TrainedModel, lesion: Lesion, name: str, found: Counterfactual
) -> dict[str, float]:
    """How alike the changes of several seeds are, and that of a classifier that has learned nothing, from the same seed."""
    others = [made(study, model, lesion, name, seed=seed).difference for seed in range(1, SEEDS)]
    agreement = stability(torch.cat([found.difference, *others]))
    unlearned = TrainedModel(randomized(model.classifier, lesion.picture), model.estimator, model.about)
    checked = sanity(found.difference, made(study, unlearned, lesion, name, seed=0).difference)
    values = (agreement.change, agreement.heat_map, float(checked.rank_correlation), float(checked.similarity))
    return dict(zip(FEW_COLUMNS, values, strict=True))


def panels_of(lesion: Lesion, found: dict[str, Counterfactual]) -> list[tuple[str, torch.Tensor]]:
    """Of each method the picture given, reconstruction, counterfactual, difference, and the mask, in one row."""
    panels = []
    for name, each in found.items():
        target = each.classes[each.target]
        panels += [
            (f"given, {lesion.diagnosis}", lesion.picture),
            (f"{METHODS[name].title}: reconstruction", base_of(each, lesion, name)),
            (f"counterfactual, {target} {each.confidence:.2f}", each.changed),
            ("difference, magnified", magnified(each.changed - base_of(each, lesion, name))),
            ("mask", lesion.mask[None, None].float()),
        ]
    return panels
