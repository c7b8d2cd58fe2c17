"""Classes and channels excited under deep prior, TV, alpha norm: does another classifier agree? (Ulyanov et al. 2018)"""

import math
from dataclasses import dataclass
from typing import Any

import torch

from preimage.classifiers import Classifier
from preimage.explain.inputs import at_working_size
from preimage.explain.maximize import maximize
from preimage.explain.run import blocks_of
from preimage.explain.similarity import high_frequency_share
from preimage.recipes import recipe
from studies.harness import Measured, Run, Study, by_scale, classifiers, figures, fits, lesions, tables

PRIORS = ("deep", "tv", "alpha")
CLASSES = {"lesions": ("mel", "nv", "bcc", "vasc"), "resnet18": ("black swan", "goose", "tree frog", "cheeseburger")}
COUNT = by_scale(1, 4, 4)  # of classes, and of channels
WINDOW = 3  # units a side, of a channel
RATE_OF_CHANNELS = 0.001  # published, for hidden units
RECIPE = by_scale("fast", "fast", "paper")


@dataclass(frozen=True, eq=False)
class Subject:
    """A classifier that is excited, one that judges its results, and pictures that neither was trained on."""

    name: str
    model: Classifier
    second: Classifier | None
    pictures: list[torch.Tensor]


def subjects(run: Run) -> dict[str, Subject]:
    first, second = (classifiers.classifier(run, name).classifier for name in ("lesions", "lesions-second"))
    found = [Subject("lesions", first, second, [lesion.picture for lesion in run.once(lesions.held_out)])]
    natural = classifiers.own_resnet18(run)
    if natural is not None:
        pictures = [at_working_size(picture, natural) for picture, _ in classifiers.imagenet_files(run)]
        found.append(Subject("resnet18", natural, None, pictures))
    return {subject.name: subject for subject in found}


def goals(run: Run, subject: Subject) -> dict[str, dict[str, Any]]:
    """Classes by name, and those channels of the last block but one that differ most between the held-out pictures."""
    count = COUNT[run.scale]
    layer = blocks_of(subject.model, subject.pictures[0])[-3:][0]
    with torch.no_grad():
        each = [subject.model.features(picture, layer).mean((2, 3)) for picture in subject.pictures[:200]]
    channels = sorted(torch.cat(each).std(0).argsort(descending=True)[:count].tolist())
    found = {name: {"target": name} for name in CLASSES[subject.name][:count]}
    return found | {f"{layer} channel {k}": {"layer": layer, "channel": k, "window": WINDOW} for k in channels}


@torch.no_grad()
def excitations(model: Classifier, pictures: list[torch.Tensor], goal: dict[str, Any]) -> list[float]:
    """How much each of some pictures excites a class or the middle of a channel."""
    if "target" in goal:
        index = model.class_index(goal["target"])
        return [float(model(picture)[0, index]) for picture in pictures]
    return [float(middle(model.features(x, goal["layer"])[0, goal["channel"]])) for x in pictures]


def middle(channel: torch.Tensor) -> torch.Tensor:
    top, left = ((side - WINDOW) // 2 for side in channel.shape)
    return channel[top : top + WINDOW, left : left + WINDOW].mean()


def most(run: Run, classifier: str, name: str) -> float:
    subject = run.once(subjects)[classifier]
    return max(excitations(subject.model, subject.pictures, run.once(goals, subject)[name]))


def measure(run: Run, classifier: str, name: str, prior):
    subject = run.once(subjects)[classifier]
    goal, model = run.once(goals, subject)[name], subject.model
    changes = lesions.thinned(run, prior, steps=6)
    if run.scale == "paper" and prior == "deep" and "layer" in goal:  # pixels have a rate of their own
        changes |= {"rate": RATE_OF_CHANNELS}
    how = recipe(RECIPE[run.scale], **changes)
    height, width = model.size or subject.pictures[0].shape[-2:]
    found = maximize(classifier=model, **goal, copies=0, size=(height, width), prior=prior, recipe=how).run()
    image = found.image.clamp(0, 1)
    figures.keep_picture(image, run.figure(classifier, name, prior))
    with torch.no_grad():
        chances = model.probabilities(image)[0]
        index = model.class_index(goal["target"]) if "target" in goal else int(chances.argmax())
        theirs = None if subject.second is None else subject.second.probabilities(image)[0]
    return {
        "most_of_pictures": run.once(most, classifier, name),
        "kind": "class" if "target" in goal else "channel",
        "excitation": found.numbers["excitation"],
        "class": model.classes[index],
        "confidence": float(chances[index]),
        "second_confidence": fits.NAN if theirs is None else float(theirs[index]),
        "second_agrees": fits.NAN if theirs is None else int(int(theirs.argmax()) == index),
        "high_frequencies": float(high_frequency_share(image)),
        "steps": found.steps,
        "seconds": found.seconds,
    }


ROWS = {"excited": "maximized", "prior": "prior", "excitation": "excitation:.2f"}
ROWS |= {"most of pictures": "most_of_pictures:.2f", "class": "class", "confidence": "confidence:.2g"}
SHARES = {"high frequencies": "high_frequencies:.2g"}


def above(rows) -> str:
    return f"{sum(row['excitation'] > row['most_of_pictures'] for row in rows)} of {len(rows)}"


def agrees(rows) -> str:
    known = [value for value in tables.numbers(rows, "second_agrees") if not math.isnan(value)]
    return f"{sum(known):.0f} of {len(known)}" if known else "-"


MEANS = {"kind": "kind", "prior": "prior", "above all pictures": above, "second agrees": agrees}
MEANS |= {"second's confidence": "second_confidence:.2g"} | SHARES | {"seconds": "seconds:.0f"}


def values(run: Run):
    rows, parts = run.rows(), []
    for classifier, own in tables.grouped(rows, "classifier").items():
        by_kind = tables.grouped(sorted(own, key=lambda row: row["kind"] == "channel"), "kind", "prior").values()
        each = tables.table(ROWS | {"second": "second_confidence:.2g"} | SHARES, tables.each(own))
        parts += [f"**{classifier}**", each, tables.table(MEANS, by_kind)]
    off = "An excitation of 0: a unit that is off in gray with a little noise, with which pixels begin, has no slope."
    steps = " or ".join(map(str, sorted({row["steps"] for row in rows})))
    return {"steps": steps, "tables": "\n\n".join(parts), "off": off * any(row["excitation"] == 0 for row in rows)}


def draw(run: Run):
    for classifier, own in tables.grouped(run.rows(), "classifier").items():
        excited = list(tables.grouped(own, "maximized"))
        files = [[run.figure(classifier, goal, prior) for goal in excited] for prior in PRIORS]
        figures.save_sheet(PRIORS, excited, files, run.figure(classifier))


def cases(run: Run):
    of = {name: run.once(goals, subject) for name, subject in run.once(subjects).items()}
    return [(name, goal, prior) for name, found in of.items() for goal in found for prior in PRIORS]


STUDY = Study(Measured(("classifier", "maximized", "prior"), cases, measure), values, draw)
