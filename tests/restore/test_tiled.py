"""Every task in tiles: what is decided of the whole picture holds for every tile, and sizes, masks and blocks fit."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from specimens import THIN, clean, noisy

from preimage.engine.fit import Fit
from preimage.errors import InputError
from preimage.images import as_picture
from preimage.metrics import psnr
from preimage.restore.deblur import deblur
from preimage.restore.denoise import denoise
from preimage.restore.flash_no_flash import flash_no_flash
from preimage.restore.inpaint import inpaint
from preimage.restore.remove_jpeg_artifacts import remove_jpeg_artifacts
from preimage.restore.super_resolve import super_resolve
from preimage.series import tiling
from preimage.series.tiles import Tiles

SHORT = replace(THIN, steps=4, stop="steps")
common = {"recipe": SHORT, "device": "cpu"}


def grey_jpeg(height: int = 75, width: int = 90, *, quality: int = 30, orientation: int = 1, color: bool = True):
    pixels = (clean(96)[0, :, :height, :width].movedim(0, -1) * 255).byte().numpy()
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels if color else pixels[..., 0]).save(buffer, "JPEG", quality=quality, exif=exif)
    return Image.open(buffer)


# ---------------------------------------------------------------------- whole or tiles


def test_a_picture_that_fits_is_fitted_whole():
    for tile in ("auto", "none", None, 64, (64, 10)):
        assert isinstance(denoise(noisy(64), **common, tile=tile), Fit)
    assert isinstance(denoise(noisy(65), **common, tile=64), Tiles)


def test_auto_cuts_what_does_not_fit_into_memory(monkeypatch):
    image = torch.rand(1, 1, 600, 300)
    make = partial(denoise, image, noise="gaussian", sigma=0.1, **common)
    assert isinstance(make(), Fit)
    expected = partial(tiling.expected_bytes, SHORT, 1, members=1, device="cpu")
    canvas = 5 * 4 * image.numel()
    for side, size in ((512, 550), (384, 400), (256, 300), (256, 20)):
        free = (expected(size=(size, size)) or 0) + canvas  # pyright: ignore[reportCallIssue]
        monkeypatch.setattr(tiling, "free_memory", lambda device, free=free: min(free, 10**9))
        run = make()
        if (expected(size=(600, 300)) or 0) <= free:  # pyright: ignore[reportCallIssue]
            continue
        assert isinstance(run, Tiles)
        assert run.side == side
        assert run.overlap == side // 8
        assert len(run.remarks) == len(run.current.remarks) + 2
        assert f"{side} pixels" in run.remarks[-2]
        assert isinstance(make(tile=None), Fit)
    monkeypatch.setattr(tiling, "free_memory", lambda device: None)
    assert isinstance(make(), Fit)


@pytest.mark.parametrize("tile", [8, -1, "all", True, 40.0, (32, 16), (32, -1), (32, 8, 8)])
def test_tiles_that_cannot_be(tile):
    with pytest.raises(InputError) as caught:
        denoise(noisy(48), **common, tile=tile)
    assert "\n" not in str(caught.value)


def test_no_memory_says_tiles(monkeypatch):
    monkeypatch.setattr("preimage.engine.memory.free_memory", lambda device: 1000)
    with pytest.raises(InputError) as caught:
        next(denoise(noisy(48), **common, tile=None))
    assert caught.value.code == "memory"
    assert "--tile" in str(caught.value)


# ---------------------------------------------------------------------- what is decided once


def test_the_kind_and_strength_of_noise_are_those_of_the_whole():
    image = torch.cat([noisy(64, sigma=0.02), noisy(64, sigma=0.2)], -1)
    run = denoise(image, recipe=SHORT, device="cpu", tile=(64, 0))
    whole = denoise(image, recipe=SHORT, device="cpu")
    assert run.remarks[:2] == whole.remarks
    levels = [run.current.problem.noise_level for _ in run]  # pyright: ignore[reportAttributeAccessIssue]
    assert max(levels) < 1.2 * min(levels)


def test_impulses_are_those_that_the_whole_shows():
    """A mask of each tile for itself would depend on where it is cut."""
    generator = torch.Generator().manual_seed(0)
    grains = torch.rand(1, 3, 48, 48, generator=generator)
    image = torch.where(grains < 0.15, 0.0, torch.where(grains > 0.85, 1.0, clean(48)))
    run = denoise(image, noise="impulse", **common, tile=(32, 8))
    whole = denoise(image, noise="impulse", **common)
    assert isinstance(run, Tiles)
    assert isinstance(whole, Fit)
    assert torch.equal(run.current.problem.weight, whole.problem.weight[..., :32, :32])  # pyright: ignore
    assert run.run().image.shape == image.shape


@pytest.mark.parametrize(("task", "kernel"), [(deblur, "unknown"), (partial(super_resolve, factor=2), "estimate")])
def test_an_unknown_kernel_is_fitted_once(task, kernel, tmp_path):
    def made() -> Tiles:
        run = task(noisy(48), kernel=kernel, **common, restarts=2, tile=(32, 15))
        assert isinstance(run, Tiles)
        return run

    run = made()
    kernels, trainable = [], []
    for step in run:
        if step.index % 4 == 0:
            kernels.append(run.current.problem.operator)
            trainable.append(run.current.problem.trainable())
    assert trainable == [True, False, False, False]
    fitted = torch.stack([operator.kernel.detach() for operator in kernels[0].operators]).mean(0)
    assert all(torch.allclose(operator.kernel, fitted) for operator in kernels[1:])
    result = run.result()
    assert len(result.operators) == 2
    found = torch.stack([operator.kernel.detach() for operator in result.operators]).mean(0)  # pyright: ignore
    assert torch.allclose(found, fitted)
    broken, again = made(), made()
    for step in broken:
        if step.index == 7:
            again.load_state_dict(broken.state_dict())
            break
    assert torch.equal(again.run().image, result.image)
    assert torch.allclose(again.result().operators[0].kernel, result.operators[0].kernel)  # pyright: ignore


def test_the_most_detailed_tile_finds_the_kernel():
    image = torch.full((1, 1, 32, 96), 0.5)
    image[..., 64:] = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    run = deblur(image, kernel="unknown", kernel_size=5, sigma=0.01, **common, tile=(32, 0))
    assert isinstance(run, Tiles)
    assert run.number == 2


# ---------------------------------------------------------------------- sizes and companions


@pytest.mark.parametrize("factor", [2, 3])
def test_an_enlarged_picture_is_so_many_times_as_large(factor):
    small = clean(72)[..., ::2, ::2]
    recipe = replace(SHORT, steps=30)
    run = super_resolve(small, factor=factor, recipe=recipe, device="cpu", tile=(24, 8))
    assert run.size == (36 * factor, 36 * factor)
    result = run.run()
    assert result.image.shape == (1, 3, 36 * factor, 36 * factor)
    view = torch.nn.functional.avg_pool2d(result.image, factor)
    assert float(psnr(view.clamp(0, 1), small)) > 15


def test_deblurring_keeps_the_size_and_its_tiles_reach_over_the_kernel():
    run = deblur(noisy(64), kernel="gaussian:1.0", sigma=0.1, **common, tile=40)
    assert isinstance(run, Tiles)
    assert run.overlap == 4 * 3
    assert run.size == (64, 64)
    assert run.run().image.shape == (1, 3, 64, 64)


def test_the_flash_picture_is_cut_along():
    flash = clean(48).flip(-1)
    run = flash_no_flash(noisy(48), flash=flash, **common, tile=(32, 8))
    assert isinstance(run, Tiles)
    for _ in run:
        assert torch.equal(run.current.prior.codes[0], run.part(flash))


def test_known_pixels_are_exact_in_tiles_too():
    image, mask = noisy(64), torch.zeros(1, 1, 64, 64)
    mask[..., 10:14, 5:60] = mask[..., 40:44, 40:44] = 1
    run = inpaint(image, mask=mask, mask_white="missing", **common, tile=(24, 8))
    assert isinstance(run, Tiles)
    whole = inpaint(image, mask=mask, mask_white="missing", **common)
    assert run.remarks[: len(whole.remarks)] == whole.remarks
    assert 0 < len(run.order) < len(run.places)
    result = run.run()
    known = (mask == 0).expand_as(image)
    assert torch.equal(result.image[known], image[known])
    assert not torch.equal(result.image[~known], image[~known])
    assert result.picture is not None
    assert result.picture.missing is None


def test_each_page_has_its_own_gaps():
    pages, masks = torch.cat([noisy(48), noisy(48)]), torch.zeros(2, 1, 48, 48)
    masks[0, :, 4:8, 4:8] = masks[1, :, 40:44, 40:44] = 1
    run = inpaint(pages, mask=masks, mask_white="missing", **common, tile=(32, 8))
    assert isinstance(run, Tiles)
    assert run.order == [0, 7]
    known = (masks == 0).expand_as(pages)
    assert torch.equal(run.run().image[known], pages[known])


def test_a_gap_wider_than_a_tile_is_told():
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 2:62, 2:62] = 1
    with pytest.raises(InputError) as caught:
        inpaint(noisy(64), mask=mask, mask_white="missing", **common, tile=(24, 8))
    assert caught.value.code == "mask"
    assert "columns" in str(caught.value)


# ---------------------------------------------------------------------- JPEG


@pytest.mark.long
@pytest.mark.parametrize(("orientation", "color"), [(1, True), (6, True), (3, False), (8, False)])
def test_tiles_hold_whole_blocks_of_the_file(orientation, color):
    picture = as_picture(grey_jpeg(orientation=orientation, color=color))
    run = remove_jpeg_artifacts(picture, **common, tile=(40, 8))
    whole = remove_jpeg_artifacts(picture, **common)
    assert isinstance(run, Tiles)
    assert isinstance(whole, Fit)
    assert run.side == (32 if color else 40)
    stored = {round(float(value), 4) for value in whole.problem.target.flatten()}
    count = 0
    for step in run:
        if step.index % 4:
            continue
        problem = run.current.problem
        inside = problem.target[0][problem.operator[-1].whole]  # pyright: ignore
        count += len(inside)
        assert {round(float(value), 4) for value in inside} <= stored
    assert count > 0


def test_a_jpeg_stays_what_its_file_allows():
    """Where only one tile counts, coefficients lie within half a step of the stored ones."""
    file = grey_jpeg(64, 96, color=False)
    picture = as_picture(file)
    result = remove_jpeg_artifacts(picture, **common, tile=(64, 16)).run()
    whole = remove_jpeg_artifacts(picture, **common)
    assert isinstance(whole, Fit)
    view = whole.problem.operator
    far = (view(result.image) - whole.problem.target).abs()
    assert float((far <= view[-1].steps / 2 + 2 / 255).float().mean()) > 0.99  # pyright: ignore


def test_sides_are_whole_numbers_of_numpy_too():
    assert isinstance(denoise(noisy(48), **common, tile=np.int64(32)), Tiles)
