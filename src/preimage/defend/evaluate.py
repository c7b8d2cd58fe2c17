"""Evaluation of defenses: accuracy on unattacked and on attacked images, written row by row.

An attack that is unaware of the defense measures little: evaluate it together with one that knows of it.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from preimage.classifiers.classifier import check_answer
from preimage.classifiers.fingerprint import short_fingerprint
from preimage.defend.adaptive import bpda_eot, prior_perturbation
from preimage.defend.attacks import PGD_STEPS, attack
from preimage.defend.checks import checked_images, checked_labels, checked_model, whole_number
from preimage.defend.cluster import share_out
from preimage.defend.defence import Defence, DefendedClassifier
from preimage.defend.table import COLUMNS, KEY, Accuracy, Row, Table, accuracies
from preimage.defend.threat import NONE, UNATTACKED, Threat
from preimage.defend.users_model import at_rest, check_exclusive, check_gradient, check_logits, device_of, logits_of
from preimage.engine.checkpoint import fingerprint
from preimage.errors import InputError
from preimage.rng import checked_seed


def evaluate_defence(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    attacks: Sequence[Threat],
    defences: Mapping[str, Defence | None],
    *,
    table: str | Path,
    seed: int = 0,
    samples: int = 1,
    batch: int = 32,
    worker: tuple[int, int] = (0, 1),
    ray: str | None = None,
) -> list[Accuracy]:
    """Accuracy on unattacked and on attacked images, behind each defense; every result is written at once.

    A row of the table is one image under one attack behind one defense. Rows that exist are not computed again: after a crash,
    or to add attacks, defenses or images, the same call continues.

    Example:
        >>> import tempfile
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4))
        >>> images, labels = torch.rand(2, 3, 16, 16), torch.tensor([0, 3])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     threats = [Threat("prior", 8, steps=1)]
        ...     found = evaluate_defence(model, images, labels, threats, {"none": None}, table=f"{folder}/rows.csv")
        >>> [(accuracy.attack, accuracy.count) for accuracy in found]
        [('none', 2), ('prior', 2)]

    Args:
        model, images, labels: as in `attack`.
        attacks: unattacked images are evaluated in any case. Attacks unaware of the defense attack the bare classifier.
        defences: by name, as Purification(); None: the bare classifier.
        table: a CSV file.
        seed: random seed: each image has a stream of it of its own, in any batch; an attacker who does not know the defense's
            seed draws from another. Random starts of attacks depend on the batch.
        samples: purifications of each image, whose logits are averaged, behind every defense.
        batch: images that are attacked and purified side by side.
        worker: (k, n): this process does the k-th of n shares of the batches, and others may write to the same table meanwhile
            (not on Windows).
        ray: "auto" or HOST:PORT of a cluster of Ray (`preimage[ray]`), each of whose cores does one batch at a time; the table is
            then on storage that all machines share. A lost machine's batch is begun again on another.

    Returns:
        The accuracies over all images of this call that are in the table; while other workers compute, not all of them.

    Raises:
        InputError: images, labels, attacks, defenses or a table that cannot be used, a classifier without gradient, or a cluster
            that does not answer.
    """
    number, workers = worker
    if not 0 <= number < workers:
        raise InputError(f"worker must be (k, n) with k from 0 to n - 1, got {worker}")
    if ray is not None and workers > 1:
        raise InputError(
            "worker shares the batches out by hand, ray does it itself: give one of the two", code="option"
        )
    whole_number(batch, "batch")
    whole_number(samples, "samples")
    _check_defences(defences)
    threats = list(dict.fromkeys([UNATTACKED, *attacks]))
    if other := [threat for threat in threats if not isinstance(threat, Threat)]:
        raise InputError(f"attacks must be Threats, got {other[0]!r}: Threat('pgd', 8), for example", code="type")
    checked_images(images)
    seed = checked_seed(seed)
    check_exclusive(checked_model(model))
    with at_rest(model):
        first_image = images[:1].to(device_of(model))
        with torch.no_grad():
            logits = logits_of(model, first_image)
            check_logits(model, first_image)
        check_answer(logits.softmax(1))
        labels = checked_labels(labels, len(images), logits.shape[1]).cpu()  # read one by one
        if any(threat.eps for threat in threats):
            check_gradient(model, first_image)
        evaluation = _Evaluation(model, images, labels, defences, seed, samples)
        kept = Table(table, columns=COLUMNS, key=KEY)
        if ray is not None:
            given = {"model": model, "images": images, "labels": labels, "attacks": attacks, "defences": defences}
            given |= {"table": str(Path(table).absolute()), "seed": seed, "samples": samples, "batch": batch}
            share_out(ray, evaluate_defence, given, shares=-(-len(images) // batch))
        known = kept.known()
        for first in list(range(0, len(images), batch))[number::workers]:
            chosen = range(first, min(first + batch, len(images)))
            for threat in threats:
                for rows in evaluation.new_rows(threat, chosen, kept, known):
                    kept.append(rows)
    found = {kept.key_of(row): row for row in kept.rows()}
    wanted = (evaluation.key(threat, name, i) for name in defences for threat in threats for i in range(len(images)))
    return accuracies([found[key] for key in map(kept.key_of, wanted) if key in found])


def seeds_of(seed: int) -> tuple[int, int]:
    """The defense's own seed, and that of an attacker who does not know it: neither can be derived from the other."""
    own, foreign = (int(word) >> 1 for word in np.random.SeedSequence([seed]).generate_state(2))
    return own, foreign


