"""[K], tables 1 and 2: how often a classifier is right about attacked pictures behind the deep prior and behind its rivals.

The published recipe after 500, 750 and 1000 steps (out of one fit), the fast one, random resizing and padding, JPEG, median and
total variance, on the same pictures under the same attacks; beside them attackers who know of the defence. Every row is kept
by `evaluate_defence`; the scores by which attacked pictures might be told stand in a table of their own.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from preimage.classifiers import Classifier
from preimage.defend.adaptive import bpda_eot, prior_perturbation
from preimage.defend.attacks import attack
from preimage.defend.defence import DefendedClassifier, Purification
from preimage.defend.evaluate import COLUMNS, KEY, evaluate_defence, settings_of
from preimage.defend.inspection import Inspecting
from preimage.defend.table import Table
from preimage.defend.threat import NONE, Threat
from preimage.defend.threat import UNATTACKED as CLEAN
from preimage.defend.users_model import fingerprint_of
from preimage.engine.recipe import Recipe
from preimage.studies.attacked import subject
from preimage.studies.cifar import SEED, Pictures
from preimage.studies.defence_plan import PLANS, UNAWARE, Plan
from preimage.studies.defence_text import Detection, Measured, section
from preimage.studies.scales import Row, Study

ATTACKER_SEED = SEED + 1  # of attacks that are made anew for the scores


def run(study: Study) -> Path:
    """Every picture, attack and defence, those already in the tables left out; then the section of results.md."""
    plan = PLANS[study.scale]
    classifier, pictures = subject(study, plan.count)
    evaluate(study, plan, classifier, pictures)
    scores = replace(study, name=f"{study.name}-scores")
    detect(scores, plan, classifier, pictures)
    settings = {name: settings_of(cleaning) for name, cleaning in plan.defences(few=True).items()}
    if study.is_shared:
        return study.table
    rows = Table(study.table, columns=COLUMNS, key=KEY).rows()
    measured = Measured(rows, fingerprint_of(classifier), settings, len(pictures.numbers))
    told = {recipe.steps: Detection(asked_scores(scores, recipe, classifier)) for recipe in plan.inspected}
    return study.write_section("Attacked pictures", section(study, plan, measured, told, scores.table.name))


def evaluate(study: Study, plan: Plan, classifier: Classifier, pictures: Pictures) -> None:
    """The rows of the table, batch by batch; the first batch is that of the few."""
    study.table.parent.mkdir(parents=True, exist_ok=True)
    batches = -(-len(pictures.numbers) // plan.few)
    asked = partial(evaluate_defence, classifier, pictures.images, pictures.labels, seed=SEED, batch=plan.few)
    for number in study.mine(range(batches)):
        for threat in (CLEAN, *UNAWARE):
            _say(study, number, batches, threat)
            asked([threat], plan.defences(few=not number), table=study.table, worker=(number, batches))
    # Of the first batch, and so of the process that has it: the clean pictures are judged again for every call.
    for threat in (plan.prior, plan.bpda, plan.bpda_knowing) if not study.worker[0] else ():
        _say(study, 0, batches, threat)
        asked([threat], plan.against(threat), table=study.table, worker=(0, batches))


def _say(study: Study, number: int, batches: int, threat: Threat) -> None:
    known = ", seed known" if threat.knows_seed else ""
    print(
        f"{study.name}: batch {number + 1} of {batches}, {threat.name} {threat.eps:g}{known}",
        file=sys.stderr,
        flush=True,
    )


# ---------------------------------------------------------------------- detection


def detect(scores: Study, plan: Plan, classifier: Classifier, pictures: Pictures) -> None:
    """How far the classifier is of another mind about the early outputs, picture by picture, under every attack."""
    for recipe in plan.inspected:
        detect_by(scores, plan, recipe, classifier, pictures)


def detect_by(scores: Study, plan: Plan, recipe: Recipe, classifier: Classifier, pictures: Pictures) -> None:
    """The same by one recipe, which who knows of the defence attacks."""
    done = {(str(row["attack"]), float(row["eps"]), row["picture"]) for row in asked_scores(scores, recipe, classifier)}
    few = Pictures(pictures.images[: plan.few], pictures.labels[: plan.few], pictures.numbers[: plan.few])
    for threat in scores.mine((CLEAN, *UNAWARE, plan.prior, plan.bpda)):
        some = few if threat in (plan.prior, plan.bpda) else pictures
        if any((threat.name, float(threat.eps), number) not in done for number in some.numbers):
            for row in scored(plan, recipe, classifier, some, threat):
                if (threat.name, float(threat.eps), row["picture"]) not in done:
                    scores.keep(row)


def scored(plan: Plan, recipe: Recipe, classifier: Classifier, pictures: Pictures, threat: Threat) -> list[Row]:
    """The rows of an attack."""
    given = attacked(plan, recipe, classifier, pictures, threat)
    found = [
        inspection
        for part in given.split(plan.few)
        for inspection in Inspecting(part, classifier, recipe=recipe, seed=SEED).run()
    ]
    labels, known_by = pictures.labels.tolist(), _identity(recipe, classifier)
    return [
        known_by
        | {"attack": threat.name, "eps": f"{threat.eps:g}", "picture": number, "score": each.score}
        | {"given_right": int(each.predicted == label), "cleaned_right": int(each.early_predicted == label)}
        for number, label, each in zip(pictures.numbers, labels, found, strict=True)
    ]


def attacked(plan: Plan, recipe: Recipe, classifier: Classifier, pictures: Pictures, threat: Threat) -> torch.Tensor:
    """The pictures under an attack; who knows of the defence attacks the purification by this recipe."""
    images, labels, streams = pictures.images, pictures.labels, range(len(pictures.labels))
    if threat.name == NONE:
        return images
    if threat.name == "prior":
        return prior_perturbation(
            classifier, images, labels, threat.eps, steps=threat.steps, seed=ATTACKER_SEED, streams=streams
        )
    if threat.name == "bpda-eot":
        defended = DefendedClassifier(classifier, defence=Purification(recipe))
        steps, samples = plan.attacker_steps, threat.samples
        return bpda_eot(
            defended, images, labels, threat.eps, steps=steps, samples=samples, seed=ATTACKER_SEED, streams=streams
        )
    name: Any = threat.name
    return attack(name, classifier, images, labels, threat.eps, seed=ATTACKER_SEED)


def asked_scores(scores: Study, recipe: Recipe, classifier: Classifier) -> list[Row]:
    """The rows of this classifier and this recipe."""
    own = _identity(recipe, classifier)
    return [row for row in scores.rows() if {name: str(row[name]) for name in own} == own]


def _identity(recipe: Recipe, classifier: Classifier) -> Row:
    # A letter before hexadecimal digits, or some would be read as numbers.
    settings = settings_of(Purification(recipe))
    return {"classifier": f"c{fingerprint_of(classifier)}", "settings": f"s{settings}"}
