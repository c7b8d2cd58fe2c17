"""What a job reads: its input, decoded once, and the images beside it as they belong to the input or to a preview of it.

A preview is of the middle of an image alone: in seconds, and it tells how long the whole will take.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from preimage.engine import checkpoint
from preimage.errors import InputError
from preimage.images import Picture, read
from preimage.images.files import in_folder
from preimage.jobs.job import Job, named_by_options, restores, sha256_of
from preimage.jobs.places import PREVIEW_SIDE, Places
from preimage.series.layout import Region, cut, cut_out
from preimage.tasks import described

_CODE = re.compile(r"(?!torchvision:|timm:|hf:)[A-Za-z_][\w.]*:[A-Za-z_]\w*(@.*)?", re.DOTALL)
GRID = 16  # the blocks of a JPEG of 4:2:0 stay whole


def read_input(job: Job, places: Places) -> Picture | None:
    """The image of a job, whole; None where the task takes none, or a folder.

    Raises:
        InputError: a file that cannot be read or is not the one that the job was made for, or an output that cannot hold it.
    """
    spec, run = job.spec, job.run
    if job.input is None or spec.inputs in ("none", "data"):
        return None
    path = Path(job.input)
    if job.input_sha256 is not None and sha256_of(path) != job.input_sha256:
        raise InputError(f"{path} is not the file that the job was made for: make the job anew", code="format")
    if restores(spec):
        ways: Any = {
            "value_range": run.value_range,
            "missing": True,
            "salvage": run.salvage,
            "mosaic": spec.takes_mosaic,
        }
        picture = read(path, page=run.page, **ways)
        picture.check_destination(places.output or path, overwrite=places.may_replace)
        return picture
    from preimage.classifiers.load import values_of_model
    from preimage.explain.inputs import one_picture

    if run.page == "all":
        raise InputError(f"{job.task} takes one page at a time: give --page N, from 1", code="option")
    values = values_of_model(job.options["classifier"]) if "classifier" in job.options else None
    picture = one_picture(path, run.value_range, page=run.page, values=values, salvage=run.salvage)
    if places.output is not None and spec.recipes is not None and not spec.outputs[0].suffixes:
        picture.check_destination(
            places.output, overwrite=places.may_replace
        )  # a fit, which ends in an image like the input
    return picture


def options_of(job: Job, places: Places, whole: Picture | None, initial: Any = None) -> Any:
    """The task's options, with the images among them read as they belong to the input; `initial`: weights to begin from."""
    declared = described(job.spec.options)
    found = dict(job.options)
    if "tile" in declared and found.get("tile", "auto") == "auto" and places.resumes:
        # Tiles that were left to the free memory are those of the checkpoint, whatever is free now.
        begun = checkpoint.read(places.resumes)["fingerprint"]
        found["tile"] = (begun["tile"], begun["overlap"]) if "tile" in begun else None
    for name, stated in declared.items():
        value = found.get(name)
        if stated.kind == "image" and isinstance(value, str | Path):
            found[name] = _companion(in_folder(Path(value), job.input), job, whole)
    if initial is not None:
        found["initial"] = initial
    for name in ("salvage", "value_range", "page"):  # of what a folder or table holds
        if name in declared and declared[name].kind == "python" and getattr(job.run, name):
            found[name] = getattr(job.run, name)
    return job.spec.options(**found)


def _companion(path: Path, job: Job, whole: Picture | None) -> Any:
    """An image beside the input: its page of a file of several pages, its middle for a preview."""
    page, preview, salvage = job.run.page, job.run.preview, job.run.salvage
    if page is None and not preview:
        return read(path, page="all", salvage=True) if salvage else path
    try:
        picture = read(path, page=page or 1, salvage=salvage)
    except InputError as error:
        try:
            picture = read(path, salvage=salvage)  # there is one page only
        except InputError:
            raise error from None
    if preview and whole is not None:
        if picture.tensor.shape[-2:] != whole.tensor.shape[-2:]:
            raise InputError(f"{path} and the input must have one size for a preview", code="size")
        return middle_of(picture)
    return picture


def middle(height: int, width: int) -> Region:
    """Page, rows and columns of the middle of the first page."""
    starts = [max(0, (length - PREVIEW_SIDE) // 2) // GRID * GRID for length in (height, width)]
    rows, columns = (slice(at, min(at + PREVIEW_SIDE, end)) for at, end in zip(starts, (height, width), strict=True))
    return slice(0, 1), rows, columns


def middle_of(picture: Picture) -> Picture:
    """The middle as a picture of its own."""
    return cut_out(picture, middle(*picture.tensor.shape[-2:]))


def middle_of_reference(reference: torch.Tensor, picture: Picture) -> torch.Tensor:
    """The same place in a reference, which may be a whole number of times as large."""
    page, *sides = middle(*picture.tensor.shape[-2:])
    scale = max(1, reference.shape[-2] // picture.tensor.shape[-2])
    rows, columns = (slice(scale * place.start, scale * place.stop) for place in sides)
    return cut(reference, (page, rows, columns))


def projected(seconds: float, shape: tuple[int, ...]) -> str:
    """How long the whole (b, c, h, w) takes if the preview took so many seconds: time grows with the pixels."""
    pages, _, height, width = shape
    rows, columns = (place.stop - place.start for place in middle(height, width)[1:])
    whole = seconds / (rows * columns / (pages * height * width))
    words = f"{whole:.0f} s" if whole < 120 else f"{whole / 60:.0f} minutes"
    return f"the middle {columns} x {rows} pixels; the whole will take about {words}"


def refuse_code(job: Job) -> None:
    """Raise InputError for a classifier that would import a module."""
    for name, _, each in named_by_options(job, "classifier", "classifiers"):
        if _CODE.fullmatch(str(each).strip()):
            raise InputError(
                f"{name} {each} would import a module, which this job may not: give a model file", code="classifier"
            )
