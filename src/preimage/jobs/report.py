"""The report of a job: as plain data for programs, as lines for people; and what looks on at a restoration and writes it."""

from __future__ import annotations

import hashlib
import json
import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from preimage.engine.result import Result
from preimage.errors import InputError
from preimage.figures.restoration import display_range
from preimage.images import Picture, read, write_bytes_atomically, write_float_tiff
from preimage.images.files import read_text
from preimage.jobs.job import Job, sha256_of
from preimage.jobs.places import Places
from preimage.metrics import psnr, ssim
from preimage.observe import Curves, Film, OraclePeak
from preimage.series.parts import resized
from preimage.version import __version__

if TYPE_CHECKING:
    from preimage.jobs.run import Running

Report = dict[str, Any]


class Watched:
    """The observers of a restoration, and what the user gets of its result.

    Args:
        picture: the input.
        reference: the ground truth, (b, c, h, w) in the input's 0 to 1, or None.
        strength: the fraction of the result that is returned, the rest being the input.
        film_every: steps between two frames of the film; None: no film.
    """

    def __init__(
        self, picture: Picture, reference: torch.Tensor | None, *, strength: float, film_every: int | None
    ) -> None:
        self.picture = picture
        self.reference = reference
        self.strength = strength
        self.curves: Curves = Curves()
        display = display_range(picture)
        self.film: Film | None = None if film_every is None else Film(film_every, display=display, shown=picture.shown)
        self.oracle: OraclePeak | None = None
        if reference is not None:
            blended = picture.tensor if strength != 1 else None
            self.oracle = OraclePeak(reference, strength=strength, input=blended)

    @property
    def observers(self) -> dict[str, Any]:
        """By the names under which a checkpoint holds them."""
        named = {"curves": self.curves, "film": self.film, "oracle": self.oracle}
        return {name: observer for name, observer in named.items() if observer is not None}

    def returned(self, image: torch.Tensor) -> torch.Tensor:
        """What the user gets for a result of the fit, (b, c, h, w)."""
        return image if self.strength == 1 else torch.lerp(self.picture.tensor, image, self.strength)

    def write(self, name: str, result: Result, path: Path, *, overwrite: bool) -> None:
        """Write one output of the restoration, whole or not at all."""
        picture = result.picture or self.picture  # the task may have changed its alpha or channels
        image = self.returned(result.image)
        if name == "output":
            picture.write(image, path, overwrite=overwrite)
        elif name == "figure":
            from preimage.figures.restoration import restoration_figure, save_figure

            curves = {"scores": self.curves.score, "psnrs": [] if self.oracle is None else self.oracle.curve}
            figure = restoration_figure(result, image=image, reference=self.reference, **curves)
            save_figure(figure, path, overwrite=overwrite)
        elif name == "uncertainty" and result.uncertainty is not None:
            low, high = picture.units()
            write_float_tiff(result.uncertainty * (high - low), path, overwrite=overwrite)
        elif name == "film" and self.film is not None:
            self.film.save(path, image[0], overwrite=overwrite)

    def note(self, run: Any, step: Any) -> None:
        """Raise InputError if the result will not have the size of the reference, or of the input it is blended with."""
        del run
        shape, given = step.picture.shape, self.picture.tensor.shape
        if self.reference is not None and self.reference.shape != shape:
            raise InputError(
                f"the reference is {size_of(self.reference.shape)}, the result {size_of(shape)}", code="size"
            )
        if self.strength != 1 and given != shape:
            raise InputError(
                f"--strength needs a result of the input's size: {size_of(given)} became {size_of(shape)}", code="size"
            )


def make_report(running: Running, result: Any) -> Report:
    """What was done, with what, and how well: plain data. Sizes are (height, width)."""
    job, places = running.job, running.places
    output = None if places.output is None else str(places.output)
    report: Report = {"task": job.task, "input": job.input, "output": output}
    if isinstance(result, Result):
        report |= _of_fit(running, result)
    report["remarks"] = list(running.remarks)
    report["warnings"] = list(running.warnings)
    report["seconds"] = round(running.setup + getattr(result, "seconds", 0.0), 3)
    report["threads"] = torch.get_num_threads()
    if running.spec.report is not None:
        report |= running.spec.report(result)
    if running.watched is not None and places.output is not None:
        report |= _quality(running.watched, places.output)
    return _finite(report)


