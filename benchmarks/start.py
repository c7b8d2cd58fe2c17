"""How long the command line takes to start, and what it imports: `python -m benchmarks.start`.

Processor time of a whole process, the least of several, and its ratio to that of `python -c pass`: of a machine that is busy the
ratio holds, seconds do not.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

CALLS = {
    "python -c pass": ("-c", "pass"),
    "import preimage": ("-c", "import preimage"),
    "preimage --help": ("-m", "preimage", "--help"),
    "preimage denoise --help": ("-m", "preimage", "denoise", "--help"),
}
RUNS = 9


def processor_seconds(call: tuple[str, ...], runs: int = RUNS) -> float:
    """User and system time of a process, the least of some runs; on Windows, which does not count that of children, all time."""
    least = float("inf")
    for _ in range(runs):
        before = _spent()
        subprocess.run([sys.executable, *call], check=True, stdout=subprocess.DEVNULL)
        least = min(least, _spent() - before)
    return least


def _spent() -> float:
    times = os.times()
    return time.perf_counter() if os.name == "nt" else times.children_user + times.children_system


def main() -> None:
    found = {name: processor_seconds(call) for name, call in CALLS.items()}
    empty = found["python -c pass"]
    print("| process | processor seconds | of python -c pass |\n|---|---|---|")
    for name, seconds in found.items():
        print(f"| `{name}` | {seconds:.3f} | {seconds / empty:.1f} |")


if __name__ == "__main__":
    main()
