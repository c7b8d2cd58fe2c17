"""Confidence in the true class against steps, FGSM, BI, LLCI (Kattamis et al. 2019, figure 1).

One row a picture and attack, with its whole curve. A picture begins with the same weights, code and jitter whatever was done to
it, so that its curves can be compared in pairs.
"""

import math

import numpy as np

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
    has_all,
    stats,
    tables,
)
from studies.harness.attacked import CLEAN, Condition

ATTACKS, STRENGTHS = ("fgsm", "bi", "llci"), (1, 5, 25, 100)
CONDITIONS = (CLEAN, *(Condition(attack, eps) for attack in ATTACKS for eps in STRENGTHS))
COUNT, STEPS = by_scale(3, 20, 20), by_scale(6, 2000, 4000)
EVERY = by_scale(2, 50, 100)  # steps between two looks; published: 100
RECIPE = by_scale(attacked.TINY, attacked.THIN, PAPER)
LEVEL = 0.05  # of all tests together
TESTS = len(ATTACKS) + len(STRENGTHS)


def subject(run: Run):
    return run.once(classifiers.subject, "cifar10", COUNT[run.scale])


def looks(run: Run) -> range:
    return range(EVERY[run.scale], STEPS[run.scale] + 1, EVERY[run.scale])


def measure(run: Run, attack: str, eps: float):
    """The rows of an attack, of all pictures: members of one fit agree to the last digit in the same fit alone."""
    (classifier, pictures), at = subject(run), looks(run)
    given = Condition(attack, eps).of(classifier, pictures)
    before, right = attacked.classified(classifier, given, pictures.labels)
    confidence, _ = attacked.classified_early(classifier, given, pictures.labels, RECIPE[run.scale], at)
    for k, number in enumerate(pictures.numbers):
        curve = confidence[:, k]
        row = {"picture": number, "given": float(before[k]), "given_right": int(right[k]), "peak": float(curve.max())}
        row |= {"peak_step": at[int(curve.argmax())], "last": float(curve[-1]), "curve": tables.listed(curve.tolist())}
        yield row


def under(rows, attack: str, eps: float):
    return sorted(chosen(rows, attack=attack, eps=eps), key=lambda row: row["picture"])


def mean_curve(rows, condition: Condition) -> np.ndarray:
    return np.mean(tables.curves(under(rows, condition.attack, condition.eps), "curve"), 0)


def values(run: Run):
    rows, at, lines = run.rows(), looks(run), []
    steps = {(c.attack, c.eps): tables.numbers(under(rows, c.attack, c.eps), "peak_step") for c in CONDITIONS}
    for condition in CONDITIONS:
        own, curve = chosen(rows, attack=condition.attack, eps=condition.eps), mean_curve(rows, condition)
        given = [tables.mean(own, name) for name in ("given_right", "given")]
        own_peak = stats.interval_of(steps[condition.attack, condition.eps]).shown(".0f")
        lines.append([condition, *given, float(curve.max()), at[int(curve.argmax())], own_peak, float(curve[-1])])
    header = ["", "correct, input", "confidence, input", "peak", "at step", "own peak, step", f"at step {at[-1]}"]
    weak, strong, first = STRENGTHS[0], STRENGTHS[-1], ATTACKS[0]
    pairs = {f"{a.upper()}: eps {strong} less {weak}": ((a, strong), (a, weak)) for a in ATTACKS}
    pairs |= {
        f"eps {e}: {a.upper()} less {first.upper()}": ((a, e), (first, e)) for e in STRENGTHS for a in ATTACKS[1:]
    }
    differences = [[title, stats.paired(steps[one], steps[other])] for title, (one, other) in pairs.items()]
    # The strengths of each attack, and the attacks of each strength.
    groups = {f"strengths of {a.upper()}": [steps[a, eps] for eps in STRENGTHS] for a in ATTACKS}
    groups |= {f"attacks at eps {eps}": [steps[a, eps] for a in ATTACKS] for eps in STRENGTHS}
    chances = {title: stats.friedman(group) for title, group in groups.items()}
    return {
        "count": len(run.rows(attack="none")),
        "peaks": tables.markdown(header, lines),
        "differences": tables.markdown(["", "steps"], differences),
        "tests": tables.markdown(
            ["the step of the peak differs between", "p", "holds here"],
            [[title, tables.number(chance, ".2g"), differs(chance)] for title, chance in chances.items()],
        ),
    }


def differs(chance: float) -> str:
    return "not measured" if math.isnan(chance) else "yes" if chance < LEVEL / TESTS else "not shown"


def draw(run: Run):
    """The mean curves, an attack a panel, a strength a line; dashed the pictures as they are."""
    rows, at = run.rows(), list(looks(run))
    lines = {a.upper(): [(f"-{CLEAN}", at, mean_curve(rows, CLEAN))] for a in ATTACKS}
    for condition in CONDITIONS[1:]:
        curve = (f"eps {condition.eps}", at, mean_curve(rows, condition))
        lines[condition.attack.upper()].append(curve)
    figures.save_curves(lines, run.figure("curves"), "confidence in the true class", ylim=(0, 1))


CASES = [(condition.attack, condition.eps) for condition in CONDITIONS]
DONE = has_all("picture", lambda run: subject(run)[1].numbers)
STUDY = Study(Measured(("attack", "eps", "picture"), CASES, measure, DONE), values, draw)
