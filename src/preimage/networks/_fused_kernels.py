# pyright: reportArgumentType=false, reportCallIssue=false, reportIncompatibleMethodOverride=false
"""The kernels of `fused`, in Triton: two passes forward (sums, then values), two backward."""

from __future__ import annotations

from typing import Any

import torch
import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch.autograd.function import once_differentiable

from preimage.networks.fused import PARTS

ROWS, COLUMNS = (4, 512), (32, 64)  # channels x pixels of a block where pixels, and where channels lie side by side


@triton.jit
def _sums(x, sums, channels, pixels, of_channel, of_pixel, each, c_block: tl.constexpr, n_block: tl.constexpr):
    """Of each channel and part, the sums of x and of its square, less the channel's first value."""
    c = tl.program_id(0) * c_block + tl.arange(0, c_block)
    part = tl.program_id(1)
    known = c < channels
    first = tl.load(x + c * of_channel, mask=known, other=0).to(tl.float32)
    total = tl.zeros((c_block,), tl.float32)
    square = tl.zeros((c_block,), tl.float32)
    for start in range(part * each, tl.minimum((part + 1) * each, pixels), n_block):
        n = start + tl.arange(0, n_block)
        within = known[:, None] & (n < pixels)[None, :]
        value = tl.load(x + c[:, None] * of_channel + n[None, :] * of_pixel, mask=within, other=0).to(tl.float32)
        value = tl.where(within, value - first[:, None], 0)
        total += tl.sum(value, 1)
        square += tl.sum(value * value, 1)
    tl.store(sums + (part * 2) * channels + c, total, mask=known)
    tl.store(sums + (part * 2 + 1) * channels + c, square, mask=known)


@triton.jit
def _total(sums, which, c, known, channels, parts, p_block: tl.constexpr):
    """Of each channel the sum over its parts."""
    p = tl.arange(0, p_block)
    within = (p < parts)[:, None] & known[None, :]
    return tl.sum(tl.load(sums + (p[:, None] * 2 + which) * channels + c[None, :], mask=within, other=0), 0)


@triton.jit
def _values(
    x, y, sums, moments, weight, bias, channels, pixels, of_channel, of_pixel, each, parts, slope, epsilon,
    c_block: tl.constexpr, n_block: tl.constexpr, p_block: tl.constexpr,
):  # fmt: skip
    """The activated norm; and of each channel mean and 1 / deviation."""
    c = tl.program_id(0) * c_block + tl.arange(0, c_block)
    part = tl.program_id(1)
    known = c < channels
    first = tl.load(x + c * of_channel, mask=known, other=0).to(tl.float32)
    less = _total(sums, 0, c, known, channels, parts, p_block) / pixels
    variance = tl.maximum(_total(sums, 1, c, known, channels, parts, p_block) / pixels - less * less, 0)
    mean = first + less
    inverse = 1 / tl.sqrt(variance + epsilon)
    if part == 0:
        tl.store(moments + c, mean, mask=known)
        tl.store(moments + channels + c, inverse, mask=known)
    w = tl.load(weight + c, mask=known, other=0).to(tl.float32) * inverse
    b = tl.load(bias + c, mask=known, other=0).to(tl.float32)
    for start in range(part * each, tl.minimum((part + 1) * each, pixels), n_block):
        n = start + tl.arange(0, n_block)
        within = known[:, None] & (n < pixels)[None, :]
        at = c[:, None] * of_channel + n[None, :] * of_pixel
        value = (tl.load(x + at, mask=within, other=0).to(tl.float32) - mean[:, None]) * w[:, None] + b[:, None]
        tl.store(y + at, tl.where(value > 0, value, slope * value).to(y.dtype.element_ty), mask=within)


@triton.jit
def _of_channels(moments, weight, bias, c, known, channels):
    """Of each channel what the backward pass needs: mean, 1 / deviation, weight and bias."""
    mean = tl.load(moments + c, mask=known, other=0)
    inverse = tl.load(moments + channels + c, mask=known, other=0)
    w = tl.load(weight + c, mask=known, other=0).to(tl.float32)
    b = tl.load(bias + c, mask=known, other=0).to(tl.float32)
    return mean, inverse, w, b


@triton.jit
def _gradient(x, g, at, within, mean, inverse, w, b, slope):
    """Of a block: the normed values, and the gradient that reaches them through the activation."""
    value = tl.load(x + at, mask=within, other=0).to(tl.float32)
    seen = tl.load(g + at, mask=within, other=0).to(tl.float32)
    normed = tl.where(within, (value - mean[:, None]) * inverse[:, None], 0)
    return normed, tl.where(normed * w[:, None] + b[:, None] > 0, seen, slope * seen)


