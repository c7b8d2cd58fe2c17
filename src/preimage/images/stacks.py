"""The pictures of a data set, read alike: one size, and one value range, decided once for all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from preimage.errors import InputError
from preimage.images.ranges import ValueRange, known_ends
from preimage.images.reading import read_samples
from preimage.images.samples import Samples, check_values, upright
from preimage.images.tiff_reading import SeveralPages
from preimage.memory import check_free

_MOST_SAID = 3  # remarks, and the number of the others


@dataclass(frozen=True)
class Reading:
    """How the files of a data set are read.

    Args:
        value_range: the values that are black and white; no picture may go beyond.
        values: those of a classifier for pictures of its dtype, to which others are clipped; None: decided from the pictures.
        salvage: whether of files that are cut off what is there is read.
    """

    value_range: tuple[float, float] | None = None
    values: ValueRange | None = None
    salvage: bool = False


@dataclass(frozen=True, eq=False)
class Stack:
    """Pictures (n, 3, h, w) uint8, 0 and 255 at the ends of their value range, and what is to be said of them."""

    pictures: torch.Tensor
    values: ValueRange
    remarks: tuple[str, ...] = ()


def side_of(file: Path, reading: Reading) -> tuple[int, int]:
    """(height, width) as stored."""
    height, width = _one_page(file, reading, None).pages.shape[1:3]
    return height, width


def stacked_files(files: Sequence[Path], size: tuple[int, int], reading: Reading) -> Stack:
    """The pictures of files, resized to (height, width).

    Raises InputError that names the file, for one that `images.read` refuses, of several pages, of NaN, of another number of
    channels than 1 or 3, of another dtype than the others, or with values outside of value_range.
    """
    height, width = size
    check_stack(len(files), size)
    first = _one_page(files[0], reading, (width, height)).pages.dtype.newbyteorder("=")
    remarks: list[str] = []

    def page(i: int) -> NDArray[Any]:
        samples = _one_page(files[i], reading, (width, height))
        if samples.pages.dtype.newbyteorder("=") != first:
            kinds = f"{files[0]} holds {first} values, {files[i]} {samples.pages.dtype.newbyteorder('=')}"
            raise InputError(f"{kinds}: convert them to one kind, their scales cannot be known", code="type")
        remarks.extend(samples.remarks)
        return upright(samples.pages, samples.orientation)[0]

    values = _values_of(page, len(files), first, reading)
    remarks.clear()  # of each file once
    whole, clipped = torch.empty(len(files), 3, height, width, dtype=torch.uint8), [False] * len(files)

    def fill(i: int) -> None:
        pixels = page(i)
        low, high = known_ends(pixels)
        clipped[i] = low < values.low or high > values.high
        if clipped[i] and reading.value_range is not None:
            outside = (
                f"its values go from {low:g} to {high:g}, outside the value range {values.low:g} to {values.high:g}"
            )
            raise InputError(f"{files[i]}: {outside}: give a range that holds them", code="range")
        whole[i] = torch.from_numpy(resized(pixels, size, values)).movedim(-1, 0)

    with ThreadPoolExecutor() as pool:
        list(pool.map(fill, range(len(files))))
    if any(clipped):
        remarks.append(f"{sum(clipped)} of {len(files)} pictures have values outside of {values}, which were clipped")
    said = sorted(remarks)[:_MOST_SAID]
    more = (f"{len(remarks) - _MOST_SAID} more files of that kind",) if len(remarks) > _MOST_SAID else ()
    return Stack(whole, values, (*said, *more))


def resized(pixels: NDArray[Any], size: tuple[int, int], values: ValueRange) -> NDArray[np.uint8]:
    """A page (h, w, 1 or 3) as (height, width, 3) uint8; 8 bits are resized as they are, others as floats."""
    from PIL import Image

    height, width = size
    if pixels.dtype == np.uint8 and (values.low, values.high) == (0, 255):
        color = np.repeat(pixels, 3, -1) if pixels.shape[-1] == 1 else pixels
        image = Image.fromarray(np.ascontiguousarray(color))
        return np.array(image.resize((width, height), Image.Resampling.BICUBIC))
    planes = np.moveaxis(values.units(pixels), -1, 0)
    images = [Image.fromarray(np.ascontiguousarray(plane)) for plane in planes]
    small = np.stack([np.asarray(each.resize((width, height), Image.Resampling.BICUBIC)) for each in images], -1)
    eight = np.clip(np.rint(small * 255), 0, 255).astype(np.uint8)
    return np.repeat(eight, 3, -1) if eight.shape[-1] == 1 else eight


def check_stack(count: int, size: tuple[int, int]) -> None:
    """Raise InputError if so many pictures of a size do not fit into memory: a split of them is a second copy."""
    height, width = size
    check_free(2 * count * 3 * height * width, f"{count} images of {width} x {height}", "take a smaller --size")


def _values_of(page: Callable[[int], NDArray[Any]], count: int, dtype: np.dtype[Any], reading: Reading) -> ValueRange:
    if reading.value_range is not None:
        return ValueRange(float(reading.value_range[0]), float(reading.value_range[1]), dtype.name)
    if reading.values is not None and reading.values.dtype == dtype.name:
        return reading.values
    if dtype == np.uint8:
        return ValueRange.of(dtype, 0, 255)
    with ThreadPoolExecutor() as pool:
        lows, highs = zip(*pool.map(lambda i: known_ends(page(i)), range(count)), strict=True)
    return ValueRange.of(dtype, min(lows), max(highs))


def _one_page(file: Path, reading: Reading, at_least: tuple[int, int] | None) -> Samples:
    try:
        samples = read_samples(file, salvage=reading.salvage, at_least=at_least)
    except SeveralPages as error:
        way_out = "save each as a file, or leave it out"
        raise InputError(f"{file} has {error.count} pages, and each is an image: {way_out}", code="shape") from error
    check_values(samples.pages, str(file))
    channels = samples.pages.shape[3]
    if channels not in (1, 3):
        raise InputError(
            f"{file} has {channels} channels: a classifier takes 1 or 3, gray or color: convert it first", code="shape"
        )
    return samples
