"""How studies write down what they measured: a line for each group of rows, and claims with what was measured beside them."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from studies.harness import Run, chosen
from studies.harness.rows import Row
from studies.harness.stats import Interval, interval_of, paired

Cell = Callable[[list[Row]], Any]
Columns = Mapping[str, str | Cell]
PICTURE = {"picture": "picture", "size": "size"}
FITTED = {"**blind**": "blind:.2f", "peak": "peak:.2f", "peak step": "peak_step", "kept steps": "kept_steps"}
ENOUGH = 5  # pictures: half to this power is below 5 %
FITTED |= {"seconds": "seconds:.0f"}


def markdown(header: Iterable[str], lines: Iterable[Iterable[Any]]) -> str:
    """A Markdown table; numbers with two decimals, a dash for NaN."""
    header = list(header)
    shown = [[number(v) if isinstance(v, float) else str(v) for v in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, ["---"] * len(header), *shown])


def table(columns: Columns, groups: Iterable[Iterable[Row]], *, total: str = "") -> str:
    """A line for each group of rows.

    Args:
        columns: {heading: cell}; a cell is a function of a group, or "column" for its value in the first row, or
            "column:format" for its mean.
        total: how a last line over all rows is called, which has the means alone; there is one if there are several groups.
    """
    groups = [list(group) for group in groups]
    lines = [[_cell(cell, group) for cell in columns.values()] for group in groups]
    if total and len(groups) > 1:
        every = [row for group in groups for row in group]
        means = (_cell(c, every) if isinstance(c, str) and ":" in c else "" for c in list(columns.values())[1:])
        lines.append([f"**{total.format(len(every))}**", *means])
    return markdown(columns, lines)


def _cell(cell: str | Cell, rows: list[Row]) -> Any:
    if callable(cell):
        return cell(rows)
    column, _, spec = cell.partition(":")
    return number(mean(rows, column), spec) if spec else rows[0][column]


def unmeasured(run: Run) -> str:
    """What stands in the place of a table that has no rows yet."""
    return f"Nothing is measured yet: `make study NAME={run.name} SCALE={run.scale}`."


def each(rows: Iterable[Row]) -> list[list[Row]]:
    return [[row] for row in rows]


def grouped(rows: Iterable[Row], *columns: str) -> dict[Any, list[Row]]:
    """Rows by what they have in a column, or in several; in the order in which these first come."""
    found: dict[Any, list[Row]] = {}
    for row in rows:
        found.setdefault(row[columns[0]] if len(columns) == 1 else tuple(row[c] for c in columns), []).append(row)
    return found


def titled(parts: Mapping[str, str]) -> str:
    return "\n\n".join(f"### {title}\n\n{text}" for title, text in parts.items() if text)


def numbers(rows: Iterable[Row], column: str) -> list[float]:
    """A column, NaN where it is empty."""
    return [math.nan if row[column] == "" else float(row[column]) for row in rows]


def mean(rows: Iterable[Row], column: str) -> float:
    values = [value for value in numbers(rows, column) if not math.isnan(value)]
    return statistics.fmean(values) if values else math.nan


def number(value: float, spec: str = ".2f") -> str:
    return "-" if math.isnan(value) else format(value, spec)


def gain(rows: Sequence[Row], first: str, second: str) -> Interval:
    return paired(numbers(rows, first), numbers(rows, second))


def difference(first: Iterable[Row], second: Iterable[Row], column: str) -> Interval:
    """Of a column, first less second, of the pictures that both have."""
    one, other = ({row["picture"]: numbers([row], column)[0] for row in rows} for rows in (first, second))
    return interval_of([value - other[name] for name, value in one.items() if name in other])


def beside(column: str, other: str) -> Cell:
    return lambda rows: f"{number(mean(rows, column))} ({number(mean(rows, other))})"


def curves(rows: Iterable[Row], column: str) -> list[list[float]]:
    return [[float(value) for value in str(row[column]).split()] for row in rows]


def listed(values: Iterable[float], spec: str = ".4f") -> str:
    return " ".join(format(value, spec) for value in values)


@dataclass(frozen=True)
class Claim:
    """What was published or aimed at: that a number is at least, or at most, some bound.

    An interval shows it if the whole of it is on the right side of the bound; of fewer than five pictures none does, for even if
    all of these agree, that is no rarer by chance than 1 in 16 (a sign test).
    """

    text: str
    measured: Interval | float
    least: float = 0.0
    most: float | None = None

    @property
    def verdict(self) -> str:
        """Yes, no (of a plain number with the size of the miss), "not shown", or "not measured"."""
        if isinstance(self.measured, Interval):
            if 1 < self.measured.count < ENOUGH:
                return "not shown"
            return self.measured.verdict(self.least) if self.most is None else self.measured.at_most(self.most)
        missing = self.least - self.measured if self.most is None else self.measured - self.most
        return "not measured" if math.isnan(missing) else "yes" if missing <= 0 else f"no, missed by {missing:.2f}"


def targets(claims: Sequence[Claim]) -> str:
    bounds = [f"at least {c.least:g}" if c.most is None else f"at most {c.most:g}" for c in claims]
    lines = [[c.text, bound, c.measured, c.verdict] for c, bound in zip(claims, bounds, strict=True)]
    return markdown(["target", "bound, dB", "measured, dB", "met"], lines) if claims else ""


def held(heading: str, claims: Iterable[Claim], measured: str = "measured", holds: str = "holds here") -> str:
    return markdown([heading, measured, holds], [[c.text, c.measured, c.verdict] for c in claims])


def above(rows: Sequence[Row], rivals: Mapping[str, str], least: float = 0.0) -> list[Claim]:
    """That the blind mean is above each rival's ("name, mean of {}": column), the first by so much, and near its own peak."""
    blind = mean(rows, "blind")
    claims = []
    for name, column in rivals.items():
        bound = 0.0 if claims else least
        claims.append(Claim(f"blind above {name.format(len(rows))}", blind - mean(rows, column), bound))
    return [*claims, Claim("blind below its peak, mean", mean(rows, "peak") - blind, most=0.3)]


def restorations(
    rows: Sequence[Row],
    by: str,
    titles: Mapping[Any, str],
    columns: Columns,
    aims: Callable[[Any, list[Row]], Sequence[Claim]] | None = None,
) -> str:
    """For each kind of damage a table of pictures with their means, and below it what was aimed at."""
    groups = {kind: own for kind in titles if (own := chosen(rows, **{by: kind}))}
    parts = {}
    for kind, own in groups.items():
        below = targets(aims(kind, own)) if aims else ""
        parts[titles[kind]] = f"{table(columns, each(own), total='mean of {}')}\n\n{below}".strip()
    return titled(parts)
