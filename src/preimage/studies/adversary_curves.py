"""[K], figure 1: how sure the classifier is of the true class while attacked pictures are fitted, step after step.

FGSM, BI and LLCI at eps 1, 5, 25 and 100, and the pictures as they are. One row a picture and attack, with its whole curve. A
picture begins with the same weights, code and jitter whatever was done to it, so that its curves can be compared in pairs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from preimage.classifiers import Classifier
from preimage.defend.purification import PAPER
from preimage.studies.attacked import CLEAN, THIN, TINY, Condition, subject, told, told_early
from preimage.studies.cifar import Pictures
from preimage.studies.intervals import Interval, interval_of, paired
from preimage.studies.lesions import known
from preimage.studies.scales import Row, Study, markdown_table

ATTACKS, STRENGTHS = ("fgsm", "bi", "llci"), (1, 5, 25, 100)
CONDITIONS = (CLEAN, *(Condition(attack, eps) for attack in ATTACKS for eps in STRENGTHS))
COUNTS = {"smoke": 3, "small": 20, "paper": 20}
STEPS = {"smoke": 6, "small": 2000, "paper": 4000}
EVERY = {"smoke": 2, "small": 50, "paper": 100}  # steps between two looks; published: 100
RECIPES = {"smoke": TINY, "small": THIN, "paper": PAPER}
LEVEL = 0.05  # of all tests together


def run(study: Study) -> Path:
    """Every attack, those whose rows are all in the CSV left out; the figure; then the section of results.md."""
    classifier, pictures = subject(study, COUNTS[study.scale])
    done = known(study, "attack", "eps", "picture")
    for condition in study.mine(CONDITIONS):
        names = [(condition.attack, f"{condition.eps:g}", str(number)) for number in pictures.numbers]
        if any(name not in done for name in names):
            # All pictures of an attack, also known ones: members of one fit agree to the last digit in the same fit alone.
            rows = measured(study, classifier, pictures, condition)
            for name, row in zip(names, rows, strict=True):
                if name not in done:
                    study.keep(row)
    if study.is_shared:
        return study.table
    figure = draw(study)
    return study.write_section("True class against steps", section(study, figure))


def looks(study: Study) -> range:
    """The steps at which the classifier is asked."""
    every = EVERY[study.scale]
    return range(every, STEPS[study.scale] + 1, every)


def measured(study: Study, classifier: Classifier, pictures: Pictures, condition: Condition) -> list[Row]:
    """The rows of an attack: what the classifier says of each picture as it is given, and of its early outputs."""
    given = condition.of(classifier, pictures)
    before, right = told(classifier, given, pictures.labels)
    at = looks(study)
    confidence, _ = told_early(classifier, given, pictures.labels, RECIPES[study.scale], at)
    peaks, places = confidence.max(0)
    return [
        {
            "attack": condition.attack,
            "eps": f"{condition.eps:g}",
            "picture": number,
            "given": float(before[k]),
            "given_right": int(right[k]),
            "peak": float(peaks[k]),
            "peak_step": at[int(places[k])],
            "last": float(confidence[-1, k]),
            "curve": " ".join(f"{value:.4f}" for value in confidence[:, k].tolist()),
        }
        for k, number in enumerate(pictures.numbers)
    ]


# ---------------------------------------------------------------------- the section


def rows_of(rows: Sequence[Row], attack: str, eps: float) -> list[Row]:
    """The rows of an attack, in the order of the pictures."""
    chosen = [row for row in rows if row["attack"] == attack and float(row["eps"]) == eps]
    return sorted(chosen, key=lambda row: int(row["picture"]))


def curve_of(rows: Sequence[Row]) -> np.ndarray:
    """(looks,) the mean confidence over pictures."""
    return np.mean([[float(value) for value in str(row["curve"]).split()] for row in rows], 0)


def peak_steps(rows: Sequence[Row], attack: str, eps: float) -> list[float]:
    """Of each picture the step at which the classifier is most sure of the true class."""
    return [float(row["peak_step"]) for row in rows_of(rows, attack, eps)]


def section(study: Study, figure: Path) -> str:
    """The peaks of each attack, and whether their steps differ between attacks and strengths."""
    rows = study.rows()
    return "\n\n".join(
        [
            f"{len(rows_of(rows, CLEAN.attack, 0))} pictures that the classifier tells right, {described(study)}; "
            f"it is asked every {EVERY[study.scale]} steps. Confidence is the probability of the true class, 0 to 1; *peak* is "
            "that of the mean curve, *own peak* the mean over pictures of the step at which each is highest (where a picture is "
            "sure at all steps this step says little). Intervals are 95 % bootstrap intervals over pictures. Rows: "
            f"`{study.table.name}`; figure: `{figure.name}`.",
            _peaks(rows, looks(study)),
            "Steps by which own peaks come later, picture by picture:",
            _differences(rows),
            "Kattamis, Adel, Weller 2019 (figure 1) find that the step of the peak differs between attacks and strengths. Here, "
            f"by Friedman's test of the own peaks at a level of {LEVEL} for all of these {_count()} tests together "
            f"(Bonferroni):\n\n{_tests(rows)}",
        ]
    )


def described(study: Study) -> str:
    """What was fitted, in words."""
    return {
        "smoke": "generated, by a classifier that has learned nothing, and a network of a few channels",
        "small": "of CIFAR-10 (32 x 32), and the published recipe with three levels of 16 channels",
        "paper": "of ImageNet (224 x 224, ResNet-18), and the published recipe",
    }[study.scale]


def _peaks(rows: Sequence[Row], at: Sequence[int]) -> str:
    lines = []
    for condition in CONDITIONS:
        own = rows_of(rows, condition.attack, condition.eps)
        curve = curve_of(own)
        line = [
            str(condition),
            *(float(np.mean([float(row[name]) for row in own])) for name in ("given_right", "given")),
        ]
        place = int(curve.argmax())
        steps = interval_of([float(row["peak_step"]) for row in own])
        lines.append([*line, float(curve[place]), at[place], _plain(steps), float(curve[-1])])
    header = [
        "",
        "told right as given",
        "confidence as given",
        "peak",
        "at step",
        "own peak, step",
        f"at step {at[-1]}",
    ]
    return markdown_table(header, lines)


def _plain(found: Interval) -> str:
    ends = "" if math.isnan(found.low) else f" ({found.low:.0f} to {found.high:.0f})"
    return f"{found.mean:.0f}{ends}"


def _differences(rows: Sequence[Row]) -> str:
    weak, strong = STRENGTHS[0], STRENGTHS[-1]
    lines = [
        [
            f"{attack.upper()}: eps {strong} less {weak}",
            paired(*(peak_steps(rows, attack, eps) for eps in (strong, weak))),
        ]
        for attack in ATTACKS
    ]
    for eps in STRENGTHS:
        for attack in ATTACKS[1:]:
            difference = paired(peak_steps(rows, attack, eps), peak_steps(rows, ATTACKS[0], eps))
            lines.append([f"eps {eps}: {attack.upper()} less {ATTACKS[0].upper()}", difference])
    return markdown_table(["", "steps"], [[told, str(difference)] for told, difference in lines])


def _groups(rows: Sequence[Row]) -> dict[str, list[list[float]]]:
    """What is compared: the strengths of each attack, and the attacks of each strength."""
    of_attacks = {
        f"strengths of {attack.upper()}": [peak_steps(rows, attack, eps) for eps in STRENGTHS] for attack in ATTACKS
    }
    return of_attacks | {f"attacks at eps {eps}": [peak_steps(rows, a, eps) for a in ATTACKS] for eps in STRENGTHS}


def _count() -> int:
    return len(ATTACKS) + len(STRENGTHS)


def _tests(rows: Sequence[Row]) -> str:
    lines = []
    for told_as, steps in _groups(rows).items():
        chance = friedman(steps)
        verdict = "not measured" if math.isnan(chance) else "yes" if chance < LEVEL / _count() else "not shown"
        lines.append([told_as, "-" if math.isnan(chance) else f"{chance:.2g}", verdict])
    return markdown_table(["the step of the peak differs between", "p", "holds here"], lines)


def friedman(values: Sequence[Sequence[float]]) -> float:
    """The p value of Friedman's test that several numbers of each picture come from one distribution; 1 if all are alike.

    Example:
        >>> friedman([[1, 2, 3, 4], [2, 3, 4, 5], [3, 4, 5, 6]])
        0.018...
    """
    from scipy.stats import friedmanchisquare

    table = np.asarray(values, float)
    if table.shape[1] < 2:
        return float("nan")
    if bool((table == table[:1]).all()):
        return 1.0
    return float(friedmanchisquare(*table).pvalue)


def draw(study: Study) -> Path:
    """The mean curves, an attack a panel, a strength a line; dashed the pictures as they are."""
    from matplotlib.figure import Figure

    from preimage.figures.restoration import save_figure

    rows, at = study.rows(), list(looks(study))
    figure = Figure(figsize=(4 * len(ATTACKS), 3.4), dpi=150, layout="constrained")
    places = figure.subplots(1, len(ATTACKS), sharey=True, squeeze=False)[0]
    for axes, attack in zip(places, ATTACKS, strict=True):
        axes.plot(at, curve_of(rows_of(rows, CLEAN.attack, 0)), "k--", linewidth=0.9, label=str(CLEAN))
        for eps in STRENGTHS:
            axes.plot(at, curve_of(rows_of(rows, attack, eps)), linewidth=0.9, label=f"eps {eps}")
        axes.set(title=attack.upper(), xlabel="step", ylim=(0, 1))
    places[0].set_ylabel("confidence in the true class")
    places[-1].legend(fontsize=7)
    return save_figure(figure, study.figure(f"{study.name}-{study.scale}.png"), overwrite=True)
