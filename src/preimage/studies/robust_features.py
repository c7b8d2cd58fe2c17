"""Robust and non-robust pictures of CIFAR-10: what a classifier that made neither says of their early outputs under the prior.

Robust pictures have the features that an adversarially trained classifier finds in a picture of the class, non-robust ones
those of a standard one (Ilyas et al. 2019); both began as another picture. If early outputs lose the features that are not
robust, confidence in the class of a non-robust picture comes late, of a robust one early (Kattamis et al. 2019, figure 3).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from preimage.classifiers import Classifier, TrainedModel
from preimage.defend.purification import PAPER
from preimage.defend.purify import purify
from preimage.defend.users_model import fingerprint_of
from preimage.engine.recipe import Recipe
from preimage.figures.restoration import save_figure
from preimage.images import read
from preimage.networks import SkipNet
from preimage.studies.cifar import (
    CLASSES,
    Pictures,
    first_classifier,
    learned_from,
    robust_classifier,
    second_classifier,
)
from preimage.studies.extrema import Curves, Extremum, largest_fall, peak, trough
from preimage.studies.intervals import band_of, interval_of, paired
from preimage.studies.lesions import known, with_words
from preimage.studies.scales import Row, Study, markdown_table
from preimage.studies.sheets import save_sheet
from studies.defence.robust_features import relative_distance, write_features_matched, write_image_folder

KINDS = ("robust", "non-robust")
CHANNELS = (16, 128)
# How many pictures were fitted is unpublished.
PICTURES = {"smoke": {16: 2, 128: 2}, "small": {16: 40, 128: 20}, "paper": {16: 200, 128: 200}}
STEPS = {"smoke": 6, "small": 2000, "paper": 4000}
EVERY = {"smoke": 2, "small": 20, "paper": 20}
EARLY = {"smoke": 2, "small": 500, "paper": 500}  # the fewest steps after which the published defence classifies
MATCHING: dict[str, dict[str, Any]] = {
    "smoke": {"steps": 3},
    "small": {},
    "paper": {"steps": 1000, "rate": 0.2},
}  # 0.1 a step on average
TOGETHER = {16: 40, 128: 4}  # members of one fit; their rows are kept at its end
SHOWN = 6
SURE = 0.05  # of confidence: what a curve may fall on its way up and still be called monotone
LEAST_ROBUST = 0.30


@dataclass(frozen=True, eq=False)
class Kind:
    """One kind of pictures: its name, the classifier whose features they have, and their files, in the order of the pictures."""

    name: str
    maker: Classifier
    files: list[Path]


def run(study: Study) -> Path:
    """The pictures where they are missing, then every fit whose rows are missing, the figures, the section of results.md."""
    robust, external = robust_classifier(study), second_classifier(study)
    pictures = learned_from(study, max(PICTURES[study.scale].values()))
    makers = (robust.classifier, first_classifier(study))
    kinds = [made(study, name, maker, pictures) for name, maker in zip(KINDS, makers, strict=True)]
    for channels in CHANNELS:
        for kind in kinds:
            for first in range(0, PICTURES[study.scale][channels], TOGETHER[channels]):
                fitted(study, kind, channels, first, pictures, external)
    save_curves(study)
    save_pictures(study, kinds, pictures)
    return study.write_section("Robust and non-robust pictures", section(study, robust))


def folder(study: Study) -> Path:
    """Where the pictures are kept, one folder for each kind."""
    return study.figure(f"robust_features-{study.scale}")


def made(study: Study, name: str, maker: Classifier, pictures: Pictures) -> Kind:
    """The pictures of a kind, those made first that are missing; each begins as its neighbor, which is of another class."""
    place = folder(study) / f"{name}-{fingerprint_of(maker)[:8]}"
    images, settings = pictures.images, MATCHING[study.scale]
    files = write_features_matched(place, images, pictures.labels, maker, starts=images.roll(1, 0), **settings)
    return Kind(name, maker, files)


def recipe_of(study: Study, channels: int) -> Recipe:
    """The published one, with so many channels at each of its three levels."""
    network = SkipNet.Config(down=(channels,) * 3, up=(channels,) * 3, skip=(4,) * 3)
    return replace(PAPER, network=network, steps=STEPS[study.scale])


def fitted(study: Study, kind: Kind, channels: int, first: int, pictures: Pictures, external: Classifier) -> None:
    """The rows of some pictures, the members of one fit: the confidence of each in its class, after every few steps."""
    chosen = range(first, min(first + TOGETHER[channels], PICTURES[study.scale][channels]))
    there = known(study, "kind", "channels", "picture")
    missing = [k for k in chosen if (kind.name, str(channels), str(pictures.numbers[k])) not in there]
    if not missing:
        return
    images = torch.cat([read(kind.files[k]).tensor for k in chosen])
    labels = pictures.labels[chosen.start : chosen.stop]
    begin = time.perf_counter()
    fit = purify(images, recipe=recipe_of(study, channels), seed=first)
    every = EVERY[study.scale]
    looks = [confidence(external, step.picture, labels) for step in fit if step.index % every == 0]
    seconds = (time.perf_counter() - begin) / len(chosen)
    given, curves = confidence(external, images, labels), torch.stack(looks, 1)
    distances = relative_distance(kind.maker, images, pictures.images[chosen.start : chosen.stop])
    for k in missing:
        own = k - first
        row: Row = {
            "kind": kind.name,
            "channels": channels,
            "picture": pictures.numbers[k],
            "class": CLASSES[int(labels[own])],
        }
        row |= {"distance": float(distances[own]), "given": float(given[own]), "every": every}
        study.keep(row | {"curve": " ".join(f"{value:.4f}" for value in curves[own].tolist()), "seconds": seconds})


@torch.no_grad()
def confidence(classifier: Classifier, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The probability of each picture's own class, (b,)."""
    return classifier.probabilities(images.clamp(0, 1).cpu()).gather(1, labels[:, None])[:, 0]


