"""How far a defence holds: accuracy on pictures as they are and as attackers change them, with intervals, kept row by row.

Beside every attacker who does not know of the defence belongs one who does: an unaware attack measures nothing but its ignorance.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from preimage.classifiers.classifier import check_answer
from preimage.defend.adaptive import ADAPTIVE, SAMPLES, bpda_eot, prior_perturbation
from preimage.defend.attacks import ATTACKS, PGD_STEPS, attack, checked_eps
from preimage.defend.checks import (
    at_rest,
    check_gradient,
    checked_labels,
    checked_pictures,
    device_of,
    fingerprint_of,
    logits_of,
)
from preimage.defend.defence import Cleaning, DefendedClassifier, random_source
from preimage.defend.logits import checked_model
from preimage.defend.table import Row, Table
from preimage.engine.checkpoint import fingerprint
from preimage.errors import InputError

NONE = "none"  # the attack of clean pictures, and the defence of those who have none
# By what a row is known: the picture, who attacked, and what stood in the way.
_PICTURE, _ATTACK = ("classifier", "number", "picture", "label"), ("attack", "eps", "steps", "samples", "knows_seed")
KEY = (*_PICTURE, *_ATTACK, "defence", "settings", "averaged", "seed")
COLUMNS = (*KEY, "predicted", "correct", "confidence", "distance", "seconds")
SHOWN = ("defence", "settings", "averaged", *_ATTACK)
_Z = 1.959963984540054  # 95 % of a normal distribution lie within so many deviations


@dataclass(frozen=True)
class Threat:
    """An attacker: what is done, how strongly, and what is known of the defence.

    Example:
        >>> Threat("fgsm", 8), Threat("bpda-eot", 8, steps=40, samples=16, knows_seed=True)
        (Threat(name='fgsm', eps=8, ...), Threat(name='bpda-eot', eps=8, steps=40, samples=16, knows_seed=True))

    Args:
        name: fgsm, bi, llci, pgd or autoattack, unaware of the defence; bpda-eot or prior, which know of it.
        eps: in units of 1/255.
        steps: None: those of the attack.
        samples: of bpda-eot: cleanings at each step.
        knows_seed: of bpda-eot: whether the attacker knows the random numbers that the defence will draw.

    Raises:
        InputError: a name, eps or count that cannot be, or a seed that is of no use to the attack.
    """

    name: str
    eps: float
    steps: int | None = None
    samples: int = SAMPLES
    knows_seed: bool = False

    def __post_init__(self) -> None:
        known = (NONE, *ATTACKS, *ADAPTIVE)
        if self.name not in known:
            raise InputError(f"an attack is one of {', '.join(known)}, got {self.name!r}")
        checked_eps(self.eps)
        for name, value in (("steps", self.steps), ("samples", self.samples)):
            if value is not None and (not isinstance(value, Integral) or value < 1):
                raise InputError(f"{name} must be a whole number of at least 1, got {value!r}")
        if self.knows_seed and self.name != "bpda-eot":
            raise InputError(
                f"knows_seed is of bpda-eot alone: {self.name} makes no use of the defence's random numbers"
            )

    @property
    def asks_defence(self) -> bool:
        """Whether it must be made for each defence anew."""
        return self.name == "bpda-eot"


CLEAN = Threat(NONE, 0)


@dataclass(frozen=True)
class Accuracy:
    """How often a classifier was right behind a defence under an attack: correct of count, and Wilson's 95 % interval."""

    defence: str
    attack: str
    eps: float
    knows_seed: bool
    steps: str
    samples: str
    correct: int
    count: int

    @property
    def share(self) -> float:
        """0 to 1; NaN of no picture."""
        return self.correct / self.count if self.count else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the share."""
        return wilson(self.correct, self.count)

    def __str__(self) -> str:
        low, high = self.interval
        knowing = ", seed known" if self.knows_seed else ""
        what = f"{self.attack} {self.eps:g}{knowing}"
        return f"{self.defence}, {what}: {self.share:.1%} ({low:.1%} to {high:.1%}), {self.correct} of {self.count}"


def wilson(correct: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927), which stays within 0 and 1 and does not shrink to nothing at its ends.

    Example:
        >>> [round(end, 3) for end in wilson(9, 10)]
        [0.596, 0.982]
    """
    if not count:
        return 0.0, 1.0
    share, square = correct / count, _Z**2
    middle = (share + square / (2 * count)) / (1 + square / count)
    reach = _Z / (1 + square / count) * math.sqrt(share * (1 - share) / count + square / (4 * count**2))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def evaluate_defence(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    attacks: Sequence[Threat],
    defences: Mapping[str, Cleaning | None],
    *,
    table: str | Path,
    seed: int = 0,
    samples: int = 1,
    batch: int = 32,
    worker: tuple[int, int] = (0, 1),
) -> list[Accuracy]:
    """Accuracy on clean and on attacked pictures, behind each defence, with each result kept as it comes.

    A row of the table is one picture under one attack behind one defence. Rows that are there are not worked out again: after a
    crash, or to add attacks, defences or pictures, the same call goes on.

    Example:
        >>> defences = {"none": None, "purify": Purification(), "resize": RandomResizing()}
        >>> threats = [Threat("pgd", 8), Threat("bpda-eot", 8), Threat("prior", 8)]
        >>> for accuracy in evaluate_defence(model, images, labels, threats, defences, table="rows.csv"):
        ...     print(accuracy)
        none, none 0: 81.0 % (72.2 % to 87.5 %), 81 of 100

    Args:
        model: a Classifier, or any module from pictures in 0 to 1 to logits.
        images: (n, 3, h, w) in 0 to 1; `labels`: (n,) the index of each picture's true class.
        attacks: who attacks; the clean pictures are judged in any case. Those that are unaware attack the bare classifier.
        defences: by name; None: the classifier alone.
        table: a CSV.
        seed: of all randomness: each picture has a stream of it of its own, whatever batch it is in; an attacker who does not
            know the defence's seed draws from another. Random starts of attacks depend on the batch.
        samples: cleanings of each picture, whose logits are averaged, behind every defence.
        batch: pictures that are attacked and cleaned side by side.
        worker: (k, n): this process does the k-th of n shares of the batches, and others may write to the same table meanwhile
            (not on Windows).

    Returns:
        The accuracies over all pictures of this call that are in the table; as long as others work on theirs, not all.

    Raises:
        InputError: pictures, labels, attacks, defences or a table that cannot be, or a classifier without gradient.
    """
    number, workers = worker
    if not 0 <= number < workers:
        raise InputError(f"worker must be (k, n) with k from 0 to n - 1, got {worker}")
    if batch < 1 or samples < 1:
        raise InputError(f"batch and samples must be at least 1, got {batch} and {samples}")
    _check_defences(defences)
    threats = list(dict.fromkeys([CLEAN, *attacks]))
    if other := [threat for threat in threats if not isinstance(threat, Threat)]:
        raise InputError(f"attacks must be Threats, got {other[0]!r}: Threat('pgd', 8), say")
    checked_model(model)
    checked_pictures(images)
    random_source(1, seed)
    with at_rest(model):
        first_one = images[:1].to(device_of(model))
        with torch.no_grad():
            logits = logits_of(model, first_one)
        check_answer(logits.softmax(1))
        classes = logits.shape[1]
        labels = checked_labels(labels, len(images), classes).cpu()  # they are read one by one
        if any(threat.eps for threat in threats):
            check_gradient(model, first_one)
        task = _Task(model, images, labels, defences, seed, samples)
        kept = Table(table, columns=COLUMNS, key=KEY)
        known = kept.known()
        for first in list(range(0, len(images), batch))[number::workers]:
            chosen = range(first, min(first + batch, len(images)))
            for threat in threats:
                for rows in task.judged(threat, chosen, known, kept):
                    kept.append(rows)
    found = {kept.key_of(row): row for row in kept.rows()}
    asked = (task.known_as(threat, name, i) for name in defences for threat in threats for i in range(len(images)))
    return accuracies([found[key] for key in map(kept.key_of, asked) if key in found])


