"""Values that are missing, outliers or bright sources: found, and the range is that of all others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from preimage.errors import InputError
from preimage.images import as_picture, read
from preimage.images.samples import apart_from
from preimage.images.screening import screened

Array = NDArray[Any]
SIDE = 48


def cells(dtype: str = "uint16", low: float = 200, high: float = 900, seed: int = 0) -> Array:
    """A noisy picture of smooth structures, its values between low and high."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    smooth = 0.5 + 0.3 * np.sin(9 * x + 4 * y) * np.cos(7 * y)
    noise = 0.05 * np.random.default_rng(seed).standard_normal((SIDE, SIDE)).clip(-3, 3)
    values = low + (high - low) * (smooth + noise).clip(0, 1)
    return values.round().astype(dtype) if np.dtype(dtype).kind in "iu" else values.astype(dtype)


def sky(peak: float, width: float, seed: int = 0) -> Array:
    """Noise of deviation 1 around 100, and three stars of a full width at half maximum."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    random = np.random.default_rng(seed)
    values = 100 + random.standard_normal((SIDE, SIDE))
    for cy, cx in ((10.3, 12.1), (24.5, 35.5), (38, 16)):
        values += peak * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * (width / 2.355) ** 2))
    return values.astype(np.float32)


OUTLIERS: dict[str, tuple[Array, dict[tuple[int, int], float]]] = {
    "a hot pixel at the end of the dtype": (cells(), {(20, 30): 65535}),
    "one of a camera of 12 bits": (cells(), {(7, 41): 4095}),
    "ten of several values": (cells(), {(3 * i + 8, (7 * i) % 40 + 3): 5000 + 4000 * i for i in range(10)}),
    "a pair side by side": (cells(), {(20, 30): 65535, (20, 31): 40000}),
    "in a corner and at an edge": (cells(), {(0, 0): 65535, (47, 20): 30000}),
    "dead pixels": (cells(low=20000, high=21000), {(9, 9): 0, (30, 12): 3}),
    "a cosmic ray in floats": (cells("float32", -2, 3), {(20, 30): 1e6}),
    "negative, of whole numbers with a sign": (cells("int16", -100, 100), {(20, 30): -20000, (5, 5): 31000}),
}


@pytest.mark.parametrize("kind", OUTLIERS)
def test_outliers_are_found_and_left_out_of_the_range(kind: str) -> None:
    clean, spikes = OUTLIERS[kind]
    values = clean.copy()
    for place, value in spikes.items():
        values[place] = value
    picture = as_picture(values, missing=True)
    assert picture.outliers is not None
    assert {tuple(place) for place in picture.outliers[0, 0].nonzero().tolist()} == set(spikes)
    rest = np.delete(values, [SIDE * row + column for row, column in spikes])
    assert picture.units() == (rest.min(), rest.max())
    assert 0 <= float(picture.tensor.min()) <= float(picture.tensor.max()) <= 1
    at = tuple(np.array(list(spikes)).T)
    low, high = picture.units()
    np.testing.assert_allclose(
        low + picture.tensor[0, 0].numpy()[at] * (high - low), clean[at], atol=0.4 * (high - low)
    )
    assert picture.missing is None
    assert picture.bright is None


def test_outliers_of_one_channel_and_one_page(tmp_path: Path) -> None:
    color = np.dstack([cells(seed=seed) for seed in range(3)])
    color[5, 6, 1] = 60000
    found = as_picture(color, missing=True).outliers
    assert found is not None
    assert found.nonzero().tolist() == [[0, 1, 5, 6]]
    pages = np.stack([cells(seed=seed) for seed in range(3)])
    pages[2, 7, 8] = 60000
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="minisblack", metadata=None)
    found = read(tmp_path / "a.tif", page="all", missing=True).outliers
    assert found is not None
    assert found.nonzero().tolist() == [[2, 0, 7, 8]]


def points() -> Array:
    values = np.zeros((SIDE, SIDE), np.uint16)
    values[::8, ::8] = 4000
    return values


def beads() -> Array:
    y, x = np.mgrid[0:SIDE, 0:SIDE] % 16 - 8
    values = 100 + 1500 * np.exp(-(x**2 + y**2) / 6) + 5 * np.random.default_rng(0).standard_normal((SIDE, SIDE))
    return values.round().astype(np.uint16)


ORDINARY = {
    "cells": cells(),
    "whole numbers with a sign": cells("int16", -300, 500),
    "floats": cells("float32", -1e-6, 2e-6),
    "points that are the picture": points(),
    "beads": beads(),
    "a faint star": sky(30, 2),
    "stars within the reach of the noise": sky(80, 3),
    "one point in all": np.eye(SIDE, dtype=np.uint16) * 0 + np.pad([[9000]], ((20, 27), (20, 27))).astype(np.uint16),
    "8 bits with a white pixel": np.where(np.arange(SIDE**2) == 99, 255, 40).reshape(SIDE, SIDE).astype(np.uint8),
    "noise alone": np.random.default_rng(0).normal(0, 1, (SIDE, SIDE)),
    "speckle": np.random.default_rng(0).exponential(100, (SIDE, SIDE)),
    "half impulses": np.where(np.random.default_rng(0).random((SIDE, SIDE)) < 0.5, 65535, cells()).astype(np.uint16),
}


@pytest.mark.parametrize("kind", ORDINARY)
def test_an_ordinary_picture_is_as_without_screening(kind: str) -> None:
    plain, picture = as_picture(ORDINARY[kind]), as_picture(ORDINARY[kind], missing=True)
    assert picture.units() == plain.units()
    assert bool((picture.tensor == plain.tensor).all())
    assert picture.unfitted is None
    assert picture.remarks == ()


@pytest.mark.parametrize("peak", [300, 5000, 1e5])
@pytest.mark.parametrize("width", [1.5, 2, 3])
def test_stars_are_bright_and_keep_their_values(peak: float, width: float) -> None:
    values = sky(peak, width)
    picture = as_picture(values, missing=True)
    assert picture.outliers is None
    assert picture.bright is not None
    low, high = picture.units()
    assert high - low < 100  # the noise has a deviation of 1
    back = low + picture.tensor[0, 0].double().numpy() * (high - low)
    np.testing.assert_allclose(back, values, rtol=1e-5)
    assert (picture.bright[0, 0].numpy() == (values > high)).all()


# ---------------------------------------------------------------------- missing values


NODATA: dict[str, tuple[str, float, str]] = {
    "a height": ("float32", -9999, "-9999"),
    "the least float": ("float32", float(np.finfo(np.float32).min), "-3.40282e+38"),
    "the least float of 64 bits": ("float64", -1.7976931348623157e308, "-1.7976931348623157e+308"),
    "16 bits with a sign": ("int16", -32768, "-32768"),
    "16 bits": ("uint16", 65535, "65535"),
    "8 bits": ("uint8", 0, "0"),
    "within the range of the others": ("uint16", 500, "500"),
}


@pytest.mark.parametrize("kind", NODATA)
def test_the_declared_value_is_missing(tmp_path: Path, kind: str) -> None:
    dtype, value, text = NODATA[kind]
    values = cells(dtype, 20, 120) if dtype == "uint8" else cells(dtype)
    values[values == value] += 1
    values[5:9, 10:20] = value
    values[40, 40] = value
    tifffile.imwrite(tmp_path / "a.tif", values, extratags=[(42113, "s", 0, text, True)], metadata=None)
    picture = read(tmp_path / "a.tif", missing=True)
    assert picture.missing is not None
    assert (picture.missing[0, 0].numpy() == (values == value)).all()
    if dtype != "uint8":
        rest = values[values != value]
        assert picture.units() == (rest.min(), rest.max())
    assert bool(picture.tensor.isfinite().all())
    assert picture.remarks == ()


@pytest.mark.parametrize("value", [-9999, -32768, -3.4028234663852886e38, 1e20])
def test_a_value_far_from_all_others_is_taken_for_missing_and_said(value: float) -> None:
    values = cells("float32")
    values[5:20, 10:30] = value
    picture = as_picture(values, missing=True)
    assert picture.missing is not None
    assert int(picture.missing.sum()) == 300
    assert len(picture.remarks) == 1
    assert f"{np.float32(value):g}" in picture.remarks[0]


@pytest.mark.parametrize(
    "values",
    [
        cells("float32", -11000, 3000),
        cells("int16", -9999, 9000),
        cells("int16", -12000, -9999),
        cells("int16", -32768, 32767),
    ],
)
def test_a_sentinel_among_the_others_is_a_value(values: Array) -> None:
    values[5, 6:9] = -32768 if values.min() < -30000 else -9999
    assert screened(values[None, ..., None]).missing is None


def test_a_tag_that_is_no_number_or_all_of_a_picture_declares_nothing(tmp_path: Path) -> None:
    for text, values in (("none", cells()), ("7", np.full((SIDE, SIDE), 7, np.uint16))):
        tifffile.imwrite(tmp_path / "a.tif", values, extratags=[(42113, "s", 0, text, True)], metadata=None)
        assert read(tmp_path / "a.tif", missing=True).missing is None


# ---------------------------------------------------------------------- a range by hand


@pytest.mark.parametrize("dtype", ["uint16", "float32", "int16"])
def test_a_range_by_hand_need_not_hold_all_values(dtype: str) -> None:
    values = cells(dtype)
    values[20, 30] = 30000
    values[10:14, 10:14] = 1500
    picture = as_picture(values, value_range=(0, 1000), missing=True)
    assert picture.units() == (0, 1000)
    assert picture.outliers is not None
    assert picture.bright is not None
    assert picture.outliers.nonzero().tolist() == [[0, 0, 20, 30]]
    assert int(picture.bright.sum()) == 16
    assert float(picture.tensor[0, 0, 11, 11]) == pytest.approx(1.5)
    kept = as_picture(values, value_range=(0, 40000), missing=True)
    assert kept.unfitted is None
    assert float(kept.tensor.max()) == pytest.approx(0.75)


@pytest.mark.parametrize("value_range", [(0, 400), (10000, 20000), (600, 700)])
def test_a_range_that_a_tenth_of_the_values_are_beyond_is_refused(value_range: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="outside the value range") as caught:
        as_picture(cells(), value_range=value_range, missing=True)
    assert caught.value.code == "range"


def test_constant_pages_are_left_out_of_the_range() -> None:
    pages = np.stack([np.zeros((SIDE, SIDE), np.uint16), cells(), np.full((SIDE, SIDE), 60000, np.uint16)])
    assert screened(pages[..., None]).ends == (cells().min(), cells().max())
    assert screened(pages[[0, 2], ..., None]).ends == (0, 60000)


@pytest.mark.parametrize(("dtype", "nodata", "moved"), [("uint8", 0, 1), ("uint8", 255, 254), ("int16", -9999, -9998)])
def test_a_result_that_equals_the_mark_of_missing_by_chance_is_not_missing(tmp_path, dtype, nodata, moved):
    values = np.full((32, 32), 10, dtype)
    values[:2], values[5], values[7] = nodata, 3, 20
    tifffile.imwrite(tmp_path / "a.tif", values, extratags=[(42113, "s", 0, str(nodata), True)])
    picture = read(tmp_path / "a.tif", missing=True, value_range=(-10_000, 300) if dtype == "int16" else None)
    result = picture.tensor.clone()
    result[..., 10, 10] = (nodata - picture.low) / (picture.high - picture.low)
    replace(picture, kept=picture.missing).write(result, tmp_path / "b.tif")
    written = tifffile.imread(tmp_path / "b.tif")
    assert written[10, 10] == moved
    assert (written[:2] == nodata).all()
    assert int((written == nodata).sum()) == 64


@pytest.mark.parametrize("nodata", [0, 2**63 - 1, float("nan")])
def test_large_integers_beside_the_mark_of_missing_stay_exact(nodata):
    values = np.array([2**62 + 1, 5, 0], np.int64)
    assert apart_from(values, nodata).tolist() == [2**62 + 1, 5, 1 if nodata == 0 else 0]


@pytest.mark.parametrize("unit", [1e-40, 1e-42])
def test_a_range_in_whose_units_the_rest_cannot_be_told_is_none(unit: float) -> None:
    """Damaged floats: most of the bits are zero, and a few values are as large as the format has them."""
    values = (np.random.default_rng(1).integers(0, 2, (24, 32)) * unit).astype(np.float32)
    values[::5, ::7] = 1e38
    picture = as_picture(values, missing=True)
    assert picture.tensor.isfinite().all()
    assert (picture.low, picture.high) == (0, pytest.approx(1e38))
