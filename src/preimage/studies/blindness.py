"""How far each stopping rule ends from the best picture of the same fit: nine pictures, five kinds of damage, every rule.

The rules look on at one fit, each for itself; the fit goes on to PAST times the step at which the default rule stopped, so
that the peak is known. Only this study sees the clean picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from preimage.engine.fit import Fit
from preimage.engine.run import Run
from preimage.engine.step import Step
from preimage.errors import InputError
from preimage.problem import Problem
from preimage.restore import denoise as denoising
from preimage.restore import remove_jpeg_artifacts as jpeg
from preimage.stopping import (
    After,
    Discrepancy,
    HeldOut,
    MovingVariance,
    Plateau,
    Risk,
    ScoreTracker,
    StoppingRule,
    Tracker,
    WindowedVariance,
)
from preimage.studies.denoising import KINDS, PICTURES, SIDE, specimen
from preimage.studies.jpeg import encoded
from preimage.studies.peaks import dB
from preimage.studies.scales import Row, Study, markdown_table
from preimage.studies.tables import Target, verdict

JPEG = "JPEG 10"
PAST = 1.3
OWN, HOLDING_OUT = "whole", "3 % held out"
# Rules that look on at the task's own fit; and, at one that holds values out, those that need such.
GROUPS: dict[str, dict[str, Callable[[], StoppingRule]]] = {
    OWN: {
        "windowed variance": WindowedVariance,
        "moving variance": MovingVariance,
        "discrepancy": Discrepancy,
        "plateau": Plateau,
    },
    HOLDING_OUT: {"risk": lambda: Risk(by_value=True), "held out": lambda: HeldOut(by_value=True)},
}
DEFAULT = "default"
MEAN, WORST = 0.15, 0.5


@dataclass(frozen=True)
class Onlookers(StoppingRule):
    """Rules that look at one fit without ending it; the first is the fit's own, and may change the problem."""

    own: StoppingRule = field(kw_only=False)
    others: dict[str, StoppingRule] = field(kw_only=False)

    name = "onlookers"

    def start(
        self, problem: Problem, *, members: int, total: int, seed: int = 0, streams: Iterator[int] | None = None
    ) -> tuple[Problem, Tracker]:
        given = {"members": members, "total": total, "seed": seed}
        prepared, own = self.own.start(problem, **given)
        trackers = {DEFAULT: own}
        for name, rule in self.others.items():
            with suppress(InputError):  # it asks for a noise level, and none is known
                trackers[name] = rule.start(problem, **given)[1]
        return prepared, Watching(self, trackers, members=members, total=total)


class Watching(ScoreTracker):
    """The trackers of all rules; when each ended."""

    def __init__(self, rule: Onlookers, trackers: dict[str, Any], *, members: int, total: int) -> None:
        super().__init__(rule, members=members, total=total)
        self.trackers = trackers
        self.ended: dict[str, int] = {}

    def measure(self, step: Step) -> torch.Tensor:
        return torch.cat([tracker.measure(step) for tracker in self.trackers.values()])

    def decide(self, step: Step, numbers: list[list[float]]) -> list[bool]:
        for name, tracker in self.trackers.items():
            own, numbers = numbers[: tracker.n_statistics], numbers[tracker.n_statistics :]
            if name not in self.ended and all(tracker.decide(step, own)):
                self.ended[name] = step.index
        self.best = self.trackers[DEFAULT].best
        end = PAST * self.ended.get(DEFAULT, step.total)
        return [step.index >= end] * len(step.active)


def run(study: Study) -> Path:
    """Every kind on every picture, those already in the CSV left out; then the section of results.md."""
    names = PICTURES[:1] if study.scale == "smoke" else PICTURES
    for group in GROUPS:
        for kind, name in [(kind, name) for kind in (*KINDS, JPEG) for name in names]:
            last = DEFAULT if group == OWN else "risk"  # of the rows of a fit this one comes last
            rows = [row for row in study.rows() if row["fit"] == group and str(row["rule"]).startswith(last)]
            known = {(row["damage"], row["picture"]) for row in rows}
            if (kind, name) not in known and not (kind == JPEG and group != OWN):
                measure(study, kind, name, group)
    return study.write_section("Stopping blind", section(study))