def settings_of(defence: Defence) -> str:
    """A hash of a defense's settings, the column `settings`: 12 hexadecimal digits."""
    plain = json.dumps(defence.describe(), sort_keys=True, default=str)
    return hashlib.sha256(plain.encode()).hexdigest()[:12]


def _check_defences(defences: Any) -> None:
    """Check that each is None or callable with describe()."""
    if not defences or not isinstance(defences, Mapping):
        raise InputError("defences must name at least one: {'none': None} is the bare classifier", code="option")
    for name, each in defences.items():
        if each is not None and not (callable(each) and callable(getattr(each, "describe", None))):
            found = type(each).__name__
            raise InputError(
                f"the defense {name!r} must be None or a function with describe(), as Purification(), got {found}",
                code="type",
            )


class _Undefended:
    """The defense that changes nothing."""

    def __call__(
        self, images: torch.Tensor, seed: int | None = None, streams: Sequence[int] | None = None
    ) -> torch.Tensor:
        del seed, streams
        return images

    def describe(self) -> dict[str, Any]:
        return {"kind": NONE}


class _Evaluation:
    """What is evaluated, and its rows."""

    def __init__(
        self, model: nn.Module, images: torch.Tensor, labels: torch.Tensor, defences: Any, seed: int, samples: int
    ) -> None:
        self.model, self.images, self.labels, self.seed, self.samples = model, images, labels, seed, samples
        self.defences: dict[str, Defence] = {
            name: _Undefended() if each is None else each for name, each in defences.items()
        }
        self.own, self.foreign = seeds_of(seed)
        self.classifier = short_fingerprint(model)
        self.settings = {name: settings_of(defence) for name, defence in self.defences.items()}
        self.pictures = [fingerprint(image.detach().cpu().float())[:16] for image in images]

    def key(self, threat: Threat, defence: str, i: int) -> Row:
        """What identifies the row of an image."""
        adaptive = threat.per_defence
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

    def new_rows(self, threat: Threat, chosen: range, table: Table, known: set[tuple[str, ...]]) -> Iterator[list[Row]]:
        """The rows of some images under a threat that do not exist yet, a list for each defense."""
        part, place = slice(chosen.start, chosen.stop), device_of(self.model)
        images, labels = self.images[part].detach().to(place), self.labels[part].to(place)
        attacked: torch.Tensor | None = None
        for name, defence in self.defences.items():
            rows = [row for i in chosen if table.key_of(row := self.key(threat, name, i)) not in known]
            if not rows:
                continue
            defended = DefendedClassifier(self.model, samples=self.samples, defence=defence)
            if attacked is None or threat.per_defence:
                attacked = self.attacked(threat, defended, images, labels, chosen)
            begin = time.perf_counter()
            with torch.no_grad():
                probabilities = defended.logits(attacked, self.own, list(chosen)).softmax(1).cpu()
            seconds = (time.perf_counter() - begin) / len(chosen)  # purified and classified, without the attack
            distances = (attacked - images).abs().flatten(1).amax(1).cpu() * 255
            for row in rows:
                k, label = int(row["number"]) - chosen.start, int(row["label"])
                predicted = int(probabilities[k].argmax())
                row |= {
                    "predicted": str(predicted),
                    "correct": str(int(predicted == label)),
                    "confidence": f"{float(probabilities[k, label]):.6g}",
                    "distance": f"{float(distances[k]):.6g}",
                    "seconds": f"{seconds:.4g}",
                }
            yield rows

    def attacked(
        self, threat: Threat, defended: DefendedClassifier, images: torch.Tensor, labels: torch.Tensor, chosen: range
    ) -> torch.Tensor:
        """Images under a threat, which knows the defense if it is computed for each anew."""
        eps, streams = threat.eps, list(chosen)
        if threat.name == NONE or eps == 0:
            return images
        if threat.per_defence:
            return bpda_eot(
                defended,
                images,
                labels,
                eps,
                steps=threat.steps or PGD_STEPS,
                samples=1 if isinstance(defended.defence, _Undefended) else threat.samples,
                seed=self.own if threat.knows_seed else self.foreign,
                streams=streams,
                known=threat.knows_seed,
            )
        if threat.name == "prior":
            return prior_perturbation(
                self.model, images, labels, eps, steps=threat.steps, seed=self.foreign, streams=streams
            )
        name: Any = threat.name
        seed = (self.foreign + chosen.start) % 2**31
        return attack(name, self.model, images, labels, eps, steps=threat.steps, batch=len(images), seed=seed)
