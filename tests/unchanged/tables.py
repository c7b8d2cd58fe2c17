"""The tables of the guard rail: how they are computed, kept and compared. Nothing here knows a name of the library.

The tables are never re-recorded as a whole; a row changes only in the commit that changes it on purpose and says so.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NAMES = ("decisions", "bits", "stops")
LOCAL = Path("out/unchanged")  # what `record` writes, ignored by git
CLOSE, NUMBER_CLOSE = 1e-4, 1e-2
# Of the losses of steps 1 to 3, relative. Muon makes every direction of a gradient equally long, those of rounding alone too,
# and Adam's first step goes by its signs alone. Measured: between AVX-512 and AVX2 Muon's losses differed by up to 2e-3 at the
# second step and 1.4e-2 at the third, Adam's by 6e-4; between two processors with AVX-512 Adam's (inpainting, as published) by
# 1.9e-3 and 1.7e-2.
LOSS_CLOSE = {"adam": (1e-3, 5e-3, 3e-2), "muon": (1e-3, 5e-3, 3e-2)}
_SHARED = ("hardware", "recipe", "rule")  # parts that many rows have in common
_NUMBER = re.compile(r"\d+(?:\.\d+)?")

Table = dict[str, Any]


# ---------------------------------------------------------------------- computing


def compute(names: Iterable[str], folder: Path, rows: Iterable[str] = (), *, root: Path = ROOT) -> None:
    """Compute tables by the calls and the library of a checkout, each in a process of its own with one thread."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ATEN_", "MKL_", "DNNL_", "ONEDNN_"))}
    environment |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment["PYTHONPATH"] = os.pathsep.join([str(root / "src"), str(root / "tests")])
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        call = [sys.executable, str(root / "tests" / "unchanged" / "calls.py"), name, str(folder.resolve()), *rows]
        done = subprocess.run(call, env=environment, cwd=root, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{name} could not be computed:\n{done.stdout}{done.stderr}")


def hardware(torch_version: str, threads: int) -> dict[str, Any]:
    """What equal bits depend on: the processor's flags, the version of PyTorch and the number of threads."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        flags = next(line.partition(":")[2] for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        flags = f"{platform.system()} {platform.machine()} {platform.processor()}"
    return {"flags": " ".join(sorted(flags.split())), "torch": torch_version, "threads": threads}


def digest(image: NDArray[Any]) -> str:
    """SHA-256 of the contiguous float32 bytes."""
    return hashlib.sha256(np.ascontiguousarray(image, np.float32).tobytes()).hexdigest()


def selection(named: Iterable[str]) -> Callable[[str], bool]:
    """Whether a row is named, by its key or by what it begins with (denoise/fast); all are if none is named."""
    wanted = tuple(named)
    return lambda key: not wanted or any(key == each or key.startswith(f"{each}/") for each in wanted)


# ---------------------------------------------------------------------- files


def write(folder: Path, name: str, rows: Table, machine: dict[str, Any]) -> None:
    """Write a table; rows that are in the folder already and are not among these stay."""
    folder.mkdir(parents=True, exist_ok=True)
    before = read(folder, name) if (folder / f"{name}.json").exists() else {}
    merged = before | {key: row | {"hardware": machine} for key, row in rows.items()}
    shared: dict[str, dict[str, Any]] = {part: {} for part in _SHARED}
    packed: Table = {}
    pictures: dict[str, NDArray[Any]] = {}
    for key, row in sorted(merged.items()):
        own = dict(row)
        for part in _SHARED:
            if part in own:
                own[part] = _interned(shared[part], own[part])
        if "first" in own:
            pictures[key] = _as_integers(own.pop("first"))
        packed[key] = own
    if pictures:
        named: dict[str, Any] = {key.replace("/", "|"): each for key, each in pictures.items()}
        np.savez_compressed(folder / f"{name}.npz", **named)
    # One line for each row, so that a change shows as the row that changed.
    lines = [
        f"{json.dumps(group)}: {{\n"
        + ",\n".join(f"{json.dumps(k)}: {json.dumps(v, sort_keys=True)}" for k, v in sorted(of_group.items()))
        + "\n}"
        for group, of_group in {**shared, "rows": packed}.items()
        if of_group or group == "rows"
    ]
    (folder / f"{name}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


def read(folder: Path, name: str) -> Table:
    """A table as it was computed: {key: row}."""
    held = json.loads((folder / f"{name}.json").read_text())
    rows: Table = {}
    for key, row in held["rows"].items():
        parts = {part: held[part][row[part]] for part in _SHARED if part in row}
        rows[key] = row | parts
    if (folder / f"{name}.npz").exists():
        with np.load(folder / f"{name}.npz") as pictures:
            for key, row in rows.items():
                row["first"] = pictures[key.replace("/", "|")].astype(np.float32) / 65535
    return rows


def _interned(known: dict[str, Any], value: Any) -> str:
    mark = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
    known[mark] = value
    return mark


def _as_integers(picture: NDArray[Any]) -> NDArray[np.uint16]:
    """Values of 0..1 as 65535ths, off by less than 1e-5."""
    assert picture.min() >= 0
    assert picture.max() <= 1
    return np.round(picture * 65535).astype(np.uint16)


# ---------------------------------------------------------------------- comparing


def of_one_machine(row: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two rows were computed where equal runs give equal bits."""
    return row["hardware"] == other["hardware"]


def recorded(name: str) -> Table:
    """The committed rows; in their place those that `record` computed on this machine, where they still stand.

    They are of the first commit: a row that was changed on purpose since then is the committed one.
    """
    rows = read(HERE, name)
    folder = Path(os.environ.get("PREIMAGE_UNCHANGED", ROOT / LOCAL))
    if not (folder / "first" / f"{name}.json").exists():
        return rows
    own, first = read(folder, name), read(folder / "first", name)
    stands = [key for key in rows.keys() & own.keys() & first.keys() if same(rows[key], first[key])]
    return rows | {key: own[key] for key in stands}


def same(value: Any, other: Any) -> bool:
    """Whether two rows, or parts of them, are equal."""
    if isinstance(value, dict) and isinstance(other, dict):
        return value.keys() == other.keys() and all(same(value[key], other[key]) for key in value)
    if isinstance(value, np.ndarray) and isinstance(other, np.ndarray):
        return np.array_equal(value, other)
    return type(value) is type(other) and value == other


def differences(value: Any, other: Any, place: str = "", *, exactly: bool) -> list[str]:
    """Where plain data differ, a line each.

    Numbers are estimates, whose last digits differ from machine to machine: unless `exactly`, those within a hundredth of each
    other are alike, and those in sentences if they are one apart in their last digit, too.
    """
    lines: list[str] = []
    if isinstance(value, dict) and isinstance(other, dict):
        for key in sorted(value.keys() | other.keys()):
            lines += differences(value.get(key), other.get(key), f"{place}.{key}".lstrip("."), exactly=exactly)
        return lines
    if isinstance(value, list) and isinstance(other, list) and len(value) == len(other):
        for i, (a, b) in enumerate(zip(value, other, strict=True)):
            lines += differences(a, b, f"{place}[{i}]", exactly=exactly)
        return lines
    fine = type(value) is type(other) and value == other
    if not fine and not exactly and isinstance(value, str) and isinstance(other, str):
        numbers = zip(_NUMBER.findall(value), _NUMBER.findall(other), strict=False)
        fine = _NUMBER.sub("#", value) == _NUMBER.sub("#", other) and all(_as_printed(a, b) for a, b in numbers)
    elif not fine and not exactly and isinstance(value, float) and isinstance(other, float):
        fine = _close(value, other)
    return [] if fine else [f"{place}: {value!r}, recorded {other!r}"]


def _close(a: float, b: float) -> bool:
    return abs(a - b) <= NUMBER_CLOSE * max(abs(a), abs(b))


def _as_printed(a: str, b: str) -> bool:
    digits = len(b.partition(".")[2])
    return _close(float(a), float(b)) or ("." in b and abs(float(a) - float(b)) < 1.5 * 10**-digits)


def after_one_step(row: dict[str, Any], other: dict[str, Any]) -> float:
    """The largest difference between two images after one step."""
    return float(np.abs(row["first"] - other["first"]).max())


def bit_differences(row: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Where twelve steps differ, a line each: in the bits, or, where equal runs need not give equal bits, in the first steps."""
    if of_one_machine(row, other):
        if row["sha256"] == other["sha256"]:
            return []
        return [f"the bits after 12 steps differ; after one step by {after_one_step(row, other):.2g} at most"]
    lines: list[str] = []
    if row["first"].shape != other["first"].shape:
        return [f"the image is {row['first'].shape}, recorded {other['first'].shape}"]
    if (most := after_one_step(row, other)) > CLOSE:
        lines.append(f"the image after one step differs by {most:.2g}")
    own, before = np.array(row["losses"]), np.array(other["losses"])
    bounds = np.array(LOSS_CLOSE[other["optimizer"]])[:, None]
    if own.shape != before.shape or bool((np.abs(own - before) > bounds * np.abs(before)).any()):
        lines.append(f"the losses of steps 1 to 3 are {own.tolist()}, recorded {before.tolist()}")
    return lines
