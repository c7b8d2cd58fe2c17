"""What a picture is, as far as it can be said before anything is done with it: depth, noise, a task, and how long that takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from preimage.engine.devices import choose_device
from preimage.errors import InputError
from preimage.images import Picture
from preimage.images.from_samples import picture_from
from preimage.images.raw import is_raw
from preimage.images.tiff_reading import SIGNATURES
from preimage.jobs.job import Job, RunOptions
from preimage.jobs.places import PREVIEW_SIDE
from preimage.jobs.projection import FIRST
from preimage.noise.estimation import estimate_noise
from preimage.studio.seen import Seen

_LOOKED_AT = 1024  # pixels a side in which noise is estimated
_FAINT = 2.0  # of 255
_CODED = 92  # quality of a JPEG below which its artifacts are worth a task
_SMALL = 400  # pixels a side


def facts_of(path: Path) -> tuple[dict[str, Any], Seen]:
    """The facts of a picture file.

    Raises:
        InputError: a file that is no picture, or cannot be read.
    """
    seen = Seen.of(path)
    samples, values = seen.samples, seen.values
    picture = picture_from(samples, "the picture", value_range=None, path=path, missing=True)
    floats = values.dtype.kind == "f"
    known = values[np.isfinite(values)] if floats else values
    coding = samples.metadata.quantization
    raw = _is_raw(path)
    facts: dict[str, Any] = {
        "width": values.shape[1],
        "height": values.shape[0],
        "channels": values.shape[2],
        "pages": seen.pages,
        "dtype": values.dtype.newbyteorder("=").name,
        "bits": samples.metadata.bits or 8 * values.dtype.itemsize,
        "alpha": seen.alpha is not None,
        "float": floats,
        "range": [float(known.min()), float(known.max())],
        "window": list(seen.window),
        "format": samples.format,
        "raw": raw,
        "noise": noise_of(picture),
        "jpeg": None if coding is None else coding.quality,
        "missing": 0 if picture.missing is None else int(picture.missing.sum()),
        "transparent": picture.transparent() is not None,
        "remarks": list(picture.remarks),
        "seconds": {},
    }
    facts["suggested"] = suggestion(facts)
    return facts, seen


def noise_of(picture: Picture) -> dict[str, Any] | None:
    """The noise that is estimated in the middle of the first page; None where it cannot be."""
    height, width = picture.tensor.shape[-2:]
    top, left = (max(0, (side - _LOOKED_AT) // 2) // 16 * 16 for side in (height, width))
    try:
        found = estimate_noise(picture.tensor[:1, :, top : top + _LOOKED_AT, left : left + _LOOKED_AT].clamp(0, 1))
    except InputError:
        return None
    if not math.isfinite(found.sigma):
        return None
    return {"sigma": round(255 * found.sigma, 2), "kind": found.kind, "words": found.explanation}


def suggestion(facts: Mapping[str, Any]) -> dict[str, Any]:
    """A task for a picture, and why: what is missing first, then what a camera or a coding has left, then noise."""
    noise = facts["noise"] or {"sigma": 0.0, "words": ""}
    if facts["raw"]:
        return {"task": "demosaic", "options": {}, "why": "It is a camera's raw file."}
    if facts["missing"] or facts["transparent"]:
        what = f"{facts['missing']} values are missing." if facts["missing"] else "A part of it is transparent."
        return {"task": "inpaint", "options": {}, "why": what}
    if facts["jpeg"] is not None and facts["jpeg"] < _CODED and noise["sigma"] < 3 * _FAINT:
        return {"task": "remove-jpeg-artifacts", "options": {}, "why": f"It is a JPEG of quality {facts['jpeg']}."}
    if noise["sigma"] >= _FAINT:
        return {"task": "denoise", "options": {}, "why": noise["words"]}
    if max(facts["width"], facts["height"]) < _SMALL:
        return {"task": "super-resolve", "options": {}, "why": "It is small, and hardly noisy."}
    return {
        "task": "denoise",
        "options": {},
        "why": "Hardly any noise was found; what a camera has smoothed looks like that.",
    }


def _is_raw(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(64)
        return is_raw(path, head, file) and (head[:4] in SIGNATURES or path.suffix.lower() not in (".tif", ".tiff"))


def seconds_of(path: Path, facts: Mapping[str, Any], threads: int) -> dict[str, float]:
    """Seconds that the suggested task takes here, by some steps on the middle of the picture; as `preimage --preview` tells it.

    Raises:
        InputError: a picture that the task cannot be done for.
    """
    from preimage.jobs.run import Running, threads_of

    task = facts["suggested"]["task"]
    page = 1 if facts["pages"] > 1 else None
    run = RunOptions(preview=True, overwrite=True, threads=threads, page=page, salvage=True)
    job = Job(task, dict(facts["suggested"]["options"]), str(path), {"output": f"seconds{_suffix(path)}"}, run)
    with threads_of(threads):
        running = Running(job)
        first = last = None
        for count, step in enumerate(running, 1):
            first, last = first or step, step
            if count == FIRST:
                break
    if first is None or last is None or last.index == first.index:
        return {}
    pace = (last.seconds - first.seconds) / (last.index - first.index)
    usual = running.run.usual_steps or last.total
    shown = min(facts["width"], PREVIEW_SIDE) * min(facts["height"], PREVIEW_SIDE)
    whole = facts["width"] * facts["height"] * facts["pages"]
    return {task: round(running.setup + pace * usual * whole / shown, 1)}


def _suffix(path: Path) -> str:
    from preimage.images.formats import EXTENSIONS

    return path.suffix if path.suffix.lower() in EXTENSIONS else ".png"


def check_mask(path: Path, picture: Path) -> None:
    """Raise InputError unless a mask is a PNG of exactly the picture's size."""
    mask, own = Seen.of(path), Seen.of(picture)
    size, wanted = mask.values.shape[1::-1], own.values.shape[1::-1]
    if mask.samples.format != "PNG" or size != wanted:
        raise InputError(
            f"a mask is a PNG of the picture's size, {wanted[0]} x {wanted[1]} pixels, got {mask.samples.format} of "
            f"{size[0]} x {size[1]}",
            code="mask",
        )


