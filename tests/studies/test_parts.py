"""What the studies of restoration are made of: crops, masks, tables, figures, and the peak beside the blind result."""

from __future__ import annotations

import io
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from preimage.images import as_picture
from preimage.networks import SkipNet
from preimage.restore.denoise import denoise, recipes
from studies import deblurring, flash, inpainting, jpeg, super_resolution
from studies.harness import published
from studies.harness.figures import kernel_picture, save_panels, with_dB
from studies.harness.fits import blind_beside_peak
from studies.harness.imaging import (
    block_means,
    center_crop,
    dB,
    eight_bit,
    generated_picture,
    jpeg_of,
    pillow_of,
    tensor_of,
    with_gaussian_noise,
)
from studies.harness.rows import Row, read_rows
from studies.harness.study import Run
from studies.harness.tables import FITTED, Claim, each, mean, table, targets

THIN = replace(
    recipes()["fast"],
    network=SkipNet.Config(down=(8,) * 2, up=(8,) * 2, skip=(4,) * 2),
    steps=12,
    restarts=1,
    stop="steps",
)

# ---------------------------------------------------------------------- crops


def test_a_central_window_of_whole_multiples():
    picture = torch.arange(3.0 * 361 * 250).reshape(1, 3, 361, 250)
    crop = center_crop(picture, 256, 32)
    assert crop.shape == (1, 3, 256, 224)
    assert torch.equal(crop, picture[..., 52:308, 13:237])
    assert center_crop(picture, 100_000, 16).shape == (1, 3, 352, 240)


def test_blocks_are_averaged_and_known_only_whole():
    picture = torch.arange(24.0).reshape(1, 1, 4, 6)
    assert torch.equal(block_means(picture, 2), torch.tensor([[3.5, 5.5, 7.5], [15.5, 17.5, 19.5]])[None, None])
    assert block_means(torch.zeros(1, 3, 706, 774), 3).shape == (1, 3, 235, 258)
    assert block_means(picture, 1) is picture
    known = torch.ones(1, 1, 4, 6, dtype=torch.bool)
    known[0, 0, 1, 3] = False
    assert inpainting.block_known(known, 2).tolist() == [[[[True, False, True], [True, True, True]]]]


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_go_to_pillow_and_back(channels):
    picture = eight_bit(torch.rand(1, channels, 5, 7, generator=torch.Generator().manual_seed(1)) * 1.2 - 0.1)
    assert (float(picture.min()), float(picture.max())) == (0.0, 1.0)
    assert torch.allclose(tensor_of(pillow_of(picture)), picture, atol=1e-7)


# ---------------------------------------------------------------------- what each study gives to the library


def test_half_of_the_pixels_and_two_percent():
    picture = torch.zeros(1, 3, 128, 128)
    half, sparse = (inpainting.random_mask(picture, share) for share in (0.5, 0.98))
    assert half.shape == (1, 1, 128, 128)
    assert float(half.float().mean()) == pytest.approx(0.5, abs=0.01)
    assert float(sparse.float().mean()) == pytest.approx(0.02, abs=0.004)
    assert torch.equal(half, inpainting.random_mask(picture, 0.5))


def test_the_hole_counts_its_own_values_alone():
    whole = torch.full((1, 3, 8, 8), 0.5)
    known = torch.ones(1, 1, 8, 8, dtype=torch.bool)
    known[..., 2:4, 2:4] = False
    image = whole.clone()
    image[..., 0, 0] = 0  # known: not looked at
    assert dB(image, whole, ~known) == math.inf
    image[..., 2:4, 2:4] += 0.1
    assert dB(image, whole, ~known) == pytest.approx(20, abs=1e-3)


def test_no_missing_pixel_reaches_the_library(monkeypatch, tmp_path):
    """Nor the biharmonic rival: what is missing is black in what both are given."""
    seen = []

    def watch(given, options):
        seen.append((given, options.mask))
        raise InterruptedError

    monkeypatch.setattr(inpainting, "inpaint", replace(inpainting.inpaint, start=watch))
    for missing in dict(inpainting.CASES):
        with pytest.raises(InterruptedError):
            inpainting.measure(Run("inpainting", "smoke", None, tmp_path), missing, "kate")
    for given, mask in seen:
        assert 0 < float(mask.mean()) < 1
        assert float((given * (1 - mask)).abs().max()) == 0
    assert len(seen) == 5


