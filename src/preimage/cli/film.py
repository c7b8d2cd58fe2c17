"""A film of the outputs over the steps, as animated GIF or WebP."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import torch

from preimage.images import write_bytes_atomically

_FRAME_MS, _LAST_MS = 80, 1500


def write_film(frames: Sequence[torch.Tensor], path: Path, *, overwrite: bool) -> Path:
    """Frames (h, w, 3) uint8 -> a film that rests on the last one."""
    from PIL import Image

    pictures = [Image.fromarray(frame.numpy()) for frame in frames]
    # Equal frames would be joined by Pillow, and their times with them: one time each, in any case.
    times = [_FRAME_MS] * (len(pictures) - 1) + [_LAST_MS]
    buffer = io.BytesIO()
    kind = {".gif": {"format": "GIF", "optimize": False}, ".webp": {"format": "WEBP", "quality": 85}}
    pictures[0].save(
        buffer, save_all=True, append_images=pictures[1:], duration=times, loop=0, **kind[path.suffix.lower()]
    )
    return write_bytes_atomically(path, buffer.getvalue(), overwrite=overwrite)
