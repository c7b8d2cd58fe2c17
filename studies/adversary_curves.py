"""Confidence in the true class against steps, FGSM, BI, LLCI (Kattamis et al. 2019, figure 1).

One row a picture and attack, with its whole curve. A picture begins with the same weights, code and jitter whatever was done to
it, so that its curves can be compared in pairs.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch

from preimage.defend.purification import PAPER
from studies.harness import (
    Measured,
    Run,
    Study,
    attacked,
    by_scale,
    chosen,
    classifiers,
    figures,
    stats,
    tables,
)
from studies.harness.attacked import CLEAN, Condition

ATTACKS, STRENGTHS = ("fgsm", "bi", "llci"), (1, 5, 25, 100)
CONDITIONS = (CLEAN, *(Condition(attack, eps) for attack in ATTACKS for eps in STRENGTHS))
COUNT, STEPS = by_scale(3, 20, 20, 3), by_scale(6, 2000, 4000)
COUNT_ON_GPU = 8  # at scale imagenet
# At scale imagenet those of Table 2 first, the only ones where there is no GPU.
FEW = (CLEAN, Condition("fgsm", 10), Condition("bi", 10))
MANY = (*FEW, Condition("llci", 10), *CONDITIONS[1:])
DURING = (500, 1000)  # steps of the tables, between which the claims of scale imagenet take their mean
EVERY = by_scale(2, 50, 100)  # steps between two looks; published: 100
RECIPE = by_scale(attacked.TINY, attacked.THIN, PAPER)
LEVEL = 0.05  # of all tests together
TESTS = len(ATTACKS) + len(STRENGTHS)


def subject(run: Run):
    return run.once(classifiers.subject, "cifar10", classifiers.as_many(run, COUNT, COUNT_ON_GPU))


def conditions(run: Run) -> tuple[Condition, ...]:
    return CONDITIONS if not run.imagenet else MANY if classifiers.on_gpu() else FEW


def cases(run: Run):
    """Attacks; at scale imagenet each picture is a case, for its fit takes long and is shared with other studies."""
    numbers = [(number,) for number in subject(run)[1].numbers] if run.imagenet else [()]
    return [(condition.attack, condition.eps, *number) for number in numbers for condition in conditions(run)]


def done(run: Run, rows) -> bool:
    return bool(rows) if run.imagenet else {row["picture"] for row in rows} >= set(subject(run)[1].numbers)


def looks(run: Run) -> range:
    return range(EVERY[run.scale], STEPS[run.scale] + 1, EVERY[run.scale])


def measure(run: Run, attack: str, eps: float, *number: int):
    """The rows of an attack, of all pictures (members of one fit agree to the last digit in the same fit alone) or of one."""
    (classifier, pictures), at, condition = subject(run), looks(run), Condition(attack, eps)
    if number:
        given, outputs = attacked.shared_fit(run, classifier, pictures, number[0], condition)
        place = pictures.numbers.index(number[0])
        pictures = pictures[place : place + 1]
        labels = pictures.labels.expand(len(at))
        confidence = attacked.classified(classifier, torch.cat([outputs[step] for step in at]), labels)[0][:, None]
    else:
        given = condition.of(classifier, pictures)
        confidence, _ = attacked.classified_early(classifier, given, pictures.labels, RECIPE[run.scale], at)
    before, right = attacked.classified(classifier, given, pictures.labels)
    for k, picture in enumerate(pictures.numbers):
        curve = confidence[:, k]
        row = {"picture": picture, "given": float(before[k]), "given_right": int(right[k]), "peak": float(curve.max())}
        row |= {"peak_step": at[int(curve.argmax())], "last": float(curve[-1]), "curve": tables.listed(curve.tolist())}
        yield row


def under(rows, attack: str, eps: float):
    return sorted(chosen(rows, attack=attack, eps=eps), key=lambda row: row["picture"])


def mean_curve(rows, condition: Condition) -> np.ndarray:
    return np.mean(tables.curves(under(rows, condition.attack, condition.eps), "curve"), 0)


def measured(run: Run) -> list[Condition]:
    """The conditions that have rows, in the order of the tables."""
    known = {(row["attack"], row["eps"]) for row in run.rows()}
    wanted = sorted(MANY, key=lambda c: (("none", *ATTACKS).index(c.attack), c.eps)) if run.imagenet else CONDITIONS
    return [condition for condition in wanted if (condition.attack, condition.eps) in known]


def values(run: Run):
    rows, at, lines, present = run.rows(), looks(run), [], measured(run)
    steps = {c: {row["picture"]: row["peak_step"] for row in under(rows, c.attack, c.eps)} for c in present}
    for condition in present:
        own, curve = chosen(rows, attack=condition.attack, eps=condition.eps), mean_curve(rows, condition)
        given = [tables.mean(own, name) for name in ("given_right", "given")]
        own_peak = stats.interval_of(list(steps[condition].values())).shown(".0f")
        lines.append([condition, *given, float(curve.max()), at[int(curve.argmax())], own_peak, float(curve[-1])])
    header = ["", "correct, input", "confidence, input", "peak", "at step", "own peak, step", f"at step {at[-1]}"]
    strengths = sorted({condition.eps for condition in present if condition != CLEAN}) or [0]
    weak, strong, first = strengths[0], strengths[-1], ATTACKS[0]
    pairs = {f"{a.upper()}: eps {strong} less {weak}": ((a, strong), (a, weak)) for a in ATTACKS if strong > weak}
    pairs |= {
        f"eps {e}: {a.upper()} less {first.upper()}": ((a, e), (first, e)) for e in strengths for a in ATTACKS[1:]
    }
    both = {title: same_pictures(steps, pair) for title, pair in pairs.items()}
    later = [[title, stats.paired(*two)] for title, two in both.items() if two]
    # The strengths of each attack, and the attacks of each strength.
    groups = {f"strengths of {a.upper()}": [(a, eps) for eps in strengths] for a in ATTACKS}
    groups |= {f"attacks at eps {eps}": [(a, eps) for a in ATTACKS] for eps in strengths}
    found = {title: same_pictures(steps, group) for title, group in groups.items()}
    chances = {
        title: stats.friedman(group) for title, group in found.items() if len(group) > 2
    }  # it compares three or more
    verdicts = [
        [title, tables.number(chance, ".2g"), differs(chance, len(chances))] for title, chance in chances.items()
    ]
    nothing = tables.unmeasured(run)
    return {
        "classifier": classifiers.described(run, "cifar10") if run.imagenet else "",
        "count": len(run.rows(attack="none")),
        "peaks": tables.markdown(header, lines) if lines else nothing,
        "differences": tables.markdown(["", "steps"], later) if later else nothing,
        "tests": tables.markdown(["the step of the peak differs between", "p", "holds here"], verdicts)
        if verdicts
        else "",
        "claims": tables.held("claim", claims(run, rows, present)) if run.imagenet and lines else nothing,
    }


def same_pictures(steps, group) -> list[list[float]]:
    """The steps of several conditions, of the pictures that all have; [] where one is not measured."""
    own = [steps.get(Condition(*each), {}) for each in group]
    return [[of[k] for k in own[0] if all(k in each for each in own)] for of in own] if all(own) else []


def claims(run: Run, rows, present: Sequence[Condition]) -> list[tables.Claim]:
    """Figure 1 as numbers: early outputs are classified correctly where the attacked picture is not; late ones fit the attack."""
    found = []
    for condition in present:
        curves = np.array(tables.curves(own := under(rows, condition.attack, condition.eps), "curve"))
        at = np.array(looks(run))
        during = curves[:, (at >= DURING[0]) & (at <= DURING[1])].mean(1)
        if condition != CLEAN:
            gain = stats.interval_of(during - np.array(tables.numbers(own, "given")))
            found.append(tables.Claim(f"{condition}: steps {DURING[0]} to {DURING[1]} above the input", gain))
        found.append(
            tables.Claim(f"{condition}: the same above the last step", stats.interval_of(during - curves[:, -1]))
        )
    return found


def differs(chance: float, tests: int = TESTS) -> str:
    return "not measured" if math.isnan(chance) else "yes" if chance < LEVEL / tests else "not shown"


def draw(run: Run):
    """The mean curves, an attack a panel, a strength a line; dashed the pictures as they are."""
    rows, at, clean, lines = run.rows(), list(looks(run)), [], {}
    for condition in measured(run):
        curve = (f"eps {condition.eps}", at, mean_curve(rows, condition))
        if condition == CLEAN:
            clean = [(f"-{CLEAN}", at, curve[2])]
        else:
            lines.setdefault(condition.attack.upper(), list(clean)).append(curve)
    if lines:
        figures.save_curves(lines, run.figure("curves"), "confidence in the true class", ylim=(0, 1))


STUDY = Study(Measured(("attack", "eps", "picture"), cases, measure, done), values, draw)
