"""What the estimated loss knows: the order of the true losses, and which pictures the classifier was not trained for.

Beside it two scores that need no estimator: the maximum of the softmax (Hendrycks and Gimpel, ICLR 2017) and the energy
(Liu et al., NeurIPS 2020). All count up: the higher, the stranger.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional

from preimage.classifiers.model_file import TrainedModel
from preimage.images import read
from preimage.studies.intervals import auroc_gain, rank_correlation, wins
from preimage.studies.lesions import SHADES, Lesion, described, first_classifier, held_out, known, with_words
from preimage.studies.ood_recovery import blurred, cropped, rectangle
from preimage.studies.scales import Row, Study, markdown_table, with_gaussian_noise

SIGMA = 0.1  # of the noise
OTHERS = "tiny_imagenet10"
SCORES = {"estimate": "**estimated loss**", "softmax": "1 - maximum softmax probability", "energy": "energy"}
SHIFTS: dict[str, Callable[[torch.Tensor, int], torch.Tensor]] = {
    "crop": lambda x, seed: cropped(x, rectangle(x, seed)),
    "blur": lambda x, seed: blurred(x),
    "noise": lambda x, seed: with_gaussian_noise(x, SIGMA, seed),
}
ALL = ("as it is", *SHIFTS)


def run(study: Study) -> Path:
    """Every held-out lesion with its shifts, and every other picture, those already in the CSV left out; then the section."""
    lesions = held_out(study)
    model = first_classifier(study)
    done = known(study, "picture")
    for number, lesion in enumerate(lesions):
        if (lesion.name,) not in done:
            study.keep(row_of_lesion(model, lesion, number))
    for name, picture in other_pictures(study, lesions[0].picture):
        if (name,) not in done:
            study.keep(row_of_other(model, name, picture))
    return study.write_section("The estimated loss", section(study, model))


def scores(model: TrainedModel, pictures: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Logits (b, classes), and {score: (b,)}."""
    assert model.estimator is not None
    with torch.no_grad():
        logits, features = model.classifier.logits_and_features(pictures, model.estimator.layers)
        estimates = model.estimator.relative(model.estimator(features), 0.5)
    return logits, {
        "estimate": estimates,
        "softmax": 1 - logits.softmax(1).amax(1),
        "energy": -logits.logsumexp(1),
    }


def row_of_lesion(model: TrainedModel, lesion: Lesion, number: int) -> Row:
    """Its true losses and scores, as it is and shifted."""
    seen = torch.cat([lesion.picture, *(shift(lesion.picture, number) for shift in SHIFTS.values())])
    logits, told = scores(model, seen)
    index = model.classifier.class_index(lesion.diagnosis)
    losses = functional.cross_entropy(logits, torch.full((len(seen),), index), reduction="none")
    row: Row = {"picture": lesion.name, "of": "lesions", "diagnosis": lesion.diagnosis}
    for k, name in enumerate(ALL):
        row |= {f"loss {name}": float(losses[k])} | {f"{score} {name}": float(told[score][k]) for score in SCORES}
    return row


def row_of_other(model: TrainedModel, name: str, picture: torch.Tensor) -> Row:
    """The scores of a picture that shows nothing of what the classifier knows."""
    told = scores(model, picture)[1]
    row: Row = {"picture": name, "of": OTHERS, "diagnosis": ""}
    for shift in ALL:
        row[f"loss {shift}"] = ""
        row |= {f"{score} {shift}": float(told[score]) if shift == "as it is" else "" for score in SCORES}
    return row


def other_pictures(study: Study, like: torch.Tensor) -> list[tuple[str, torch.Tensor]]:
    """Pictures of other things by name, enlarged to the size of the lesions, of their middle as much as has its shape."""
    if study.scale == "smoke":
        draws = torch.Generator().manual_seed(0)
        return [(f"noise-{k}", torch.rand(like.shape, generator=draws)) for k in range(SHADES)]
    with study.path(f"{OTHERS}/labels.csv").open(newline="") as file:
        names = [row["filename"] for row in csv.DictReader(file) if row["split"] == "val"]
    height, width = like.shape[-2:]
    found = []
    for name in names:
        x = read(study.path(f"{OTHERS}/{name}")).tensor
        x = x.expand(-1, 3, -1, -1)
        tall = round(x.shape[-1] * height / width)
        top = (x.shape[-2] - tall) // 2
        part = x[..., top : top + tall, :]
        enlarged = functional.interpolate(part, size=(height, width), mode="bicubic", align_corners=False)
        found.append((Path(name).stem, enlarged.clamp(0, 1)))
    return found


def section(study: Study, model: TrainedModel) -> str:
    """Rank correlations, AUROCs, and by how much the estimated loss is ahead."""
    rows = study.rows()
    lesions, others = with_words(rows, of="lesions"), with_words(rows, of=OTHERS)
    order = {
        score: [rank_correlation(_column(lesions, f"{score} {x}"), _column(lesions, f"loss {x}")) for x in ALL]
        for score in SCORES
    }
    table: list[list[object]] = [[told] for told in SCORES.values()]
    gains: list[list[object]] = [["over softmax"], ["over energy"]]
    for shift in (*SHIFTS, OTHERS):
        strange = others if shift == OTHERS else lesions
        column = "as it is" if shift == OTHERS else shift
        pairs = {s: (_column(strange, f"{s} {column}"), _column(lesions, f"{s} as it is")) for s in SCORES}
        for line, (far, near) in zip(table, pairs.values(), strict=True):
            line.append(auroc(far, near))
        won = {score: wins(*pair) for score, pair in pairs.items()}
        for line, rival in zip(gains, ("softmax", "energy"), strict=True):
            line.append(str(auroc_gain(won["estimate"], won[rival], same_pictures=shift != OTHERS)))
    parts = [
        f"{len(lesions)} held-out lesions; shifts: all outside a random rectangle of half the area black, Gaussian blur of "
        f"sigma 3, Gaussian noise of sigma {SIGMA}; {len(others)} pictures of tiny_imagenet10. {described(study, model)} "
        f"Rows: `{study.table.name}`.",
        "Spearman's correlation of each score and the true loss, with 95 % bootstrap intervals over pictures. Narayanaswamy "
        "et al. 2021 build on it that the estimate orders the losses; that it does to some degree is shown here: "
        f"{order['estimate'][0].verdict()}.",
        markdown_table(["score", *ALL], [[told, *map(str, order[score])] for score, told in SCORES.items()]),
        "AUROC of a shifted picture against one as it is (0.5: chance), and below how much the estimated loss is ahead, with "
        "95 % bootstrap intervals over pictures.",
        markdown_table(["score", *SHIFTS, OTHERS], table),
        markdown_table(["AUROC gained", *SHIFTS, OTHERS], gains),
    ]
    return "\n\n".join(parts)


def auroc(strange: list[float], usual: list[float]) -> float:
    """The share of pairs in which the strange one has the larger score."""
    from torchmetrics.functional.classification import binary_auroc

    # Ranks, for torchmetrics takes scores outside 0 to 1 for logits, whose sigmoid rounds many to one.
    values = torch.tensor(strange + usual, dtype=torch.float64)
    ranks = values.unique(return_inverse=True)[1].double() / len(values)
    return float(binary_auroc(ranks, torch.tensor([1] * len(strange) + [0] * len(usual))))


def _column(rows: list[Row], name: str) -> list[float]:
    return [float(row[name]) for row in rows]
