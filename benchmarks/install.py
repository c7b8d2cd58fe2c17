"""Size and time of an installation from a wheel into an empty environment: `python -m benchmarks.install [EXTRA ...]`.

For each row a virtual environment is made, the wheel is installed into it by pip, as from PyPI, and it is removed again. Seconds
include the download, unless pip has a cache from before (`--pip=--no-cache-dir` leaves it out). A row `core` is the wheel without
extras. `--here` installs nothing: it adds up the files of the packages of this environment that each row would bring.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Sequence
from functools import cache
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def built(folder: Path) -> Path:
    """The wheel of this checkout, built into a folder."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True)
    return next(folder.glob("preimage-*.whl"))


def size_of(folder: Path) -> int:
    """Bytes of the files below a folder, links not followed."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def measure(wheel: Path, extras: str, place: Path, further: Sequence[str]) -> dict[str, object]:
    """One row: the environment at `place` is made, measured and used once; it stays."""
    venv.create(place, clear=True, with_pip=True)
    python = place / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    before = size_of(place)
    begin = time.perf_counter()
    wanted = f"{wheel}[{extras}]" if extras else str(wheel)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *further, wanted], check=True)
    seconds = time.perf_counter() - begin
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format=json"], check=True, capture_output=True, encoding="utf-8"
    )
    versions = {each["name"]: each["version"] for each in json.loads(listed.stdout)}
    return {
        "extras": extras or "core",
        "packages": len(versions) - 1,  # without pip
        "gigabytes": round((size_of(place) - before) / 1e9, 2),
        "seconds": round(seconds),
        "torch": versions["torch"],
    }


def brought(extra: str) -> set[str]:
    """The names of the packages that an extra brings in this environment, with all that they need in turn."""
    found: set[str] = set()
    left = [("preimage", frozenset({extra}))]
    done = set()
    while left:
        name, extras = left.pop()
        if (name, extras) in done:
            continue
        done.add((name, extras))
        for line in requires(name) or ():
            needed = Requirement(line)
            wanted = [needed.marker is None or needed.marker.evaluate({"extra": each}) for each in extras or {""}]
            if any(wanted):
                left.append((canonicalize_name(needed.name), frozenset(needed.extras)))
        found.add(canonicalize_name(name))
    return found


def requires(name: str) -> list[str] | None:
    """What a package needs; None if it is not installed."""
    try:
        return metadata.requires(name)
    except metadata.PackageNotFoundError:
        return None


def listed(extra: str) -> dict[str, object]:
    """One row of `--here`."""
    sizes = [size for name in brought(extra) if (size := bytes_of(name)) is not None]
    torch = metadata.version("torch")
    return {
        "extras": extra,
        "packages": len(sizes),
        "gigabytes": round(sum(sizes) / 1e9, 2),
        "seconds": "-",
        "torch": torch,
    }


@cache
def bytes_of(name: str) -> int | None:
    """Of the files of a package, by its record; None if it is not installed."""
    try:
        files = metadata.distribution(name).files or []
    except metadata.PackageNotFoundError:
        return None
    return sum(file.size or 0 for file in files)


def table(rows: Sequence[dict[str, object]]) -> str:
    """The rows in Markdown."""
    names = {"extras": "installed", "packages": "packages", "gigabytes": "GB", "seconds": "seconds", "torch": "torch"}
    lines = [f"| {' | '.join(names.values())} |", "|---|---|---|---|---|"]
    return "\n".join(lines + [f"| {' | '.join(str(row[name]) for name in names)} |" for row in rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("extras", nargs="*", default=["core"], help="core, all, or extras with commas between")
    parser.add_argument(
        "--place", type=Path, help="folder of the environment, removed but for the last (default: temporary)"
    )
    parser.add_argument("--pip", default="", help="further options of pip install, as one text")
    parser.add_argument("--here", action="store_true", help="install nothing: sizes of what is installed here")
    given = parser.parse_args()
    if given.here:
        print(table([listed(extra) for extra in given.extras]))
        return
    with tempfile.TemporaryDirectory() as folder:
        wheel = built(Path(folder))
        place = given.place or Path(folder) / "environment"
        rows = []
        for extras in given.extras:
            shutil.rmtree(place, ignore_errors=True)
            rows.append(measure(wheel, "" if extras == "core" else extras, place, given.pip.split()))
            print(table(rows), flush=True)


if __name__ == "__main__":
    main()
