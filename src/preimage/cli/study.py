"""`preimage study NAME`: regenerate a table or figure of the documentation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from preimage.errors import InputError


def study(
    name: Annotated[str | None, Parameter(name="NAME", help="Which study; without it they are listed.")] = None,
    /,
    *,
    scale: Annotated[
        Literal["smoke", "small", "paper"],
        Parameter(
            help="smoke: seconds, to see that it works; small: at most two hours on two cores; paper: all of it."
        ),
    ] = "small",
    data: Annotated[Path | None, Parameter(help="Folder of the real pictures; PREIMAGE_DATA if not given.")] = None,
    output: Annotated[
        Path | None,
        Parameter(help="Folder for results, docs or else out if not given; what it holds is not computed again."),
    ] = None,
    worker: Annotated[
        str,
        Parameter(
            help="1/4, 2/4, ...: this process does that share of the rows, for the studies that can be shared; run it once more "
            "without when all are there."
        ),
    ] = "1/1",
) -> int:
    """Run one study, or list all of them."""
    from preimage.studies import STUDIES, run_study

    if name is None:
        width = max(map(len, STUDIES), default=0)
        for each, summary in STUDIES.items():
            print(f"{each:<{width}}  {summary}")
        return 0
    if output is not None:
        _check_folder(output)
    print(run_study(name, scale=scale, data=data, output=output, worker=_share(worker)))
    return 0


def _check_folder(output: Path) -> None:
    """Raise InputError for a folder that cannot be, since a file has that name or one above it."""
    there = next((place for place in (output, *output.parents) if place.exists()), None)
    if there is not None and not there.is_dir():
        raise InputError(f"--output {output} is a folder of results, and {there} is a file: give another name")


def _share(worker: str) -> tuple[int, int]:
    """ "2/4" -> (1, 4)."""
    number, _, workers = worker.partition("/")
    if not (number.isdigit() and workers.isdigit() and 1 <= int(number) <= int(workers)):
        raise InputError(f"--worker must be K/N with K from 1 to N, as 1/4, got {worker!r}")
    return int(number) - 1, int(workers)
