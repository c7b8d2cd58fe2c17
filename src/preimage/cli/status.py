"""`preimage status OUT`: how a run over many pictures stands, from its files alone, whoever works on it and wherever."""

from __future__ import annotations

import json as plain
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from preimage.cli.failures import about
from preimage.cli.streams import say
from preimage.folders.results import Standings, standings_in

MOST_NAMED = 20  # of the pictures that failed or are worked on
WORDS = {
    "done": "done",
    "running": "running",
    "interrupted": "interrupted: the same command goes on with them",
    "left": "left by a process that died: the same command takes them again",
    "failed": "failed: --retry-failed tries them again",
}


def status(
    output: Annotated[Path, Parameter(name="OUTPUT", help="Output folder of a command over many images.")],
    /,
    *,
    json: Annotated[bool, Parameter(help="Print JSON.")] = False,
) -> int:
    """Print how many images of an output folder are done, running and failed, from its files alone."""
    found = standings_in(output)
    if json:
        print(_as_json(found), flush=True)
    for line in () if json else _lines(found):
        say(line, stream="stdout")
    return 2 if found.counts["failed"] else 0


def _as_json(found: Standings) -> str:
    failed = [{"image": name, "error": error} for name, error in found.failed]
    return plain.dumps({"counts": dict(found.counts), "failed": failed, "running": found.running}, indent=2)


def _lines(found: Standings) -> list[str]:
    lines = [f"{found.counts[state]:7} {words}" for state, words in WORDS.items() if found.counts[state]]
    if found.a_minute:
        lines.append(f"{found.a_minute:7.1f} a minute, over the last {found.minutes:.0f} minutes")
    named = [f"  running: {name}" for name in found.running[:MOST_NAMED]]
    named += [f"  failed: {about(name, error)}" for name, error in found.failed[:MOST_NAMED]]
    more = max(0, len(found.failed) - MOST_NAMED)
    return [*(lines or ["nothing has been begun"]), *named, *([f"  and {more} more"] if more else [])]
