"""[K], figure 2: what a classifier says of the outputs of the prior, step by step, and where in them it looks for the true class.

A network is fitted to a picture that was changed to mislead the classifier (and, to compare, to the picture as it was). Each
output's MIG-SG map is held against that of the clean original: by rank correlation, and by what their most salient tenths of
pixels have in common. Such numbers are high without any meaning, for objects are central and a map has the factor |x - x0|. So
two others stand beside them: the likeness to the maps of other originals, and that of the factor, which knows no classifier.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from preimage.classifiers import Classifier
from preimage.classifiers.loss_estimator import rank_correlation
from preimage.defend.attacks import AttackName, attack
from preimage.defend.faithfulness import blurred, deletion, insertion, ranks_of
from preimage.defend.methods import SaliencyMap, saliency
from preimage.defend.purify import PAPER, purify
from preimage.engine.devices import choose_device, has_native_bfloat16
from preimage.engine.recipe import Recipe
from preimage.explain.similarity import heat_map, high_frequency_share
from preimage.figures.saliency import overlay
from preimage.metrics import psnr
from preimage.networks import SkipNet
from preimage.studies.lesions import THIN, known, with_words
from preimage.studies.objects import specimens
from preimage.studies.ood_recovery import EQUAL
from preimage.studies.saliency_over_steps_tables import CLEAN, section
from preimage.studies.scales import Row, Study
from preimage.studies.sheets import keep_picture, save_sheet

PUBLISHED = (50, 100, 200, 300, 400, 500, 750, 1000, 2000, 4000)
STEPS = {"smoke": (2, 6), "small": PUBLISHED, "paper": PUBLISHED}
GIVEN = 0  # the step of the picture that the network is fitted to, itself
COUNTS = {"smoke": 2, "small": 6, "paper": 20}
SHOWN = {"smoke": 1, "small": 4, "paper": 6}  # pictures of which sheets are drawn
PATHS = {"smoke": (2, 1), "small": (20, 2), "paper": (50, 4)}  # m and N of MIG-SG
CURVE = {"smoke": 5, "small": 25, "paper": 50}  # steps of insertion and deletion
EPS = 10  # of 255; that of figure 2 is not known to us
TOP = 0.1  # share of pixels that are called the most salient
ORIGINAL_SEED, SEED = 1, 0  # of MIG-SG's noise, for the maps of originals and for all others


@dataclass(frozen=True)
class Kind:
    """What is fitted: a network of so many levels, to pictures under an attack, None for none."""

    levels: int
    attack: AttackName | None

    @property
    def name(self) -> str:
        return self.attack or CLEAN


# Three levels are those of `purify --recipe paper`; five have the number of parameters that the paper's tables print.
KINDS = (Kind(3, "bi"), Kind(3, None), Kind(5, "bi"), Kind(3, "fgsm"))


@dataclass(frozen=True, eq=False)
class Original:
    """A picture (1, 3, h, w) that the classifier tells right, its number, its class, and the map of that class (1, 1, h, w)."""

    number: int
    picture: torch.Tensor
    label: int
    map: torch.Tensor


def run(study: Study) -> Path:
    """Every fit of every picture, steps that are in the CSV left out; the sheets; then the section of results.md."""
    model, pictures = specimens(study, COUNTS[study.scale])
    done = known(study, "levels", "attack", "picture", "step")
    left = {
        (number, kind): wanted
        for number, kind in study.mine((number, kind) for number in pictures.numbers for kind in KINDS)
        if (wanted := [s for s in (GIVEN, *STEPS[study.scale]) if _key(kind, number, s) not in done])
    }
    if left:
        each = zip(pictures.numbers, pictures.images.split(1), pictures.labels.tolist(), strict=True)
        originals = {number: original(study, model.classifier, number, x, label) for number, x, label in each}
        for number in pictures.numbers[: SHOWN[study.scale]]:
            own = originals[number]
            keep_shown(study, f"{number}-original", own.picture, own.map)
        for (number, kind), wanted in left.items():
            for row in followed(study, model.classifier, originals, number, kind, wanted):
                study.keep(row)
    if study.is_shared:
        return study.table
    for number in pictures.numbers[: SHOWN[study.scale]]:
        for kind in KINDS:
            sheet(study, number, kind)
    return study.write_section(
        "Saliency over steps (Kattamis et al. 2019, figure 2)", section(study, model, KINDS, EPS, PATHS[study.scale])
    )


# ---------------------------------------------------------------------- one picture


def original(study: Study, classifier: Classifier, number: int, picture: torch.Tensor, label: int) -> Original:
    """A picture with the map that all others of it are held against."""
    return Original(number, picture, label, looked(study, classifier, picture, label, ORIGINAL_SEED).merged)


def looked(study: Study, classifier: Classifier, picture: torch.Tensor, label: int, seed: int) -> SaliencyMap:
    """Where the classifier looks for a class, and how sure it is of it."""
    m, samples = PATHS[study.scale]
    return saliency(picture, classifier, label, n_steps=m, n_samples=samples, seed=seed)


def followed(
    study: Study, classifier: Classifier, originals: Mapping[int, Original], number: int, kind: Kind, wanted: list[int]
) -> Iterator[Row]:
    """A row for each of some steps of one fit, as they come."""
    own = originals[number]
    others = [each.map for other, each in originals.items() if other != number]
    given, recipe = own.picture, recipe_of(study, kind.levels)
    if kind.attack:
        given = attack(kind.attack, classifier, own.picture, torch.tensor([own.label]), EPS)
    for step, picture, seconds in outputs(given, recipe, wanted, number):
        found = looked(study, classifier, picture, own.label, SEED)
        row: Row = {"levels": kind.levels, "attack": kind.name, "picture": number, "step": step}
        row |= {"confidence": found.confidence, "right": int(found.prediction == found.target_class)}
        row |= {"psnr": min(EQUAL, float(psnr(picture, own.picture))), "detail": detail(picture, own.picture)}
        row |= likeness(found.merged, own.map, others)
        row["rank_of_factor"] = rank_correlation(factor(picture), own.map)
        row |= scores(study, classifier, own, found.merged)
        if number in list(originals)[: SHOWN[study.scale]]:
            keep_shown(study, f"{number}-{kind.levels}-{kind.name}-{step}", picture, found.map)
        yield row | {"precision": recipe.precision, "fit_seconds": seconds}


def outputs(
    given: torch.Tensor, recipe: Recipe, wanted: list[int], seed: int
) -> Iterator[tuple[int, torch.Tensor, float]]:
    """(step, output, seconds of the fit so far) at some steps; at step 0 the picture that was given."""
    if GIVEN in wanted:
        yield GIVEN, given, 0.0
    last = max(wanted)
    if last == GIVEN:
        return
    for step in purify(given, recipe=recipe, seed=seed, tile=None):
        if step.index in wanted:
            yield step.index, step.picture.cpu(), step.seconds
        if step.index == last:
            return


def recipe_of(study: Study, levels: int) -> Recipe:
    """The published recipe with a network of so many levels, until the last step; in bfloat16 at scale small where it is fast."""
    recipe = replace(PAPER, steps=STEPS[study.scale][-1])
    if study.scale == "smoke":
        return replace(recipe, network=THIN["network"])
    network = SkipNet.Config((128,) * levels, (128,) * levels, (4,) * levels)
    fast = study.scale == "small" and has_native_bfloat16(choose_device("auto"))
    return replace(recipe, network=network, precision="bfloat16" if fast else "float32")


# ---------------------------------------------------------------------- numbers


def likeness(saliency_map: torch.Tensor, own: torch.Tensor, others: list[torch.Tensor]) -> dict[str, float]:
    """Rank correlation and common share of the most salient pixels, with the original's own map and with those of others."""
    by_others = [(rank_correlation(saliency_map, other), common(saliency_map, other)) for other in others]
    ranks, shares = zip(*by_others, strict=True)
    return {
        "rank": rank_correlation(saliency_map, own),
        "rank_of_others": sum(ranks) / len(others),
        "common": common(saliency_map, own),
        "common_of_others": sum(shares) / len(others),
    }


