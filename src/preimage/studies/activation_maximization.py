"""[U], activation maximization: classes and channels excited as much as can be, under the deep prior and under its rivals.

By number: the excitation reached, beside the most that any of the held-out pictures reaches; what a second, independently
trained classifier_name says of the result (what both see need not be true, but is no quirk of one); and how much of the result is
high frequency, in which adversarial patterns hide.

PREIMAGE_WEIGHTS: a file with weights of torchvision's resnet18; with it that classifier is asked as well.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from preimage.classifiers import Classifier
from preimage.explain.inputs import at_working_size
from preimage.explain.layers import blocks_of
from preimage.explain.maximize import maximize
from preimage.explain.options import ImagePrior
from preimage.explain.similarity import high_frequency_share
from preimage.recipes import NamedRecipe, recipe
from preimage.studies.feature_inversion import of_own_weights
from preimage.studies.lesions import THIN, classifiers, held_out, known, with_words
from preimage.studies.scales import Row, Study, markdown_table
from preimage.studies.sheets import keep_picture, save_sheet
from preimage.studies.tables import mean

PRIORS: tuple[ImagePrior, ...] = ("deep", "tv", "alpha")
CLASSES = {"lesions": ("mel", "nv", "bcc", "vasc"), "resnet18": ("black swan", "goose", "tree frog", "cheeseburger")}
COUNT = {"smoke": 1, "small": 4, "paper": 4}  # of classes, and of channels
WINDOW = 3  # units a side, of a channel
RATE_OF_CHANNELS = 0.001  # published, for hidden units
NATURAL = "imagenet_sample/labels.csv"
BATCH = 32
NONE = float("nan")


@dataclass(frozen=True, eq=False)
class Asked:
    """A classifier_name that is asked, one that looks at its results, and pictures that neither was trained on."""

    name: str
    classifier: Classifier
    second: Classifier | None
    pictures: list[torch.Tensor]
    size: tuple[int, int]


@dataclass(frozen=True)
class Goal:
    """What is to be excited: a class, or a channel of a layer."""

    name: str
    target: str | None = None
    layer: str | None = None
    channel: int | None = None

    @property
    def options(self) -> dict[str, Any]:
        """As `maximize` takes it."""
        if self.target is not None:
            return {"target": self.target}
        return {"layer": self.layer, "channel": self.channel, "window": WINDOW}


def run(study: Study) -> Path:
    """Every maximization, those already in the CSV left out; the sheets; then the section of results.md."""
    for asked in all_asked(study):
        goals = goals_of(study, asked)
        done = known(study, "classifier_name", "maximized", "prior")
        for goal in goals:
            missing: list[ImagePrior] = [prior for prior in PRIORS if (asked.name, goal.name, prior) not in done]
            most = max(excitations(asked.classifier, asked.pictures, goal)) if missing else NONE
            for prior in missing:
                row = maximized(study, asked, goal, prior)
                keep_picture(row.pop("image"), result_file(study, asked.name, prior, goal.name))
                study.keep({"classifier_name": asked.name, "maximized": goal.name, "most_of_pictures": most} | row)
        save_sheet(
            PRIORS,
            [goal.name for goal in goals],
            lambda prior, goal, name=asked.name: result_file(study, name, prior, goal),
            study.figure(f"{study.name}-{study.scale}-{asked.name}.png"),
        )
    return study.write_section("Activation maximization", section(study))


# ---------------------------------------------------------------------- what is asked for


def all_asked(study: Study) -> Iterator[Asked]:
    """The classifier_name of lesions with its second one, and torchvision's resnet18 where there are weights for it."""
    pictures = [lesion.picture for lesion in held_out(study)]
    height, width = pictures[0].shape[-2:]
    first, second = classifiers(study)
    yield Asked("lesions", first.classifier, second, pictures, first.classifier.size or (height, width))
    natural = of_own_weights(study)
    if natural is not None:
        yield Asked("resnet18", natural, None, photographs(study, natural), natural.size or (224, 224))


def photographs(study: Study, classifier: Classifier) -> list[torch.Tensor]:
    """One photograph of every fifth class of ImageNet."""
    folder = study.path(NATURAL).parent
    with study.path(NATURAL).open(newline="") as file:
        names = [row["filename"] for row in csv.DictReader(file)]
    return [at_working_size(study.picture(str(folder / name)), classifier) for name in names]


def goals_of(study: Study, asked: Asked) -> list[Goal]:
    """Classes by name, and those channels of the last block but one that differ most between the held-out pictures."""
    count = COUNT[study.scale]
    classes = [Goal(name, target=name) for name in CLASSES[asked.name][:count]]
    layer = blocks_of(asked.classifier, asked.pictures[0])[-3:][0]
    with torch.no_grad():
        each = [asked.classifier.features(picture, layer) for picture in asked.pictures[:200]]
    spread = torch.cat([features.mean((2, 3)) for features in each]).std(0)
    chosen = sorted(spread.argsort(descending=True)[:count].tolist())
    return [*classes, *(Goal(f"{layer} channel {k}", layer=layer, channel=k) for k in chosen)]


