"""Downsample: the published results, where its pixels lie, and its adjoint."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from preimage.errors import InputError
from preimage.operators import Blur, Downsample, bicubic, box, gaussian, lanczos2, motion

GAUSSIANS = {2: 8, 3: 9, 4: 12, 8: 24}
CASES = [
    *((make(factor), factor) for make in (lanczos2, bicubic, box) for factor in (2, 3, 4, 8)),
    *((gaussian(0.4 * factor, size), factor) for factor, size in GAUSSIANS.items()),
]


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_published_output(golden: Path, factor: int) -> None:
    stored = np.load(golden / "lanczos2_downsample.npz")
    seen = Downsample(lanczos2(factor), factor)(torch.from_numpy(stored[f"x{factor}/input"]))
    np.testing.assert_allclose(seen.numpy(), stored[f"x{factor}/output"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("kernel", "factor"), CASES)
def test_constants_stay_up_to_the_border(kernel: torch.Tensor, factor: int) -> None:
    x = torch.tensor([0.0, 0.3, 1.0]).view(1, 3, 1, 1).expand(2, 3, 4 * factor, 5 * factor)
    seen = Downsample(kernel, factor)(x)
    assert seen.shape == (2, 3, 4, 5)
    torch.testing.assert_close(seen, x[..., :4, :5], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("kernel", "factor"), CASES)
def test_a_ramp_becomes_the_ramp_at_the_centers_of_the_blocks(kernel: torch.Tensor, factor: int) -> None:
    h, w = 12 * factor, 14 * factor
    rows, columns = torch.arange(h, dtype=torch.float64), torch.arange(w, dtype=torch.float64)
    x = (rows[:, None] - 2 * columns)[None, None]
    seen = Downsample(kernel, factor)(x)
    expected = x.view(1, 1, 12, factor, 14, factor).mean((3, 5))  # of a ramp, that is its value at the center
    torch.testing.assert_close(seen[..., 3:-3, 3:-3], expected[..., 3:-3, 3:-3], rtol=0, atol=1e-4)


@pytest.mark.parametrize(("kernel", "factor"), CASES)
def test_it_commutes_with_mirroring(kernel: torch.Tensor, factor: int) -> None:
    operator, x = Downsample(kernel, factor), random(1, 2, 8 * factor, 6 * factor)
    torch.testing.assert_close(operator(x.flip(2, 3)), operator(x).flip(2, 3), rtol=0, atol=1e-5)


def test_box_is_the_mean_of_each_block() -> None:
    x = random(2, 5, 12, 18)
    torch.testing.assert_close(Downsample(box(3), 3)(x), functional.avg_pool2d(x, 3))


@pytest.mark.parametrize("factor", [3, 5])
def test_a_single_pixel_is_plain_decimation(factor: int) -> None:
    x = random(1, 2, 4 * factor, 3 * factor)
    middle = factor // 2
    torch.testing.assert_close(Downsample(torch.ones(1, 1), factor)(x), x[..., middle::factor, middle::factor])


def test_kernels_need_not_be_square_or_symmetric() -> None:
    kernel = random(3, 7)
    kernel /= kernel.sum()
    x = random(1, 2, 24, 30)
    seen, whole = Downsample(kernel, 3)(x), Blur(kernel, boundary="replicate")(x)
    torch.testing.assert_close(seen, whole[..., 1::3, 1::3], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("kernel", "factor"), [(lanczos2(2), 2), (bicubic(3), 3), (motion(5, 30), 3)])
def test_it_is_linear_and_has_its_adjoint(kernel: torch.Tensor, factor: int) -> None:
    operator = Downsample(kernel, factor).double()
    x, other = random(1, 2, 24, 30, dtype=torch.float64), random(1, 2, 24, 30, seed=1, dtype=torch.float64)
    torch.testing.assert_close(operator(2 * x - 3 * other), 2 * operator(x) - 3 * operator(other))
    # away from the border, where values are repeated, the adjoint is the transposed convolution
    x[..., :9, :] = x[..., -9:, :] = x[..., :9] = x[..., -9:] = 0
    y = random(1, 2, 24 // factor, 30 // factor, dtype=torch.float64)
    kh, kw = kernel.shape
    weights = kernel.double().flip(0, 1).expand(2, 1, kh, kw)
    back = functional.conv_transpose2d(y, weights, stride=factor, groups=2)
    rows, columns = (kh - factor) // 2, (kw - factor) // 2
    back = back[..., rows : rows + 24, columns : columns + 30]
    assert float((operator(x) * y).sum()) == pytest.approx(float((x * back).sum()), rel=1e-6)


def test_nothing_mixes_channels_or_members() -> None:
    operator, x = Downsample(lanczos2(2), 2), random(3, 4, 16, 16)
    for i in range(3):
        for c in range(4):
            alone = operator(x[i : i + 1, c : c + 1])
            torch.testing.assert_close(operator(x)[i : i + 1, c : c + 1], alone, rtol=0, atol=1e-6)


def test_a_fitted_kernel_finds_the_unknown_down_sampler() -> None:
    truth = Downsample(gaussian(1.5, 8), 2)
    operator = Downsample(box(2).new_full((8, 8), 1 / 64), 2, trainable=True)
    x = random(1, 1, 64, 64)
    y = truth(x)
    optimizer = torch.optim.Adam(operator.parameters(), lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        (operator(x) - y).square().mean().backward()
        optimizer.step()
    torch.testing.assert_close(operator.kernel.detach(), truth.kernel, rtol=0, atol=2e-3)


def test_the_kernel_is_saved_and_moves_along() -> None:
    fixed = Downsample(lanczos2(2), 2)
    torch.testing.assert_close(fixed.kernel, lanczos2(2), rtol=0, atol=0)
    assert not list(fixed.parameters())
    other = Downsample(torch.full((8, 8), 1 / 64), 2)
    other.load_state_dict(fixed.state_dict())
    assert torch.equal(other.kernel, fixed.kernel)
    assert Downsample(lanczos2(2), 2).to("meta")(torch.empty(1, 3, 16, 16, device="meta")).shape == (1, 3, 8, 8)


def test_the_given_kernel_is_not_shared() -> None:
    kernel = lanczos2(2)
    operator = Downsample(kernel, 2)
    kernel.zero_()
    assert float(operator.kernel.sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("factor", [1, 0, 2.5])
def test_factors_that_are_refused(factor: float) -> None:
    with pytest.raises(InputError, match=f"got {factor:g}: ") as raised:
        Downsample(box(2), factor)  # type: ignore[arg-type]
    assert raised.value.code == "invalid-value"


@pytest.mark.parametrize(
    ("kernel", "factor", "named"),
    [
        (box(3), 2, "3 x 3"),
        (lanczos2(4), 3, "16 x 16"),
        (torch.ones(4, 3) / 12, 2, "3 x 4"),
        (torch.ones(4, 4), 2, "16"),
        (box(2)[None, None], 2, "(1, 1, 2, 2)"),
    ],
)
def test_kernels_that_are_refused(kernel: torch.Tensor, factor: int, named: str) -> None:
    with pytest.raises(InputError, match=re.escape(named)) as raised:
        Downsample(kernel, factor)
    assert raised.value.code == "kernel"


@pytest.mark.parametrize(("h", "w"), [(18, 16), (16, 18)])
def test_sizes_that_are_refused(h: int, w: int) -> None:
    with pytest.raises(InputError, match=f"got {w} x {h}: .* 16 x 16") as raised:
        Downsample(box(4), 4)(torch.rand(1, 3, h, w))
    assert raised.value.code == "size"