@pytest.mark.parametrize("name", ["gaussian:1.6", "motion:15,30"])
def test_the_blurred_picture_is_a_window_that_does_not_move(name):
    kernel, _ = deblurring.blur_kernel(name, 15)
    scene = torch.zeros(1, 1, 41, 41)
    scene[..., 20, 20] = 1
    truth, given = deblurring.blurred(scene, kernel)
    assert truth.shape == given.shape == (1, 1, 42 - kernel.shape[0], 42 - kernel.shape[1])
    at = (truth[0, 0] == 1).nonzero()[0]
    rows, columns = (side // 2 for side in kernel.shape)
    spot = given[0, 0, at[0] - rows : at[0] + rows + 1, at[1] - columns : at[1] + columns + 1]
    assert torch.allclose(spot, kernel, atol=0.05), "the picture of a point, around it"
    assert deblurring.inner(truth, kernel).shape == (1, 1, 41 - 4 * rows, 41 - 4 * columns)


def test_the_jpeg_knows_its_table():
    coded = jpeg_of(generated_picture(32), 10)
    coding = as_picture(coded).metadata.quantization
    assert coding is not None
    assert (coding.quality, coding.subsampling) == (10, (2, 2))
    assert dB(tensor_of(coded), generated_picture(32)) < 40


def test_the_flattest_block_is_neither_black_nor_saturated():
    generator = torch.Generator().manual_seed(3)
    picture = 0.5 + 0.2 * torch.rand(1, 3, 64, 64, generator=generator)
    picture[..., :16, :16] = 0.05
    picture[..., :16, 48:] = 1
    picture[..., 32:48, 16:32] = 0.5
    assert flash.flattest_block(picture, 16) == (32, 16)


def test_noise_is_what_differs_from_the_neighbors():
    slope = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    assert flash.noise_of(slope[..., 8:-8, 8:-8]) < 0.01
    noise = 0.05 * torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(4))
    assert flash.noise_of(slope + noise) == pytest.approx(0.05 * math.sqrt(48 / 49), rel=0.04)


# ---------------------------------------------------------------------- the peak beside the blind result


def test_looking_on_changes_nothing_of_the_blind_result():
    clean = generated_picture(32)
    noisy = with_gaussian_noise(clean, 0.1)

    def start():
        return denoise(noisy, noise="gaussian", sigma=0.1, recipe=THIN)

    result, row = blind_beside_peak(start, lambda image: dB(image, clean))
    assert torch.equal(result.image, start().run().image)
    assert row["blind"] == dB(result.image, clean)
    assert row["steps"] == 12
    assert row["kept_steps"] == "12"
    assert row["peak"] >= row["blind"] - 1e-4
    assert 1 <= row["peak_step"] <= 18


def test_the_search_for_the_peak_ends_clearly_past_it():
    """A score that falls ends the search at once after the blind stop, but never before it."""
    looked = []

    def falling(image: torch.Tensor) -> float:
        looked.append(1)
        return -float(len(looked))

    _, row = blind_beside_peak(
        lambda: denoise(generated_picture(32), noise="gaussian", sigma=0.1, recipe=THIN), falling
    )
    assert (row["peak"], row["peak_step"], row["steps"]) == (-1.0, 1, 12)
    assert len(looked) == 12 + 1 + 1, "all blind steps, one after them, and the result"


def test_without_a_truth_there_are_no_decibels():
    _, row = blind_beside_peak(lambda: denoise(generated_picture(32), noise="gaussian", sigma=0.1, recipe=THIN))
    assert math.isnan(row["blind"])
    assert math.isnan(row["peak"])
    assert row["peak_step"] == ""
    assert row["steps"] == 12


# ---------------------------------------------------------------------- tables and figures


def test_targets_are_met_or_missed_by_so_much():
    claims = [
        Claim("gain", 0.93, 0.8),
        Claim("gain", 0.55, 0.8),
        Claim("loss", 0.30, most=0.3),
        Claim("loss", 0.45, most=0.3),
        Claim("rival", float("nan"), 0.0),
    ]
    assert [c.verdict for c in claims] == ["yes", "no, missed by 0.25", "yes", "no, missed by 0.15", "not measured"]
    lines = targets(claims).splitlines()
    assert lines[2] == "| gain | at least 0.8 | 0.93 | yes |"
    assert lines[4] == "| loss | at most 0.3 | 0.30 | yes |"
    assert lines[6] == "| rival | at least 0 | - | not measured |"


