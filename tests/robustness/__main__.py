"""Attack every edge: kills, hostile files, damaged checkpoints and models, streams, signals, limits, names.

    python -m tests.robustness                          # all of it, on two processes; `make torture`
    python -m tests.robustness --kind hostile --count 90 --rows out/rows.csv

A row per trial is kept as it comes, and a run that was stopped goes on after it; rows of another source are dropped.
docs/reliability.md has the counts.
"""

from __future__ import annotations

import os

os.environ.update(
    dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1") | {"MPLBACKEND": "agg"}
)

import argparse
import csv
import hashlib
import io
import re
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from tests.robustness import server
from tests.robustness.server import ROOT, VERDICTS, Arena

ROWS = ROOT / "docs/results/reliability.csv"
TEXT = ROOT / "docs/reliability.md"
COLUMNS = ("source", "kind", "name", "code", "seconds", "megabytes", "verdict", "why")
COUNTS = {
    "kill": 200,
    "hostile": 900,
    "checkpoint": 130,
    "model": 100,
    "stream": 60,
    "signal": 60,
    "limit": 60,
    "name": 200,
    "settings": 60,
}
LIMIT = 44 * 60  # seconds for all


def main() -> int:
    """Run what the command line asks for; 1 if a trial went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.robustness", description="Attack every edge.")
    parser.add_argument("--kind", choices=COUNTS, action="append", help="only these (default: all)")
    parser.add_argument("--count", type=int, help="trials of each kind, evenly taken")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="only trials whose name matches this expression")
    parser.add_argument("--rows", type=Path, default=ROWS)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--keep", action="store_true", help="keep the folders of the trials")
    asked = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # under `nohup` and the like they are ignored
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    server.imports()
    trials = [each for kind in asked.kind or COUNTS for each in trials_of(kind, asked.seed, asked.count)]
    trials = [each for each in trials if re.search(asked.only, each.name)]
    source = source_hash(asked.seed)
    kept = [row for row in read_rows(asked.rows) if row["source"] == source]
    done = {(row["kind"], row["name"]) for row in kept}
    write_rows(asked.rows, kept)
    left = [each for each in trials if (each.kind, each.name) not in done]
    work = Path(tempfile.mkdtemp(prefix="preimage-robustness-"))
    try:
        run_all(left, work, asked.rows, source, asked.processes, keep=asked.keep)
    finally:
        if not asked.keep:
            shutil.rmtree(work, ignore_errors=True)
    named = {(each.kind, each.name) for each in trials}
    rows = [row for row in read_rows(asked.rows) if (row["kind"], row["name"]) in named]
    text = table(rows)
    print(text)
    if asked.rows == ROWS and not (asked.kind or asked.count or asked.only):
        fill(TEXT, text)
    return int(len(rows) < len(trials) or any(row["verdict"] != "fine" for row in rows))


def trials_of(kind: str, seed: int, count: int | None) -> list:
    """The trials of a kind: all of them, so many evenly taken, or more, where chance makes them."""
    from tests.robustness.base import thinned
    from tests.robustness.checkpoints import checkpoints
    from tests.robustness.hostile import hostile
    from tests.robustness.kills import kills
    from tests.robustness.models import models, settings
    from tests.robustness.moments import limits, signals, streams
    from tests.robustness.names import names

    makers = {"kill": kills, "hostile": hostile, "checkpoint": checkpoints, "model": models, "stream": streams}
    makers |= {"signal": signals, "limit": limits, "name": names, "settings": settings}
    made = makers[kind](seed, max(COUNTS[kind], count or 0))
    return made if count is None else thinned(made, count)


def run_all(trials: list, work: Path, rows: Path, source: str, processes: int, *, keep: bool) -> None:
    """All trials, by a few processes that take one after another from a pipe; each writes its rows itself."""
    from tests.robustness.base import prepare

    base = work / "base"
    base.mkdir()
    if made := os.fork():
        if os.waitpid(made, 0)[1]:
            raise RuntimeError("the base files could not be made")
    else:
        code = 1
        try:
            prepare(base)
            code = 0
        except BaseException:
            traceback.print_exc()
        os._exit(code)
    reading, writing = os.pipe()
    workers = []
    until = time.monotonic() + LIMIT
    for _ in range(processes):
        if not (worker := os.fork()):
            os.close(writing)
            known: dict[str, Arena] = {}
            try:
                while len(token := os.read(reading, 4)) == 4 and time.monotonic() < until:
                    one(trials[struct.unpack("i", token)[0]], work, base, known, rows, source, keep=keep)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        workers.append(worker)
    os.close(reading)
    for i in range(len(trials)):
        os.write(writing, struct.pack("i", i))
    os.close(writing)
    for worker in workers:
        os.waitpid(worker, 0)


def one(trial, work: Path, base: Path, known: dict[str, Arena], rows: Path, source: str, *, keep: bool) -> None:
    """One trial in a folder of its own, and its row."""
    folder = Path(tempfile.mkdtemp(dir=work))
    folder.chmod(0o755)
    arena = Arena(folder, base, known)
    try:
        verdict, why = arena.verdict(trial.body(arena))
    except Exception as error:
        traceback.print_exc()
        verdict, why = "broken", f"{type(error).__name__}: {error}"
    last = arena.last
    for place in (folder, work, ROOT, sys.prefix):  # paths of this machine are nobody's business
        why = why.replace(str(place), ".")
    why = " ".join(why.split())[:160]
    row = (
        source,
        trial.kind,
        trial.name,
        last.code if last else "",
        f"{arena.seconds:.2f}",
        arena.memory // 10**6,
        verdict,
        why,
    )
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(
        [str(each).encode("ascii", "backslashreplace").decode() for each in row]
    )
    descriptor = os.open(rows, os.O_WRONLY | os.O_APPEND)
    os.write(descriptor, buffer.getvalue().encode())  # at once, for others write there as well
    os.close(descriptor)
    if verdict != "fine":
        print(f"{verdict:<9}{trial.kind} {trial.name!a}: {why}" + (f"  [{folder}]" if keep else ""), flush=True)
    if not keep or verdict == "fine":
        shutil.rmtree(folder, ignore_errors=True)


def source_hash(seed: int) -> str:
    """Of what is tested and of the tests: rows of another source say nothing about this one."""
    digest = hashlib.sha256(str(seed).encode())
    for path in sorted([*(ROOT / "src").rglob("*.py"), *Path(__file__).parent.glob("*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows that are there."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    """The heading, and rows that are kept."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def table(rows: list[dict[str, str]]) -> str:
    """Counts by kind and verdict, and the longest and largest."""
    lines = [
        "| kind | trials | " + " | ".join(VERDICTS) + " | longest, s | most memory of a refusal, MB |",
        "|---" * (len(VERDICTS) + 4) + "|",
    ]
    for kind in (*(kind for kind in COUNTS if any(row["kind"] == kind for row in rows)), "all"):
        own = [row for row in rows if kind in (row["kind"], "all")]
        counts = Counter(row["verdict"] for row in own)
        most = max((int(row["megabytes"]) for row in own if row["code"] == "2"), default=0)
        numbers = [
            len(own),
            *(counts[verdict] for verdict in VERDICTS),
            f"{max((float(row['seconds']) for row in own), default=0):.0f}",
            most,
        ]
        lines.append(f"| {kind} | " + " | ".join(map(str, numbers)) + " |")
    return "\n".join(lines)


def fill(path: Path, text: str) -> None:
    """Put the table between the markers."""
    before, rest = path.read_text().split("<!-- begin counts -->")
    path.write_text(f"{before}<!-- begin counts -->\n{text}\n<!-- end counts -->{rest.split('<!-- end counts -->')[1]}")


if __name__ == "__main__":
    sys.exit(main())
