"""Samples of a file or an array -> Picture: upright, in 0 to 1, with masks of what is not to be fitted."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from preimage.images.picture import Layout, Picture
from preimage.images.ranges import choose_range, fill_missing, to_unit
from preimage.images.samples import Samples, check_size, check_values, nodata_of, upright
from preimage.images.screening import Screened, neighbors_median, screened


def picture_from(
    samples: Samples,
    name: str,
    *,
    value_range: tuple[float, float] | None,
    layout: Layout = "file",
    path: Path | None = None,
    missing: bool = False,
) -> Picture:
    """Samples -> Picture: checked, turned upright, scaled to 0..1; with missing, screened for values that are not fitted."""
    check_size(samples.pages.shape[2], samples.pages.shape[1], samples.pages.shape[3], name)
    check_values(samples.pages, name, missing=missing)
    pages = upright(samples.pages, samples.orientation)
    found = screened(pages, declared=nodata_of(samples.metadata), value_range=value_range) if missing else None
    low, high = choose_range(pages, value_range, name, None if found is None else found.ends)
    picture = Picture(
        tensor=to_unit(pages, low, high),
        low=low,
        high=high,
        dtype=samples.pages.dtype.newbyteorder("="),
        format=samples.format,
        layout=layout,
        path=path,
        alpha=None if samples.alpha is None else upright(samples.alpha, samples.orientation),
        orientation=samples.orientation,
        metadata=samples.metadata,
        remarks=samples.remarks,
    )
    return picture if found is None else _masked(picture, pages, found)


def _masked(picture: Picture, pages: NDArray[Any], found: Screened) -> Picture:
    """The picture with what its screening found, and something in the tensor where the file's value cannot be used."""
    tensor, low, high = picture.tensor, picture.low, picture.high
    masks = {
        name: None if mask is None else torch.from_numpy(np.ascontiguousarray(mask.transpose(0, 3, 1, 2)))
        for name, mask in (("missing", found.missing), ("outliers", found.outliers), ("bright", found.bright))
    }
    if found.outliers is not None:
        unknown = [mask for mask in (found.missing, found.outliers) if mask is not None]
        places = np.argwhere(found.outliers)
        median = neighbors_median(pages, ~functools.reduce(np.logical_or, unknown), places)
        page, row, column, channel = (torch.from_numpy(each) for each in places.T)
        tensor[page, channel, row, column] = torch.from_numpy((median - low) / (high - low)).float()
    if (missing := masks["missing"]) is not None:
        fill_missing(tensor.masked_fill_(missing, torch.nan))
    flat = (tensor.amin((2, 3)) == tensor.amax((2, 3))).any()
    given = pages if flat or any(mask is not None for mask in masks.values()) else None
    remarks = picture.remarks
    if found.sentinel is not None:
        remarks += (
            f"{found.sentinel:g} is far from all other values, and taken for missing: the file does not declare it",
        )
    return replace(picture, **masks, given=given, remarks=remarks)
