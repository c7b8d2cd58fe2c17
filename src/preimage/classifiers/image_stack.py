"""Images of many files or arrays as one tensor of one size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from preimage.engine.devices import free_memory
from preimage.errors import InputError

LARGEST_SHORT_SIDE = 120  # to which larger images are reduced unless a size is specified
SMALLEST_SIDE = 16
_SAMPLES = 64  # files whose sizes decide the size of all

Size = int | tuple[int, int] | None
"""The short side, or (height, width), in pixels; None: as they are, the short side 120 at most."""


def stacked_files(files: Sequence[Path], size: Size) -> torch.Tensor:
    """The images of files, (n, 3, h, w) uint8.

    Example:
        >>> stacked_files([Path("photo.png"), Path("noisy.png")], 16).shape
        torch.Size([2, 3, 16, 16])

    Raises:
        InputError: a file that does not exist or cannot be read as an image, or images that do not fit into memory.
    """
    sides = [_side(file) for file in files[:: max(1, len(files) // _SAMPLES)]]
    return _stacked(len(files), _common_size(size, sides), lambda i: _opened(files[i]))


def stacked_array(images: NDArray[np.uint8], size: Size) -> torch.Tensor:
    """The images of an array (n, h, w, 3) uint8 as (n, 3, h, w).

    Example:
        >>> stacked_array(np.zeros((5, 24, 32, 3), np.uint8), (16, 20)).shape
        torch.Size([5, 3, 16, 20])

    Raises:
        InputError: images that do not fit into memory.
    """
    common = _common_size(size, [(images.shape[1], images.shape[2])])
    if common == images.shape[1:3]:
        return torch.from_numpy(images).movedim(-1, 1).contiguous()
    return _stacked(len(images), common, lambda i: Image.fromarray(images[i]))


def _opened(file: Path) -> Any:
    try:
        return Image.open(file)
    except FileNotFoundError as error:
        raise InputError(f"{file} does not exist: correct or remove its line", code="not-found") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read as an image: replace or remove it", code="unreadable") from error


def _side(file: Path) -> tuple[int, int]:
    with _opened(file) as image:
        return image.height, image.width


def _common_size(size: Size, sides: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """(height, width): the median, scaled to the short side; multiples of 4 if it is scaled."""
    if isinstance(size, tuple):
        return size
    height, width = (int(np.median([pair[k] for pair in sides])) for k in (0, 1))
    if size is None and min(height, width) <= LARGEST_SHORT_SIDE:
        return height, width
    factor = (size or LARGEST_SHORT_SIDE) / min(height, width)
    return 4 * round(height * factor / 4), 4 * round(width * factor / 4)


def _stacked(count: int, size: tuple[int, int], opened: Callable[[int], Any]) -> torch.Tensor:
    height, width = size
    needed, free = count * 3 * height * width, free_memory(torch.device("cpu"))
    if free is not None and needed > free / 2:
        raise InputError(
            f"{count} images of {width} x {height} need {needed / 1e9:.1f} of {free / 1e9:.1f} GB: take a smaller --size",
            code="memory",
        )
    whole = torch.empty(count, 3, height, width, dtype=torch.uint8)

    def fill(i: int) -> None:
        with opened(i) as image:
            try:
                image.draft("RGB", (width, height))
                upright = ImageOps.exif_transpose(image).convert("RGB")
            except OSError as error:
                name = getattr(image, "filename", i)
                raise InputError(f"{name} is damaged: replace or remove it", code="unreadable") from error
        array = np.asarray(upright.resize((width, height), Image.Resampling.BICUBIC))
        whole[i] = torch.from_numpy(array.copy()).movedim(-1, 0)

    with ThreadPoolExecutor() as pool:
        list(pool.map(fill, range(count)))
    return whole