def curves_of(rows: list[Row]) -> Curves:
    """(pictures, looks)."""
    return np.array([[float(value) for value in str(row["curve"]).split()] for row in rows])


def chosen_rows(study: Study, kind: str, channels: int) -> list[Row]:
    return with_words(study.rows(), kind=kind, channels=str(channels))


# ---------------------------------------------------------------------- what is written


def save_curves(study: Study) -> Path:
    """Mean confidence against steps with its interval, a panel for each network; dotted: in the pictures themselves."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2 * len(CHANNELS), 3.8), dpi=150, layout="constrained")
    for axes, channels in zip(figure.subplots(1, len(CHANNELS), squeeze=False)[0], CHANNELS, strict=True):
        for kind, color in zip(KINDS, ("tab:blue", "tab:red"), strict=True):
            rows = chosen_rows(study, kind, channels)
            mean, low, high = band_of(curves_of(rows))
            steps = EVERY[study.scale] * (1 + np.arange(len(mean)))
            axes.plot(steps, mean, color=color, linewidth=1.2, label=kind)
            axes.fill_between(steps, low, high, color=color, alpha=0.2, linewidth=0)
            axes.axhline(
                float(np.mean([float(row["given"]) for row in rows])), color=color, linestyle=":", linewidth=0.9
            )
        axes.set_xscale("log")
        axes.set_ylim(0, 1)
        axes.set_title(
            f"three levels of {channels} channels, {PICTURES[study.scale][channels]} pictures of each kind", fontsize=9
        )
        axes.set_xlabel("step", fontsize=8)
        axes.set_ylabel("confidence in the class (dotted: of the picture itself)", fontsize=8)
        axes.legend(fontsize=8)
    return save_figure(figure, study.figure(f"robust_features-{study.scale}.png"), overwrite=True)


def save_pictures(study: Study, kinds: list[Kind], pictures: Pictures) -> None:
    """Some pictures beside the robust and the non-robust one with their features."""
    originals = write_image_folder(folder(study) / "picture", pictures.images, pictures.labels, CLASSES)
    files = {"picture": originals} | {kind.name: kind.files for kind in kinds}
    names = {f"{CLASSES[int(label)]} {k}": k for k, label in enumerate(pictures.labels[:SHOWN])}
    sheet = study.figure(f"robust_features-{study.scale}-pictures.png")
    save_sheet(list(names), list(files), lambda row, column: files[column][names[row]], sheet)


def section(study: Study, robust: TrainedModel) -> str:
    """How the pictures were made, then for each network its curves' troughs and peaks, and what was lost early."""
    steps, every = STEPS[study.scale], EVERY[study.scale]
    parts = [
        "Pictures of CIFAR-10 matched to the penultimate features of a training picture, from one of another class: robust ones "
        "by an adversarially trained classifier, non-robust ones by a ResNet-18; the confidence in the training picture's "
        f"class is that of a third classifier, which made neither. `purify`, the published settings, {steps} steps, asked every "
        f"{every}; all pictures, whatever the third classifier says of them. Confidences are means, with their 95 % bootstrap "
        "interval over pictures. The steps of a trough, a peak or a fall are chosen on one half of the pictures, and their size "
        f"is measured on the other. {described(robust)} Rows: `{study.table.name}`."
    ]
    for channels in CHANNELS:
        rows = {kind: chosen_rows(study, kind, channels) for kind in KINDS}
        parts.append(f"### Three levels of {channels} channels, {len(rows['robust'])} pictures of each kind")
        parts.append(_table(rows, EVERY[study.scale]))
        parts.append(_lost_early(rows, EARLY[study.scale], EVERY[study.scale]))
    measured = "; ".join(_verdict(study, channels) for channels in CHANNELS)
    parts.append(
        "Claim of Kattamis et al. 2019 (figure 3): early outputs lose the features that are not robust. The shape that is tested "
        "for it: on non-robust pictures a trough, then a peak; on robust ones a monotone rise (from the first look to the last, "
        f"no fall above {SURE:g} on the way). Measured: {measured}."
    )
    return "\n\n".join(parts)