def _of_fit(running: Running, result: Result) -> Report:
    report: Report = {
        "size": list(result.image.shape[2:]),
        "channels": result.image.shape[1],
        "pages": result.image.shape[0],
        "recipe": result.recipe.describe(),
        "recipe_name": running.job.options.get("recipe", "fast"),
        "seed": result.seed,
        "device": result.device,
        "precision": result.precision,
        "steps": result.steps,
        "kept_step": statistics.median_low(result.kept_step),
        "kept_steps": result.kept_step,
        "reason": result.reason,
        "reason_code": result.reason_code,
        "peak_memory_bytes": peak_memory(result.device),
        "events": list(result.history.events),
    }
    tiles = getattr(running.run, "described", None)
    return report if tiles is None else report | {"tiles": tiles()}


def _quality(watched: Watched, output: Path) -> Report:
    """Of the image as it lies on the disk, rounded and, as JPEG, compressed; nothing without a reference."""
    reference, picture, oracle = watched.reference, watched.picture, watched.oracle
    if reference is None or oracle is None:
        return {}
    again = read(output, page="all" if reference.shape[0] > 1 else None, missing=picture.missing is not None)
    written = known_alike(in_range_of(again, picture), reference, picture)
    best, step = oracle.peak or (math.nan, 0)
    quality = {
        "psnr": float(psnr(written, reference).mean()),
        "ssim": float(ssim(written, reference).mean()),
        "peak_psnr": best,
        "peak_step": step,
    }
    if picture.tensor.shape == reference.shape:
        quality["input_psnr"] = float(psnr(picture.tensor, reference).mean())
        quality["input_ssim"] = float(ssim(picture.tensor, reference).mean())
    return quality


def in_range_of(other: Picture, picture: Picture) -> torch.Tensor:
    """The values of another file in the 0 to 1 of this one, whatever range the other was read with."""
    if other.units() == picture.units():
        return other.tensor
    (low, high), (own_low, own_high) = other.units(), picture.units()
    return ((low - own_low + other.tensor.double() * (high - low)) / (own_high - own_low)).float()


def known_alike(image: torch.Tensor, other: torch.Tensor, picture: Picture) -> torch.Tensor:
    """The image with another's values where the picture's are missing, so that these count in no comparison."""
    if picture.missing is None or image.shape[:2] != picture.tensor.shape[:2]:
        return image
    size = (image.shape[-2], image.shape[-1])
    missing = functional.interpolate(picture.missing.float(), size=size, mode="nearest") > 0
    return torch.where(missing, resized(other, size), image)


def read_reference(path: Path, picture: Picture, page: Any) -> torch.Tensor:
    """The ground truth in the input's 0 to 1.

    Raises:
        InputError: a file of another kind of values, whose scale cannot be known.
    """
    missing = picture.missing is not None
    reference = read(path, page=page, salvage=None, missing=missing)  # gray that was made up is no ground truth
    if reference.dtype != picture.dtype and not reference.dtype.kind == picture.dtype.kind == "f":
        kinds = f"{reference.dtype} and the input {picture.dtype}"
        raise InputError(f"the reference {path} holds {kinds}: convert one of them", code="type")
    return known_alike(in_range_of(reference, picture), picture.tensor, picture)


def peak_memory(device: str) -> int:
    """The most memory in bytes that this process has held so far, on the GPU if that is where the fit was."""
    if device.startswith("cuda"):
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return int(getattr(psutil.Process().memory_info(), "peak_wset", 0))
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(largest if sys.platform == "darwin" else largest * 1024)


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: the PSNR of equal images is null."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_json(report: Report | list[Report]) -> str:
    """One report, or those of several inputs."""
    return json.dumps(report, indent=2, allow_nan=False)


