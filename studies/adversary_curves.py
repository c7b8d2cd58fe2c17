"""Confidence in the true class against steps, FGSM, BI, LLCI (Kattamis et al. 2019, figure 1).

FGSM, BI and LLCI at eps 1, 5, 25 and 100, and the pictures as they are. One row a picture and attack, with its whole curve. A
picture begins with the same weights, code and jitter whatever was done to it, so that its curves can be compared in pairs.
"""

import math

import numpy as np

from preimage.defend.purification import PAPER
from studies.harness import attacked, classifiers, figures, stats, tables
from studies.harness.attacked import CLEAN, Condition
from studies.harness.rows import chosen
from studies.harness.study import Measured, Run, Study, by_scale

ATTACKS, STRENGTHS = ("fgsm", "bi", "llci"), (1, 5, 25, 100)
CONDITIONS = (CLEAN, *(Condition(attack, eps) for attack in ATTACKS for eps in STRENGTHS))
COUNT, STEPS = by_scale(3, 20, 20), by_scale(6, 2000, 4000)
EVERY = by_scale(2, 50, 100)  # steps between two looks; published: 100
RECIPE = by_scale(attacked.TINY, attacked.THIN, PAPER)
LEVEL = 0.05  # of all tests together
TESTS = len(ATTACKS) + len(STRENGTHS)


def subject(run: Run):
    return classifiers.subject(run, "cifar10", COUNT[run.scale])


def looks(run: Run) -> range:
    """The steps after which outputs are classified."""
    return range(EVERY[run.scale], STEPS[run.scale] + 1, EVERY[run.scale])


def measure(run: Run, attack: str, eps: float):
    """The rows of an attack, of all pictures: members of one fit agree to the last digit in the same fit alone."""
    (classifier, pictures), at = run.once(subject), looks(run)
    given = Condition(attack, eps).of(classifier, pictures)
    before, right = attacked.classified(classifier, given, pictures.labels)
    confidence, _ = attacked.classified_early(classifier, given, pictures.labels, RECIPE[run.scale], at)
    for k, number in enumerate(pictures.numbers):
        curve = confidence[:, k]
        row = {"picture": number, "given": float(before[k]), "given_right": int(right[k]), "peak": float(curve.max())}
        row |= {"peak_step": at[int(curve.argmax())], "last": float(curve[-1]), "curve": tables.listed(curve.tolist())}
        yield row


def done(run: Run, rows) -> bool:
    return {row["picture"] for row in rows} >= set(run.once(subject)[1].numbers)


def peak_steps(rows, attack: str, eps: float) -> list[float]:
    """Of each picture, in their order, the step at which the confidence in the true class is highest."""
    own = sorted(chosen(rows, attack=attack, eps=eps), key=lambda row: row["picture"])
    return tables.numbers(own, "peak_step")


def mean_curve(rows, condition: Condition) -> np.ndarray:
    own = sorted(chosen(rows, attack=condition.attack, eps=condition.eps), key=lambda row: row["picture"])
    return np.mean(tables.curves(own, "curve"), 0)


def values(run: Run):
    """The peaks of each attack, and whether their steps differ between attacks and strengths."""
    rows, at, lines = run.rows(), looks(run), []
    for condition in CONDITIONS:
        own, curve = chosen(rows, attack=condition.attack, eps=condition.eps), mean_curve(rows, condition)
        place = int(curve.argmax())
        steps = stats.interval_of(peak_steps(rows, condition.attack, condition.eps)).shown(".0f")
        given = [tables.mean(own, name) for name in ("given_right", "given")]
        lines.append([condition, *given, float(curve[place]), at[place], steps, float(curve[-1])])
    header = ["", "correct, input", "confidence, input", "peak", "at step", "own peak, step", f"at step {at[-1]}"]
    return {
        "count": len(run.rows(attack="none")),
        "peaks": tables.markdown(header, lines),
        "differences": differences(rows),
        "tests": tests(rows),
    }


def differences(rows) -> str:
    weak, strong, first = STRENGTHS[0], STRENGTHS[-1], ATTACKS[0]
    lines = []
    for attack in ATTACKS:
        later = stats.paired(peak_steps(rows, attack, strong), peak_steps(rows, attack, weak))
        lines.append([f"{attack.upper()}: eps {strong} less {weak}", later])
    for eps, attack in ((eps, attack) for eps in STRENGTHS for attack in ATTACKS[1:]):
        later = stats.paired(peak_steps(rows, attack, eps), peak_steps(rows, first, eps))
        lines.append([f"eps {eps}: {attack.upper()} less {first.upper()}", later])
    return tables.markdown(["", "steps"], lines)


def tests(rows) -> str:
    """The strengths of each attack, and the attacks of each strength, by Friedman's test."""
    groups = {f"strengths of {a.upper()}": [peak_steps(rows, a, eps) for eps in STRENGTHS] for a in ATTACKS}
    groups |= {f"attacks at eps {eps}": [peak_steps(rows, a, eps) for a in ATTACKS] for eps in STRENGTHS}
    lines = []
    for title, steps in groups.items():
        chance = stats.friedman(steps)
        verdict = "not measured" if math.isnan(chance) else "yes" if chance < LEVEL / TESTS else "not shown"
        lines.append([title, tables.number(chance, ".2g"), verdict])
    return tables.markdown(["the step of the peak differs between", "p", "holds here"], lines)


def draw(run: Run):
    """The mean curves, an attack a panel, a strength a line; dashed the pictures as they are."""
    rows, at = run.rows(), list(looks(run))
    clean = (f"-{CLEAN}", at, mean_curve(rows, CLEAN))
    lines = {
        a.upper(): [clean, *((f"eps {e}", at, mean_curve(rows, Condition(a, e))) for e in STRENGTHS)] for a in ATTACKS
    }
    figures.save_curves(lines, run.figure("curves"), "confidence in the true class", ylim=(0, 1))


def cases(run: Run):
    return [(condition.attack, condition.eps) for condition in CONDITIONS]


STUDY = Study(Measured(("attack", "eps", "picture"), cases, measure, done), values, draw)
