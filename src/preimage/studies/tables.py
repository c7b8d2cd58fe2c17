"""How studies write down what they measured: rows with their means, and the targets beside what was reached."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from preimage.studies.scales import Row, markdown_table

FITTED = {
    "**blind**": "blind",
    "peak": "peak",
    "peak step": "peak_step",
    "kept steps": "kept_steps",
    "seconds": "seconds",
}
"""The columns that every task has, for `rows_table`."""


@dataclass(frozen=True)
class Target:
    """What was aimed at: `measured` at least `bound`, or at most, in dB."""

    text: str
    measured: float
    bound: float
    at_most: bool = False

    @property
    def missing(self) -> float:
        """By how much the bound is missed, at most 0 where it is met; NaN where nothing was measured."""
        return (self.measured - self.bound) * (1 if self.at_most else -1)

    @property
    def verdict(self) -> str:
        """yes, no with the size of the miss, or that nothing was measured."""
        if math.isnan(self.missing):
            return "not measured"
        return "yes" if self.missing <= 0 else f"no, missed by {self.missing:.2f}"


def verdict(targets: Sequence[Target]) -> str:
    """A table of targets, each with yes or no."""
    header = ["target", "bound, dB", "measured, dB", "met"]
    sign = {True: "at most", False: "at least"}
    return markdown_table(
        header, [[t.text, f"{sign[t.at_most]} {t.bound:g}", _shown(t.measured), t.verdict] for t in targets]
    )


def mean(rows: Sequence[Row], column: str) -> float:
    """Of a column over all rows that have a number there; NaN if none has."""
    values = [float(row[column]) for row in rows if row[column] != ""]
    values = [value for value in values if not math.isnan(value)]
    return statistics.fmean(values) if values else float("nan")


def shown(value: float) -> str:
    """A number in three digits, a dash where there is none."""
    return "-" if math.isnan(value) else f"{value:.3g}"


def rows_table(rows: Sequence[Row], columns: Mapping[str, str], decibels: Sequence[str]) -> str:
    """A table of rows, {heading: column}; the columns in dB with two decimals, and below their means and the seconds'."""
    averaged = (*decibels, "seconds")
    lines = [[_cell(row[key], key, decibels) for key in columns.values()] for row in rows]
    if len(rows) > 1:
        below = [_cell(mean(rows, key), key, decibels) if key in averaged else "" for key in columns.values()]
        lines.append([f"**mean of {len(rows)}**", *below[1:]])
    return markdown_table(list(columns), lines)


def _cell(value: Any, key: str, decibels: Sequence[str]) -> str:
    if key == "seconds":
        return f"{float(value):.0f}"
    return _shown(float(value)) if key in decibels else str(value)


def _shown(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"
