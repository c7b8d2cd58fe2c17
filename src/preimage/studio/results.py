"""The results of a job as the page looks at them, and a blend of one with its input, without a new fit.

shown = input + strength * (result - input)         the same as --strength writes
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from preimage.errors import InputError
from preimage.images import Picture
from preimage.jobs.job import Job, restores
from preimage.jobs.places import places_of
from preimage.jobs.reading import middle_of, read_input
from preimage.jobs.run import Running, as_written, threads_of
from preimage.series.frames import Frames
from preimage.series.parts import together
from preimage.studio import looks
from preimage.studio.looks import Region
from preimage.studio.seen import Kept

RESULT = "result.npy"
BINS = 64


@dataclass(frozen=True, eq=False)
class Units:
    """Input and result of a restoration in 0 to 1 of the input, (b, c, h, w), and the file values that these are."""

    picture: Picture
    result: NDArray[np.float32]

    @property
    def nbytes(self) -> int:
        return self.picture.tensor.nbytes

    @property
    def before(self) -> NDArray[np.float32]:
        return self.picture.tensor.numpy()

    @cached_property
    def window(self) -> tuple[float, float]:
        """The file values that are black and white of the input."""
        low, high = self.picture.units()
        values = np.moveaxis(self.before[0], 0, 2)
        if self.picture.dtype == np.uint8 and (low, high) == (0.0, 255.0):
            return low, high
        first, last = looks.window_of(values)
        return low + first * (high - low), low + last * (high - low)

    def blended(self, page: int, region: Region, strength: float) -> NDArray[np.float32]:
        """A region of a blend as file values, (h, w, c)."""
        after = region.cut(np.moveaxis(self.result[page], 0, 2))
        if strength != 1:
            before = region.cut(np.moveaxis(self.before[page], 0, 2))
            after = before + np.float32(strength) * (after - before)
        return self.in_file(after)

    def in_file(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """0 to 1 as file values."""
        low, high = self.picture.units()
        return np.float32(low) + values * np.float32(high - low)

    def check_size(self) -> None:
        """Raise InputError unless result and input have one shape."""
        if self.before.shape != self.result.shape:
            raise InputError(
                "the result has another size than the input, and cannot be blended or subtracted", code="size"
            )


def units_of(folder: Path, kept: Kept) -> Units:
    """Input and result of a restoration that has ended.

    Raises:
        InputError: no result, or one of a task that restores nothing.
    """
    path = folder / RESULT
    if not path.is_file():
        raise InputError("there is no result to look at", code="not-found")

    def made() -> Units:
        job = job_in(folder)
        if not restores(job.spec):
            raise InputError(f"{job.task} has nothing to blend", code="option")
        whole = read_input(job, replace_places(job))
        assert whole is not None
        picture = middle_of(whole) if job.run.preview else whole
        return Units(picture, np.load(path, mmap_mode="r", allow_pickle=False))

    return kept.get((str(path), path.stat().st_mtime_ns), made, lambda units: units.nbytes)


def job_in(folder: Path) -> Job:
    """The job of a folder."""
    return Job.from_json((folder / "job.json").read_text(encoding="utf-8"))


def replace_places(job: Job) -> Any:
    """The places of a job whose results are there."""
    return places_of(replace(job, run=replace(job.run, overwrite=True)))


def view(folder: Path, what: str, query: dict[str, Any], kept: Kept) -> bytes:
    """A view of a job as PNG: input, output, difference, uncertainty, saliency, or another image that it has written."""
    region, page = Region.of(query), number(query, "page", 1) - 1
    low, high, strength = (real(query, name) for name in ("low", "high", "strength"))
    job = job_in(folder)
    fixed = job.run.page if isinstance(job.run.page, int) else None
    if what == "input":
        if job.input is None:
            raise InputError("there is no input", code="not-found")
        if job.run.preview and (folder / RESULT).is_file():
            units = units_of(folder, kept)
            image = units.in_file(region.cut(np.moveaxis(units.before[0], 0, 2)))
            return looks.png(looks.colored(looks.shrunk(image, region.out), _window(folder, kept, low, high)))
        return kept.picture(Path(job.input), fixed or _several(page, job)).png(region, low, high)
    if what == "difference" or (what == "output" and strength is not None and strength != job.run.strength):
        units = units_of(folder, kept)
        units.check_size()
        page = min(page, len(units.result) - 1)
        if what == "difference":
            pair = [region.cut(np.moveaxis(each[page], 0, 2)) for each in (units.before, units.result)]
            return looks.png(looks.change(*(looks.shrunk(each, region.out) for each in pair)))
        image = looks.shrunk(
            units.blended(page, region, checked_strength(1.0 if strength is None else strength)), region.out
        )
        return looks.png(looks.colored(image, _window(folder, kept, low, high), inks=bool(units.picture.metadata.cmyk)))
    path = written(folder, "array" if what == "saliency" else what)
    if path is None:
        raise InputError(f"there is no {what}", code="not-found")
    if what == "saliency":
        return _over(_map(path, str(query.get("method", ""))), region)
    if what == "uncertainty":
        seen = kept.picture(path, None)
        values = seen.values.astype(np.float32).mean(2)
        return _over(values, region)
    if what == "output" and restores(job.spec) and (folder / RESULT).is_file():
        low, high = _window(folder, kept, low, high)
    several = page + 1 if what == "output" and job.run.page == "all" else None
    return kept.picture(path, several).png(region, low, high)


def _several(page: int, job: Job) -> int | None:
    return page + 1 if job.run.page == "all" else None


def _window(folder: Path, kept: Kept, low: float | None, high: float | None) -> tuple[float, float]:
    """Before and after are shown within one window: that of the input."""
    if low is None or high is None:
        own = units_of(folder, kept).window
        low, high = own[0] if low is None else low, own[1] if high is None else high
    return (low, high) if high > low else (low, low + 1e-6)


def _over(values: NDArray[np.float32], region: Region) -> bytes:
    """A map of values from 0 as what lies over the picture."""
    largest = float(np.quantile(values.reshape(-1)[:: max(1, values.size // 1_000_000)], 0.995))
    part = looks.shrunk(region.cut(values)[..., None], region.out)[..., 0]
    return looks.png(*looks.overlay(part, largest))


def _map(path: Path, method: str) -> NDArray[np.float32]:
    with np.load(path, allow_pickle=False) as maps:
        names = list(maps)
        name = method if method in names else names[0]
        return np.abs(maps[name].astype(np.float32))


def written(folder: Path, name: str) -> Path | None:
    """A file that the job has written, by the name of its output."""
    if not name.replace("-", "").isalnum():
        return None
    found = sorted(
        path for path in (folder / "out").glob(f"{name}.*") if path.is_file() and path.suffix != ".checkpoint"
    )
    return found[0] if found else None


def histograms(folder: Path, query: dict[str, Any], kept: Kept) -> dict[str, Any]:
    """Counts of the values of input and result, channel by channel, in equal bins."""
    units = units_of(folder, kept)
    strength = real(query, "strength")
    page = min(number(query, "page", 1), len(units.result)) - 1
    whole = Region(out=looks.LARGEST_SIDE)
    before = units.in_file(np.moveaxis(units.before[page], 0, 2))
    if strength not in (None, 1.0):
        units.check_size()
    after = units.blended(page, whole, 1.0 if strength is None else checked_strength(strength))
    low, high = (float(min(before.min(), after.min())), float(max(before.max(), after.max())))
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    step = max(1, before.shape[0] * before.shape[1] // 4_000_000)
    found = {name: looks.histogram(each[::step], edges) for name, each in (("input", before), ("output", after))}
    return {"bins": edges.tolist(), **found}


def write_blend(folder: Path, strength: float, target: Path, *, allow_code: bool = False) -> None:
    """Write the blend in kind: the bytes that the command writes with --strength."""
    job = job_in(folder)
    run = replace(job.run, overwrite=True, resume=False, autosave=None, strength=1.0, reference=None, report=None)
    bare = replace(job, outputs={"output": str(target)}, run=run)
    result = torch.from_numpy(np.load(folder / RESULT, allow_pickle=False))
    with threads_of(job.run.threads):
        running = Running(bare, allow_code=allow_code)
        picture = running.picture
        if picture is None or picture.tensor.shape != result.shape:
            raise InputError("the result has another size than the input, and cannot be blended", code="size")
        image = result if strength == 1 else torch.lerp(picture.tensor, result, checked_strength(strength))
        _as_written(running.run, picture).write(image, target, overwrite=True)


def _as_written(run: Any, picture: Picture) -> Picture:
    """The picture with which a result of the run is written; of pages in turn each with its own."""
    if isinstance(run, Frames):
        return together(picture, [run.made(page).picture or run.pages[page] for page in range(len(run.pages))])
    return as_written(run, picture)


def checked_strength(value: float) -> float:
    """A strength from 0 to 1."""
    if not 0 <= value <= 1:
        raise InputError(f"strength must be from 0 to 1, got {value:g}")
    return value


def real(query: dict[str, Any], name: str) -> float | None:
    if query.get(name) in (None, ""):
        return None
    try:
        value = float(query[name])
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must be a number", code="type") from error
    if not np.isfinite(value):
        raise InputError(f"{name} must be finite", code="range")
    return value


def number(query: dict[str, Any], name: str, least: int) -> int:
    value = real(query, name)
    if value is None:
        return least
    if value != int(value) or value < least:
        raise InputError(f"{name} must be a whole number, at least {least}", code="type")
    return int(value)
