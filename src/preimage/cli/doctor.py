"""`preimage doctor`: what is installed, what works here and what is missing, as a report for an issue."""

from __future__ import annotations

import json as plain
from typing import Annotated

from cyclopts import Parameter


def doctor(*, json: Annotated[bool, Parameter(help="Print JSON.")] = False) -> int:
    """Print versions, devices (with a fit of two seconds on each), extras, folders, threads: a report for an issue.

    No path and no name of the user or the machine is in it. Exit code 2 if a fit fails on a device.
    """
    from preimage.cli.streams import say
    from preimage.doctor import examine, is_well

    found = examine()
    if json:
        print(plain.dumps(found, indent=2), flush=True)
    width = max(len(name) for lines in found.values() for name in lines)
    for part, lines in () if json else found.items():
        say(part, stream="stdout")
        for name, said in lines.items():
            say(f"  {name:<{width}}  {said}", stream="stdout")
    return 0 if is_well(found) else 2
