"""A measured bead: its background is found, removed, and the bead centered; proper kernels stay as they are, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from specimens import THIN, clean

from preimage import deblur, super_resolve
from preimage.operators import bicubic, box, gaussian, lanczos2, motion, read_kernel, without_background


def spot(size: tuple[int, int], sigma: float, off: tuple[float, float] = (0, 0)) -> np.ndarray:
    """A Gaussian of peak 1, off the center by (rows, columns)."""
    rows, columns = (np.arange(side) - (side - 1) / 2 - by for side, by in zip(size, off, strict=True))
    return np.exp(-(rows[:, None] ** 2 + columns**2) / (2 * sigma**2))


def bead(size: tuple[int, int], sigma: float, background: float, off: tuple[float, float] = (0, 0)) -> torch.Tensor:
    """Photon counts of a bead, 3000 at its peak."""
    counts = np.random.default_rng(0).poisson(background + 3000 * spot(size, sigma, off))
    return read_kernel(counts.astype(np.uint16))


def error(kernel: torch.Tensor, sigma: float) -> float:
    truth = spot((kernel.shape[0], kernel.shape[1]), sigma)
    return float(np.abs(kernel.numpy() - truth / truth.sum()).sum())


@pytest.mark.parametrize("size", [(15, 15), (16, 16), (21, 15), (20, 31)])
@pytest.mark.parametrize("sigma", [0.9, 1.6])
@pytest.mark.parametrize("background", [30, 119, 900])
@pytest.mark.parametrize("off", [(0, 0), (0.3, -0.4), (1.2, 0.7)])
def test_the_background_is_removed_and_the_bead_centered(size, sigma, background, off):
    given = bead(size, sigma, background, off)
    found, said = without_background(given)
    assert found.shape[0] == found.shape[1]
    assert found.shape[0] % 2 == 1
    assert float(found.sum()) == pytest.approx(1, abs=1e-5)
    assert bool((found >= 0).all())
    assert error(found, sigma) < 0.2
    rows = torch.arange(found.shape[0]) - (found.shape[0] - 1) / 2
    assert abs(float((found.sum(1) * rows).sum())) < 0.06
    assert abs(float((found.sum(0) * rows).sum())) < 0.06
    assert len(said) == 1
    assert "background" in said[0]
    assert "was removed" in said[0]


def test_other_spots_near_the_border_do_not_matter():
    counts = 100 + 3000 * spot((21, 21), 1.4) + 2000 * spot((21, 21), 0.8, (-9, 8))
    found, _ = without_background(read_kernel(np.random.default_rng(0).poisson(counts)))
    assert error(found, 1.4) < 0.1


@pytest.mark.parametrize("side", [7, 8, 9, 15, 16, 31])
def test_kernels_without_background_are_bit_for_bit_the_same(side):
    odd = side | 1
    flat, peaked = np.ones((side, side)), np.ones((3, 3))
    peaked[1, 1] = 8
    disc = (np.hypot(*(np.indices((odd, odd)) - odd // 2)) <= odd / 2 - 0.5).astype(float)
    donut = disc.copy()
    donut[odd // 2 - 1 : odd // 2 + 2, odd // 2 - 1 : odd // 2 + 2] = 0
    cauchy = 1 / (1 + (np.indices((odd, odd)) - odd // 2).astype(float) ** 2).prod(0)
    kernels = [read_kernel(each) for each in (flat, peaked, disc, donut, cauchy, bead((side, side), 1.0, 0).numpy())]
    kernels += [gaussian(sigma, side) for sigma in np.arange(0.4, 8, 0.2)] + [
        gaussian(sigma / 5) for sigma in range(2, 30)
    ]
    kernels += [motion(length, angle) for length in (3, 7.5, side) for angle in (0, 30, 45, 90, 117)]
    kernels += [lanczos2(4), bicubic(3), box(8), lanczos2(2)]
    for kernel in kernels:
        found, said = without_background(kernel)
        assert found is kernel
        assert said == ()


@pytest.mark.parametrize("factor", [2, 3])
def test_the_sides_are_even_where_they_must_be(factor):
    found, _ = without_background(bead((17, 17), 1.5, 100, (0.2, 0.1)), odd=factor % 2 == 1)
    assert found.shape[0] % 2 == factor % 2
    assert error(found, 1.5) < 0.1


def test_the_tasks_say_what_was_done(tmp_path):
    np.save(tmp_path / "bead.npy", bead((15, 15), 1.2, 119).numpy())
    blurred: tuple[str, ...] = deblur(clean(32), kernel=tmp_path / "bead.npy", recipe=THIN).remarks
    enlarged: tuple[str, ...] = super_resolve(clean(32), factor=2, kernel=tmp_path / "bead.npy", recipe=THIN).remarks
    for remarks in (blurred, enlarged):
        assert sum("the background was removed" in remark for remark in remarks) == 1
    np.save(tmp_path / "kernel.npy", gaussian(1.2).numpy())
    assert not any("background" in each for each in deblur(clean(32), kernel=tmp_path / "kernel.npy").remarks)


@pytest.mark.data
def test_real_a_measured_bead(data: Path):
    found, said = without_background(read_kernel(data / "cases" / "blurred_psf_bead_with_background.tif"))
    truth = read_kernel(data / "cases" / "blurred_psf_true.npy")
    border = (found.shape[0] - len(truth)) // 2
    padded = torch.nn.functional.pad(truth, (border,) * 4)
    assert float((found - padded).abs().sum()) < 0.05
    assert said
