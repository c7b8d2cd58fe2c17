"""A study is a value: cases to measure, how one is measured, and what its text is filled with. `run_study` does the rest.

Each row is kept when it is known; a study begins with the rows that are there, so that it goes on where it was stopped, and
several processes may share the cases of one study.
"""

import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeVar

import torch

from preimage.images import read, write_bytes_atomically
from studies.harness.imaging import generated_picture
from studies.harness.rows import Row, StudyError, append_rows, as_text, read_rows
from studies.harness.text import fill, with_section

Scale = Literal["smoke", "small", "paper", "imagenet"]
SCALES: tuple[Scale, ...] = ("smoke", "small", "paper", "imagenet")
Case = tuple[Any, ...]
T = TypeVar("T")


def by_scale(smoke: T, small: T, paper: T, imagenet: T | None = None) -> dict[str, T]:
    """A setting for each scale (None: that of paper); in the text it has the value of the run's."""
    return dict(zip(SCALES, (smoke, small, paper, paper if imagenet is None else imagenet), strict=True))


@dataclass(frozen=True)
class Run:
    """One run of a study: its scale and folders, and which of how many processes this is, (k, n) with k from 0.

    classifier: of scale imagenet, in the place of EfficientNet-Lite0, as `--classifier` of the command line.
    """

    name: str
    scale: Scale
    data: Path | None = None
    output: Path | None = None
    worker: tuple[int, int] = (0, 1)
    classifier: str | None = None
    memory: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def smoke(self) -> bool:
        return self.scale == "smoke"

    @property
    def imagenet(self) -> bool:
        return self.scale == "imagenet"

    @property
    def at(self) -> str:
        """The scale as a part of file names; with it the classifier that was stated."""
        return f"{self.scale}-{slug(Path(self.classifier).name)}" if self.classifier else self.scale

    @property
    def folder(self) -> Path:
        ours = Path("docs").is_dir() and not self.smoke and not self.classifier
        return self.output or Path("docs" if ours else "out")

    @property
    def section(self) -> str:
        """The name of what it writes in results.md: at scale imagenet a section beside that of the other scales."""
        return f"{self.name}-{self.at}" if self.imagenet else self.name

    def once(self, make: Callable[..., T], *arguments: Any) -> T:
        """make(run, *arguments), worked out at the first call only."""
        key = (make, *arguments)
        if key not in self.memory:
            self.memory[key] = make(self, *arguments)
        return self.memory[key]

    def table(self, suffix: str = "", name: str = "") -> Path:
        return self.folder / "results" / f"{name or self.name}{suffix}-{self.at}.csv"

    def rows(self, suffix: str = "", **wanted: Any) -> list[Row]:
        return read_rows(self.table(suffix), **wanted)

    def figure(self, *parts: object, ending: str = ".png") -> Path:
        """A file by the name of the study and some words, which no word leads out of the folder of figures.

        Figures are never among what is committed, for they show other people's pictures.
        """
        folder = (self.output or Path("out")) / "figures"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / ("-".join(slug(part) for part in (self.name, self.at, *parts)) + ending)

    def path(self, name: str) -> Path:
        root = self.data or (Path(os.environ["PREIMAGE_DATA"]) if os.environ.get("PREIMAGE_DATA") else None)
        if root is None:
            raise StudyError(f"study {self.name} needs a folder of pictures: give --data or set PREIMAGE_DATA")
        return root / name

    def picture(self, name: str, smoke: int = 0, channels: int = 3) -> torch.Tensor:
        """A picture of the data folder, (1, c, h, w) in 0 to 1; in a smoke run a generated one of so many pixels a side."""
        return generated_picture(smoke, channels) if self.smoke and smoke else read(self.path(name)).tensor


def slug(text: object) -> str:
    """A word as part of a file name: letters, digits, and - . = _ alone."""
    return re.sub(r"[^\w.=]+", "-", str(text)).strip(".-") or "-"


@dataclass(frozen=True)
class Measured:
    """A table of rows, and how each comes about.

    Args:
        key: the columns by which a row is known.
        cases: of everything that is to be measured the values of the first columns of the key, or of all; a word is one column.
        measure: (run, *case) -> the other columns of its row, or of its rows.
        done: (run, rows of a case) -> whether there is nothing to do; None: if there is a row.
        suffix: of the table's name, if it is not the first of its study.
        alone: whether it needs all rows of the tables before, and is left to the process that works alone.
    """

    key: tuple[str, ...]
    cases: Iterable[Case | str] | Callable[[Run], Iterable[Case | str]]
    measure: Callable[..., Mapping[str, Any] | Iterable[Mapping[str, Any]]]
    done: Callable[[Run, list[Row]], bool] | None = None
    suffix: str = ""
    alone: bool = False

    def complete(self, run: Run) -> None:
        """Measure the share of this process, every n-th case, those left out whose rows are all there."""
        number, workers = run.worker
        cases = list(self.cases(run) if callable(self.cases) else self.cases)[number::workers]
        for case in cases if not (self.alone and workers > 1) else []:
            case = (case,) if isinstance(case, str) else case
            head = dict(zip(self.key, case, strict=False))
            rows = run.rows(self.suffix, **head)
            if self.done(run, rows) if self.done else rows:
                continue
            known = {self.known_by(row) for row in rows}
            found: Any = self.measure(run, *case)
            for row in (head | dict(values) for values in ([found] if isinstance(found, Mapping) else found)):
                if self.known_by(row) not in known:
                    append_rows(run.table(self.suffix), [row])
                    shown = ", ".join(f"{name} {as_text(value)}" for name, value in row.items())
                    print(f"{run.name}: {shown}", file=sys.stderr, flush=True)

    def known_by(self, row: Mapping[str, Any]) -> Case:
        return tuple(as_text(row[column]) for column in self.key)


def has_all(column: str, wanted: Callable[[Run], Iterable[Any]]) -> Callable[[Run, list[Row]], bool]:
    """`done` where the rows of every case have all of some values in a column."""
    return lambda run, rows: {row[column] for row in rows} >= set(wanted(run))


@dataclass(frozen=True)
class Study:
    """What is measured, what the placeholders of text/NAME.md stand for, and the figures, drawn of what was kept."""

    measured: Measured | tuple[Measured, ...]
    values: Callable[[Run], Mapping[str, Any]]
    figures: Callable[[Run], object] | None = None


def run_study(run: Run, study: Study, module: ModuleType) -> Path:
    for table in (study.measured,) if isinstance(study.measured, Measured) else study.measured:
        table.complete(run)
    if run.worker[1] > 1:
        return run.table()
    if study.figures:
        study.figures(run)
    path = run.folder / "results.md"
    text = with_section(
        path.read_text(encoding="utf-8") if path.exists() else "", run.section, section(run, study, module)
    )
    run.folder.mkdir(parents=True, exist_ok=True)
    write_bytes_atomically(path, text.encode(), overwrite=True)
    return path


def section(run: Run, study: Study, module: ModuleType) -> str:
    """The text of a study, filled with what its rows say and with the constants of its module."""
    constants = {name: value for name, value in vars(module).items() if name.isupper()}
    scaled = {name: v[run.scale] for name, v in constants.items() if isinstance(v, dict) and tuple(v) == SCALES}
    names = {"name": f"{run.name}-{run.at}", "rows": run.table().name}
    template = f"{run.name}-imagenet" if run.imagenet else run.name
    return fill(template, run.scale, constants | scaled | names | dict(study.values(run)))
