"""What is returned as given, and what is left out of the fit, through every task: no quality, all of it in few steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from specimens import THIN, noisy

from preimage import deblur, demosaic, denoise, flash_no_flash, inpaint, remove_jpeg_artifacts, super_resolve
from preimage.distances import filtered
from preimage.images import as_picture
from preimage.metrics import psnr
from preimage.noise.estimation import estimate_noise
from preimage.observe import OraclePeak, observe
from preimage.problem import name_of
from preimage.series.given import planned_on
from preimage.series.layout import pages_of

Array = NDArray[Any]
BRIEF = replace(THIN, steps=3)
OPTIONS: dict[str, Any] = {"recipe": BRIEF, "device": "cpu"}
TASKS: dict[str, Any] = {
    "denoise": lambda image, **own: denoise(image, **OPTIONS, **own),
    "deblur": lambda image, **own: deblur(image, kernel="gaussian:0.8", **OPTIONS, **own),
    "deblur, kernel unknown": lambda image, **own: deblur(image, kernel="unknown", kernel_size=5, **OPTIONS, **own),
    "super-resolve": lambda image, **own: super_resolve(image, factor=2, **OPTIONS, **own),
    "remove-jpeg-artifacts": lambda image, **own: remove_jpeg_artifacts(image, **OPTIONS, **own),
}


def gray(dtype: str = "uint16", seed: int = 0) -> Array:
    """(32, 32), from about 200 to 900."""
    values = 200 + 700 * noisy(32, 1, 0.05)[0, 0].numpy() + np.random.default_rng(seed).normal(0, 5, (32, 32))
    return values.round().astype(dtype) if np.dtype(dtype).kind in "iu" else values.astype(dtype)


def enlarged(values: Array, like: Array) -> Array:
    return values.repeat(like.shape[0] // 32, 0).repeat(like.shape[1] // 32, 1)


# ---------------------------------------------------------------------- outliers and bright sources


@pytest.mark.parametrize("task", TASKS)
def test_a_hot_pixel_is_replaced_and_said(task: str) -> None:
    values = gray()
    hot = values.copy()
    hot[10, 12] = 65535
    result = TASKS[task](hot).run()
    written = result.to_array()
    assert written.dtype == np.uint16
    assert written.max() < 1000
    said = [line for line in result.remarks if "(65535): not fitted, and replaced by what the fit says there" in line]
    assert len(said) == 1
    assert said[0].startswith("1 of 1024 values is single and far beyond")


def test_a_hot_pixel_of_a_mosaic_is_replaced() -> None:
    values = gray()
    values[10, 12] = 65535
    assert demosaic(values, **OPTIONS).run().to_array().max() < 1000


def test_a_fit_does_not_depend_on_how_hot_a_pixel_is() -> None:
    images = []
    for value in (5000, 65535):
        values = gray()
        values[10, 12] = value
        images.append(denoise(values, **OPTIONS).run().image)
    assert torch.equal(*images)


@pytest.mark.parametrize("task", TASKS)
def test_bright_sources_have_their_own_values(task: str) -> None:
    y, x = np.mgrid[0:32, 0:32]
    star = 50000 * np.exp(-((y - 14.2) ** 2 + (x - 17.4) ** 2) / 2.5)
    values = (100 + star + np.random.default_rng(0).standard_normal((32, 32))).astype(np.float32)
    result = TASKS[task](values).run()
    written = result.to_array()
    beyond = values > result.picture.high
    assert 5 < beyond.sum() < 100
    small = written if task != "super-resolve" else written.reshape(32, 2, 32, 2).mean((1, 3))
    np.testing.assert_allclose(small[beyond], values[beyond], rtol=1e-4)
    assert any("bright sources: not fitted, and returned with their own values" in line for line in result.remarks)


def test_the_oracle_peak_is_that_of_the_values_that_are_returned() -> None:
    y, x = np.mgrid[0:32, 0:32]
    values = 100 + 50000 * np.exp(-((y - 14.2) ** 2 + (x - 17.4) ** 2) / 2.5)
    values = (values + np.random.default_rng(0).standard_normal((32, 32))).astype(np.float32)
    run = denoise(values, **OPTIONS)
    truth = as_picture(values, missing=True).tensor
    oracle = OraclePeak(truth)
    for _ in observe(run, oracle):
        pass
    assert oracle.peak is not None
    assert oracle.peak[0] >= float(psnr(run.result().image, truth)) - 1e-3 > 0


def test_inpaint_returns_an_outlier_outside_of_its_mask_as_it_was() -> None:
    values, mask = gray(), np.zeros((32, 32), np.uint8)
    values[10, 12], values[20, 22] = 65535, 60000
    mask[19:24, 19:24] = 255
    written = inpaint(values, mask=mask, mask_white="missing", **OPTIONS).run().to_array()
    assert written[10, 12] == 65535
    assert written[20, 22] < 1000
    assert (written[mask == 0] == values[mask == 0]).all()


# ---------------------------------------------------------------------- missing values


def with_gap(value: float, dtype: str = "float32") -> tuple[Array, Array]:
    values, gap = gray(dtype), np.zeros((32, 32), bool)
    gap[:9, :9] = gap[20, 20:23] = True
    values[gap] = value
    return values, gap


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("value", [-9999.0, np.nan, float(np.finfo(np.float32).min)])
def test_missing_values_are_written_as_they_were(task: str, value: float) -> None:
    values, gap = with_gap(value)
    result = TASKS[task](values).run()
    written = result.to_array()
    there = enlarged(gap, written)
    np.testing.assert_array_equal(written[there], np.full(int(there.sum()), value, np.float32))
    assert written[~there].min() > 150
    assert bool(result.image.isfinite().all())
    said = f"{int(gap.sum())} of 1024 values are missing: not fitted, and written as they were in the file; inpaint fills them"
    assert said in result.remarks


@pytest.mark.parametrize(("dtype", "value"), [("float32", -9999), ("int16", -32768), ("uint16", 0)])
def test_the_mark_of_a_file_stays_in_it(tmp_path: Path, dtype: str, value: int) -> None:
    values, gap = with_gap(value, dtype)
    tag = [(42113, "s", 0, str(value), True)]
    tifffile.imwrite(tmp_path / "a.tif", values, extratags=tag, metadata=None)
    denoise(tmp_path / "a.tif", **OPTIONS).run().save(tmp_path / "b.tif")
    with tifffile.TiffFile(tmp_path / "b.tif") as tif:
        assert tif.pages[0].aspage().tags[42113].value == str(value)
        written = tif.asarray()
    assert (written[gap] == value).all()
    assert written[~gap].min() > 150
    inpaint(tmp_path / "a.tif", **OPTIONS).run().save(tmp_path / "c.tif")
    filled = tifffile.imread(tmp_path / "c.tif")
    assert filled.min() > 150
    np.testing.assert_allclose(filled[~gap], values[~gap], atol=1e-3)


@pytest.mark.parametrize("kind", ["poisson", "speckle", "impulse"])
def test_missing_values_beside_noise_of_any_kind(kind: Any) -> None:
    values, gap = with_gap(np.nan)
    fit: Any = denoise(values, noise=kind, **OPTIONS)
    assert not bool((fit.problem.weight[0, 0].numpy()[gap]).any())
    assert (np.isnan(fit.run().to_array()) == gap).all()


def test_a_distance_that_mixes_pixels_sees_nothing_of_what_is_missing() -> None:
    values, gap = with_gap(np.nan)
    fit: Any = deblur(values, kernel="gaussian:0.8", **OPTIONS)
    problem = fit.problem
    assert name_of(problem.distance) == filtered.__name__
    x = torch.rand(1, 1, *fit.prior.size)
    assert not bool((problem.apply(x)[0, 0].numpy()[gap]).any())
    assert not bool((problem.target[0, 0].numpy()[gap]).any())


@pytest.mark.parametrize(("share", "scattered"), [(0.1, True), (0.3, True), (0.1, False), (0.3, False), (0.6, False)])
def test_the_noise_is_estimated_from_the_others(share: float, scattered: bool) -> None:
    whole = noisy(96, 1, 0.1).clamp(0, 1)
    values = whole[0, 0].numpy().copy()
    if scattered:
        values[np.random.default_rng(0).random(values.shape) < share] = np.nan
    else:
        values[:, : int(96 * share)] = np.nan
    found = estimate_noise(planned_on(as_picture(values, missing=True)).tensor, kind="gaussian").sigma
    assert found == pytest.approx(estimate_noise(whole, kind="gaussian").sigma, rel=0.25)


# ---------------------------------------------------------------------- constant images

CONSTANT: dict[str, Array] = {
    "black": np.zeros((32, 32), np.uint8),
    "white, in color": np.full((32, 32, 3), 255, np.uint8),
    "gray of 16 bits": np.full((32, 32), 1234, np.uint16),
    "colored": np.full((32, 32, 3), (10, 0, 200), np.uint8),
    "a float": np.full((32, 32), np.float32(0.1) * 3, np.float32),
    "negative": np.full((32, 32), -0.7),
    "with missing values": np.where(np.eye(32) > 0, np.nan, 0.3).astype(np.float32),
}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("kind", CONSTANT)
def test_constant_images_are_returned_as_given(task: str, kind: str) -> None:
    values = CONSTANT[kind]
    result = TASKS[task](values).run()
    written = result.to_array()
    np.testing.assert_array_equal(written, enlarged(values, written))
    assert result.steps == 1
    assert any(line.startswith("constant (") and line.endswith("returned as given") for line in result.remarks)


def test_constant_images_of_the_other_tasks() -> None:
    black = np.zeros((32, 32), np.uint8)
    assert not demosaic(black, **OPTIONS).run().to_array().any()
    color = np.zeros((32, 32, 3), np.uint8)
    assert (
        not flash_no_flash(color, flash=np.dstack([gray("uint16") // 4] * 3).astype(np.uint8), **OPTIONS)
        .run()
        .to_array()
        .any()
    )
    holes = np.where(np.eye(32) > 0, np.nan, 0.3).astype(np.float32)
    np.testing.assert_array_equal(inpaint(holes, **OPTIONS).run().to_array(), np.full((32, 32), 0.3, np.float32))


def test_a_channel_of_one_value_stays_so() -> None:
    values = np.dstack([gray(), np.zeros((32, 32)), np.full((32, 32), 77)]).astype(np.uint16)
    result = denoise(values, sigma=20, **OPTIONS).run()  # by itself it would be hardly changed: faint noise
    written = result.to_array()
    assert (written[..., 1:] == values[..., 1:]).all()
    assert (written[..., 0] != values[..., 0]).any()
    assert any("varied, 0, 77" in line for line in result.remarks)


def stack(tmp_path: Path, name: str, *pages: Array) -> Path:
    tifffile.imwrite(tmp_path / name, np.stack(pages), photometric="minisblack", metadata=None)
    return tmp_path / name


def all_pages(path: Path) -> Any:
    from preimage.images import read

    return read(path, page="all", missing=True)


@pytest.mark.parametrize("value", [0, 500, 65535])
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("warm", [False, True])
def test_a_constant_frame_does_not_disturb_the_others(tmp_path: Path, value: int, place: int, warm: bool) -> None:
    frames = [gray(seed=1), gray(seed=2)]
    blank = np.full((32, 32), value, np.uint16)
    whole = all_pages(stack(tmp_path, "a.tif", *frames))
    without = [denoise(page, **OPTIONS).run().to_array() for page in pages_of(whole)]
    without = denoise(whole, warm_start=True, **OPTIONS).run().to_array() if warm else np.stack(without)
    given = [*frames[:place], blank, *frames[place:]]
    result = denoise(all_pages(stack(tmp_path, "b.tif", *given)), warm_start=warm, **OPTIONS).run()
    written = result.to_array()
    assert (written[place] == blank).all()
    np.testing.assert_array_equal(np.delete(written, place, 0), without)
    assert f"page {place + 1}: constant ({value}): one value everywhere, it is returned as given" in result.remarks


def test_a_frame_of_which_nothing_is_known(tmp_path: Path) -> None:
    frames = [np.full((32, 32), np.nan, np.float32), gray("float32")]
    result = denoise(all_pages(stack(tmp_path, "a.tif", *frames)), **OPTIONS).run()
    written = result.to_array()
    assert np.isnan(written[0]).all()
    assert np.isfinite(written[1]).all()
    assert "page 1: no value is known: returned as given" in result.remarks


def test_constant_and_unknown_tiles_are_as_given() -> None:
    values = np.pad(gray("float32"), ((0, 32), (0, 32)), constant_values=300)
    values[32:, 32:] = np.nan
    values[40, 3] = 200  # one tile that is neither
    result = denoise(values, tile=(32, 0), tv=0.01, **OPTIONS).run()
    written = result.to_array()
    np.testing.assert_array_equal(np.isnan(written), np.isnan(values))
    np.testing.assert_allclose(written[:32, 32:], 300, atol=1e-3)
    assert sorted(result.kept_step) == [1, 1, 3, 3]
