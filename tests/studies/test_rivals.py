"""Rivals: each does what it is known for, on the same shapes as the library, so that a study compares like with like."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch

from benchmarks import rival_settings
from preimage.errors import MissingExtra
from preimage.metrics import psnr
from preimage.operators import gaussian, motion
from preimage.recipes import NamedRecipe
from preimage.restore.denoise import denoise
from studies import deblurring, white_noise
from studies.deblurring import blurred, inner
from studies.harness import fits, rivals
from studies.harness.imaging import generated_picture, with_gaussian_noise
from studies.harness.rivals import (
    TV_WEIGHTS,
    bicubic_enlarged,
    biharmonic,
    bm3d_of_counts,
    non_local_means,
    richardson_lucy,
    tapered,
    tv_deconvolution,
    tv_denoising,
    tv_oracle_weight,
    unsupervised_wiener,
)
from studies.harness.rows import Row
from studies.harness.study import Run
from studies.super_resolution import luma, luma_psnr, tv_enlarged

KERNELS = {"gaussian": gaussian(1.6), "motion": motion(9, 30)}
DECONVOLUTIONS = {
    "Richardson-Lucy": lambda given, kernel: richardson_lucy(given, kernel, 20),
    "Wiener": unsupervised_wiener,
}


def textured(side: int = 64) -> torch.Tensor:
    """A generated picture with a grating, which a blur takes away."""
    x = torch.arange(side) / side
    return 0.7 * generated_picture(side, channels=1) + 0.15 + 0.15 * torch.sin(30 * x)


# ---------------------------------------------------------------------- enlarging


def test_luma_is_that_of_broadcast_video():
    white, black = torch.ones(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    assert luma(white) * 255 == pytest.approx(np.full((1, 4, 4), 235.0), abs=1e-3)
    assert luma(black) * 255 == pytest.approx(np.full((1, 4, 4), 16.0), abs=1e-3)
    assert torch.equal(luma(white + 1), luma(white)), "what is beyond the range is clipped"


def test_luma_psnr_is_that_computed_by_hand():
    clean = torch.full((1, 3, 12, 12), 0.5)
    redder = clean.clone()
    redder[:, 0] += 0.1
    assert luma_psnr(redder, clean, 4) == pytest.approx(-20 * math.log10(0.1 * 65.481 / 255), abs=1e-3)
    assert luma_psnr(redder, clean, 4) == pytest.approx(31.81, abs=0.005)


def test_luma_psnr_leaves_the_border_out():
    clean = torch.full((1, 3, 12, 12), 0.5)
    framed = torch.ones(1, 3, 12, 12)
    framed[..., 3:-3, 3:-3] = 0.5
    assert luma_psnr(framed, clean, 3) == math.inf
    assert luma_psnr(framed, clean, 2) < 20


def test_bicubic_keeps_a_plane_and_does_not_move_it():
    ramp = torch.linspace(0.2, 0.8, 16).expand(1, 3, 16, 16)
    large = bicubic_enlarged(ramp, 4)
    assert large.shape == (1, 3, 64, 64)
    expected = 0.2 + 0.6 * ((torch.arange(64) + 0.5) / 4 - 0.5) / 15
    assert torch.allclose(large[0, 0, 8, 8:-8], expected[8:-8], atol=1.5 / 255)


def test_total_variation_keeps_to_the_given_pixels_and_a_heavy_weight_flattens():
    small = generated_picture(16)
    near, flat = tv_enlarged(small, 4, steps=60), tv_enlarged(small, 4, weight=1e-3, steps=60)
    assert near.shape == flat.shape == (1, 3, 64, 64)
    assert float(near.diff(dim=-1).abs().mean()) > 3 * float(flat.diff(dim=-1).abs().mean())


# ---------------------------------------------------------------------- gaps


@pytest.mark.parametrize("channels", [1, 3])
def test_biharmonic_continues_a_plane_and_keeps_what_is_known(channels):
    plane = torch.linspace(0.2, 0.8, 24).expand(1, channels, 24, 24).contiguous()
    known = torch.ones(1, 1, 24, 24, dtype=torch.bool)
    known[..., 9:14, 10:13] = False
    given = torch.where(known, plane, torch.zeros(()))
    filled = biharmonic(given, known)
    assert torch.equal(filled[known.expand_as(plane)], plane[known.expand_as(plane)])
    assert torch.allclose(filled, plane, atol=1e-4)


# ---------------------------------------------------------------------- blur


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
@pytest.mark.parametrize("deconvolve", DECONVOLUTIONS.values(), ids=DECONVOLUTIONS)
def test_deconvolution_sharpens_and_moves_nothing(deconvolve, kernel):
    truth, given = blurred(textured(), kernel)
    sharp = deconvolve(given, kernel)
    assert sharp.shape == given.shape
    before = float(psnr(inner(given, kernel), inner(truth, kernel)))
    assert float(psnr(inner(sharp, kernel), inner(truth, kernel))) > before + 1
    assert torch.equal(sharp, deconvolve(given, kernel)), "the same again"


@pytest.mark.parametrize("deconvolve", DECONVOLUTIONS.values(), ids=DECONVOLUTIONS)
def test_each_channel_is_its_own(deconvolve):
    kernel = KERNELS["gaussian"]
    _, given = blurred(torch.cat([textured(48), textured(48).flip(-1)], 1), kernel)
    both = deconvolve(given, kernel)
    assert torch.equal(both[:, :1], deconvolve(given[:, :1], kernel))


def test_richardson_lucy_darkens_no_edge():
    """It takes what lies beyond for black; the mirror image around the picture keeps that away."""
    flat = torch.full((1, 1, 32, 32), 0.5)
    assert torch.allclose(richardson_lucy(flat, KERNELS["gaussian"], 10), flat, atol=2e-3)


def test_tapering_joins_opposite_edges_and_leaves_the_middle():
    plane = np.linspace(0, 1, 48)[:, None] * np.ones(48)
    joined = tapered(plane, KERNELS["gaussian"].double().numpy())
    assert joined[16:-16, 16:-16] == pytest.approx(plane[16:-16, 16:-16])
    assert abs(joined[0, 24] - joined[-1, 24]) < 0.3


def test_total_variation_of_deepinv_sharpens():
    pytest.importorskip("deepinv")
    kernel = KERNELS["gaussian"]
    truth, given = blurred(generated_picture(48, channels=1), kernel)
    sharp = tv_deconvolution(given, kernel, 1e-3)
    assert sharp.shape == given.shape
    before = float(psnr(inner(given, kernel), inner(truth, kernel)))
    assert float(psnr(inner(sharp, kernel), inner(truth, kernel))) > before + 1


def test_without_deepinv_the_column_is_empty_and_says_why(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "deepinv", None)
    given = torch.full((1, 1, 24, 24), 0.5)
    with pytest.raises(MissingExtra, match=r"deepinv is not installed: pip install 'preimage\[physics\]'"):
        tv_deconvolution(given, KERNELS["gaussian"], 1e-3)
    row, _, _ = fits.beside_rivals(
        lambda: denoise(given, noise="gaussian", sigma=0.1, recipe=fits.named(True, denoise, 3)),
        lambda image: 1.0,
        {"tv": lambda: tv_deconvolution(given, KERNELS["gaussian"], 1e-3)},
    )
    assert math.isnan(row["tv"])
    assert "deepinv is not installed" in capsys.readouterr().err


# ---------------------------------------------------------------------- their settings


def test_settings_are_tried_on_pictures_that_no_study_reports(monkeypatch, capsys):
    read: list[str] = []

    def picture(study: Run, name: str) -> torch.Tensor:
        read.append(name)
        return generated_picture(32, channels=1 if "set12" in name else 3)

    monkeypatch.setattr(Run, "picture", picture)
    monkeypatch.setattr(rival_settings, "ITERATIONS", (5, 10))
    monkeypatch.setattr(rival_settings, "TV_ENLARGING", ())
    monkeypatch.setattr(rival_settings, "TV_DEBLURRING", ())
    rival_settings.deblur(Run("rival_settings", "small"))
    rival_settings.enlarge(Run("rival_settings", "small"))
    assert {f"restoration/{name}.png" for name in deblurring.PICTURES}.isdisjoint(read)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        [f"Richardson-Lucy, {blur}", str(count)] for blur in ("gaussian:1.6", "motion:15,30") for count in (5, 10)
    ]
    each, mean = lines[0].rsplit(", mean ", 1)
    assert float(mean) == pytest.approx(sum(map(float, each.split(": ")[-1].split())) / 3, abs=0.01)


# ---------------------------------------------------------------------- noise


def test_an_oracle_takes_the_weight_of_total_variation_that_is_best():
    clean = generated_picture(32)
    noisy = with_gaussian_noise(clean, 0.1)
    made = [float(psnr(tv_denoising(noisy, factor * 0.1), clean)) for factor in TV_WEIGHTS]
    assert float(psnr(tv_oracle_weight(noisy, clean, 0.1), clean)) == max(made) > min(made)
    assert max(made) >= float(psnr(tv_denoising(noisy, 0.7 * 0.1), clean))


def test_non_local_means_uses_the_sigma_that_it_is_given():
    clean = generated_picture(32)
    noisy = with_gaussian_noise(clean, 0.1)
    right, faint = (float(psnr(non_local_means(noisy, sigma), clean)) for sigma in (0.1, 0.01))
    assert right > faint + 3


@pytest.mark.parametrize("channels", [1, 3])
def test_counts_are_brought_to_sigma_1_and_back_without_a_bias(monkeypatch, channels):
    """A stand-in for BM3D that knows the mean of what it is given: the inverse of the mean is the mean of the counts."""
    clean, told = torch.full((1, channels, 256, 256), 0.4), []

    def averaging(noisy: torch.Tensor, sigma: float) -> torch.Tensor:
        told.append(float(noisy.std()) / sigma)
        return noisy.mean((2, 3), keepdim=True).expand_as(noisy)

    monkeypatch.setattr(rivals, "bm3d_oracle_sigma", averaging)
    counts = torch.poisson(30 * clean, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(bm3d_of_counts(counts / 30, 30), clean, atol=2e-3)
    assert told == pytest.approx([1], abs=0.03)


def test_without_bm3d_the_column_is_empty_and_the_blind_one_is_not(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "bm3d", None)
    monkeypatch.setitem(white_noise.SIDE, "small", 32)
    monkeypatch.setattr(Run, "picture", lambda run, name, smoke, channels: generated_picture(32, channels))
    monkeypatch.setattr(fits, "named", lambda smoke, task, steps: NamedRecipe("fast", {"steps": 3}))
    row = white_noise.measure(Run("white_noise", "small"), "Set12", "sigma 25", "01")
    assert math.isnan(row["bm3d"])
    assert row["blind"] > 5
    assert (
        "bm3d is not installed: pip install 'preimage[bench]'; the column bm3d stays empty" in capsys.readouterr().err
    )


# ---------------------------------------------------------------------- whole sets


def test_each_picture_has_noise_of_its_own_in_8_bits_and_the_same_again():
    run = Run("white_noise", "smoke")
    for kind in white_noise.KINDS:
        clean, noisy = white_noise.specimen(run, "Kodak24", kind, "01")
        assert torch.equal(noisy, white_noise.specimen(run, "Kodak24", kind, "01")[1])
        assert not torch.equal(noisy, white_noise.specimen(run, "Kodak24", kind, "02")[1])
        assert torch.equal((noisy * 255).round() / 255, noisy)
        assert 0 <= float(noisy.min()) < float(noisy.max()) <= 1
        assert 0.04 < float((noisy - clean).std()) < 0.2


def test_a_mean_of_24_is_one_of_all_24():
    rows = [Row(set="Kodak24", noise="sigma 25", picture=f"{n:02d}", blind=float(n)) for n in range(1, 25)]
    assert white_noise.whole(rows, "sigma 25", "blind") == 12.5
    assert math.isnan(white_noise.whole(rows[1:], "sigma 25", "blind"))
    assert [row["picture"] for row in white_noise.unseen(rows)] == ["04", "08", "15", "19", "21", "23"]