def write_report(report: Report | list[Report], path: Path, *, overwrite: bool) -> None:
    """The report of one job, or those so far of several, whole or not at all."""
    write_bytes_atomically(path, f"{as_json(report)}\n".encode(), overwrite=overwrite)


def reports_in(path: Path | None) -> list[Report]:
    """What earlier commands left in a report: of one input or of several; nothing if it is no report."""
    try:
        content = None if path is None else json.loads(read_text(path))
    except (InputError, ValueError, RecursionError):
        return []
    return [each for each in (content if isinstance(content, list) else [content]) if isinstance(each, dict)]


def hashes_of(job: Job, places: Places) -> dict[str, str] | None:
    """What tells that files are this job's: the hash of its options and of the contents that it reads, and that of each file.

    None for a job that is no plain data or reads a folder.
    """
    same = replace(job, run=replace(job.run, overwrite=False, resume=False, autosave=None))
    try:
        content = "\n".join([__version__, same.to_json(), *map(sha256_of, places.read)])
    except InputError:
        return None
    return {"job": hashlib.sha256(content.encode()).hexdigest()} | {n: sha256_of(p) for n, p in places.written.items()}


def report_of_done(job: Job, places: Places, reports: Sequence[Report]) -> Report | None:
    """The report of this very job among some, if all its files are there as it left them; empty if none tells of them.

    Raises:
        InputError: files to go on from that another job made, or one that was interrupted.
    """
    if job.run.overwrite or not all(each.is_file() for each in places.written.values()):
        return None
    output = None if places.output is None else str(places.output)
    report = next((each for each in reports if each.get("output") == output), None)
    known = None if report is None else report.get("sha256")
    if report is not None and known is not None and known == hashes_of(job, places):
        return report
    if not places.is_there:
        return None
    if report is None or (known is None and report.get("reason_code") != "interrupted"):
        return {}
    what = "is of a fit that was interrupted" if known is None else "was made of another input or with other options"
    raise InputError(f"{output} {what}, and no checkpoint is left: start anew with --overwrite", code="exists")


def report_lines(running: Running, result: Any, report: Report) -> tuple[str, ...]:
    """What a person wants to know, the reason and the path first."""
    source, output = report["input"], report["output"]
    lines = [" -> ".join(each for each in (source, output) if each)] if source or output else []
    if isinstance(result, Result):
        lines += [f"  {line}" for line in (result.reason, *result.history.events)]
    if running.spec.summary_lines is not None:
        lines += [f"  {line}" for line in running.spec.summary_lines(result)]
    if isinstance(result, Result):
        lines.append(f"  {result.steps} steps in {report['seconds']:.1f} s ({result.device}, {result.precision})")
    lines += [f"  {name}: {path}" for name, path in running.places.written.items() if name != "output"]
    if "psnr" in report and "peak_psnr" in report:
        lines.append(f"  {'':36}{'PSNR, dB':>10}{'SSIM':>10}{'step':>8}")
        if "input_psnr" in report:
            lines.append(_row("input", report["input_psnr"], report["input_ssim"], ""))
        lines.append(_row("restored", report["psnr"], report["ssim"], str(report["kept_step"])))
        lines.append(_row("oracle peak (knows the reference)", report["peak_psnr"], "", str(report["peak_step"])))
    return tuple(lines)


def _row(name: str, value: float | None, similarity: float | str | None, step: str) -> str:
    shown = "infinite" if value is None else f"{value:.2f}"
    alike = similarity if isinstance(similarity, str) else "" if similarity is None else f"{similarity:.4f}"
    return f"  {name:36}{shown:>10}{alike:>10}{step:>8}"


def size_of(shape: Sequence[int]) -> str:
    """(b, c, h, w) for a message: "640 x 480 pixels, 3 channels, 12 pages"."""
    pages, channels, height, width = shape
    return f"{width} x {height} pixels, {channels} channels" + (f", {pages} pages" if pages > 1 else "")
