"""Norm and activation in one pass: what PyTorch gives, in Triton's interpreter; and PyTorch's own wherever that cannot be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
import torch

from preimage.networks import fused

# Triton must be told before it is imported that it is to interpret its kernels, so another process does.
INTERPRETED = """
import json
import torch
from torch.nn import functional
from preimage.networks import _fused_kernels, fused
from preimage.networks.layers import Block

found, kernel = {}, _fused_kernels.NormedAndActivated
for dtype in (torch.float32, torch.bfloat16):
    for contiguous in (True, False):
        found[f"{dtype} {contiguous}"] = fused.differs(kernel.apply, "cpu", dtype, contiguous)
for shape in ((1, 3, 1, 2), (1, 1, 5, 1), (1, 33, 7, 9), (1, 5, 60, 90)):
    for order in (torch.contiguous_format, torch.channels_last):
        drawn = torch.Generator().manual_seed(1)
        x = (torch.randn(shape, generator=drawn) * 3 - 7).contiguous(memory_format=order)
        weight, bias = (torch.randn(shape[1], generator=drawn) for _ in range(2))
        plain = functional.batch_norm(x, None, None, weight, bias, training=True, eps=1e-5)
        y = kernel.apply(x, weight, bias, 0.2, 1e-5)
        found[f"{shape} {order}"] = float((y - functional.leaky_relu(plain, 0.2)).abs().max())

# A block that is told that its image is on a GPU.
torch.Tensor.is_cuda = True
block, x = Block(4, 8, 3, padding="reflect"), torch.rand(1, 4, 20, 24)
calls, apply = [], kernel.apply
kernel.apply = lambda *given: calls.append(len(given)) or apply(*given)
with_kernels = block(x)
found["calls"] = len(calls)  # the trial, and the block's own
with fused.plain_norms():
    plain = block(x)
found["block"] = float((with_kernels - plain).abs().max())
found["calls of a plain one"] = len(calls) - found["calls"]
fused.differs = lambda *given: 1.0
fused._holds.cache_clear()
found["not trusted"] = float((block(x) - plain).abs().max())
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    pytest.importorskip("triton")
    ran = subprocess.run(
        [sys.executable, "-c", INTERPRETED],
        env=dict(os.environ, TRITON_INTERPRET="1"),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(ran.stdout)


def test_outputs_and_gradients_are_those_of_pytorch(found):
    assert all(found[f"torch.float32 {order}"] < 1e-4 for order in (True, False))
    assert all(found[f"torch.bfloat16 {order}"] < 7e-2 for order in (True, False))


def test_images_of_any_shape(found):
    shapes = {name: value for name, value in found.items() if name.startswith("(")}
    assert len(shapes) == 8
    assert max(shapes.values()) < 1e-4


def test_what_is_used_was_seen_to_hold(found):
    assert found["calls"] == 2
    assert found["block"] < 1e-4
    assert found["calls of a plain one"] == 0
    assert found["not trusted"] == 0


@pytest.mark.parametrize("shape", [(2, 4, 8, 8), (1, 4, 8, 8)])
def test_of_several_images_or_on_a_cpu_it_is_pytorch(shape):
    assert fused.normed_and_activated(torch.rand(shape), torch.ones(4), torch.zeros(4), 0.2, 1e-5) is None


def test_a_gpu_whose_kernels_do_not_compile_has_pytorch(monkeypatch):
    def broken():
        raise RuntimeError("no compiler")

    monkeypatch.setattr(fused, "_kernels", broken)
    fused._holds.cache_clear()
    assert not fused._holds(torch.device("cpu"), torch.float32, True)
    fused._holds.cache_clear()
