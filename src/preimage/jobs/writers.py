"""The files of a restoration: image, figure, uncertainty and film, each whole or not at all."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from preimage.images import write_bytes_atomically, write_float_tiff

if TYPE_CHECKING:
    from preimage.jobs.run import Running

_FRAME_MS, _LAST_MS = 80, 1500


def write(name: str, running: Running, result: Any, path: Path) -> None:
    """Write one output of a restoration."""
    watched, replace = running.watched, running.places.may_replace
    assert watched is not None
    picture = result.picture or watched.picture  # the task may have changed its alpha or channels
    image = watched.returned(result.image)
    if name == "output":
        picture.write(image, path, overwrite=replace)
    elif name == "figure":
        from preimage.figures.restoration import restoration_figure, save_figure

        curves = watched.curves
        figure = restoration_figure(
            result, image=image, reference=watched.reference, scores=curves.score, psnrs=watched.psnrs
        )
        save_figure(figure, path, overwrite=replace)
    elif name == "uncertainty" and result.uncertainty is not None:
        low, high = picture.units()
        write_float_tiff(result.uncertainty * (high - low), path, overwrite=replace)
    elif name == "film" and watched.film is not None:
        write_film([*watched.film.frames, watched.film.frame(image[0])], path, overwrite=replace)


def write_film(frames: Sequence[torch.Tensor], path: Path, *, overwrite: bool) -> Path:
    """Frames (h, w, 3) uint8 -> an animated GIF or WebP that rests on the last one."""
    from PIL import Image

    pictures = [Image.fromarray(frame.numpy()) for frame in frames]
    # Equal frames would be joined by Pillow, and their times with them: one time each, in any case.
    times = [_FRAME_MS] * (len(pictures) - 1) + [_LAST_MS]
    buffer = io.BytesIO()
    kinds: dict[str, dict[str, Any]] = {
        ".gif": {"format": "GIF", "optimize": False},
        ".webp": {"format": "WEBP", "quality": 85},
    }
    pictures[0].save(
        buffer, save_all=True, append_images=pictures[1:], duration=times, loop=0, **kinds[path.suffix.lower()]
    )
    return write_bytes_atomically(path, buffer.getvalue(), overwrite=overwrite)
