"""Accuracy under attack behind the prior and its rivals, adaptive attacks beside (Kattamis et al. 2019, tables 1 and 2)."""

import math
import statistics
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from preimage.classifiers.fingerprint import short_fingerprint
from preimage.defend.adaptive import bpda_eot, prior_perturbation
from preimage.defend.defence import DefendedClassifier, Purification
from preimage.defend.evaluate import evaluate_defence, settings_of
from preimage.defend.inspection import FALSE_ALARMS, Inspecting, false_alarm_threshold
from preimage.defend.threat import NONE, UNATTACKED, Threat
from preimage.engine.recipe import Recipe
from studies.defence import published_scale
from studies.defence.accuracies import PUBLISHED, PUBLISHED_COLUMNS, Accuracies, points, titled
from studies.harness import Measured, Run, Study, chosen, classifiers, stats, tables
from studies.harness.attacked import Condition, fits_folder
from studies.harness.classifiers import SEED
from studies.harness.defences import FASTEST, PLANS, RESIZING, STRONGEST, UNAWARE, Plan, ended, plan_of

AT_STRONGEST = tuple(threat for threat in UNAWARE if threat.eps == STRONGEST)
SCORES = "-scores"
ATTACKER_SEED = SEED + 1  # of attacks that are made anew for the scores
GAIN, LEAST_GAIN = 30.0, 15.0  # points above no defence at eps 10: of the mean, and of each attack
LOSS = 5.0  # points that the fast recipe may lose


def subject(run: Run):
    return run.once(classifiers.subject, "cifar10", plan_of(run).count)


def evaluate(run: Run, part: str | int, number: int):
    """The rows of a batch, which `evaluate_defence` adds to the table itself; part: as `parts` has it."""
    (classifier, pictures), plan = subject(run), plan_of(run)
    run.table().parent.mkdir(parents=True, exist_ok=True)
    options = {"table": run.table(), "batch": plan.batch or plan.few, "worker": (number, len(batches(run)))}
    judge = partial(evaluate_defence, classifier, pictures.images, pictures.labels, **options)
    folder = fits_folder(run) if run.imagenet else None
    if isinstance(part, int):
        judge(plan.under, plan.drawn(), seed=SEED + part)
    for threat in plan.adaptive if part == "aware" else ():
        judge([threat], plan.against(threat), seed=SEED)
    for threat in {"unaware": UNAWARE, "published": plan.under}.get(str(part), ()):
        judge([threat], plan.defences(few=part == "published", folder=folder), seed=SEED)
    return ()


