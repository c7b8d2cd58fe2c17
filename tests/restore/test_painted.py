"""A picture as a mask: painted into a copy of the photograph, in the alpha channel, in black and white, or none at all."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from specimens import THIN, clean

from preimage.errors import InputError
from preimage.images import as_picture, read
from preimage.restore.inpaint import inpaint
from preimage.restore.painted import alpha_shape, between, painted, shape_of

SIDE = 64
PAINTED = np.s_[10:26, 30:54]


def photograph(mode: str = "RGB", dtype: type = np.uint8) -> np.ndarray:
    """Textured and smooth, (h, w) or (h, w, 3)."""
    values = clean(SIDE, 3 if mode == "RGB" else 1)[0].movedim(0, -1).numpy()
    values = values + np.random.default_rng(1).normal(0, 0.03, (SIDE, SIDE, 1))
    pixels = (values.clip(0, 1) * np.iinfo(dtype).max).round().astype(dtype)
    return pixels if mode == "RGB" else pixels[..., 0]


def marked() -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[PAINTED] = True
    mask[40:44, 4:40] = True
    return mask


def copy_of(pixels: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    whole = np.repeat(pixels[..., None], 3, 2) if pixels.ndim == 2 else pixels.copy()
    whole[marked()] = np.array(color) * (np.iinfo(pixels.dtype).max // 255)
    return whole


def as_jpeg(pixels: np.ndarray, quality: int) -> Image.Image:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return Image.open(file)


COLORS = [(255, 0, 0), (0, 255, 0), (255, 255, 255), (0, 0, 0), (255, 0, 255), (128, 128, 128)]


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_what_was_painted_in_a_copy_is_missing(color, mode, dtype):
    pixels = photograph(mode, dtype)
    found = painted(as_picture(copy_of(pixels, color)), as_picture(pixels))
    assert found is not None
    missing = found[0, 0].numpy()
    assert (missing & ~marked()).sum() <= 4  # pinholes of the paint are filled
    assert (marked() & ~missing).sum() <= 8


@pytest.mark.parametrize("color", [(255, 0, 0), (0, 255, 0), (255, 0, 255)])
@pytest.mark.parametrize("quality", [95, 85, 60])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_copy_that_was_saved_as_jpeg(color, quality, mode):
    pixels = photograph(mode)
    found = painted(as_picture(as_jpeg(copy_of(pixels, color), quality)), as_picture(pixels))
    assert found is not None
    missing = found[0, 0].numpy()
    assert not (marked() & ~missing).any()
    wide = np.asarray(Image.fromarray(marked()).convert("L").filter(ImageFilter.MaxFilter(9))) > 0
    assert not (missing & ~wide).any()  # no specks elsewhere


@pytest.mark.parametrize("to", ["PNG", "JPEG"])
def test_the_copy_of_a_page_in_black_and_white(to):
    page = np.where(np.random.default_rng(0).random((8, 8)).repeat(8, 0).repeat(8, 1) < 0.3, 0, 255).astype(np.uint8)
    copy = copy_of(page, (255, 0, 0))
    found = painted(as_picture(copy if to == "PNG" else as_jpeg(copy, 90)), as_picture(page))
    assert found is not None
    assert (found[0, 0].numpy() & marked()).sum() > 0.9 * marked().sum()


def test_a_transparent_part_of_a_copy_is_missing_as_well():
    pixels = photograph()
    copy = np.dstack([pixels, np.where(marked(), 0, 255).astype(np.uint8)])
    copy[marked()] = 0
    found = painted(as_picture(Image.fromarray(copy)), as_picture(pixels))
    assert found is not None
    assert (found[0, 0].numpy() == marked()).all()


@pytest.mark.parametrize("level", [0, 255])
def test_a_mask_in_black_and_white_is_no_copy(level):
    """Whatever the photograph is: nearly all black, nearly all white, or a page with one black stain where the mask is."""
    mask = np.where(marked(), 255 - level, level).astype(np.uint8)
    noise = np.random.default_rng(2)
    page = np.where(noise.random((SIDE, SIDE)) < 0.1, 255 - level, level).astype(np.uint8)
    page[marked()] = 255 - level
    dark = (abs(noise.normal(0, 3, (SIDE, SIDE, 3))) * (1 if level == 0 else -1) + level).clip(0, 255).astype(np.uint8)
    for given in (photograph(), photograph("L"), page, dark):
        for own in (mask, mask > 0, as_jpeg(mask, 60), np.repeat(mask[..., None], 3, 2)):
            assert painted(as_picture(own), as_picture(given)) is None
            shape, white, said = shape_of(own, as_picture(given), "missing")
            assert (white, said) == ("missing", ())
            assert (shape.white()[0, 0].numpy() == (mask > 0)).mean() > 0.99


@pytest.mark.parametrize("blur", [0, 1, 2])
def test_a_mask_with_soft_edges_is_one(blur):
    mask = Image.fromarray(marked()).convert("L").filter(ImageFilter.GaussianBlur(blur))
    assert between(as_picture(mask).tensor) < 0.3
    assert shape_of(mask, as_picture(photograph()), "valid")[1:] == ("valid", ())


RAMP = np.tile(np.linspace(0, 255, SIDE).astype(np.uint8), (SIDE, 1))
NO_MASKS = {
    "another photograph": photograph()[::-1].copy(),
    "in gray": photograph("L").T.copy(),
    "16 bits": photograph("L", np.uint16)[:, ::-1].copy(),
    "a ramp": RAMP,
    "as many labels": (np.indices((SIDE, SIDE)).sum(0) // 16 % 5 * 50).astype(np.uint8),
    "red on green": np.where(marked()[..., None], [255, 0, 0], [0, 255, 0]).astype(np.uint8),
}


@pytest.mark.parametrize("mask", NO_MASKS.values(), ids=NO_MASKS.keys())
@pytest.mark.parametrize("white", ["valid", "missing", None])
def test_what_is_no_mask_is_one_line_with_the_way_out(mask, white):
    with pytest.raises(InputError) as caught:
        inpaint(photograph(), mask=mask, mask_white=white, recipe=THIN, device="cpu")
    assert caught.value.code == "mask"
    assert all(word in str(caught.value) for word in ("many colors or gray levels", "black and white", "copy of"))


def test_a_copy_without_paint_is_one_line():
    for copy in (photograph(), as_jpeg(photograph(), 80)):
        with pytest.raises(InputError, match="nothing is painted in it") as caught:
            shape_of(copy, as_picture(photograph()), "missing")
        assert caught.value.code == "mask"


# ---------------------------------------------------------------------- alpha


@pytest.mark.parametrize("color", [(255, 255, 255), (0, 0, 0), (255, 0, 0)])
@pytest.mark.parametrize("below", [(0, 0, 0), (255, 255, 255), (0, 128, 9)])
def test_a_shape_in_the_alpha_channel_is_the_mask(color, below):
    layer = np.where(marked()[..., None], (*color, 255), (*below, 0)).astype(np.uint8)
    mask = as_picture(Image.fromarray(layer))
    opaque = alpha_shape(mask)
    assert opaque is not None
    assert (opaque[0, 0].numpy() == marked()).all()
    for white, expected in (("missing", marked()), ("valid", ~marked())):
        own: Any = {"mask": mask, "mask_white": white}
        run: Any = inpaint(photograph(), **own, recipe=replace(THIN, stop="steps"), device="cpu")
        assert torch.equal(run.problem.weight[0, 0] == 0, torch.from_numpy(expected))
        assert "alpha channel is the mask" in run.remarks[0]
    with pytest.raises(InputError, match="mask_white"):
        inpaint(photograph(), mask=mask, recipe=THIN, device="cpu")


def test_the_alpha_of_a_mask_with_two_colors_is_no_shape():
    mask = np.where(marked(), 255, 0).astype(np.uint8)
    alpha = np.full_like(mask, 255)
    alpha[:5] = 0
    picture = as_picture(Image.fromarray(np.dstack([mask, mask, mask, alpha])))
    assert alpha_shape(picture) is None
    assert alpha_shape(as_picture(mask)) is None
    assert shape_of(picture, as_picture(photograph()), "missing")[2] == ()


# ---------------------------------------------------------------------- the task


@pytest.mark.parametrize("white", [None, "valid", "missing"])
def test_inpaint_fills_what_was_painted_and_says_so(tmp_path, white):
    Image.fromarray(photograph()).save(tmp_path / "photo.png")
    Image.fromarray(copy_of(photograph(), (255, 0, 0))).save(tmp_path / "copy.png")
    settings: Any = {"mask": tmp_path / "copy.png", "mask_white": white, "recipe": replace(THIN, steps=3, stop="steps")}
    run: Any = inpaint(tmp_path / "photo.png", **settings, device="cpu")
    assert torch.equal(run.problem.weight[0, 0] == 0, torch.from_numpy(marked()))
    assert "copy.png is a copy of the photograph" in run.remarks[0]
    written = np.asarray(Image.open(run.run().save(tmp_path / "filled.png")))
    assert (written[~marked()] == photograph()[~marked()]).all()
    assert (written[marked()] != photograph()[marked()]).any()


@pytest.mark.data
def test_real_a_photograph_and_its_painted_copy(data: Path):
    folder = data / "cases"
    found = painted(read(folder / "mask_red_painted.png"), read(folder / "mask_red_photo.png"))
    assert found is not None
    red = np.asarray(Image.open(folder / "mask_red_painted.png")) == [255, 0, 0]
    assert (found[0, 0].numpy() == red.all(-1)).all()
