"""Robust and non-robust pictures: a third classifier on early outputs (Kattamis et al. 2019, figure 3)."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from preimage.classifiers import Classifier
from preimage.classifiers.fingerprint import short_fingerprint
from preimage.defend.purification import PAPER
from preimage.defend.purify import purify
from preimage.images import read
from preimage.networks import SkipNet
from studies.defence.robust_features import relative_distance, write_features_matched, write_image_folder
from studies.harness import Measured, Run, Study, attacked, by_scale, chosen, classifiers, figures, stats, tables
from studies.harness.rows import read_rows

ROBUST, NON_ROBUST = KINDS = ("robust", "non-robust")
CHANNELS = (16, 128)
# How many pictures were fitted is unpublished.
COUNT = by_scale({16: 2, 128: 2}, {16: 40, 128: 20}, {16: 200, 128: 200})
STEPS, EVERY = by_scale(6, 2000, 4000), by_scale(2, 20, 20)
EARLY = by_scale(2, 500, 500)  # the fewest steps after which the published defence classifies
MATCHING: dict[str, dict[str, Any]] = by_scale({"steps": 3}, {}, {"steps": 1000, "rate": 0.2})  # 0.1 a step on average
TOGETHER = {16: 40, 128: 4}  # members of one fit; their rows are kept at its end
SHOWN = 6
SURE = 0.05  # of confidence: what a curve may fall on its way up and still be called monotone
LEAST_ROBUST = 0.30


def learned(run: Run) -> classifiers.Pictures:
    return run.once(classifiers.learned_from, "cifar10", max(COUNT[run.scale].values()))


def maker(run: Run, kind: str) -> Classifier:
    """The classifier whose features the pictures of a kind have."""
    return classifiers.classifier(run, "cifar10-robust" if kind == ROBUST else "cifar10").classifier


def made(run: Run, kind: str) -> list[Path]:
    """The pictures of a kind, those made first that are missing; each begins as its neighbor, which is of another class."""
    pictures, model = learned(run), maker(run, kind)
    place = run.figure(kind, short_fingerprint(model)[:8], ending="")
    settings: dict[str, Any] = {"starts": pictures.images.roll(1, 0)} | MATCHING[run.scale]
    return write_features_matched(place, pictures.images, pictures.labels, model, **settings)


def measure(run: Run, kind: str, channels: int):
    """The rows of one fit after another, those left out whose rows are there."""
    known, count = {row["picture"] for row in run.rows(kind=kind, channels=channels)}, COUNT[run.scale][channels]
    for first in range(0, count, TOGETHER[channels]):
        some = slice(first, min(first + TOGETHER[channels], count))
        if not known >= set(learned(run)[some].numbers):
            yield from fitted(run, kind, channels, some)


def fitted(run: Run, kind: str, channels: int, some: slice):
    """The rows of the members of one fit: the confidence of each picture in its class, after every few steps."""
    external, every = classifiers.classifier(run, "cifar10-second").classifier, EVERY[run.scale]
    pictures, images = learned(run)[some], torch.cat([read(file).tensor for file in run.once(made, kind)[some]])
    recipe = replace(PAPER, network=SkipNet.Config((channels,) * 3, (channels,) * 3, (4,) * 3), steps=STEPS[run.scale])
    begin = time.perf_counter()
    outputs = (s.picture.cpu() for s in purify(images, recipe=recipe, seed=some.start) if s.index % every == 0)
    looks = [attacked.classified(external, x.clamp(0, 1), pictures.labels)[0] for x in outputs]
    seconds = (time.perf_counter() - begin) / len(images)
    given = attacked.classified(external, images.clamp(0, 1), pictures.labels)[0]
    distances, curves = relative_distance(maker(run, kind), images, pictures.images), torch.stack(looks, 1)
    for k, number in enumerate(pictures.numbers):
        row = {"picture": number, "class": classifiers.CIFAR_CLASSES[int(pictures.labels[k])]}
        row |= {"distance": float(distances[k]), "given": float(given[k]), "every": every}
        yield row | {"curve": tables.listed(curves[k].tolist()), "seconds": seconds}


def curves_of(rows) -> stats.Curves:
    return np.array(tables.curves(rows, "curve"))


def of_network(run: Run, channels: int):
    return {kind: run.rows(kind=kind, channels=channels) for kind in KINDS}


def values(run: Run):
    parts = {}
    for channels in CHANNELS:
        rows = of_network(run, channels)
        title = f"Three levels of {channels} channels, {len(rows[ROBUST])} pictures of each kind"
        parts[title] = f"{shape(rows, EVERY[run.scale])}\n\n{lost_early(rows, EARLY[run.scale], EVERY[run.scale])}"
    measured = "; ".join(verdict(run, channels) for channels in CHANNELS)
    return {"classifier": described(run), "tables": tables.titled(parts), "measured": measured}


def described(run: Run) -> str:
    found = chosen(read_rows(run.table(name="classifiers")), classifier="cifar10-robust")
    if not found:
        return classifiers.UNTRAINED
    row, met = found[0], "yes" if found[0]["robust"] >= LEAST_ROBUST else "no"
    return (
        f"The adversarially trained classifier is right about {row['accuracy']:.1%} of the test pictures, under {row['attack']} "
        f"at eps {row['eps']:g} about {row['robust']:.1%} (at least {LEAST_ROBUST:.0%}: {met})."
    )


def shape(rows, every: int) -> str:
    lines: list[list[object]] = []
    for kind in KINDS:
        curves, given = curves_of(rows[kind]), tables.mean(rows[kind], "given")
        lines.append([kind, "features' distance left", "", f"{tables.mean(rows[kind], 'distance'):.3f}", "", ""])
        lines.append([kind, "confidence in the picture", "", f"{given:.3f}", "", ""])
        lines.append([kind, "last output", every * curves.shape[1], f"{curves[:, -1].mean():.3f}", "", ""])
        for name, found in (("trough", stats.trough(curves)), ("peak", stats.peak(curves))):
            sides, value = f"{found.before} before, {found.after} after", f"{curves.mean(0)[found.place]:.3f}"
            lines.append([kind, name, every * (found.place + 1), value, sides, found.verdict()])
        lines.append([kind, "largest fall", "", "", stats.largest_fall(curves), ""])
    return tables.markdown(["pictures", "", "step", "mean", "how far it stands out", "shown"], lines)


def lost_early(rows, early: int, every: int) -> str:
    """A test whose step was fixed beforehand."""
    of_robust, of_others = (
        np.array(tables.numbers(own, "given")) - curves_of(own)[:, early // every - 1] for own in rows.values()
    )
    gap = stats.paired(of_others, of_robust)
    return (
        f"After {early} steps, fixed beforehand, the output has lost of the picture's own confidence: robust "
        f"{stats.interval_of(of_robust)}, non-robust {stats.interval_of(of_others)}; the difference is {gap} "
        f"(non-robust pictures lose more: {gap.verdict()})."
    )


def verdict(run: Run, channels: int) -> str:
    robust, non_robust = (curves_of(rows) for rows in of_network(run, channels).values())
    low, high, fall = stats.trough(non_robust), stats.peak(non_robust), stats.largest_fall(robust)
    rise = stats.interval_of(robust[:, -1] - robust[:, 0])
    order = ", the trough first" if low.place < high.place else ", the peak first"
    order = order if low.verdict() == high.verdict() == "yes" else ""
    return (
        f"{channels} channels: on non-robust pictures trough {low.verdict()}, peak {high.verdict()}{order}; on robust ones rise "
        f"{rise.verdict()} ({rise}), without a fall {fall.at_most(SURE)} (largest {fall})"
    )


def draw(run: Run):
    """Mean confidence against steps with its interval, a panel for each network; and some pictures beside both kinds."""
    panels = {}
    for channels in CHANNELS:
        bands = {kind: stats.band_of(curves_of(rows)) for kind, rows in of_network(run, channels).items()}
        steps = EVERY[run.scale] * (1 + np.arange(len(bands[ROBUST][0])))
        panels[f"{channels} channels"] = [(kind, steps, band) for kind, band in bands.items()]
    options = {"xscale": "log", "ylim": (0, 1)}
    figures.save_curves(panels, run.figure("curves"), "confidence in the class", band=True, **options)
    pictures, names = learned(run), classifiers.CIFAR_CLASSES
    originals = write_image_folder(run.figure("picture", ending=""), pictures.images, pictures.labels, names)
    files = list(zip(originals, *(run.once(made, kind) for kind in KINDS), strict=True))[:SHOWN]
    rows = [f"{names[int(label)]} {k}" for k, label in enumerate(pictures.labels[:SHOWN])]
    figures.save_sheet(rows, ("picture", *KINDS), files, run.figure("pictures"))


def done(run: Run, rows) -> bool:
    return bool(rows) and len(rows) >= COUNT[run.scale][rows[0]["channels"]]


CASES = [(kind, channels) for channels in CHANNELS for kind in KINDS]
STUDY = Study(Measured(("kind", "channels", "picture"), CASES, measure, done), values, draw)
