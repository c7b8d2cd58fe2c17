"""The report of one restoration: as JSON for programs, as a few lines for people."""

from __future__ import annotations

import json
import math
import statistics
import sys
from pathlib import Path
from typing import Any

import torch

from preimage.cli.places import Places
from preimage.cli.watched import Watched
from preimage.engine.result import Result
from preimage.errors import InputError
from preimage.images import Picture, read, write_bytes_atomically
from preimage.metrics import psnr, ssim
from preimage.series.tiles import Tiles

Report = dict[str, Any]


def make_report(result: Result, watched: Watched, places: Places, *, recipe: str, seconds: float) -> Report:
    """What was done, with what, and how well: plain data. Sizes are (height, width).

    kept_step is the middle one where several fits are averaged, kept_steps has each.
    """
    pages, channels, height, width = result.image.shape
    report: Report = {
        "task": result.task,
        "input": str(places.input),
        "output": str(places.output),
        "size": [height, width],
        "channels": channels,
        "pages": pages,
        "recipe": result.recipe.describe(),
        "recipe_name": recipe,
        "seed": result.seed,
        "device": result.device,
        "precision": result.precision,
        "threads": result.threads,
        "steps": result.steps,
        "kept_step": statistics.median_low(result.kept_step),
        "kept_steps": result.kept_step,
        "reason": result.reason,
        "seconds": round(seconds, 3),
        "peak_memory_bytes": peak_memory(result.device),
        "remarks": list(result.remarks),
        "events": list(result.history.events),
    }
    if isinstance(watched.run_inside, Tiles):
        report["tiles"] = watched.run_inside.described()
    if watched.reference is not None:
        report |= _quality(watched, places.output)
    return report


def _quality(watched: Watched, output: Path) -> Report:
    """Of the picture as it lies on the disk, rounded and, as JPEG, compressed."""
    reference, picture = watched.reference, watched.picture
    assert reference is not None
    written = in_range_of(read(output, page="all" if reference.shape[0] > 1 else None), picture)
    best, step = watched.peak or (math.nan, 0)
    quality = {
        "psnr": float(psnr(written, reference).mean()),
        "ssim": float(ssim(written, reference).mean()),
        "peak_psnr": best,
        "peak_step": step,
    }
    if picture.tensor.shape == reference.shape:
        quality["input_psnr"] = float(psnr(picture.tensor, reference).mean())
        quality["input_ssim"] = float(ssim(picture.tensor, reference).mean())
    # JSON knows no infinity: the PSNR of equal pictures is null.
    return {name: value if math.isfinite(value) else None for name, value in quality.items()}


def in_range_of(other: Picture, picture: Picture) -> torch.Tensor:
    """The values of another file in the 0..1 of this one, whatever range the other was read with."""
    (low, high), (own_low, own_high) = other.units(), picture.units()
    if (low, high) == (own_low, own_high):
        return other.tensor
    return ((low - own_low + other.tensor.double() * (high - low)) / (own_high - own_low)).float()


def read_reference(path: Path, picture: Picture, page: Any) -> torch.Tensor:
    """The truth in the input's 0..1.

    Raises:
        InputError: a file of another kind of values, whose scale cannot be known.
    """
    reference = read(path, page=page)
    one_kind = reference.dtype == picture.dtype or reference.dtype.kind == picture.dtype.kind == "f"
    if not one_kind:
        raise InputError(
            f"the reference {path} holds {reference.dtype} and the input {picture.dtype}: convert one of them"
        )
    return in_range_of(reference, picture)


def peak_memory(device: str) -> int:
    """The most memory in bytes this process has held so far, on the GPU if that is where the fit was."""
    if device.startswith("cuda"):
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return int(getattr(psutil.Process().memory_info(), "peak_wset", 0))
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(largest if sys.platform == "darwin" else largest * 1024)


def as_json(reports: list[Report], *, several: bool) -> str:
    """One report, or a list of them where there were several inputs."""
    return json.dumps(reports if several else reports[0], indent=2, allow_nan=False)


def write_reports(reports: list[Report], path: Path, *, several: bool) -> None:
    """Called after each picture, so that what is done is there whatever happens to the next."""
    write_bytes_atomically(path, f"{as_json(reports, several=several)}\n".encode(), overwrite=True)


def earlier_reports(path: Path) -> list[Report]:
    """What an interrupted command of several inputs left in its report."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [each for each in content if isinstance(each, dict)] if isinstance(content, list) else []


def print_summary(report: Report, written: dict[str, Path], file: Any) -> None:
    """What a person wants to know, the reason and the path first."""
    from rich.console import Console
    from rich.table import Table

    console = Console(file=file, highlight=False, markup=False, soft_wrap=True, emoji=False)
    console.print(f"{report['input']} -> {report['output']}")
    for line in (report["reason"], *report["events"]):
        console.print(f"  {line}")
    precision = f"{report['device']}, {report['precision']}"
    console.print(f"  {report['steps']} steps in {report['seconds']:.1f} s ({precision})")
    for option, path in written.items():
        if option != "--output":
            console.print(f"  {option.removeprefix('--')}: {path}")
    if "psnr" not in report:
        return
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for heading in ("", "PSNR, dB", "SSIM", "step"):
        table.add_column(heading, justify="left" if not heading else "right")
    if "input_psnr" in report:
        table.add_row("  as given", _number(report["input_psnr"], 2), _number(report["input_ssim"], 4), "")
    table.add_row("  restored", _number(report["psnr"], 2), _number(report["ssim"], 4), str(report["kept_step"]))
    table.add_row(
        "  best step (seen with the reference)", _number(report["peak_psnr"], 2), "", str(report["peak_step"])
    )
    console.print(table)


def _number(value: float | None, digits: int) -> str:
    return "infinite" if value is None else f"{value:.{digits}f}"