def batches(run: Run) -> range:
    plan = plan_of(run)
    return range(-(-len(subject(run)[1].numbers) // (plan.batch or plan.few)))


def parts(run: Run):
    """What is quick first; what takes long of the first batches alone, those of the few."""
    plan, every = plan_of(run), batches(run)
    few = every[: max(1, plan.few // plan.batch)] if plan.batch else every[:1]
    costly = [(part, number) for part in ("published", "aware") for number in few]
    return [("unaware", k) for k in every] + costly + [(draw, k) for draw in range(1, plan.draws) for k in every]


def identity(run: Run, recipe: Recipe) -> tuple[str, str]:
    """Of classifier and recipe; a letter before hexadecimal digits, or some would be read as numbers."""
    return f"c{short_fingerprint(subject(run)[0])}", f"s{settings_of(Purification(recipe))}"


def score(run: Run, classifier_id: str, settings: str, name: str, eps: float):
    """How far the predictions of the early outputs disagree with that of the picture, under an attack."""
    plan, classifier, some = PLANS[run.scale], subject(run)[0], scored_pictures(run, name)
    recipe = next(recipe for recipe in plan.inspected if identity(run, recipe)[1] == settings)
    given, found = attacked(plan, recipe, classifier, some, name, eps), []
    for part in given.split(plan.few):
        found += Inspecting(part, classifier, recipe=recipe, seed=SEED).run()
    for number, label, each in zip(some.numbers, some.labels.tolist(), found, strict=True):
        right = {"given_right": int(each.predicted == label), "cleaned_right": int(each.early_predicted == label)}
        yield {"picture": number, "score": each.score} | right | {"steps": recipe.steps}


def scored_pictures(run: Run, attack: str) -> classifiers.Pictures:
    """All, or of adaptive attacks the few."""
    adaptive = attack in {threat.name for threat in PLANS[run.scale].adaptive}
    return subject(run)[1][: PLANS[run.scale].few if adaptive else None]


def attacked(
    plan: Plan, recipe: Recipe, classifier, pictures: classifiers.Pictures, name: str, eps: float
) -> torch.Tensor:
    """The pictures under an attack; who knows of the defence attacks the purification by this recipe."""
    options: dict[str, Any] = {"seed": ATTACKER_SEED, "streams": range(len(pictures.labels))}
    given = (pictures.images, pictures.labels, eps)
    if name == "prior":
        return prior_perturbation(classifier, *given, steps=plan.drawing_steps, **options)
    if name == "bpda-eot":
        defended = DefendedClassifier(classifier, defence=Purification(recipe))
        return bpda_eot(defended, *given, steps=plan.attacker_steps, samples=plan.samples, **options)
    return Condition(name, eps).of(classifier, pictures, ATTACKER_SEED)


def scored(run: Run):
    plan = PLANS[run.scale]
    threats = () if run.imagenet else (UNATTACKED, *UNAWARE, *plan.adaptive[:2])
    return [(*identity(run, recipe), threat.name, threat.eps) for recipe in plan.inspected for threat in threats]


def all_scored(run: Run, rows) -> bool:
    return bool(rows) and {row["picture"] for row in rows} >= set(scored_pictures(run, rows[0]["attack"]).numbers)


def detected(rows, threat: Threat) -> tuple[stats.Interval, float]:
    """How well the disagreement of an inspection separates attacked pictures from the same ones as they are.

    The AUROC (0.5 is chance), and the share above the threshold that a few false alarms stand for; NaN of none.
    """
    strange, usual = (
        {row["picture"]: float(row["score"]) for row in chosen(rows, attack=each.name, eps=each.eps)}
        for each in (threat, UNATTACKED)
    )
    common = [picture for picture in strange if picture in usual]
    if not common:
        return stats.interval_of([]), math.nan
    won = stats.wins([strange[k] for k in common], [usual[k] for k in common])
    auroc = replace(stats.auroc_gain(won, np.zeros_like(won), same_pictures=True), count=len(common))
    bound = false_alarm_threshold(list(usual.values()), FALSE_ALARMS)
    return auroc, float(np.mean([value > bound for value in strange.values()]))


def values(run: Run):
    plan = plan_of(run)
    if run.imagenet:
        return published_scale.values(run, plan)
    latest = list(tables.grouped(reversed(run.rows(SCORES)), "settings").values())[: len(plan.inspected)]
    by_steps = {rows[0]["steps"]: rows[::-1] for rows in sorted(latest, key=lambda rows: rows[0]["steps"])}
    fast = min(by_steps)
    measured = Accuracies(run.rows(), {FASTEST: by_steps[fast][0]["settings"].removeprefix("s")})
    few = min(plan.few, measured.count)
    return {
        **{"count": measured.count, "few": few, "fast_steps": fast, "plan": plan, "middle": plan.steps[1]},
        "steps": ", ".join(map(str, plan.steps)),
        "scores": run.table(SCORES).name,
        "accuracies": accuracies(plan, measured, measured.count, few=False),
        "adaptive": accuracies(plan, measured, few, few=True),
        "published": published(),
        "claims": claims(plan, measured, few),
        "lost": lost(plan, measured, few),
        "detection": detection(plan, by_steps),
    }


def accuracies(plan: Plan, measured: Accuracies, count: int, *, few: bool) -> str:
    names = list(plan.defences(few=few))
    threats = (UNATTACKED, *UNAWARE, *(plan.adaptive if few else ()))
    lines = [[titled(t), *(points(measured.accuracy(name, [t], count).mean) for name in names)] for t in threats]
    means = [measured.accuracy(name, UNAWARE, count) for name in names]
    average = ["**average**", *("" if math.isnan(found.mean) else found.shown(".1f", ".0f") for found in means)]
    return tables.markdown(["", *names], [*lines[: 1 + len(UNAWARE)], average, *lines[1 + len(UNAWARE) :]])


def published() -> str:
    lines = [[titled(threat), *map(points, values)] for threat, values in PUBLISHED.items()]
    for name, threats in (("average, FGSM", UNAWARE[:3]), ("average, all five", UNAWARE)):
        columns = zip(*(PUBLISHED[threat] for threat in threats), strict=True)
        lines.append([name, *(points(statistics.fmean(column)) for column in columns)])
    return tables.markdown(["", *PUBLISHED_COLUMNS], lines)


def claims(plan: Plan, measured: Accuracies, few: int) -> str:
    attacks, lines = " / ".join(titled(threat) for threat in AT_STRONGEST), []
    for name in plan.purifications(few=True):
        count = measured.count if name in plan.purifications(few=False) else few
        mean, over = measured.gain(name, NONE, AT_STRONGEST, count), measured.gain(name, RESIZING, UNAWARE, count)
        gains = [measured.gain(name, NONE, [threat], count) for threat in AT_STRONGEST]
        each, all_of = " / ".join(f"{g.mean:+.0f}" for g in gains), stats.worst([g.verdict(LEAST_GAIN) for g in gains])
        lines.append([name, count, mean, mean.verdict(GAIN), each, all_of, over, over.verdict()])
    header = ["", "pictures", "mean gain", f"at least {GAIN:g}", f"gain: {attacks}", f"each at least {LEAST_GAIN:g}"]
    return tables.markdown([*header, "less random resizing", "ahead"], lines)


def lost(plan: Plan, measured: Accuracies, few: int) -> str:
    lines = []
    for name in plan.on_all | plan.on_few:
        count = measured.count if name in plan.on_all else few
        found = measured.gain(ended(name, plan.steps[1]), FASTEST, UNAWARE, count)
        lines.append([name, count, found, found.at_most(LOSS)])
    return tables.markdown(["published recipe", "pictures", "points lost by fast", f"at most {LOSS:g}"], lines)


def detection(plan: Plan, by_steps) -> str:
    lines = []
    for threat in (*UNAWARE, *plan.adaptive[:2]):
        aurocs, shares = zip(*(detected(rows, threat) for rows in by_steps.values()), strict=True)
        shown = [*(auroc.shown(".2f") for auroc in aurocs), *(f"{share:.0%}" for share in shares)]
        lines.append([titled(threat), aurocs[0].count, *shown])
    columns = [f"{what}, {steps} steps" for what in ("AUROC", "detected") for steps in by_steps]
    return tables.markdown(["attack", "pictures", *columns], lines)


STUDY = Study(
    (
        Measured((), parts, evaluate, lambda run, rows: False),
        Measured(("classifier", "settings", "attack", "eps", "picture"), scored, score, all_scored, SCORES),
    ),
    values,
)