def _check_defences(defences: Any) -> None:
    """That each is known by a name, and can clean and be written down."""
    if not defences or not isinstance(defences, Mapping):
        raise InputError("defences must name at least one: {'none': None} is the classifier alone")
    for name, each in defences.items():
        if each is not None and not (callable(each) and callable(getattr(each, "describe", None))):
            raise InputError(
                f"the defence {name!r} must be None or a Cleaning, a callable with describe(), got {type(each).__name__}: "
                "Purification(), say"
            )


def accuracies(rows: Sequence[Row]) -> list[Accuracy]:
    """The accuracy of each defence under each attack, of rows of a table, in the order in which they first come."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in SHOWN), []).append(row)
    return [
        Accuracy(
            defence=group[0]["defence"],
            attack=group[0]["attack"],
            eps=float(group[0]["eps"]),
            knows_seed=group[0]["knows_seed"] == "yes",
            steps=group[0]["steps"],
            samples=group[0]["samples"],
            correct=sum(row["correct"] == "1" for row in group),
            count=len(group),
        )
        for group in groups.values()
    ]


class _Task:
    """What is evaluated, and the rows that come of it."""

    def __init__(
        self,
        model: nn.Module,
        images: torch.Tensor,
        labels: torch.Tensor,
        defences: Mapping[str, Cleaning | None],
        seed: int,
        samples: int,
    ) -> None:
        self.model, self.images, self.labels, self.defences = model, images, labels, defences
        self.seed, self.samples = seed, samples
        # Of one seed two, by a way that nobody can go back: the defence's own, and that of an attacker who does not know it.
        self.own, self.foreign = (int(word) >> 1 for word in np.random.SeedSequence([seed]).generate_state(2))
        self.classifier = fingerprint_of(model)
        self.settings = {name: settings_of(cleaning) for name, cleaning in defences.items()}
        self.pictures = [fingerprint(image.detach().cpu().float())[:16] for image in images]

    def known_as(self, threat: Threat, defence: str, i: int) -> Row:
        """What tells the row of a picture from every other."""
        adaptive = threat.name == "bpda-eot"
        return {
            "number": str(i),
            "label": str(int(self.labels[i])),
            "classifier": self.classifier,
            "picture": self.pictures[i],
            "attack": threat.name,
            "eps": f"{threat.eps:g}",
            "steps": "" if threat.steps is None else str(threat.steps),
            "samples": str(threat.samples) if adaptive else "",
            "knows_seed": ("yes" if threat.knows_seed else "no") if adaptive else "",
            "defence": defence,
            "settings": self.settings[defence],
            "averaged": str(self.samples),
            "seed": str(self.seed),
        }

    def judged(self, threat: Threat, chosen: range, known: set[tuple[str, ...]], table: Table) -> Iterator[list[Row]]:
        """The rows of some pictures under a threat that are not known yet, a list for each defence."""
        missing = {
            name: [row for i in chosen if table.key_of(row := self.known_as(threat, name, i)) not in known]
            for name in self.defences
        }
        shared: torch.Tensor | None = None
        for name, rows in missing.items():
            if not rows:
                continue
            defended = DefendedClassifier(self.model, samples=self.samples, cleaning=_or_nothing(self.defences[name]))
            if threat.asks_defence:
                attacked = self._adapted(threat, defended, chosen)
            else:
                shared = self._attacked(threat, chosen) if shared is None else shared
                attacked = shared
            begin = time.perf_counter()
            with torch.no_grad():
                chances = defended.logits(attacked, self.own, list(chosen)).softmax(1).cpu()
            yield self._rows(rows, chosen, attacked, chances, time.perf_counter() - begin)

    def _attacked(self, threat: Threat, chosen: range) -> torch.Tensor:
        """Pictures that are attacked without a look at any defence."""
        images, labels = self._of(chosen)
        if threat.name == NONE or threat.eps == 0:
            return images
        if threat.name == "prior":
            settings: dict[str, Any] = {"steps": threat.steps, "seed": self.foreign, "streams": list(chosen)}
            return prior_perturbation(self.model, images, labels, threat.eps, **settings)
        name: Any = threat.name
        seed = (self.foreign + chosen.start) % 2**31
        return attack(name, self.model, images, labels, threat.eps, steps=threat.steps, batch=len(images), seed=seed)

    def _adapted(self, threat: Threat, defended: DefendedClassifier, chosen: range) -> torch.Tensor:
        images, labels = self._of(chosen)
        return bpda_eot(
            defended,
            images,
            labels,
            threat.eps,
            steps=threat.steps or PGD_STEPS,
            samples=1 if isinstance(defended.cleaning, _Nothing) else threat.samples,
            seed=self.own if threat.knows_seed else self.foreign,
            streams=list(chosen),
            known=threat.knows_seed,
        )

    def _of(self, chosen: range) -> tuple[torch.Tensor, torch.Tensor]:
        part = slice(chosen.start, chosen.stop)
        place = device_of(self.model)
        return self.images[part].detach().to(place), self.labels[part].to(place)

    def _rows(
        self, rows: list[Row], chosen: range, attacked: torch.Tensor, chances: torch.Tensor, seconds: float
    ) -> list[Row]:
        """The rows with what was found; `distance` in 1/255, `seconds` of cleaning and asking, not of the attack."""
        moved = (attacked - self._of(chosen)[0]).abs().flatten(1).amax(1).cpu() * 255
        for row in rows:
            k, label = int(row["number"]) - chosen.start, int(row["label"])
            predicted = int(chances[k].argmax())
            row |= {
                "predicted": str(predicted),
                "correct": str(int(predicted == label)),
                "confidence": f"{float(chances[k, label]):.6g}",
                "distance": f"{float(moved[k]):.6g}",
                "seconds": f"{seconds / len(chosen):.4g}",
            }
        return rows


class _Nothing:
    """The cleaning of those who have no defence."""

    def __call__(
        self, images: torch.Tensor, seed: int | None = None, streams: Sequence[int] | None = None
    ) -> torch.Tensor:
        del seed, streams
        return images

    def describe(self) -> dict[str, Any]:
        return {"kind": NONE}


def _or_nothing(cleaning: Cleaning | None) -> Cleaning:
    return _Nothing() if cleaning is None else cleaning


def settings_of(cleaning: Cleaning | None) -> str:
    """By what a row knows the settings of its defence: 12 hexadecimal digits, the column `settings`."""
    plain = json.dumps(_or_nothing(cleaning).describe(), sort_keys=True, default=str)
    return hashlib.sha256(plain.encode()).hexdigest()[:12]