@torch.no_grad()
def excitations(classifier: Classifier, pictures: list[torch.Tensor], goal: Goal) -> list[float]:
    """How much each of some pictures excites a class or the middle of a channel."""
    found = []
    for picture in pictures:
        if goal.target is not None:
            found.append(float(classifier(picture)[0, classifier.class_index(goal.target)]))
        else:
            assert goal.layer is not None
            assert goal.channel is not None
            found.append(float(middle(classifier.features(picture, goal.layer)[0, goal.channel])))
    return found


def middle(channel: torch.Tensor) -> torch.Tensor:
    """The mean of the window in the middle of (h, w)."""
    top, left = ((side - WINDOW) // 2 for side in channel.shape)
    return channel[top : top + WINDOW, left : left + WINDOW].mean()


def recipe_of(study: Study, goal: Goal) -> NamedRecipe:
    """The published one at scale paper, else the fast one."""
    if study.scale == "smoke":
        return recipe("fast", **THIN | {"steps": 6})
    if study.scale == "small":
        return recipe("fast")
    return recipe("paper") if goal.target is not None else recipe("paper", rate=RATE_OF_CHANNELS)


def maximized(study: Study, asked: Asked, goal: Goal, prior: ImagePrior) -> Row:
    """One maximization and its numbers; its picture under "image"."""
    found = maximize(
        classifier=asked.classifier, **goal.options, size=asked.size, prior=prior, recipe=recipe_of(study, goal)
    ).run()
    image = found.image.clamp(0, 1)
    with torch.no_grad():
        chances = asked.classifier.probabilities(image)[0]
        told = asked.classifier.class_index(goal.target) if goal.target is not None else int(chances.argmax())
        theirs = None if asked.second is None else asked.second.probabilities(image)[0]
    return {
        "kind": "class" if goal.target is not None else "channel",
        "prior": prior,
        "excitation": found.numbers["excitation"],
        "class": asked.classifier.classes[told],
        "confidence": float(chances[told]),
        "second_confidence": NONE if theirs is None else float(theirs[told]),
        "second_agrees": NONE if theirs is None else int(int(theirs.argmax()) == told),
        "high_frequencies": float(high_frequency_share(image)),
        "steps": found.steps,
        "seconds": found.seconds,
        "image": image,
    }


def result_file(study: Study, classifier_name: str, prior: str, goal: str) -> Path:
    return study.figure(f"{study.name}-{study.scale}-{classifier_name}-{prior}-{goal.replace(' ', '-')}.png")


# ---------------------------------------------------------------------- the section


def section(study: Study) -> str:
    """A table for each classifier, its means by prior, and the claim."""
    rows = study.rows()
    steps = sorted({int(row["steps"]) for row in rows})
    parts = [
        f"`maximize`, {' or '.join(map(str, steps))} steps, seed 0; of a channel the {WINDOW} x {WINDOW} units in the middle. "
        "*Most of pictures*: the highest excitation by any held-out picture. *Confidence*: the probability of the class asked "
        "for, or of the one that the classifier says where a channel was asked for; *second*: that of a second, independently "
        "trained classifier for the same class. *High frequencies*: the share of the picture's energy above half the Nyquist "
        "frequency. "
        f"Sheets: `{study.name}-{study.scale}-CLASSIFIER.png`. Rows: `{study.table.name}`."
    ]
    for classifier_name in dict.fromkeys(str(row["classifier_name"]) for row in rows):
        own = with_words(rows, classifier_name=classifier_name)
        parts += [f"**{classifier_name}**", table(own), means(own)]
    if any(row["excitation"] == 0 for row in rows):
        parts.append(
            "An excitation of 0: a unit that is off in gray with a little noise, with which pixels begin, has no slope."
        )
    parts.append(
        "Claim of Ulyanov et al. (shown as pictures, without numbers): with the deep prior the pictures that excite a class are "
        "more natural than under TV. Natural is not measured; what is: whether another classifier sees the same, and how much "
        "of the picture is high frequency. A higher excitation under a rival is no merit where the second classifier does not "
        "follow."
    )
    return "\n\n".join(parts)


def table(rows: list[Row]) -> str:
    """A line for each goal and prior."""
    header = ["excited", "prior", "excitation", "most of pictures", "class", "confidence", "second", "high frequencies"]
    names = ("maximized", "prior", "excitation", "most_of_pictures", "class")
    numbers = ("confidence", "second_confidence", "high_frequencies")
    lines = [[*(row[name] for name in names), *(shown(row[name]) for name in numbers)] for row in rows]
    return markdown_table(header, lines)


def means(rows: list[Row]) -> str:
    """By kind and prior: how far above the pictures, and how often the second classifier agrees."""
    lines = []
    for kind in ("class", "channel"):
        for prior in PRIORS:
            if own := with_words(rows, kind=kind, prior=prior):
                above = sum(float(row["excitation"]) > float(row["most_of_pictures"]) for row in own)
                agreeing = [row["second_agrees"] for row in own if row["second_agrees"] == row["second_agrees"]]
                agreed = f"{sum(agreeing)} of {len(agreeing)}" if agreeing else "-"
                several = [shown(mean(own, name)) for name in ("second_confidence", "high_frequencies")]
                lines.append([kind, prior, f"{above} of {len(own)}", agreed, *several])
    header = [
        "kind",
        "prior",
        "above all pictures",
        "second agrees",
        "second's confidence",
        "high frequencies",
    ]
    return markdown_table(header, lines)


def shown(value: float) -> str:
    return "-" if value != value else f"{value:.2g}"