def painted(path: Path) -> None:
    """Write a mask as black and white: white where it was painted white, and not transparent."""
    from preimage.images import as_picture

    seen = Seen.of(path)
    white = seen.values.astype(np.float32).mean(2) > 0.5 * float(np.iinfo(seen.values.dtype).max)
    if seen.alpha is not None:
        opaque = looks_opaque(seen.alpha)
        white = (white if white[opaque].any() else np.ones_like(white)) & opaque
    plain = np.where(white, 255, 0).astype(np.uint8)
    picture = replace(as_picture(plain), layout="file")
    picture.write(picture.tensor, path.with_name("plain.png"), overwrite=True)
    path.with_name("plain.png").replace(path)


def looks_opaque(alpha: Any) -> Any:
    """Where a mask is more opaque than not."""
    return alpha > 0.5 * float(np.iinfo(alpha.dtype).max)


def classified(specification: str, path: Path, page: int | None, device: str = "auto", **stated: Any) -> dict[str, Any]:
    """The most probable classes of a picture, ten at most."""
    from preimage.explain.inputs import given_by, one_picture

    picture = one_picture(path, page=page)
    given = given_by(picture, specification, str(choose_device(device)), **stated)
    with torch.no_grad():
        probabilities = given.classifier.probabilities(given.on_device)[0].cpu()
    order = probabilities.argsort(descending=True)[:10].tolist()
    classes = [
        {"name": str(given.classifier.classes[index]), "index": index, "probability": float(probabilities[index])}
        for index in order
    ]
    names = [str(name) for name in given.classifier.classes]
    return {"classes": classes, "remarks": list(given.remarks), "names": names[:2000]}
