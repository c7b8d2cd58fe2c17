"""Batch norm by the current image and the activation after it in one pass over memory each way, in Triton, on a GPU.

PyTorch's norm and its LeakyReLU read and write the image one after the other, forward and backward: at 2048 x 2048 they are a
third of a step. What comes of it is the same within rounding, which is seen before it is used: a GPU where the kernels do not
compile, or give something else, has PyTorch's.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional

MOST = 2**31  # values, which a kernel counts in 32 bits
PARTS = 64  # programs that share the sums of one channel
TRUSTED = {torch.float32: 1e-3, torch.bfloat16: 7e-2, torch.float16: 1e-2}  # how far from PyTorch's, of values up to 8
_plain = threading.local()


@contextlib.contextmanager
def plain_norms() -> Iterator[None]:
    """PyTorch's operations in this thread: torch.vmap sees nothing of what is within a kernel of our own."""
    before = getattr(_plain, "on", False)
    _plain.on = True
    try:
        yield
    finally:
        _plain.on = before


def normed_and_activated(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, slope: float, epsilon: float
) -> torch.Tensor | None:
    """LeakyReLU of the batch norm of one image (1, c, h, w), differentiable once; None where PyTorch's is to be taken.

    Args:
        x: on a GPU, in either memory format.
        weight, bias: (c,).
        slope: of negative values.
        epsilon: added to the variance.
    """
    if not (x.is_cuda and len(x) == 1 and weight.ndim == 1 and x.dtype in TRUSTED and x.numel() < MOST):
        return None
    if getattr(_plain, "on", False):
        return None
    if not _holds(x.device, x.dtype, x.is_contiguous()):
        return None
    with torch.cuda.device_of(x):  # Triton launches on the current device
        return _kernels().NormedAndActivated.apply(x, weight, bias, slope, epsilon)


@functools.cache
def _kernels() -> Any:
    from preimage.networks import _fused_kernels

    return _fused_kernels


@functools.cache
def _holds(device: torch.device, dtype: torch.dtype, contiguous: bool) -> bool:
    """Whether the kernels give what PyTorch gives on this device, forward and backward."""
    try:
        return differs(_kernels().NormedAndActivated.apply, device, dtype, contiguous) <= TRUSTED[dtype]
    except Exception:  # no Triton, no compiler, a GPU that it does not know
        return False


@torch.enable_grad()
def differs(apply: Any, device: torch.device | str, dtype: torch.dtype, contiguous: bool) -> float:
    """The largest difference to PyTorch's norm and activation, of outputs and all gradients, by a drawn image."""
    drawn = torch.Generator().manual_seed(0)
    order = torch.contiguous_format if contiguous else torch.channels_last
    image = torch.randn(1, 24, 45, 70, generator=drawn) * 2 + 3
    weight, bias, seen = (torch.randn(shape, generator=drawn) for shape in ((24,), (24,), image.shape))
    results = []
    for fused in (True, False):
        x = image.to(device, dtype, memory_format=order).requires_grad_()
        own = [value.to(device).requires_grad_() for value in (weight, bias)]
        if fused:
            with torch.cuda.device_of(x):
                y = apply(x, *own, 0.2, 1e-5)
        else:
            y = functional.leaky_relu(functional.batch_norm(x, None, None, *own, training=True, eps=1e-5), 0.2)
        gradients = torch.autograd.grad(y, [x, *own], seen.to(device, dtype, memory_format=order))
        scales = (1, 1, image.shape[2:].numel() ** 0.5, image.shape[2:].numel() ** 0.5)  # of sums over the image
        results.append([value.detach().float() / scale for value, scale in zip((y, *gradients), scales, strict=True)])
    return max(float((ours - theirs).abs().max()) for ours, theirs in zip(*results, strict=True))
