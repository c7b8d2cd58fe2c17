"""Whether the estimated loss orders the true ones and finds strange pictures (Narayanaswamy et al. 2021).

Beside it two scores that need no estimator: the maximum of the softmax (Hendrycks and Gimpel, ICLR 2017) and the energy
(Liu et al., NeurIPS 2020). All count up: the higher, the stranger.
"""

import csv
from pathlib import Path

import torch
from torch.nn import functional

from preimage.classifiers import TrainedModel
from studies.harness import Measured, Run, Study, classifiers, imaging, lesions, stats, tables
from studies.ood_recovery import blurred, cropped, rectangle

SIGMA = 0.1  # of the noise
LESIONS, OTHERS, AS_IT_IS = "lesions", "tiny_imagenet10", "as it is"
SCORES = {"estimate": "**estimated loss**", "softmax": "1 - maximum softmax probability", "energy": "energy"}
SHIFTS = {
    "crop": lambda x, seed: cropped(x, rectangle(x, seed)),
    "blur": lambda x, seed: blurred(x),
    "noise": lambda x, seed: imaging.with_gaussian_noise(x, SIGMA, seed),
}
ALL = (AS_IT_IS, *SHIFTS)


def scores(model: TrainedModel, pictures: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Logits (b, classes), and {score: (b,)}, on the CPU."""
    assert model.estimator is not None
    with torch.no_grad():
        logits, features = model.classifier.logits_and_features(pictures, model.estimator.layers)
        estimates = model.estimator.relative(model.estimator.score(features, logits), 0.5).cpu()
    logits = logits.cpu()
    return logits, {"estimate": estimates, "softmax": 1 - logits.softmax(1).amax(1), "energy": -logits.logsumexp(1)}


def measure(run: Run, of: str, name: str):
    """True losses and scores of a lesion, as it is and shifted; of a picture that shows nothing such, its scores."""
    model = classifiers.classifier(run, "lesions")
    if of == OTHERS:
        found = scores(model, run.once(other_pictures)[name])[1]
        return {"diagnosis": ""} | {f"{score} {AS_IT_IS}": float(found[score]) for score in SCORES}
    number, lesion = run.once(by_name)[name]
    shifted = torch.cat([lesion.picture, *(shift(lesion.picture, number) for shift in SHIFTS.values())])
    logits, found = scores(model, shifted)
    classes = torch.full((len(shifted),), model.classifier.class_index(lesion.diagnosis))
    found = {"loss": functional.cross_entropy(logits, classes, reduction="none")} | found
    row = {f"{score} {shift}": float(values[k]) for k, shift in enumerate(ALL) for score, values in found.items()}
    return {"diagnosis": lesion.diagnosis} | row


def by_name(run: Run) -> dict[str, tuple[int, lesions.Lesion]]:
    return {lesion.name: (number, lesion) for number, lesion in enumerate(run.once(lesions.held_out))}


def other_pictures(run: Run) -> dict[str, torch.Tensor]:
    """Pictures of other things, enlarged to the size of the lesions, of their middle as much as has its shape."""
    height, width = run.once(lesions.held_out)[0].picture.shape[-2:]
    if run.smoke:
        draws = torch.Generator().manual_seed(0)
        return {f"noise-{k}": torch.rand(1, 3, height, width, generator=draws) for k in range(classifiers.SHADES)}
    with run.path(f"{OTHERS}/labels.csv").open(newline="", encoding="utf-8") as file:
        names = [row["filename"] for row in csv.DictReader(file) if row["split"] == "val"]
    found = {}
    for name in names:
        x = run.picture(f"{OTHERS}/{name}").expand(-1, 3, -1, -1)
        part = imaging.center_window(x, round(x.shape[-1] * height / width), x.shape[-1])
        found[Path(name).stem] = imaging.resized(part, height, width, "bicubic")
    return found


def values(run: Run):
    own, others = run.rows(of=LESIONS), run.rows(of=OTHERS)
    of = {(score, shift): tables.numbers(own, f"{score} {shift}") for score in ("loss", *SCORES) for shift in ALL}
    of |= {(score, OTHERS): tables.numbers(others, f"{score} {AS_IT_IS}") for score in SCORES}
    shifts = (*SHIFTS, OTHERS)
    correlations = {score: [stats.rank_correlation(of[score, s], of["loss", s]) for s in ALL] for score in SCORES}
    wins = {score: {s: stats.wins(of[score, s], of[score, AS_IT_IS]) for s in shifts} for score in SCORES}
    gains = {
        rival: [stats.auroc_gain(wins["estimate"][s], wins[rival][s], same_pictures=s != OTHERS) for s in shifts]
        for rival in ("softmax", "energy")
    }
    aurocs = [[SCORES[score], *(float(each.mean()) for each in found.values())] for score, found in wins.items()]
    return {
        "lesions": len(own),
        "others": len(others),
        "classifier": classifiers.described(run, "lesions"),
        "ordered": correlations["estimate"][0].verdict(),
        "ranks": tables.markdown(["score", *ALL], [[SCORES[score], *found] for score, found in correlations.items()]),
        "aurocs": tables.markdown(["score", *shifts], aurocs),
        "gains": tables.markdown(["AUROC gained", *shifts], [[f"over {r}", *found] for r, found in gains.items()]),
    }


def cases(run: Run):
    return [*((LESIONS, name) for name in run.once(by_name)), *((OTHERS, name) for name in run.once(other_pictures))]


STUDY = Study(Measured(("of", "picture"), cases, measure), values)