def test_a_table_has_the_means_of_what_was_measured():
    common = {"kept_steps": 400, "steps": 400, "peak_step": 380}
    rows = [
        {"picture": "a", "tv": 27, "blind": 28.5, "peak": 29, "seconds": 10.4, **common},
        {"picture": "b", "tv": float("nan"), "blind": 29.5, "peak": 30, "seconds": 20.0, **common},
    ]
    assert mean(rows, "tv") == 27
    assert math.isnan(mean([{"tv": ""}], "tv"))
    columns = {"picture": "picture", "TV": "tv:.2f"} | FITTED
    lines = table(columns, each(map(Row, rows)), total="mean of {}").splitlines()
    assert lines[0] == "| picture | TV | **blind** | peak | peak step | kept steps | seconds |"
    assert lines[2] == "| a | 27.00 | 28.50 | 29.00 | 380 | 400 | 10 |"
    assert lines[3] == "| b | - | 29.50 | 30.00 | 380 | 400 | 20 |"
    assert lines[4] == "| **mean of 2** | 27.00 | 29.00 | 29.50 |  |  | 15 |"
    one = table({"picture": "picture"}, each(map(Row, rows[:1])), total="mean of {}")
    assert "mean" not in one


@pytest.mark.parametrize("count", [2, 7])
def test_panels_show_every_picture(tmp_path, count):
    shades = torch.linspace(0.2, 0.8, count)
    panels = [(f"shade {i}", torch.full((1, 3, 8, 12), float(shade))) for i, shade in enumerate(shades)]
    written = save_panels(panels, tmp_path / "figure.png")
    pixels = np.asarray(Image.open(io.BytesIO(written.read_bytes())).convert("L"))
    values, counts = np.unique(pixels, return_counts=True)
    large = set(values[counts > 0.02 * pixels.size])
    assert all({int(255 * s), int(255 * s) + 1} & large for s in shades.tolist())


def test_titles_and_kernels():
    assert with_dB("ours", 27.128) == "ours, 27.13 dB"
    assert with_dB("ours", float("nan")) == "ours"
    kernel = torch.tensor([[0.0, 0.25, 0.0], [0.1, 0.5, 0.15], [0.0, 0.0, 0.0]])
    shown = kernel_picture(kernel, 7)
    assert shown.shape == (1, 1, 7, 7)
    assert shown[0, 0, 3].tolist() == pytest.approx([0, 0, 0.2, 1, 0.3, 0, 0])


# ---------------------------------------------------------------------- targets


def test_a_miss_is_reported_with_its_size():
    rows = [{"bicubic": 25.0, "tv": 26.0, "blind": 25.9, "peak": 26.3}]
    assert [t.verdict for t in super_resolution.aims(4, rows)] == ["yes", "no, missed by 0.10", "no, missed by 0.10"]
    rows = [{"missing": "50 %", "picture": "house", "biharmonic": 30.0, "blind": 31.5, "peak": 31.7}]
    assert [t.verdict for t in inpainting.aims("50 %", rows)] == ["no, missed by 0.50", "yes"]
    assert [t.verdict for t in inpainting.aims("text", rows)] == ["yes"], (
        "only half of the pixels has an aim beside the peak"
    )
    rows = [{"rl": 25.0, "wiener": 26.0, "tv": math.nan, "blind": 27.0, "peak": 27.1}]
    assert [t.verdict for t in deblurring.aims(deblurring.GAUSSIAN, rows)] == ["yes", "yes", "not measured", "yes"]
    assert [t.verdict for t in jpeg.aims("quality 10", [{"input": 27.0, "blind": 28.0, "peak": 28.4}])] == [
        "yes",
        "no, missed by 0.10",
    ]


def test_the_published_figures_of_single_pictures_have_the_published_means():
    """PAPERS.md: Set14 at x4 27.00 dB; 50 % missing of 11 pictures 33.48 dB."""
    rows = read_rows(published.TABLE)
    assert sum(row["dB"] for row in rows if row["set"] == "Set14") / 14 == pytest.approx(27.00, abs=0.01)
    assert sum(published.published("half missing").values()) / 11 == pytest.approx(33.48, abs=0.01)
    assert published.beside(Row({"picture": "zebra"}), "enlarged 4")[published.COLUMN] == 25.71
    assert math.isnan(published.beside(Row({"picture": "moon"}), "enlarged 4")[published.COLUMN])
