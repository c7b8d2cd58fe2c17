"""Denoising of pages in black and white: specks go, letters stay, and what is dithered is no noise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageDraw, ImageFont
from specimens import THIN, clean

from preimage import denoise
from preimage.images import as_picture, read
from preimage.restore.bilevel import is_bilevel, most_of_speck, specks_of

RECIPE: Any = replace(THIN, steps=60, stop="steps")


def page(size: int = 24, side: int = 64) -> np.ndarray:
    """(h, w) True where it is white: lines of text."""
    image = Image.new("L", (side, side), 255)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(size=size)
    for top in range(2, side, round(1.4 * size)):
        pen.text((4, top), "The quick, brown: fox; jumps over.", fill=0, font=font)
    return np.asarray(image) > 127


def blank_specks(side: int = 64) -> np.ndarray:
    """(h, w) True in spots of one and two pixels, six apart."""
    spots = np.zeros((side, side), bool)
    draw = np.random.default_rng(0)
    for row, column in draw.integers(2, side - 3, (12, 2)):
        if not spots[max(0, row - 5) : row + 6, max(0, column - 5) : column + 6].any():
            spots[row, column : column + 1 + draw.integers(2)] = True
    return spots


def tensor(white: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(white.astype(np.float32))[None, None]


def shades(side: int = 64) -> np.ndarray:
    return clean(side, 1)[0, 0].numpy() * 0.8 + 0.1


BAYER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]]) / 16 + 1 / 32


def dithered(kind: str, side: int = 64) -> np.ndarray:
    values = shades(side)
    if kind == "diffused":
        return np.asarray(Image.fromarray((values * 255).astype(np.uint8)).convert("1"))
    if kind == "ordered":
        return values > np.tile(BAYER, (side // 4, side // 4))
    rows, columns = np.indices((side, side))
    waves = np.cos(np.pi / 2 * (rows + columns)) + np.cos(np.pi / 2 * (rows - columns))
    return values > (2 + waves) / 4 * 0.98 + 0.01


@pytest.mark.parametrize("kind", ["white paper", "black paper", "text"])
def test_specks_are_found(kind):
    specks = blank_specks()
    ground = {"white paper": np.ones_like(specks), "black paper": np.zeros_like(specks), "text": page(40)}[kind]
    found, said = specks_of(tensor(ground ^ specks))
    if kind != "text":
        assert torch.equal(found[0, 0], torch.from_numpy(specks))
        assert f"{len(np.argwhere(specks & ~np.roll(specks, 1, 1)))} specks" in said
    else:  # those that touch letters, or are a pixel beside them, stay
        assert (found[0, 0].numpy() & ~specks).sum() <= 4
        assert (found[0, 0].numpy() & specks).sum() > 0.4 * specks.sum()


@pytest.mark.parametrize("size", [16, 24, 40])
@pytest.mark.parametrize("black", [False, True])
def test_letters_are_no_specks(size, black):
    white = page(size, 192)
    found, _ = specks_of(tensor(~white if black else white))
    assert float(found.float().mean()) < 0.002
    assert most_of_speck(white) < size  # the dot of an i has more


@pytest.mark.parametrize("kind", ["diffused", "ordered", "screen"])
@pytest.mark.parametrize("side", [64, 128])
def test_what_is_dithered_is_no_noise(kind, side):
    found, said = specks_of(tensor(dithered(kind, side)))
    assert not bool(found.any())
    assert "shades and no noise" in said


@pytest.mark.parametrize("share", [0.005, 0.02, 0.1])
def test_random_specks_are_not_taken_for_shades(share):
    noisy = np.random.default_rng(0).random((128, 128)) < share
    for ground in (np.zeros_like(noisy), page(24, 128)):
        found, said = specks_of(tensor(ground ^ noisy))
        assert "no noise" not in said
        assert bool(found.any())


def test_a_dithered_part_of_a_page_stays():
    both = np.concatenate([page(24, 128), dithered("diffused", 128)[:48]])
    specks = np.zeros_like(both)
    specks[[6, 40, 60], [125, 126, 125]] = True
    found, said = specks_of(tensor(both ^ specks))
    assert "the dithered part stays as it is" in said
    assert not bool(found[0, 0, 140:].any())
    assert (found[0, 0].numpy() & specks).any()


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (page(), True),
        (page() * np.uint8(255), True),
        (np.full((32, 32), 255, np.uint8), False),
        (page() * np.uint8(200), False),
        (page().astype(np.float32), False),
        (np.repeat(page()[..., None], 3, 2) * np.uint8(255), False),
        ((shades() * 255).astype(np.uint8), False),
    ],
)
def test_what_is_bilevel(picture, expected):
    assert is_bilevel(as_picture(picture)) == expected


# ---------------------------------------------------------------------- the task


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_specks_are_removed_and_the_page_has_one_bit_again(tmp_path: Path, suffix):
    truth, specks = page(40), blank_specks()
    coding = {"compression": "group4"} if suffix == ".tif" else {}
    Image.fromarray(truth ^ specks).save(tmp_path / f"a{suffix}", **coding)
    result = denoise(tmp_path / f"a{suffix}", recipe=RECIPE, device="cpu").run()
    with Image.open(result.save(tmp_path / f"b{suffix}")) as image:
        assert image.mode == "1"
        written = np.asarray(image)
    found = specks_of(tensor(truth ^ specks))[0][0, 0].numpy()
    assert (written[~found] == (truth ^ specks)[~found]).all()
    assert (written[found & specks] == truth[found & specks]).mean() > 0.9
    assert (written != truth).sum() < 0.6 * specks.sum()
    assert any("specks" in remark for remark in result.remarks)


@pytest.mark.parametrize("kind", ["diffused", "ordered", "screen"])
def test_a_dithered_picture_is_returned_as_it_is_unless_noise_is_stated(tmp_path: Path, kind):
    Image.fromarray(dithered(kind)).save(tmp_path / "a.png")
    result = denoise(tmp_path / "a.png", recipe=RECIPE, device="cpu").run()
    assert result.steps == 1
    assert any("no noise" in remark for remark in result.remarks)
    with Image.open(result.save(tmp_path / "b.png")) as image:
        assert image.mode == "1"
        assert (np.asarray(image) == dithered(kind)).all()
    for stated in ({"sigma": 40}, {"noise": "gaussian"}):
        run = denoise(tmp_path / "a.png", recipe=replace(RECIPE, steps=2), device="cpu", **stated)
        assert not any("no noise" in remark for remark in run.remarks)
        assert len(run.run().image.unique()) > 2


def test_tiles_and_pages(tmp_path: Path):
    noisy = page(40) ^ blank_specks()
    pages = [Image.fromarray(each) for each in (noisy, dithered("diffused"))]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:], compression="group4")
    result = denoise(read(tmp_path / "a.tif", page="all"), recipe=RECIPE, device="cpu").run()
    written = tifffile.imread(result.save(tmp_path / "b.tif"))
    assert written.dtype == bool
    assert (written[1] == dithered("diffused")).all()
    assert (written[0] != noisy).any()
    tiled = denoise(read(tmp_path / "a.tif", page=1), recipe=RECIPE, tile=32, device="cpu").run()
    assert set(tiled.image.unique().tolist()) == {0, 1}
    assert (tiled.image[0, 0].numpy() != noisy).any()


@pytest.mark.data
def test_real_a_group_4_page(data: Path, tmp_path: Path):
    source = data / "cases" / "page_group4.tif"
    written = denoise(source, device="cpu").run().save(tmp_path / "a.tif")
    with Image.open(source) as given, Image.open(written) as found:
        assert found.mode == "1"
        assert (np.asarray(given) == np.asarray(found)).all()