def described(robust: TrainedModel) -> str:
    """How good the adversarially trained classifier is."""
    if "adversarial" not in robust.about:
        return "Smoke run: generated pictures, classifiers that have learned nothing."
    found, clean = robust.about["adversarial"], robust.about["test"]["accuracy"]
    met = "yes" if found["test"] >= LEAST_ROBUST else "no"
    return (
        f"The adversarially trained classifier tells {clean:.1%} of the test pictures right, under {found['attack']} at eps "
        f"{found['eps']:g} {found['test']:.1%} (at least {LEAST_ROBUST:.0%}: {met})."
    )


def _table(rows: dict[str, list[Row]], every: int) -> str:
    lines: list[list[object]] = []
    tests: tuple[tuple[str, Callable[[Curves], Extremum]], ...] = (("trough", trough), ("peak", peak))
    for kind in KINDS:
        curves, given = curves_of(rows[kind]), [float(row["given"]) for row in rows[kind]]
        distance = float(np.mean([float(row["distance"]) for row in rows[kind]]))
        lines.append([kind, "features' distance left", "", f"{distance:.3f}", "", ""])
        lines.append([kind, "confidence in the picture", "", _plain(interval_of(given).mean), "", ""])
        lines.append([kind, "last output", every * curves.shape[1], _plain(curves[:, -1].mean()), "", ""])
        for name, find in tests:
            found = find(curves)
            value = _plain(curves.mean(0)[found.place])
            sides = f"{found.before} before, {found.after} after"
            lines.append([kind, name, every * (found.place + 1), value, sides, found.verdict()])
        lines.append([kind, "largest fall", "", "", str(largest_fall(curves)), ""])
    return markdown_table(["pictures", "", "step", "mean", "how far it stands out", "shown"], lines)


def _lost_early(rows: dict[str, list[Row]], early: int, every: int) -> str:
    """A test whose step was fixed beforehand."""

    def lost(kind: str) -> list[float]:
        values = curves_of(rows[kind])[:, early // every - 1]
        return [float(row["given"]) - float(value) for row, value in zip(rows[kind], values, strict=True)]

    robust, non_robust = lost("robust"), lost("non-robust")
    gap = paired(non_robust, robust)
    return (
        f"After {early} steps, fixed beforehand, the output has lost of the picture's own confidence: robust "
        f"{interval_of(robust)}, non-robust {interval_of(non_robust)}; the difference is {gap} (non-robust pictures lose more: "
        f"{gap.verdict()})."
    )


def _verdict(study: Study, channels: int) -> str:
    non_robust, robust = (curves_of(chosen_rows(study, kind, channels)) for kind in ("non-robust", "robust"))
    low, high = trough(non_robust), peak(non_robust)
    rise, fall = interval_of(robust[:, -1] - robust[:, 0]), largest_fall(robust)
    both = low.verdict() == high.verdict() == "yes"
    order = "" if not both else ", the trough first" if low.place < high.place else ", the peak first"
    steady = {"yes": "no", "no": "yes"}.get(fall.verdict(SURE), fall.verdict(SURE))
    return (
        f"{channels} channels: on non-robust pictures trough {low.verdict()}, peak {high.verdict()}{order}; "
        f"on robust ones rise {rise.verdict()} ({rise}), without a fall {steady} (largest {fall})"
    )


def _plain(value: float) -> str:
    return f"{value:.3f}"
