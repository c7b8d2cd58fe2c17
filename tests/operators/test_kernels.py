"""Kernels: the published one, unit sum, centers, lines, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from preimage.errors import InputError
from preimage.operators import bicubic, box, check_kernel, gaussian, lanczos2, motion

FACTORS = (2, 3, 4, 5, 8)
RESAMPLING = (lanczos2, bicubic, box)


def center_of_mass(kernel: torch.Tensor) -> tuple[float, float]:
    kh, kw = kernel.shape
    return float((kernel.sum(1) * torch.arange(kh)).sum()), float((kernel.sum(0) * torch.arange(kw)).sum())


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_lanczos2_is_the_published_kernel(golden: Path, factor: int) -> None:
    published = np.load(golden / "lanczos2_downsample.npz")[f"x{factor}/kernel"]
    np.testing.assert_allclose(lanczos2(factor).numpy(), published, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    "kernel",
    [make(factor) for make in RESAMPLING for factor in FACTORS]
    + [gaussian(0.01), gaussian(0.01, 4), gaussian(1.6), gaussian(1.6, 8), gaussian(30.0)]
    + [motion(length, angle) for length in (1, 2.5, 15) for angle in (0, 30, 45, 90, -120)],
)
def test_every_kernel_is_float32_sums_to_one_and_is_symmetric_about_its_center(kernel: torch.Tensor) -> None:
    assert kernel.dtype == torch.float32
    assert float(kernel.double().sum()) == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(kernel, kernel.flip(0, 1), rtol=0, atol=1e-7)
    check_kernel(kernel, odd=False)


@pytest.mark.parametrize("make", RESAMPLING)
@pytest.mark.parametrize("factor", FACTORS)
def test_the_size_has_the_parity_of_the_factor(make, factor: int) -> None:
    size = factor if make is box else 4 * factor - factor % 2
    assert make(factor).shape == (size, size)


@pytest.mark.parametrize("factor", FACTORS)
def test_bicubic_is_the_one_of_pillow_and_pytorch(factor: int) -> None:
    x = torch.rand(1, 1, 16 * factor, 16 * factor, generator=torch.Generator().manual_seed(0))
    kernel = bicubic(factor)
    pad = (kernel.shape[0] - factor) // 2
    seen = functional.conv2d(functional.pad(x, (pad,) * 4), kernel[None, None], stride=factor)
    pytorch = functional.interpolate(x, size=(16, 16), mode="bicubic", antialias=True)
    pillow = np.asarray(Image.fromarray(x[0, 0].numpy()).resize((16, 16), Image.Resampling.BICUBIC))
    torch.testing.assert_close(seen[..., 2:-2, 2:-2], pytorch[..., 2:-2, 2:-2], rtol=0, atol=1e-5)
    np.testing.assert_allclose(seen[0, 0, 2:-2, 2:-2].numpy(), pillow[2:-2, 2:-2], rtol=0, atol=1e-5)


def test_gaussian_has_the_variance_asked_for_and_reaches_three_sigma() -> None:
    kernel = gaussian(2.5)
    assert kernel.shape == (17, 17)
    positions = torch.arange(17) - 8.0
    assert float((kernel.sum(0) * positions**2).sum()) == pytest.approx(2.5**2, rel=0.03)
    assert gaussian(2.5, size=18).shape == (18, 18)
    torch.testing.assert_close(gaussian(0.01)[3 // 2, 3 // 2], torch.tensor(1.0))


def test_motion_along_the_row_is_a_row_of_equal_values() -> None:
    torch.testing.assert_close(motion(15, 0), torch.full((1, 15), 1 / 15))
    torch.testing.assert_close(motion(15, 90), torch.full((15, 1), 1 / 15))
    torch.testing.assert_close(motion(15, 180), motion(15, 0))


@pytest.mark.parametrize("angle", [0, 17.3, 45, 90, 213])
def test_motion_of_one_pixel_is_no_blur(angle: float) -> None:
    assert motion(1, angle).tolist() == [[1.0]]


def test_motion_turns_counter_clockwise() -> None:
    kernel = motion(9, 30)
    assert kernel.shape[0] < kernel.shape[1]
    kh, kw = kernel.shape
    assert kh % 2 == kw % 2 == 1
    # to the right of the center the line is above it
    rows, columns = torch.meshgrid(torch.arange(kh) - kh // 2, torch.arange(kw) - kw // 2, indexing="ij")
    assert float((kernel * rows * columns).sum()) < 0
    torch.testing.assert_close(motion(9, 150), kernel.flip(1))
    torch.testing.assert_close(motion(9, 60), kernel.rot90().flip(0))


@pytest.mark.parametrize("angle", range(0, 180, 15))
def test_motion_spreads_over_its_length(angle: int) -> None:
    kernel = motion(21, angle)
    row, column = center_of_mass(kernel)
    rows, columns = torch.meshgrid(
        torch.arange(kernel.shape[0]) - row, torch.arange(kernel.shape[1]) - column, indexing="ij"
    )
    # a line of 21 values 1 apart has the variance (21^2 - 1) / 12; its own width adds at most a third
    assert float((kernel * (rows**2 + columns**2)).sum()) == pytest.approx((21**2 - 1) / 12, rel=0.05)


@pytest.mark.parametrize("make", RESAMPLING)
@pytest.mark.parametrize("factor", [1, 0, -2, 2.5, float("nan"), float("inf")])
def test_factors_that_are_refused(make, factor: float) -> None:
    with pytest.raises(InputError, match=f"^factor .* got {re.escape(f'{factor:g}')}: ") as raised:
        make(factor)
    assert raised.value.code == "invalid-value"


@pytest.mark.parametrize(
    ("call", "code", "named"),
    [
        (lambda: gaussian(0), "invalid-value", "got 0:"),
        (lambda: gaussian(float("inf")), "invalid-value", "got inf:"),
        (lambda: gaussian(1, 0), "invalid-value", "got 0:"),
        (lambda: gaussian(1, 2.5), "invalid-value", "got 2.5:"),  # type: ignore[arg-type]
        (lambda: gaussian(1e9), "invalid-value", "1e+09"),
        (lambda: motion(0.5, 0), "invalid-value", "got 0.5:"),
        (lambda: motion(5, float("nan")), "invalid-value", "got nan:"),
        (lambda: motion(1e6, 0), "invalid-value", "1e+06"),
        (lambda: lanczos2(5000), "invalid-value", "5000"),
        (lambda: box(5000), "invalid-value", "5000"),
    ],
)
def test_values_that_are_refused(call, code: str, named: str) -> None:
    with pytest.raises(InputError, match=re.escape(named)) as raised:
        call()
    assert raised.value.code == code
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("kernel", "size", "odd", "named"),
    [
        (box(3)[None], None, False, "(1, 3, 3)"),
        (torch.zeros(0, 3), None, False, "(0, 3)"),
        (torch.ones(3, 3), None, False, "9"),
        (torch.full((3, 3), float("nan")), None, False, "nan"),
        (torch.ones(4, 5) / 20, None, True, "5 x 4"),
        (box(17), (16, 32), True, "32 x 16"),
        (motion(35, 0), (16, 32), True, "35 x 1"),
    ],
)
def test_kernels_that_are_refused(kernel, size, odd: bool, named: str) -> None:
    with pytest.raises(InputError, match=re.escape(named)) as raised:
        check_kernel(kernel, size, odd=odd)
    assert raised.value.code == "kernel"
    assert "\n" not in str(raised.value)


def test_a_kernel_as_large_as_the_picture_is_none_too_large() -> None:
    check_kernel(box(17), (17, 17), odd=True)
    check_kernel(box(4), (16, 16), odd=False)
