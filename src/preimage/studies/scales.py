"""What all studies share: where pictures are, where results go, and results that are kept as they come.

Each row of a study is a line of its CSV, appended and flushed when it is known; a study begins with the rows that are
there, so that it goes on where it was stopped. Its section of results.md is written anew from the rows.
"""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch

from preimage.defend.table import alone
from preimage.errors import InputError
from preimage.images import read, write_bytes_atomically

Scale = Literal["smoke", "small", "paper"]
SCALES = ("smoke", "small", "paper")
Row = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Study:
    """One run of a study: its name, its scale, the folders, and which of how many processes this is, (k, n) with k from 0."""

    name: str
    scale: Scale
    data: Path | None = None
    output: Path | None = None
    worker: tuple[int, int] = (0, 1)

    @property
    def is_shared(self) -> bool:
        """Whether other processes work on it, too: then a call without a worker writes the section, once all rows are there."""
        return self.worker[1] > 1

    def mine(self, items: Iterable[T]) -> list[T]:
        """Of what is to be done the share of this process: every n-th item from the k-th on, all of it where there is one."""
        number, workers = self.worker
        return list(items)[number::workers]

    @property
    def folder(self) -> Path:
        default = Path("docs") if Path("docs").is_dir() and self.scale != "smoke" else Path("out")
        return self.output or default

    @property
    def table(self) -> Path:
        return self.folder / "results" / f"{self.name}-{self.scale}.csv"

    def figure(self, name: str) -> Path:
        """Where a figure goes: never among what is committed, for it shows other people's pictures."""
        folder = (self.output / "figures") if self.output else Path("out") / "figures"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name

    def path(self, name: str) -> Path:
        """A file of the data folder."""
        root = self.data or (Path(os.environ["PREIMAGE_DATA"]) if os.environ.get("PREIMAGE_DATA") else None)
        if root is None:
            raise InputError(f"study {self.name} needs a folder of pictures: give --data or set PREIMAGE_DATA")
        return root / name

    def picture(self, name: str) -> torch.Tensor:
        """A picture of the data folder, (1, c, h, w) in 0..1."""
        return read(self.path(name)).tensor

    def rows(self) -> list[Row]:
        """The rows known so far."""
        if not self.table.exists():
            return []
        with self.table.open(newline="") as file:
            return [{key: _number(value) for key, value in row.items()} for row in csv.DictReader(file)]

    def keep(self, row: Row) -> None:
        """Append one row, flushed to the disk."""
        self.table.parent.mkdir(parents=True, exist_ok=True)
        with self.table.open("a", newline="") as file, alone(file):
            writer = csv.DictWriter(file, list(row), lineterminator="\n")
            if not self.table.stat().st_size:
                writer.writeheader()
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
            file.flush()
            os.fsync(file.fileno())
        shown = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
        print(f"{self.name}: {', '.join(shown)}", file=sys.stderr, flush=True)

    def write_section(self, title: str, text: str) -> Path:
        """Put the study's section into results.md, in the place of its former one."""
        path = self.folder / "results.md"
        begin, end = f"<!-- begin {self.name} -->", f"<!-- end {self.name} -->"
        section = f"{begin}\n## {title}\n\n{text.strip()}\n{end}\n"
        old = path.read_text() if path.exists() else HEADING
        if begin in old and end in old:
            before, rest = old.split(begin, 1)
            new = before + section.rstrip("\n") + rest.split(end, 1)[1]
        else:
            new = old.rstrip("\n") + "\n\n" + section
        self.folder.mkdir(parents=True, exist_ok=True)
        write_bytes_atomically(path, new.encode(), overwrite=True)
        return path


HEADING = """# Results

Written by `preimage study NAME`, never by hand; the rows behind each table are in `results/`.
PSNR in dB over all values of the picture, clipped to its range. *Blind*: what a user gets, without any knowledge of the
clean picture. *Peak*: the best that would have been returned at any step, which only the clean picture can tell.
"""


def center_crop(picture: torch.Tensor, side: int) -> torch.Tensor:
    """The central side x side pixels, or the whole of a smaller picture: (b, c, h, w) -> (b, c, side, side)."""
    height, width = picture.shape[-2:]
    top, left = max(0, (height - side) // 2), max(0, (width - side) // 2)
    return picture[..., top : top + side, left : left + side]


def with_gaussian_noise(clean: torch.Tensor, sigma: float, seed: int = 1234) -> torch.Tensor:
    """clean + sigma * N(0, 1), clipped to 0..1, by PyTorch's generator on the CPU."""
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
    return (clean + sigma * noise).clamp(0, 1)


def generated_picture(side: int = 32, channels: int = 3) -> torch.Tensor:
    """Smooth shades, an edge and a disc: what smoke runs use where no picture is at hand."""
    y, x = np.mgrid[0:side, 0:side] / side
    planes = [0.3 + 0.4 * x, 0.7 - 0.4 * y, 0.5 + 0.3 * (x > 0.5)]
    disc = (x - 0.4) ** 2 + (y - 0.6) ** 2 < 0.05
    image = np.stack([np.where(disc, 0.9 - 0.2 * i, planes[i % 3]) for i in range(channels)])
    return torch.tensor(image, dtype=torch.float32)[None]


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table; numbers with two decimals."""
    shown = [[f"{v:.2f}" if isinstance(v, float) else str(v) for v in row] for row in rows]
    lines = ["| " + " | ".join(line) + " |" for line in [list(header), ["---"] * len(header), *shown]]
    return "\n".join(lines)


def _number(value: str) -> Any:
    try:
        return int(value)
    except ValueError:
        try:
            return float(value)
        except ValueError:
            return value
