"""What an explaining command leaves behind: pictures, what lies beside them, a report for programs, a few lines for people."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from preimage.explain.explanation import Counterfactual, Explanation
    from preimage.images import Picture


def report_of(found: Explanation, source: Path | None, output: Path, setup: float) -> dict[str, Any]:
    """What was done, with what, and how well: plain data. Sizes are (height, width)."""
    from preimage.cli.report import peak_memory

    return {
        "task": found.task,
        "input": None if source is None else str(source),
        "output": str(output),
        "size": list(found.image.shape[-2:]),
        **found.numbers,
        "reason": found.reason,
        "steps": found.steps,
        "kept_step": found.kept_step[0],
        "seconds": round(setup + found.seconds, 3),
        "recipe": found.recipe.describe(),
        "seed": found.seed,
        "device": found.device,
        "precision": found.precision,
        "threads": found.threads,
        "peak_memory_bytes": peak_memory(found.device),
        "remarks": list(found.remarks),
        "events": list(found.history.events),
    }


def write_files(
    found: Explanation,
    picture: Picture | None,
    output: Path,
    beside: dict[str, Path],
    report: dict[str, Any],
    *,
    replace: bool,
) -> None:
    """The picture, further ones as OUTPUT-2 and so on, and what the options of `beside` ask for."""
    from preimage.explain.explanation import write_images
    from preimage.figures.explanation import save_explanation_figure, save_strip_figure
    from preimage.figures.page import save_page
    from preimage.images import as_picture, write_bytes_atomically

    write_images(
        dataclasses.replace(found, picture=picture or as_picture(found.image.clamp(0, 1))), output, overwrite=replace
    )
    for option, path in beside.items():
        if option == "--figure":
            save_explanation_figure(found, path, overwrite=replace)
        elif option == "--strengths":
            save_strip_figure(cast("Counterfactual", found), path, overwrite=replace)
        elif option == "--html":
            save_page(found, path, overwrite=replace)
        elif option == "--report":
            content = json.dumps(_finite(report), indent=2, allow_nan=False)
            write_bytes_atomically(path, f"{content}\n".encode(), overwrite=replace)


def _finite(value: Any) -> Any:
    """JSON knows no NaN and no infinity."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not abs(value) < float("inf") else value


def say(found: Explanation, report: dict[str, Any], *, as_json: bool, quiet: bool) -> None:
    """The verdict first, then the numbers."""
    from preimage.cli.failures import closed_pipe_is_no_failure
    from preimage.explain.options import summary_lines

    with closed_pipe_is_no_failure():
        if as_json:
            print(json.dumps(_finite(report), indent=2, allow_nan=False))
        if quiet:
            return
        place = sys.stderr if as_json else sys.stdout
        if report["input"]:
            print(f"{report['input']} -> {report['output']}", file=place)
        else:
            print(f"-> {report['output']}", file=place)
        for line in (found.reason, *found.history.events):
            print(f"  {line}", file=place)
        for line in summary_lines(found):
            print(f"  {line}", file=place)
        print(f"  {found.steps} steps in {report['seconds']:.1f} s ({found.device}, {found.precision})", file=place)
