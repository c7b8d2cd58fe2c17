"""How far every stopping rule ends from the best picture of its fit, under five kinds of damage.

The rules look on at one fit, each for itself; the fit goes on to PAST times the step at which the default rule stopped, so
that the peak is known. Only this study knows the clean picture.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from preimage.errors import InputError
from preimage.problem import Problem
from preimage.restore import denoise as denoising_task
from preimage.restore import remove_jpeg_artifacts as jpeg_task
from preimage.step import Step
from preimage.stopping import After, Discrepancy, HeldOut, MovingVariance, Plateau, Risk, Rule, WindowedVariance
from studies import denoising
from studies.harness import fits, imaging, tables
from studies.harness.rows import chosen
from studies.harness.study import Measured, Run, Study

JPEG, DEFAULT, OWN, HOLDING_OUT = "JPEG 10", "default", "whole", "3 % held out"
KINDS, SIDE, PAST = (*denoising.KINDS, JPEG), denoising.SIDE, 1.3
# Rules that look on at the task's own fit; and, at one that holds values out, those that need such.
WATCHING = {"windowed variance": WindowedVariance, "moving variance": MovingVariance, "discrepancy": Discrepancy}
GROUPS: dict[str, dict[str, Callable[[], Rule]]] = {
    OWN: {**WATCHING, "plateau": Plateau},
    HOLDING_OUT: {"risk": lambda: Risk(by_value=True), "held out": lambda: HeldOut(by_value=True)},
}


class Onlookers(Rule):
    """Rules that look at one fit without ending it; the first is the fit's own, and may change the problem."""

    name = "onlookers"

    def __init__(self, own: Rule, others: dict[str, Rule]) -> None:
        super().__init__()
        self.rules = {DEFAULT: own, **others}
        self.ended: dict[str, int] = {}

    def prepare(self, problem: Problem, **given: Any) -> Problem:
        super().prepare(problem, **given)
        prepared = self.rules[DEFAULT].prepare(problem, **given)
        for name in [name for name in self.rules if name != DEFAULT]:
            try:
                self.rules[name].prepare(problem, **given)
            except InputError:  # it needs a noise level, and none is known
                del self.rules[name]
        return prepared

    def measured(self, step: Step) -> torch.Tensor:
        return torch.cat([rule.measured(step) for rule in self.rules.values()])

    def decide(self, step: Step, numbers: list[list[float]]) -> list[bool]:
        for name, rule in self.rules.items():
            own, numbers = numbers[: rule.rows], numbers[rule.rows :]
            if name not in self.ended and all(rule.decide(step, own)):
                self.ended[name] = step.index
        self.best = self.rules[DEFAULT].best
        return [step.index >= PAST * self.ended.get(DEFAULT, step.total)] * len(step.active)


def measure(run: Run, group: str, kind: str, name: str):
    """A row for each rule that looks on at one fit of one picture; that of the fit's own rule comes last."""
    clean, begin, own = task(run, kind, name)
    others = {name: make() for name, make in GROUPS[group].items()}
    onlookers = Onlookers(own if group == OWN else others["risk"], others)
    fit = begin(stop=onlookers)
    curve = [imaging.dB(picture, clean) for _, picture in fits.pictures(fit)]
    finish, peak, rows = fit.problem.finish or (lambda x: x), max(curve), []
    for watching, rule in onlookers.rules.items():
        if rule.best is not None and not (watching == DEFAULT and group != OWN):
            kept = imaging.dB(finish(rule.best).cpu(), clean)
            row = {"rule": f"{DEFAULT}: {rule.name}" if watching == DEFAULT else watching, "kept": kept, "peak": peak}
            row |= {"below": peak - kept, "kept_step": rule.kept_step[0], "peak_step": curve.index(peak) + 1}
            rows.append(row | {"stopped": onlookers.ended.get(watching, "not"), "steps": len(curve)})
    return rows[::-1]


def task(run: Run, kind: str, name: str) -> tuple[torch.Tensor, Callable[..., Any], Rule]:
    """The clean picture, what begins the fit of the damaged one (whole, for it is small), and the rule of the task itself."""
    clean, given = denoising.specimen(run, denoising.SIGMA_25 if kind == JPEG else kind, name)
    module = jpeg_task if kind == JPEG else denoising_task
    restore: Any = jpeg_task.remove_jpeg_artifacts if kind == JPEG else denoising_task.denoise
    damaged, recipe = imaging.jpeg_of(clean, 10) if kind == JPEG else given, fits.quick(run.smoke, module.FAST, 20)
    plain = restore(damaged, recipe=recipe)
    own = plain.rule
    if isinstance(own, After):  # impulses: the fit goes on after the task's number of steps, so that the peak is known
        own, recipe = After(plain.recipe.steps), replace(plain.recipe, steps=int(PAST * plain.recipe.steps))
    return clean, lambda stop: restore(damaged, recipe=recipe, stop=stop), own


def by_default(row) -> bool:
    return str(row["rule"]).startswith(DEFAULT)


COLUMNS = {
    **{"rule": "rule", "kept, mean dB": "kept:.2f", "mean below": "below:.2f"},
    "worst below": lambda rows: float(max(row["below"] for row in rows)),
    "worst picture": lambda rows: max(rows, key=lambda row: row["below"])["picture"],
    "ended": lambda rows: sum(row["stopped"] != "not" for row in rows),
    "fits": len,
}


def values(run: Run):
    """A table of all rules for each kind, and the default's targets."""
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
