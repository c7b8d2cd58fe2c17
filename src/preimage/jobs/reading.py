"""What a job reads: its input, decoded once, and the images beside it as they belong to the input or to a preview of it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from preimage.engine import checkpoint
from preimage.errors import InputError
from preimage.images import Picture, read
from preimage.jobs.job import Job, restores
from preimage.jobs.places import Places, in_folder
from preimage.jobs.preview import middle_of
from preimage.tasks import described


def read_input(job: Job, places: Places) -> Picture | None:
    """The image of a job, whole; None where the task takes none, or a folder.

    Raises:
        InputError: a file that cannot be read or is not the one that the job was made for, or an output that cannot hold it.
    """
    spec, run = job.spec, job.run
    if job.input is None or spec.inputs in ("none", "data"):
        return None
    path = Path(job.input)
    _check_content(path, job.input_sha256)
    if restores(spec):
        picture = read(path, page=run.page, value_range=run.value_range, missing=spec.fills_missing)
        picture.check_destination(places.output or path, overwrite=places.may_replace)
        return picture
    from preimage.explain.inputs import one_picture

    if run.page == "all":
        raise InputError(f"{job.task} takes one page at a time: give --page N, from 1", code="option")
    return one_picture(path, run.value_range, page=run.page)


def _check_content(path: Path, digest: str | None) -> None:
    if digest is None:
        return
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the name", code="not-found") from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise InputError(f"{path} is not the file that the job was made for: make the job anew", code="format")


def options_of(job: Job, places: Places, whole: Picture | None, initial: Any = None) -> Any:
    """The task's options, with the images among them read as they belong to the input; `initial`: weights to begin from."""
    found = {**job.options, **_tiles_as_begun(job, places)}
    for name, stated in described(job.spec.options).items():
        value = found.get(name)
        if stated.kind == "image" and isinstance(value, str | Path):
            found[name] = _companion(in_folder(Path(value), job.input), job, whole)
    if initial is not None:
        found["initial"] = initial
    return job.spec.options(**found)


def _tiles_as_begun(job: Job, places: Places) -> dict[str, Any]:
    """Tiles that were left to the free memory are, in a resumed job, those of its checkpoint, whatever is free now."""
    path = places.checkpoint
    if "tile" not in described(job.spec.options) or job.options.get("tile", "auto") != "auto":
        return {}
    if not job.run.resume or path is None or not path.exists():
        return {}
    begun = checkpoint.read(path)["fingerprint"]
    return {"tile": (begun["tile"], begun["overlap"]) if "tile" in begun else None}


def _companion(path: Path, job: Job, whole: Picture | None) -> Any:
    """An image beside the input: its page of a file of several pages, its middle for a preview."""
    page, preview = job.run.page, job.run.preview
    if page is None and not preview:
        return path
    try:
        picture = read(path, page=page or 1)
    except InputError as error:
        try:
            picture = read(path)  # there is one page only
        except InputError:
            raise error from None
    if preview and whole is not None:
        if picture.tensor.shape[-2:] != whole.tensor.shape[-2:]:
            raise InputError(f"{path} and the input must have one size for a preview", code="size")
        return middle_of(picture)
    return picture
