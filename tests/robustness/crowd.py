"""Many pictures while workers and commands are killed, a disk fills, and one picture kills whoever takes it.

    python -m tests.robustness.crowd --way ray --count 1000      # or workers, shards

It prints one row: how many were lost, done twice, torn, set aside, and whether the bytes are those of one undisturbed process.
docs/scale.md has the rows.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
from PIL import Image

from preimage.in_use import lock
from studies.harness.rows import append_rows

WAYS = ("ray", "workers", "shards")
SIDE, POISON_SIDE, STEPS = 48, 320, 5
POISON = "poison.png"
PORT = 6479
# While the file that FULL names is there, no write below the folder OUT reaches the disk.
FULL_DISK = """
import errno, os
_fsync = os.fsync
def fsync(number):
    if os.path.exists(os.environ["PREIMAGE_FULL"]):
        if os.readlink(f"/proc/self/fd/{number}").startswith(os.environ["PREIMAGE_OUT"]):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return _fsync(number)
os.fsync = fsync
"""


@dataclass
class Ordeal:
    """What is found at the end.

    Args:
        way, count: who works, on how many pictures.
        kills, drivers, full: how many workers and commands were killed, and how often the disk was full.
        lost, twice, torn, aside: pictures without a result, done again though they were done, with half a result, set aside.
        different: results whose bytes are not those of a process that nobody disturbed.
        commands: how often the same command was given until all was done.
        seconds: all of it took.
    """

    way: str
    count: int
    kills: int = 0
    drivers: int = 0
    full: int = 0
    lost: int = 0
    twice: int = 0
    torn: int = 0
    aside: int = 0
    different: int = 0
    commands: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)

    @property
    def withstood(self) -> bool:
        return not (self.lost or self.twice or self.torn or self.different or self.faults) and self.aside == 1


def main() -> int:
    """Run one ordeal; 1 if anything was lost, torn or done twice."""
    parser = argparse.ArgumentParser(prog="python -m tests.robustness.crowd", description="Many pictures, and trouble.")
    parser.add_argument("--way", choices=WAYS, default="workers")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--drivers", type=int, default=2)
    parser.add_argument("--rows", type=Path, help="CSV to which the row is added")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="preimage-crowd-") as folder:
        found = undergo(Path(folder), asked.way, asked.count, asked.kills, asked.drivers)
    row = {each.name: getattr(found, each.name) for each in fields(found) if each.name != "faults"}
    row["seconds"] = round(found.seconds)
    print(json.dumps(row), *found.faults, sep="\n")
    if asked.rows is not None:
        append_rows(asked.rows, [row])
    return int(not found.withstood)


def undergo(folder: Path, way: str, count: int, kills: int, drivers: int, seed: int = 0) -> Ordeal:
    """The pictures in a new folder, with kills at random moments, until the same command finds nothing left to do."""
    draw(folder / "in", count)
    out, found = folder / "out", Ordeal(way, count)
    full = folder / "full"
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(FULL_DISK)
    places = os.pathsep.join(filter(None, [str(folder / "site"), os.environ.get("PYTHONPATH", "")]))
    environment = dict(os.environ, OMP_NUM_THREADS="1", RAY_USAGE_STATS_ENABLED="0", PYTHONPATH=places)
    environment["RAY_worker_niceness"] = "0"  # else 15: beside other work of the machine they would hardly move
    environment |= {"PREIMAGE_FULL": str(full), "PREIMAGE_OUT": str(out)}
    begun = time.monotonic()
    with cluster(way, environment):
        trouble = Trouble(random.Random(seed), folder, way, found, kills, drivers, full)
        while True:
            found.commands += 1
            commands = started(folder, way, environment)
            trouble.make(commands)
            codes = [each.wait() for each in commands]
            if found.commands > 30:
                found.faults.append(
                    f"not done after 30 commands, whose exit codes are {codes}: {unsettled(out, folder)}"
                )
                break
            if not trouble.left and all(code in (0, 2) for code in codes) and settled(out, count):
                break
    found.seconds = time.monotonic() - begun
    judge(folder, out, found)
    return found


def draw(folder: Path, count: int) -> None:
    """Small pictures, and one that takes long enough to be caught at it."""
    folder.mkdir()
    for k in range(count):
        rng = np.random.default_rng(k)
        path, side = (folder / POISON, POISON_SIDE) if k == count // 2 else (folder / f"{k}.png", SIDE)
        Image.fromarray(rng.normal(128, 40, (side, side)).clip(0, 255).astype(np.uint8)).save(path)


def command(out: str = "out") -> list[str]:
    fit = [
        "--steps",
        str(STEPS),
        "--stop",
        "steps",
        "--sigma",
        "25",
        "--seed",
        "0",
        "--threads",
        "1",
        "--device",
        "cpu",
    ]
    return [sys.executable, "-m", "preimage", "denoise", "in", "-o", out, *fit, "--report", "done.jsonl"]


def started(folder: Path, way: str, environment: dict[str, str]) -> list[subprocess.Popen[bytes]]:
    """The command, or one for each share."""
    own = {"ray": [["--ray", f"127.0.0.1:{PORT}"]], "workers": [["--workers", "2"]]}
    own["shards"] = [["--shard", "1/2"], ["--shard", "2/2"]]
    with (folder / "said").open("ab") as said:
        return [
            subprocess.Popen([*command(), *each], cwd=folder, env=environment, stdout=said, stderr=said)
            for each in own[way]
        ]


@contextmanager
def cluster(way: str, environment: dict[str, str]) -> Iterator[None]:
    """A local Ray with two slots, if that is the way."""
    if way != "ray":
        yield
        return
    with (Path(tempfile.gettempdir()) / f"preimage-ray-{PORT}.lock").open("a") as turn:  # tests run side by side
        lock(turn, wait=True)
        with _ray(environment):
            yield


@contextmanager
def _ray(environment: dict[str, str]) -> Iterator[None]:
    temporary = tempfile.mkdtemp(prefix="r", dir="/tmp")  # the paths of its sockets must be short
    start = ["start", "--head", "--port", str(PORT), "--num-cpus", "2", "--include-dashboard", "false"]
    start += ["--node-ip-address", "127.0.0.1", "--temp-dir", temporary, "--object-store-memory", str(10**8)]
    ray = [sys.executable, "-m", "ray.scripts.scripts"]
    subprocess.run([*ray, *start, "--disable-usage-stats"], env=environment, check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run([*ray, "stop", "--force"], env=environment, capture_output=True)
        shutil.rmtree(temporary, ignore_errors=True)


class Trouble:
    """Kills workers by the leases they hold, and commands; fills the disk once; whoever takes the poison dies."""

    def __init__(
        self, rng: random.Random, folder: Path, way: str, found: Ordeal, kills: int, drivers: int, full: Path
    ) -> None:
        self._rng, self._folder, self._way, self._found, self._full = rng, folder, way, found, full
        self._poisoned = 0
        self._killed: Counter[str] = Counter()
        # At which number of pictures done each happens: evenly over the run, so that none falls behind its end.
        most = max(1, found.count * 8 // 10)
        moments = [("kill", rng.randrange(1, most)) for _ in range(kills)]
        moments += [("driver", most * (k + 1) // (drivers + 1)) for k in range(drivers)] + [("full", most // 3)]
        self._moments = sorted(moments, key=lambda each: each[1])

    @property
    def left(self) -> bool:
        return bool(self._moments)

    def make(self, commands: list[subprocess.Popen[bytes]]) -> None:
        """Until these commands have ended."""
        hidden = self._folder / "out" / ".preimage"
        until = None
        while any(each.poll() is None for each in commands):
            leases = list(hidden.glob("*.lease.*")) if hidden.exists() else []
            for lease in leases:
                if lease.name.startswith("poison") and self._is_at_work(hidden) and self._kill(lease):
                    self._poisoned += 1
            if until is not None and time.monotonic() > until:
                self._full.unlink()
                until = None
            done = len(list((self._folder / "out").glob("*.png"))) if hidden.exists() else 0
            while self._moments and self._moments[0][1] <= done:
                what, _ = self._moments[0]
                if what == "full" and until is None:
                    self._full.touch()
                    self._found.full += 1
                    until = time.monotonic() + 1.0
                elif what == "driver":
                    for each in commands:
                        each.kill()
                    self._found.drivers += 1
                elif what == "kill":
                    # One that has ended its process three times is set aside, as it should be: here once, for a command that is
                    # killed counts as well, and so does the next picture of a process that had just done with this one.
                    others = [each for each in leases if not self._killed[each.name.partition(".png")[0]]]
                    others = [each for each in others if not each.name.startswith("poison")]
                    chosen = self._rng.choice(others) if others else None
                    if chosen is None or not self._kill(chosen):
                        break
                    self._killed[chosen.name.partition(".png")[0]] += 1
                    self._found.kills += 1
                self._moments.pop(0)
            time.sleep(0.01)
        self._full.unlink(missing_ok=True)

    def _is_at_work(self, hidden: Path) -> bool:
        """Whether the poison's record says that this attempt has begun: whoever reads the picture dies, not who looks for it."""
        try:
            record = json.loads((hidden / f"{POISON}.denoise.json").read_text())
        except (OSError, ValueError):
            return False
        return record["state"] == "started" and record["attempts"] == self._poisoned + 1

    def _kill(self, lease: Path) -> bool:
        try:
            os.kill(json.loads(lease.read_text())["pid"], signal.SIGKILL)
        except (OSError, ValueError, KeyError):
            return False
        return True


