"""Transparency: what no one sees is not fitted, and an enlarged image has an enlarged alpha without a fringe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from specimens import THIN, clean

from preimage import deblur, denoise, super_resolve
from preimage.images import read
from preimage.observe import OraclePeak, observe

RECIPE = replace(THIN, stop="steps", steps=3)
TASKS: dict[str, Any] = {
    "denoise": (denoise, {}),
    "super-resolve": (super_resolve, {"factor": 2}),
    "deblur": (deblur, {"kernel": "gaussian:1"}),
}


def badge(path: Path, side: int = 32, below: int = 0, soft: bool = False, gray: bool = False) -> Path:
    """A colored disc on nothing: opaque, or opaque with an edge of half the alpha."""
    rows, columns = np.indices((side, side)) - (side - 1) / 2
    radius = np.hypot(rows, columns) / side
    alpha = np.where(radius < 0.3, 255, np.where(radius < 0.36, 128 if soft else 255, 0)).astype(np.uint8)
    colors = (clean(side)[0].movedim(0, -1).numpy() * 155 + 100).round().astype(np.uint8)
    colors = colors[..., :1] if gray else colors
    Image.fromarray(np.dstack([np.where(alpha[..., None] > 0, colors, below).astype(np.uint8), alpha])).save(path)
    return path


def composite(pixels: np.ndarray, background: float) -> np.ndarray:
    colors, alpha = pixels[..., :-1] / 255, pixels[..., -1:] / 255
    return colors * alpha + background * (1 - alpha)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("soft", [True, False])
@pytest.mark.parametrize("gray", [True, False])
def test_hidden_color_changes_nothing(tmp_path, task, soft, gray):
    function, options = TASKS[task]
    written = []
    for below in (0, 255):
        path = badge(tmp_path / f"{below}.png", below=below, soft=soft, gray=gray)
        run = function(path, recipe=RECIPE, device="cpu", **options)
        assert any("no one sees" in remark for remark in run.remarks)
        result = run.run()
        written.append(result.save(tmp_path / f"{below}-out.png").read_bytes())
    assert written[0] == written[1]


@pytest.mark.parametrize("task", TASKS)
def test_an_opaque_image_is_restored_bit_for_bit_as_without_alpha(tmp_path, task):
    function, options = TASKS[task]
    colors = (clean(32)[0].movedim(0, -1).numpy() * 255).round().astype(np.uint8)
    Image.fromarray(colors).save(tmp_path / "a.png")
    Image.fromarray(np.dstack([colors, np.full((32, 32), 255, np.uint8)])).save(tmp_path / "b.png")
    one, other = (function(tmp_path / name, recipe=RECIPE, device="cpu", **options) for name in ("a.png", "b.png"))
    assert one.remarks == other.remarks
    assert torch.equal(one.run().image, other.run().image)


def reduced(large: np.ndarray) -> np.ndarray:
    """Half as large: means of 2 x 2 pixels, of the colors weighted by alpha, and black where nothing is seen."""
    alpha = large[..., 3:].astype(float)
    sums = [
        each.reshape(len(each) // 2, 2, -1, 2, each.shape[2]).mean((1, 3)) for each in (large[..., :3] * alpha, alpha)
    ]
    return np.dstack([sums[0] / sums[1].clip(1e-9), sums[1]]).round().astype(np.uint8)


@pytest.mark.parametrize("below", [0, 255])
def test_alpha_is_enlarged_with_the_colors(tmp_path, below):
    large = np.asarray(Image.open(badge(tmp_path / "true.png", 64)))
    small = reduced(large)
    small[small[..., 3] == 0, :3] = below
    Image.fromarray(small).save(tmp_path / "a.png")
    recipe = replace(RECIPE, steps=200, network=replace(THIN.network, upsample="bilinear"))
    result = super_resolve(tmp_path / "a.png", factor=2, kernel="box", recipe=recipe, device="cpu").run()
    assert result.image.shape == (1, 3, 64, 64)
    pixels = np.asarray(Image.open(result.save(tmp_path / "large.png")))
    assert pixels.shape == (64, 64, 4)
    naive = np.asarray(Image.fromarray(small).resize((64, 64), Image.Resampling.BICUBIC))
    for background in (0.0, 1.0):
        error, other = (
            np.square(composite(each, background) - composite(large, background)).mean() for each in (pixels, naive)
        )
        assert error < other
    assert np.abs(pixels[..., 3].astype(int) - large[..., 3]).mean() < 6


@pytest.mark.parametrize("options", [{"restarts": 2}, {"tile": 16}, {"warm_start": True}, {"prior": "pixels"}])
def test_with_restarts_tiles_and_another_prior(tmp_path, options):
    chosen = {} if "prior" in options else {"recipe": RECIPE}
    run = super_resolve(badge(tmp_path / "a.png", soft=True), factor=2, steps=3, device="cpu", **chosen, **options)
    oracle = OraclePeak(clean(64))
    for step in observe(run, oracle):
        assert step.picture.shape == (1, 3, 64, 64)
    result = run.result()
    assert result.image.shape == (1, 3, 64, 64)
    assert (result.uncertainty is None) == ("restarts" not in options)
    assert result.uncertainty is None or result.uncertainty.shape == (1, 3, 64, 64)
    assert read(result.save(tmp_path / "b.png")).transparent() is not None
    assert oracle.peak is not None


@pytest.mark.parametrize("steps", [2, 4, 6])
def test_pages_of_which_some_are_opaque(tmp_path, steps):
    """Ended within the first page, after it, and after all: the file has one size of alpha."""
    pages = np.stack([np.asarray(Image.open(badge(tmp_path / "a.png"))) for _ in range(2)])
    pages[1, ..., 3] = 255
    for order in (pages, pages[::-1].copy(), pages[:1].repeat(2, 0)):
        tifffile.imwrite(tmp_path / "a.tif", order, photometric="rgb", extrasamples=["unassalpha"], metadata=None)
        run = super_resolve(read(tmp_path / "a.tif", page="all"), factor=2, recipe=RECIPE, device="cpu")
        for step in run:
            if step.index == steps:
                break
        written = tifffile.imread(run.result().save(tmp_path / "b.tif", overwrite=True))
        assert written.shape == (2, 64, 64, 4)
        for page, given in zip(written, order, strict=True):
            if (given[..., 3] == 255).all() and steps == 6:
                assert (page[..., 3] == 255).all()


@pytest.mark.data
def test_real_a_badge_has_no_fringe(data: Path, tmp_path):
    run = super_resolve(
        data / "cases" / "badge_transparent48.png", factor=4, recipe=replace(THIN, stop="steps", steps=60)
    )
    pixels = np.asarray(Image.open(run.run().save(tmp_path / "a.png")))
    visible = pixels[pixels[..., 3] > 30][:, :3]
    assert visible[:, 0].min() > 150  # yellow and white, no black
