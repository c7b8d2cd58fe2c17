"""Films: frames written as an animated GIF or WebP."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from preimage.images.atomic import write_bytes_atomically

_FRAME_MS, _LAST_MS = 80, 1500
_KINDS = {".gif": {"format": "GIF", "optimize": False}, ".webp": {"format": "WEBP", "quality": 85}}


def write_film(frames: Sequence[np.ndarray], path: Path, *, first_ms: int = _FRAME_MS, overwrite: bool = False) -> Path:
    """Write frames (h, w, 3) uint8 as an animated GIF or WebP that rests on the last one, and on the first for `first_ms`."""
    from PIL import Image

    pictures = [Image.fromarray(frame) for frame in frames]
    # Equal frames would be joined by Pillow, and their times with them: one time each, in any case.
    times = [first_ms, *[_FRAME_MS] * (len(pictures) - 2), _LAST_MS][-len(pictures) :]
    buffer = io.BytesIO()
    kind: dict[str, Any] = _KINDS[path.suffix.lower()]
    pictures[0].save(buffer, save_all=True, append_images=pictures[1:], duration=times, loop=0, **kind)
    return write_bytes_atomically(path, buffer.getvalue(), overwrite=overwrite)
