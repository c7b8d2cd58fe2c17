"""The section of results.md of saliency over steps: a table for each kind of fit, and the claims of figure 2 as numbers."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Protocol

from preimage.classifiers.model_file import TrainedModel
from preimage.studies.intervals import Interval, interval_of
from preimage.studies.lesions import with_words
from preimage.studies.objects import described
from preimage.studies.ood_recovery import EQUAL
from preimage.studies.scales import Row, Study, markdown_table
from preimage.studies.tables import mean

EARLY, COMPLETE, LATER, LATE = (200,), (300, 400), (500, 750, 1000), (2000, 4000)
CLEAN = "clean"
SURE = 0.5  # confidence
MARGIN = 0.05  # of rank correlation: what a map that is complete may still gain; chosen here
SOFT = 0.5  # of the original's share of fine detail: what a blurry output has at most; chosen here


class Named(Protocol):
    """What is fitted to what."""

    @property
    def levels(self) -> int: ...
    @property
    def name(self) -> str: ...


def section(study: Study, model: TrainedModel, kinds: Sequence[Named], eps: float, path: tuple[int, int]) -> str:
    """What was done, the claims, and the means over pictures at every step."""
    rows = study.rows()
    groups = {kind: with_words(rows, levels=str(kind.levels), attack=kind.name) for kind in kinds}
    groups = {kind: own for kind, own in groups.items() if own}
    parts = [
        f"{described(study, model)} Attacks: bi (basic iterative) and fgsm at eps {eps:g}, chosen here. Fits: the published "
        "recipe of `purify`, a network of three levels of 128 channels, and one of five, computed in "
        f"{' and '.join(sorted({str(row['precision']) for row in rows}))}; the last output, not an average. Confidence: in the "
        f"true class. Maps: MIG-SG of the true class, m = {path[0]}, N = {path[1]}, sigma 0.15, baseline blur. *Rank*: rank "
        "correlation with the map of the clean original (drawn with other noise, so that a clean picture's own at step 0 says "
        "how high it can be); *common*: what their most salient tenths have in common (0.1 by chance); in parentheses the same "
        "with the maps of the other originals. *Factor*: the rank correlation of |x - x0|, which knows of no classifier. "
        "*Detail*: the share of energy above half the Nyquist frequency over the original's. Insertion and deletion: of the "
        "clean original, in the order of the output's map. Step 0: the picture that was given to the fit. 95 % bootstrap "
        "intervals over pictures, each for itself. Sheets: "
        f"`{study.name}-{study.scale}-PICTURE-LEVELS-ATTACK.png`. Rows: `{study.table.name}`."
    ]
    for kind, own in groups.items():
        count = len({row["picture"] for row in own})
        parts.append(f"**{kind.levels} levels, {kind.name}**, {count} pictures\n\n{by_step(own)}\n\n{claims(own)}")
    clean = {kind.levels: own for kind, own in groups.items() if kind.name == CLEAN}
    told = [
        f"- {kind.levels} levels, {kind.name} less clean: {lost_more(own, clean[kind.levels])}"
        for kind, own in groups.items()
        if kind.name != CLEAN and kind.levels in clean
    ]
    if told:
        parts.append(
            "What of the rank is lost from steps 300, 400 to 2000, 4000 more than in fits of the clean picture:\n"
        )
        parts[-1] += "\n".join(["", *told])
    return "\n\n".join(parts)


def by_step(rows: list[Row]) -> str:
    """A line a step."""
    lines = []
    for step in sorted({int(row["step"]) for row in rows}):
        own = with_words(rows, step=str(step))
        decibels = mean(own, "psnr")
        lines.append(
            [
                step,
                str(interval_of([float(row["confidence"]) for row in own])),
                mean(own, "right"),
                "equal" if decibels == EQUAL else decibels,
                mean(own, "detail"),
                *(f"{mean(own, name):.2f} ({mean(own, f'{name}_of_others'):.2f})" for name in ("rank", "common")),
                mean(own, "rank_of_factor"),
                mean(own, "insertion"),
                mean(own, "deletion"),
            ]
        )
    header = ["step", "confidence", "told right", "PSNR, dB", "detail", "rank", "common", "factor"]
    return markdown_table([*header, "insertion", "deletion"], lines)


def claims(rows: list[Row]) -> str:
    """The claims of figure 2, as differences of the same picture, and whether they hold here."""
    early, at = difference(rows, "confidence", EARLY), COMPLETE
    later, lost = difference(rows, "rank", LATER, at), difference(rows, "rank", at, LATE)
    own, factor = (beside(rows, "rank", name, at) for name in ("rank_of_others", "rank_of_factor"))
    sharp, sure = difference(rows, "detail", at), difference(rows, "confidence", at, LATE)
    return markdown_table(
        ["claim of figure 2, as a number", "measured", "holds here"],
        [
            ["step 200: the confidence is above 0.5", str(early), early.verdict(SURE)],
            [f"steps 300, 400: rank gains at most {MARGIN:g} at 500 to 1000", str(later), later.at_most(MARGIN)],
            ["there: rank above that with other originals' maps", str(own), own.verdict()],
            ["there: rank above that of the factor", str(factor), factor.verdict()],
            [f"there: blurry, detail at most {SOFT:g}", str(sharp), sharp.at_most(SOFT)],
            ["steps 2000, 4000: features are lost, rank less than at 300, 400", str(lost), lost.verdict()],
            ["there: confidence less than at 300, 400", str(sure), sure.verdict()],
        ],
    )


def difference(rows: list[Row], column: str, steps: Sequence[int], less: Sequence[int] = ()) -> Interval:
    """Of the mean of a column over some steps, less that over others, picture by picture."""
    first, second = of_pictures(rows, column, steps), of_pictures(rows, column, less)
    names = [name for name in first if not less or name in second]
    return interval_of([first[name] - (second[name] if less else 0.0) for name in names])


def lost_more(attacked: list[Row], clean: list[Row]) -> Interval:
    """The rank that is lost late of attacked pictures, less that of the same pictures as they were."""
    late, at = ([of_pictures(rows, "rank", steps) for rows in (attacked, clean)] for steps in (LATE, COMPLETE))
    losses = [
        {name: of[name] - after[name] for name in after if name in of} for of, after in zip(at, late, strict=True)
    ]
    return interval_of([loss - losses[1][name] for name, loss in losses[0].items() if name in losses[1]])


def beside(rows: list[Row], first: str, second: str, steps: Sequence[int]) -> Interval:
    """Of the mean of one column over some steps, less that of another."""
    one, other = of_pictures(rows, first, steps), of_pictures(rows, second, steps)
    return interval_of([one[name] - other[name] for name in one])


def of_pictures(rows: list[Row], column: str, steps: Sequence[int]) -> dict[str, float]:
    """The mean of a column over some steps, of each picture that has them all."""
    held: dict[str, list[float]] = {}
    for row in rows:
        if row["step"] in steps:
            held.setdefault(str(row["picture"]), []).append(float(row[column]))
    return {name: statistics.fmean(values) for name, values in held.items() if len(values) == len(steps)}
