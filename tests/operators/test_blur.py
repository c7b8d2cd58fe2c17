"""Blur: a true convolution at every boundary, one way or the other, with a kernel that is known or found."""

from __future__ import annotations

import re

import pytest
import torch
from torch.nn import functional

from preimage.errors import InputError
from preimage.operators import Blur, box, gaussian, motion
from preimage.operators.blur import LARGEST_DIRECT, by_fourier, directly

BOUNDARIES = ("valid", "replicate", "reflect", "circular")


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def random_kernel(kh: int, kw: int, seed: int = 3) -> torch.Tensor:
    kernel = random(kh, kw, seed=seed)
    return kernel / kernel.sum()


KERNELS = [random_kernel(5, 3), random_kernel(11, 9), motion(7, 30), torch.ones(1, 1)]


def test_kernels_of_both_ways_are_tested() -> None:
    assert KERNELS[0].numel() <= LARGEST_DIRECT < KERNELS[1].numel()


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_point_becomes_the_kernel_itself(kernel: torch.Tensor, boundary) -> None:
    x = torch.zeros(1, 1, 27, 31)
    x[..., 13, 15] = 1
    blur = Blur(kernel, boundary=boundary)
    (kh, kw), (rows, columns) = kernel.shape, blur.margin
    top, left = 13 - rows - kh // 2, 15 - columns - kw // 2
    seen = blur(x)[0, 0]
    torch.testing.assert_close(seen[top : top + kh, left : left + kw], kernel, rtol=0, atol=1e-6)
    assert float(seen.sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_constants_and_sizes(kernel: torch.Tensor, boundary) -> None:
    x = torch.tensor([0.2, 1.0]).view(1, 2, 1, 1).expand(3, 2, 24, 26)
    blur = Blur(kernel, boundary=boundary)
    kh, kw = kernel.shape
    assert blur.margin == ((kh // 2, kw // 2) if boundary == "valid" else (0, 0))
    rows, columns = blur.margin
    seen = blur(x)
    assert seen.shape == (3, 2, 24 - 2 * rows, 26 - 2 * columns)
    torch.testing.assert_close(seen, x[..., : seen.shape[2], : seen.shape[3]], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("boundary", BOUNDARIES[1:])
def test_away_from_the_edge_all_boundaries_agree(kernel: torch.Tensor, boundary) -> None:
    x = random(2, 3, 29, 34)
    valid = Blur(kernel)
    rows, columns = valid.margin
    center = Blur(kernel, boundary=boundary)(x)[..., rows : 29 - rows, columns : 34 - columns]
    torch.testing.assert_close(valid(x), center, rtol=0, atol=1e-6)


def test_boundaries_are_what_they_are_called() -> None:
    kernel = torch.tensor([[0.0, 0.0, 1.0]])  # a point is seen one to the right: y(p) = x(p - 1)
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0]])[None, None]
    first = {b: Blur(kernel, boundary=b)(x).flatten().tolist() for b in ("replicate", "reflect", "circular")}
    assert first == {"replicate": [1, 1, 2, 3], "reflect": [2, 1, 2, 3], "circular": [4, 1, 2, 3]}
    assert Blur(kernel)(x).flatten().tolist() == [1, 2]


@pytest.mark.parametrize(("kh", "kw"), [(1, 1), (3, 5), (21, 1), (21, 23), (31, 29)])
@pytest.mark.parametrize(("h", "w"), [(31, 29), (37, 64)])
def test_the_fourier_transform_gives_the_same(kh: int, kw: int, h: int, w: int) -> None:
    x, kernel = random(2, 3, h, w), random_kernel(kh, kw)
    expected = directly(x, kernel)
    assert expected.shape == (2, 3, h - kh + 1, w - kw + 1)
    torch.testing.assert_close(by_fourier(x, kernel), expected, rtol=0, atol=1e-5)
    double = by_fourier(x.double(), kernel.double())
    torch.testing.assert_close(double, directly(x.double(), kernel.double()), rtol=0, atol=1e-13)


@pytest.mark.parametrize("kernel", [random_kernel(9, 7), random_kernel(21, 23)])
def test_circular_is_a_product_of_spectra(kernel: torch.Tensor) -> None:
    x = random(1, 2, 30, 35)
    kh, kw = kernel.shape
    centered = functional.pad(kernel, (0, 35 - kw, 0, 30 - kh)).roll((-(kh // 2), -(kw // 2)), (0, 1))
    expected = torch.fft.ifft2(torch.fft.fft2(x) * torch.fft.fft2(centered)).real
    torch.testing.assert_close(Blur(kernel, boundary="circular")(x), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kernel", KERNELS)
def test_it_is_linear_and_has_its_adjoint(kernel: torch.Tensor) -> None:
    kernel = kernel.double()
    x, other = random(1, 2, 24, 30, dtype=torch.float64), random(1, 2, 24, 30, seed=1, dtype=torch.float64)
    valid, circular = Blur(kernel).double(), Blur(kernel, boundary="circular").double()
    for blur in (valid, circular):
        torch.testing.assert_close(blur(2 * x - 3 * other), 2 * blur(x) - 3 * blur(other))
    weights = kernel.float().double().flip(0, 1).expand(2, 1, *kernel.shape)
    y = torch.rand_like(valid(x))
    back = functional.conv_transpose2d(y, weights, groups=2)
    assert float((valid(x) * y).sum()) == pytest.approx(float((x * back).sum()), rel=1e-9)
    mirrored = Blur(kernel.flip(0, 1), boundary="circular").double()
    assert float((circular(x) * other).sum()) == pytest.approx(float((x * mirrored(other)).sum()), rel=1e-9)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("kernel", [random_kernel(3, 3), random_kernel(9, 9)])
def test_gradients_reach_the_picture_and_the_kernel(kernel: torch.Tensor, boundary) -> None:
    blur = Blur(kernel, boundary=boundary, trainable=True).double()
    x = random(1, 1, 10, 11, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(blur, (x,), fast_mode=True)
    logits = blur.filter.logits
    assert torch.autograd.gradcheck(lambda _: blur(x.detach()), (logits,), fast_mode=True)


@pytest.mark.parametrize(
    ("truth", "start"),
    [(random_kernel(5, 5), gaussian(1.0, 5)), (motion(11, 30), gaussian(2.0, 11))],
    ids=["directly", "by Fourier transform"],
)
def test_a_fitted_kernel_finds_the_unknown_blur(truth: torch.Tensor, start: torch.Tensor) -> None:
    blur = Blur(start, trainable=True)
    x = random(1, 1, 48, 48)
    kh, kw = truth.shape
    (rows, columns), (half_h, half_w) = blur.margin, (kh // 2, kw // 2)
    y = Blur(truth, boundary="circular")(x)[..., rows : 48 - rows, columns : 48 - columns]
    optimizer = torch.optim.Adam(blur.parameters(), lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        (blur(x) - y).square().mean().backward()
        optimizer.step()
    expected = torch.zeros_like(start)
    top, left = rows - half_h, columns - half_w
    expected[top : top + kh, left : left + kw] = truth
    found = blur.kernel.detach()
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)
    assert float((found - expected).abs().max()) < float((start - expected).abs().max()) / 20


def test_a_fitted_kernel_starts_at_the_given_one_and_stays_a_kernel() -> None:
    blur = Blur(motion(9, 20), trainable=True)
    assert float((blur.kernel.detach() - motion(9, 20)).abs().sum()) < 2.1e-3
    with torch.no_grad():
        blur.filter.logits.add_(torch.randn(blur.kernel.shape, generator=torch.Generator().manual_seed(0)) * 20)
    assert float(blur.kernel.detach().min()) >= 0
    assert float(blur.kernel.detach().sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("trainable", [False, True])
def test_state(trainable: bool) -> None:
    blur, other = Blur(gaussian(1.0), trainable=trainable), Blur(box(7), trainable=trainable)
    assert [p.requires_grad for p in blur.parameters()] == [True] * trainable
    other.load_state_dict(blur.state_dict())
    assert torch.equal(other.kernel, blur.kernel)
    x = random(1, 1, 16, 16)
    assert torch.equal(other(x), blur(x))


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_kernel_as_large_as_the_picture(boundary) -> None:
    x, kernel = random(1, 1, 17, 17), random_kernel(17, 17)
    side = 1 if boundary == "valid" else 17
    seen = Blur(kernel, boundary=boundary)(x)
    assert seen.shape == (1, 1, side, side)
    expected = float((x[0, 0] * kernel.flip(0, 1)).sum())
    assert float(seen[0, 0, side // 2, side // 2]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("call", "code", "named"),
    [
        (
            lambda: Blur(box(4)),
            "kernel",
            "4 x 4",
        ),
        (lambda: Blur(torch.ones(3, 3)), "kernel", "9"),
        (lambda: Blur(torch.ones(9)), "kernel", "(9,)"),
        (
            lambda: Blur(box(3), boundary="zeros"),
            "invalid-value",
            "'zeros'",
        ),  # type: ignore[arg-type]
        (
            lambda: Blur(box(17))(torch.rand(1, 1, 16, 20)),
            "kernel",
            "20 x 16",
        ),
        (lambda: Blur(box(17), boundary="reflect")(torch.rand(1, 1, 20, 16)), "kernel", "17 x 17"),
    ],
)
def test_what_is_refused(call, code: str, named: str) -> None:
    with pytest.raises(InputError, match=re.escape(named)) as raised:
        call()
    assert raised.value.code == code
    assert "\n" not in str(raised.value)