@triton.jit
def _sums_back(
    x, g, sums, moments, weight, bias, channels, pixels, of_channel, of_pixel, each, slope,
    c_block: tl.constexpr, n_block: tl.constexpr,
):  # fmt: skip
    """Of each channel and part, the sums of the gradient and of its product with the normed values."""
    c = tl.program_id(0) * c_block + tl.arange(0, c_block)
    part = tl.program_id(1)
    known = c < channels
    mean, inverse, w, b = _of_channels(moments, weight, bias, c, known, channels)
    total = tl.zeros((c_block,), tl.float32)
    product = tl.zeros((c_block,), tl.float32)
    for start in range(part * each, tl.minimum((part + 1) * each, pixels), n_block):
        n = start + tl.arange(0, n_block)
        within = known[:, None] & (n < pixels)[None, :]
        at = c[:, None] * of_channel + n[None, :] * of_pixel
        normed, gradient = _gradient(x, g, at, within, mean, inverse, w, b, slope)
        total += tl.sum(gradient, 1)
        product += tl.sum(gradient * normed, 1)
    tl.store(sums + (part * 2) * channels + c, total, mask=known)
    tl.store(sums + (part * 2 + 1) * channels + c, product, mask=known)


@triton.jit
def _values_back(
    x, g, back, sums, moments, weight, bias, channels, pixels, of_channel, of_pixel, each, parts, slope,
    c_block: tl.constexpr, n_block: tl.constexpr, p_block: tl.constexpr,
):  # fmt: skip
    """The gradient to x."""
    c = tl.program_id(0) * c_block + tl.arange(0, c_block)
    part = tl.program_id(1)
    known = c < channels
    mean, inverse, w, b = _of_channels(moments, weight, bias, c, known, channels)
    total = _total(sums, 0, c, known, channels, parts, p_block) / pixels
    product = _total(sums, 1, c, known, channels, parts, p_block) / pixels
    for start in range(part * each, tl.minimum((part + 1) * each, pixels), n_block):
        n = start + tl.arange(0, n_block)
        within = known[:, None] & (n < pixels)[None, :]
        at = c[:, None] * of_channel + n[None, :] * of_pixel
        normed, gradient = _gradient(x, g, at, within, mean, inverse, w, b, slope)
        value = (gradient - total[:, None] - normed * product[:, None]) * (w * inverse)[:, None]
        tl.store(back + at, value.to(back.dtype.element_ty), mask=within)


class NormedAndActivated(torch.autograd.Function):
    """`apply(x, weight, bias, slope, epsilon)`, as `fused.normed_and_activated`."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, slope: float, epsilon: float
    ) -> torch.Tensor:
        x = x if x.is_contiguous() else x.contiguous(memory_format=torch.channels_last)
        channels, pixels = x.shape[1], x.shape[2] * x.shape[3]
        c, n = ROWS if x.is_contiguous() else COLUMNS
        blocks = triton.cdiv(pixels, n)
        each = triton.cdiv(blocks, min(PARTS, blocks)) * n
        parts = triton.cdiv(pixels, each)
        grid = (triton.cdiv(channels, c), parts)
        layout = (channels, pixels, x.stride(1), x.stride(3), each)
        y, sums = torch.empty_like(x), x.new_empty(parts, 2, channels, dtype=torch.float32)
        moments = x.new_empty(2, channels, dtype=torch.float32)
        _sums[grid](x, sums, *layout, c_block=c, n_block=n)
        _values[grid](
            x, y, sums, moments, weight, bias, *layout, parts, slope, epsilon, c_block=c, n_block=n, p_block=PARTS
        )
        ctx.save_for_backward(x, weight, bias, moments)
        ctx.work = grid, layout, parts, slope, (c, n)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *seen: torch.Tensor) -> Any:
        x, weight, bias, moments = ctx.saved_tensors
        grid, layout, parts, slope, (c, n) = ctx.work
        order = torch.contiguous_format if x.is_contiguous() else torch.channels_last
        g = seen[0].contiguous(memory_format=order)
        back, sums = torch.empty_like(x), x.new_empty(parts, 2, x.shape[1], dtype=torch.float32)
        _sums_back[grid](x, g, sums, moments, weight, bias, *layout, slope, c_block=c, n_block=n)
        _values_back[grid](
            x, g, back, sums, moments, weight, bias, *layout, parts, slope, c_block=c, n_block=n, p_block=PARTS
        )
        total, product = sums.sum(0)
        return back, product.to(weight.dtype), total.to(bias.dtype), None, None
