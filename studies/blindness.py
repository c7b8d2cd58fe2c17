"""How far every stopping rule ends from the best picture of its fit, under five kinds of damage."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from preimage.engine.step import Step
from preimage.errors import InputError
from preimage.problem import Problem
from preimage.restore.denoise import denoise
from preimage.restore.remove_jpeg_artifacts import remove_jpeg_artifacts
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
from studies import denoising
from studies.harness import Measured, Run, Study, chosen, fits, imaging, tables

JPEG, DEFAULT, OWN, HOLDING_OUT = "JPEG 10", "default", "whole", "3 % held out"
KINDS, SIDE, PAST = (*denoising.KINDS, JPEG), denoising.SIDE, 1.3
# Rules that look on at the task's own fit; and, at one that holds values out, those that need such.
WATCHING = {"windowed variance": WindowedVariance, "moving variance": MovingVariance, "discrepancy": Discrepancy}
GROUPS: dict[str, dict[str, Callable[[], StoppingRule]]] = {
    OWN: {**WATCHING, "plateau": Plateau},
    HOLDING_OUT: {"risk": lambda: Risk(by_value=True), "held out": lambda: HeldOut(by_value=True)},
}


@dataclass(frozen=True)
class Onlookers(StoppingRule):
    """Rules that look at one fit without ending it; the first is the fit's own, and may change the problem."""

    own: StoppingRule = field(kw_only=False)
    others: dict[str, StoppingRule] = field(kw_only=False)

    name = "onlookers"

    def start(
        self, problem: Problem, *, members: Sequence[int], total: int, seed: int = 0, streams: Any = None
    ) -> tuple[Problem, Tracker]:
        del streams  # each rule has the first one, as if it were the only rule
        given: dict[str, Any] = {"members": members, "total": total, "seed": seed}
        prepared, own = self.own.start(problem, **given)
        trackers = {DEFAULT: own}
        for name, rule in self.others.items():
            with suppress(InputError):  # it needs a noise level, and none is known
                trackers[name] = rule.start(problem, **given)[1]
        return prepared, Watching(self, trackers, members=len(members), total=total)


class Watching(ScoreTracker):
    """The trackers of all rules, and the step at which each would have ended the fit."""

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
        return [step.index >= PAST * self.ended.get(DEFAULT, step.total)] * len(step.active)


def measure(run: Run, group: str, kind: str, name: str):
    """A row for each rule that looks on at one fit of one picture; that of the fit's own rule comes last."""
    clean, begin, own = task(run, kind, name)
    others = {name: make() for name, make in GROUPS[group].items()}
    fit = begin(stop=Onlookers(own if group == OWN else others["risk"], others))
    curve = [imaging.dB(step.picture.cpu(), clean) for step in fit]
    finish, peak, rows = fit.problem.finish or (lambda x: x), max(curve), []
    for watching, tracker in fit.tracker.trackers.items():
        if tracker.best is not None and not (watching == DEFAULT and group != OWN):
            kept = imaging.dB(finish(tracker.best).cpu(), clean)
            rule = f"{DEFAULT}: {tracker.rule.name}" if watching == DEFAULT else watching
            row = {"rule": rule, "kept": kept, "peak": peak}
            row |= {"below": peak - kept, "kept_step": tracker.kept_step[0], "peak_step": curve.index(peak) + 1}
            rows.append(row | {"stopped": fit.tracker.ended.get(watching, "not"), "steps": len(curve)})
    return rows[::-1]


def task(run: Run, kind: str, name: str) -> tuple[torch.Tensor, Callable[..., Any], StoppingRule]:
    """The clean picture, what begins the fit of the damaged one (whole, for it is small), and the rule of the task itself."""
    clean, given = denoising.specimen(run, denoising.SIGMA_25 if kind == JPEG else kind, name)
    restore: Any = remove_jpeg_artifacts if kind == JPEG else denoise
    damaged, recipe = imaging.jpeg_of(clean, 10) if kind == JPEG else given, fits.named(run.smoke, restore, 20)
    plain = restore(damaged, recipe=recipe)
    own = plain.rule
    if isinstance(own, After):  # impulses: the fit goes on after the task's number of steps, so that the peak is known
        own, recipe = After(plain.recipe.steps), replace(plain.recipe, steps=int(PAST * plain.recipe.steps))
    return clean, lambda stop: restore(damaged, recipe=recipe, stop=stop), own


def by_default(row) -> bool:
    return str(row["rule"]).startswith(DEFAULT)


COLUMNS = {"rule": "rule", "kept, mean dB": "kept:.2f", "mean below": "below:.2f"}
COLUMNS |= {"worst below": lambda rows: float(max(row["below"] for row in rows))}
COLUMNS |= {"worst picture": lambda rows: max(rows, key=lambda row: row["below"])["picture"]}
COLUMNS |= {"ended": lambda rows: sum(row["stopped"] != "not" for row in rows), "fits": len}


def values(run: Run):
    rows = sorted(run.rows(), key=lambda row: (not by_default(row), row["rule"]))
    shown = {k: tables.table(COLUMNS, tables.grouped(chosen(rows, damage=k), "rule").values()) for k in KINDS}
    own = [row for row in rows if by_default(row)]
    aims = [tables.Claim("below the peak, mean", tables.mean(own, "below"), most=0.15)]
    aims.append(tables.Claim("below the peak, worst", max(row["below"] for row in own), most=0.5))
    return {"tables": tables.titled(shown), "count": len(own), "aims": tables.targets(aims)}


def cases(run: Run):
    kinds = [(group, kind) for group in GROUPS for kind in KINDS if (group, kind) != (HOLDING_OUT, JPEG)]
    return [(*kind, name) for kind in kinds for name in denoising.names(run)]


def done(run: Run, rows) -> bool:
    return any(by_default(row) or row["rule"] == "risk" for row in rows)


STUDY = Study(Measured(("fit", "damage", "picture", "rule"), cases, measure, done), values)