def settled(out: Path, count: int) -> bool:
    """Whether every picture has a record that says it is done, or set aside."""
    states = [json.loads(path.read_text())["state"] for path in (out / ".preimage").glob("*.json")]
    return len(states) == count and set(states) <= {"done", "failed"} and states.count("failed") == 1


def unsettled(out: Path, folder: Path) -> str:
    """What keeps it from being settled: the records that are neither done nor the poison's, and what was said last."""
    records = {path.name: path.read_text() for path in (out / ".preimage").glob("*.json")}
    open_ = [text for name, text in records.items() if json.loads(text)["state"] != "done" and POISON not in name]
    said = (folder / "said").read_text(errors="replace").splitlines()
    return f"{len(records)} records, open {open_[:3]}; {' / '.join(said[-8:])}"


def judge(folder: Path, out: Path, found: Ordeal) -> None:
    """Look at the files, and do every picture again in one process that nobody disturbs."""
    subprocess.run(command("alone"), cwd=folder, env=dict(os.environ, OMP_NUM_THREADS="1"), capture_output=True)
    lines = [json.loads(line) for line in (folder / "done.jsonl").read_text().splitlines()]
    done = [Path(line["input"]).name for line in lines if line["state"] == "done" and "out/" in line["output"]]
    found.twice = len(done) - len(set(done))
    aside = sorted(out.glob("*.failed.json"))
    found.aside = len(aside)
    found.faults += [f"{path.name}: {path.read_text()}" for path in aside if not path.name.startswith("poison")]
    for path in (folder / "in").iterdir():
        result, alone = (folder / place / f"{path.stem}-denoise.png" for place in ("out", "alone"))
        if path.name == POISON:
            continue
        if not result.exists():
            found.lost += 1
        elif not is_whole(result):
            found.torn += 1
        elif result.read_bytes() != alone.read_bytes():
            found.different += 1
    strange = [path.name for path in out.rglob("*") if re.search(r"lease|partial|checkpoint|\.tmp", path.name)]
    found.faults += [f"left behind: {', '.join(sorted(strange)[:5])}"] if strange else []
    said = (folder / "said").read_text(errors="replace")
    found.faults += ["a traceback was printed"] if "Traceback" in said else []


def is_whole(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, SyntaxError, ValueError):
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