def common(a: torch.Tensor, b: torch.Tensor) -> float:
    """Of the most salient tenth of pixels of a map (1, 1, h, w) the share that is among those of another; 0.1 by chance.

    Example:
        >>> common(torch.arange(100.0).reshape(1, 1, 10, 10), torch.arange(100.0).reshape(1, 1, 10, 10))
        1.0
    """
    most = round(TOP * a.numel())
    return int(((ranks_of(a) < most) & (ranks_of(b) < most)).sum()) / most


def factor(picture: torch.Tensor) -> torch.Tensor:
    """|x - x0|, merged as a map is: what MIG-SG multiplies its gradients by, (1, 3, h, w) -> (1, 1, h, w)."""
    return heat_map(picture - blurred(picture))


def detail(picture: torch.Tensor, reference: torch.Tensor) -> float:
    """The share of a picture's energy above half of the Nyquist frequency over that of another's: 0 is blurry, 1 as sharp."""
    return float(high_frequency_share(picture) / high_frequency_share(reference))


def scores(study: Study, classifier: Classifier, own: Original, saliency_map: torch.Tensor) -> dict[str, float]:
    """Insertion and deletion of a map, of the original at every step, so that the steps can be compared."""
    asked = (classifier, own.picture, saliency_map, own.label)
    steps = CURVE[study.scale]
    return {
        "insertion": float(insertion(*asked, steps=steps).area),
        "deletion": float(deletion(*asked, steps=steps).area),
    }


# ---------------------------------------------------------------------- sheets


def shown_file(study: Study, name: str, what: str) -> Path:
    return study.figure(f"{study.name}-{study.scale}-{name}-{what}.png")


def keep_shown(study: Study, name: str, picture: torch.Tensor, saliency_map: torch.Tensor) -> None:
    """A picture (1, 3, h, w), and the same with its map over it."""
    keep_picture(picture, shown_file(study, name, "output"))
    keep_picture(overlay(picture[0], saliency_map[0])[None], shown_file(study, name, "map"))


def sheet(study: Study, number: int, kind: Kind) -> None:
    """As figure 2: outputs above, their maps below, over the steps; the confidence in the true class over each."""
    told = {"original": f"{number}-original"}
    rows = with_words(study.rows(), levels=str(kind.levels), attack=kind.name, picture=str(number))
    for row in sorted(rows, key=lambda row: row["step"]):
        name = "given" if row["step"] == GIVEN else f"step {row['step']}"
        told[f"{name}: {float(row['confidence']):.2f}"] = f"{number}-{kind.levels}-{kind.name}-{row['step']}"
    save_sheet(
        ("output", "map"),
        list(told),
        lambda what, heading: shown_file(study, told[heading], what),
        study.figure(f"{study.name}-{study.scale}-{number}-{kind.levels}-{kind.name}.png"),
    )


def _key(kind: Kind, number: int, step: int) -> tuple[str, ...]:
    return str(kind.levels), kind.name, str(number), str(step)