def measure(study: Study, kind: str, name: str, group: str) -> None:
    """Add a row for each rule that looks on at one fit of one picture."""
    clean, begin, own = case(study, kind, name)
    chosen = {name: make() for name, make in GROUPS[group].items()}
    first = own if group == OWN else next(iter(chosen.values()))
    onlookers = Onlookers(first, chosen)
    fit = begin(onlookers)
    curve = [dB(step.picture, clean) for step in fit]
    peak = max(curve)
    finish = fit.problem.finish or (lambda x: x)
    rows = []
    watching = fit.tracker
    for rule_name, tracker in watching.trackers.items():
        if tracker.best is not None and not (rule_name == DEFAULT and group != OWN):
            kept = dB(finish(tracker.best), clean)
            row: Row = {
                "damage": kind,
                "picture": name,
                "fit": group,
                "rule": f"{DEFAULT}: {tracker.rule.name}" if rule_name == DEFAULT else rule_name,
                "kept": kept,
                "peak": peak,
                "below": peak - kept,
                "kept_step": tracker.kept_step[0],
                "peak_step": curve.index(peak) + 1,
                "stopped": watching.ended.get(rule_name, "not"),
                "steps": len(curve),
            }
            rows.append(row)
    there = {(row["damage"], row["picture"], row["fit"], row["rule"]) for row in study.rows()}
    for row in reversed(rows):
        if (kind, name, group, row["rule"]) not in there:
            study.keep(row)


def case(study: Study, kind: str, name: str) -> tuple[torch.Tensor, Callable[[StoppingRule], Any], StoppingRule]:
    """The clean picture, what begins the fit of the damaged one under a rule, and the rule that the task takes by itself.

    The fit is a Fit, for none of these pictures is cut into tiles.
    """
    smoke = study.scale == "smoke"
    if kind == JPEG:
        clean = specimen(study, KINDS[0], name)[0]
        coded = encoded(clean, 10)
        fast = replace(jpeg.FAST, steps=20) if smoke else jpeg.FAST
        own = begun(jpeg.remove_jpeg_artifacts(coded, recipe=fast)).rule
        return clean, lambda rule: jpeg.remove_jpeg_artifacts(coded, recipe=fast, stop=rule), own
    clean, noisy = specimen(study, kind, name)
    fast = replace(denoising.FAST, steps=20) if smoke else denoising.FAST
    plain = begun(denoising.denoise(noisy, recipe=fast))
    own, recipe = plain.rule, fast
    if isinstance(own, After):  # impulses: the fit goes on after the task's number of steps, so that the peak is known
        own, recipe = After(plain.recipe.steps), replace(plain.recipe, steps=int(PAST * plain.recipe.steps))
    return clean, lambda rule: denoising.denoise(noisy, recipe=recipe, stop=rule), own


def begun(run: Run) -> Fit:
    """The Fit that a task returned."""
    if not isinstance(run, Fit):
        raise TypeError(f"a study's pictures are fitted whole, got {type(run).__name__}")
    return run


def section(study: Study) -> str:
    """A table of all rules for each kind, and the default's targets."""
    rows = study.rows()
    side = SIDE[study.scale]
    parts = [
        f"Central crops of {side} x {side} of early_stopping, fast recipes; dB below the oracle peak of the same fit, on the "
        f"mean and at worst. The first rule of each fit ends it, the others look on until {PAST} times that step (one that has "
        "not ended by then counts with the best it had kept). Risk and held out have a fit of their own, without 3 % of the "
        f"values: its peak is lower. Rows: `{study.table.name}`."
    ]
    rules = sorted(
        dict.fromkeys(str(row["rule"]) for row in rows), key=lambda rule: (not rule.startswith(DEFAULT), rule)
    )
    for kind in (*KINDS, JPEG):
        chosen = [row for row in rows if row["damage"] == kind]
        if chosen:
            lines = [_line(rule, [row for row in chosen if row["rule"] == rule]) for rule in rules]
            header = ["rule", "kept, mean dB", "mean below", "worst below", "worst picture", "ended", "fits"]
            parts.append(f"### {kind}\n\n{markdown_table(header, [line for line in lines if line])}")
    own = [row for row in rows if str(row["rule"]).startswith(DEFAULT)]
    if own:
        below = [float(row["below"]) for row in own]
        parts.append(
            f"### All {len(own)} together, by default\n\n"
            + verdict(
                [
                    Target("below the peak, mean", sum(below) / len(below), MEAN, at_most=True),
                    Target("below the peak, worst", max(below), WORST, at_most=True),
                ]
            )
        )
    return "\n\n".join(parts)


def _line(rule: str, rows: list[Row]) -> list[object]:
    if not rows:
        return []
    below = [float(row["below"]) for row in rows]
    worst = max(rows, key=lambda row: float(row["below"]))
    ended = sum(row["stopped"] != "not" for row in rows)
    kept = sum(float(row["kept"]) for row in rows) / len(rows)
    return [rule, kept, sum(below) / len(below), max(below), worst["picture"], ended, len(rows)]
