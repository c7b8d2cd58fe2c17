"""Where the time of one fast step goes, and how far that is from its arithmetic.

python -m benchmarks.profile 256      # one member of the fast denoising recipe

The limit is floating-point operations of the step (counted by PyTorch) / rate of a bf16 matrix product, measured now.
"""

from __future__ import annotations

import json
import statistics
import sys
import time

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from preimage.recipes import recipe
from preimage.restore.denoise import denoise
from preimage.stopping import After

MATRIX, PRODUCTS = 2048, 10
WARM_UP, TIMED = 5, 15


def bf16_rate() -> float:
    """Floating-point operations a second of a product of two square bf16 matrices."""
    a, b = (torch.randn(MATRIX, MATRIX, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        torch.mm(a, b)
    begin = time.perf_counter()
    for _ in range(PRODUCTS):
        torch.mm(a, b)
    return 2 * MATRIX**3 * PRODUCTS / (time.perf_counter() - begin)


def main() -> None:
    side = int(sys.argv[1]) if len(sys.argv) > 1 else 256
    fast = recipe("fast", steps=WARM_UP + TIMED + 20)
    fit = iter(denoise(torch.rand(1, 3, side, side), noise="gaussian", sigma=25 / 255, recipe=fast, stop=After()))
    for _ in range(WARM_UP):
        next(fit)
    seconds = []
    for _ in range(TIMED):
        begin = time.perf_counter()
        next(fit)
        seconds.append(time.perf_counter() - begin)
    with FlopCounterMode(display=False) as counter:
        next(fit)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for _ in range(10):
            next(fit)
    operations, rate, step = counter.get_total_flops(), bf16_rate(), statistics.median(seconds)
    print(profiled.key_averages().table(sort_by="self_cpu_time_total", row_limit=15, max_name_column_width=45))
    row = {
        "side": side,
        "threads": torch.get_num_threads(),
        "seconds": step,
        "GFLOP": operations / 1e9,
        "bf16_GFLOP_per_second": rate / 1e9,
        "times_its_arithmetic": step * rate / operations,
    }
    print(json.dumps({key: round(value, 4) for key, value in row.items()}))


if __name__ == "__main__":
    main()
