"""Properties of the operators for any size, kernel, factor and mask: shape, linearity, and the adjoint by the dot product.

<A x, y> = <x, A' y>,    A' y being the gradient of <A x, y> with respect to x
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from properties import examples

from preimage.errors import InputError
from preimage.operators import (
    Blur,
    Downsample,
    JpegCoefficients,
    Mask,
    box,
    check_kernel,
    compose,
    gaussian,
    lanczos2,
    motion,
)
from preimage.restore.demosaic import bayer_mask

Draw = Callable[[st.SearchStrategy[Any]], Any]
BOUNDARIES = ("valid", "replicate", "reflect", "circular")


def random_tensor(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def any_kernel(draw: Draw, *, parity: int) -> torch.Tensor:
    """Any non-negative kernel of sum 1, of sides of one parity, asymmetric."""
    sides = [2 * draw(st.integers(0 if parity else 1, 3)) + parity for _ in range(2)]
    kernel = random_tensor(draw(st.integers(0, 999)), *sides).abs() + 0.01
    return (kernel / kernel.sum()).float()


def blur(draw: Draw) -> tuple[Any, tuple[int, ...], tuple[int, ...]]:
    kernel = any_kernel(draw, parity=1)
    boundary = draw(st.sampled_from(BOUNDARIES))
    size = tuple(draw(st.integers(side, side + 9)) for side in kernel.shape)
    shrunk = tuple(n - (k - 1 if boundary == "valid" else 0) for n, k in zip(size, kernel.shape, strict=True))
    return Blur(kernel, boundary=boundary), size, shrunk


def wide_blur(draw: Draw) -> tuple[Any, tuple[int, ...], tuple[int, ...]]:
    """Kernels large enough for the Fourier transform."""
    kernel = draw(st.sampled_from([gaussian(2.0), motion(11, 30), box(11)]))
    boundary = draw(st.sampled_from(BOUNDARIES))
    size = tuple(draw(st.integers(side, side + 7)) for side in kernel.shape)
    shrunk = tuple(n - (k - 1 if boundary == "valid" else 0) for n, k in zip(size, kernel.shape, strict=True))
    return Blur(kernel, boundary=boundary), size, shrunk


def downsample(draw: Draw) -> tuple[Any, tuple[int, ...], tuple[int, ...]]:
    factor = draw(st.integers(2, 5))
    kernel = lanczos2(factor) if draw(st.booleans()) else any_kernel(draw, parity=factor % 2)
    small = tuple(draw(st.integers(1, 5)) for _ in range(2))
    return Downsample(kernel, factor), tuple(factor * n for n in small), small


def mask(draw: Draw) -> tuple[Any, tuple[int, ...], tuple[int, ...]]:
    size = tuple(draw(st.integers(1, 12)) for _ in range(2))
    weights = random_tensor(draw(st.integers(0, 999)), 1, draw(st.sampled_from([1, 3])), *size)
    return Mask(weights > 0 if draw(st.booleans()) else weights.sigmoid()), size, size


def bayer(draw: Draw) -> tuple[Any, tuple[int, ...], tuple[int, ...]]:
    size = tuple(draw(st.integers(1, 12)) for _ in range(2))
    pattern: Any = draw(st.sampled_from(["RGGB", "BGGR", "GRBG", "GBRG"]))
    return Mask(bayer_mask(pattern, *size)), size, size


def composed(draw: Draw) -> tuple[Any, tuple[int, ...], tuple[int, ...]]:
    """A blur, and every second pixel of it."""
    first, size, between = blur(draw)
    assume(all(side % 2 == 0 for side in between))
    return compose(first, Downsample(box(2), 2)), size, tuple(n // 2 for n in between)


LINEAR = [blur, wide_blur, downsample, mask, bayer, composed]
each_linear = pytest.mark.parametrize("make", LINEAR, ids=lambda make: make.__name__)


@each_linear
def test_shape_linearity_and_adjoint(make: Callable[[Draw], tuple[Any, tuple[int, ...], tuple[int, ...]]]) -> None:
    @examples(25)
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        operator, size, out = make(data.draw)
        operator = operator.double() if hasattr(operator, "double") else operator
        x, other = (random_tensor(i, 2, 3, *size).requires_grad_() for i in (1, 2))
        y = operator(x)
        assert y.shape == (2, 3, *out)
        torch.testing.assert_close(operator(2 * x - 3 * other), 2 * y - 3 * operator(other), rtol=1e-6, atol=1e-6)
        direction = random_tensor(3, *y.shape)
        (adjoint,) = torch.autograd.grad((y * direction).sum(), x)
        z = random_tensor(4, *x.shape)
        torch.testing.assert_close((operator(z) * direction).sum(), (z * adjoint).sum(), rtol=1e-6, atol=1e-5)
        alone = torch.cat([operator(each) for each in x.split(1)]) if len(x) > 1 else y
        torch.testing.assert_close(y, alone, rtol=1e-6, atol=1e-7)  # members do not mix

    holds()


@examples(25)
@given(st.data())
def test_jpeg_coefficients_are_affine_and_their_adjoint_is_the_transposed(data: st.DataObject) -> None:
    draw = data.draw
    size = (draw(st.integers(1, 20)), draw(st.integers(1, 20)))
    channels = draw(st.sampled_from([1, 3]))
    subsampling = draw(st.sampled_from([(1, 1), (2, 2), (1, 2)]))
    operator = JpegCoefficients([torch.full((8, 8), 16.0)] * channels, size=size, subsampling=subsampling).double()
    x, other, z = (random_tensor(i, 2, channels, *size).requires_grad_() for i in (1, 2, 4))
    y, zero = operator(x), operator(torch.zeros_like(x))
    assert y.shape == (2, len(operator.steps))
    torch.testing.assert_close(operator(x + other) - zero, (y - zero) + (operator(other) - zero), rtol=1e-6, atol=1e-6)
    direction = random_tensor(3, *y.shape)
    (adjoint,) = torch.autograd.grad((y * direction).sum(), x)
    torch.testing.assert_close(((operator(z) - zero) * direction).sum(), (z * adjoint).sum(), rtol=1e-6, atol=1e-5)


@examples(40)
@given(st.data())
def test_a_kernel_of_unit_sum_keeps_a_constant(data: st.DataObject) -> None:
    """Neither darker nor lighter, also at the borders."""
    operator, size, _ = data.draw(st.sampled_from([blur, wide_blur, downsample]))(data.draw)
    torch.testing.assert_close(
        operator(torch.full((1, 1, *size), 0.7)),
        torch.tensor(0.7).expand(*operator(torch.zeros(1, 1, *size)).shape),
        rtol=0,
        atol=2e-6,
    )


@examples(40)
@given(st.integers(2, 6), st.integers(1, 40), st.integers(1, 40))
def test_a_size_that_does_not_fit_is_one_line(factor: int, height: int, width: int) -> None:
    operator = Downsample(lanczos2(factor), factor)
    x = torch.zeros(1, 1, height, width)
    if height % factor or width % factor:
        with pytest.raises(InputError, match="multiples of the factor") as caught:
            operator(x)
        assert "\n" not in str(caught.value)
    else:
        assert operator(x).shape == (1, 1, height // factor, width // factor)


@examples(60)
@given(st.data())
def test_kernels_are_kernels(data: st.DataObject) -> None:
    factor = data.draw(st.integers(2, 8))
    made = [
        lanczos2(factor),
        box(data.draw(st.integers(2, 15))),
        gaussian(data.draw(st.floats(0.2, 4))),
        motion(data.draw(st.floats(1, 15)), data.draw(st.floats(-360, 360))),
    ]
    for kernel in made:
        check_kernel(kernel, odd=False)
        assert abs(float(kernel.sum()) - 1) < 1e-5
        assert bool(kernel.isfinite().all())
