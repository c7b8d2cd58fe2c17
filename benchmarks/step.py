"""One measurement in a process of its own: median seconds of a step, and the peak memory of the process.

python -m benchmarks.step fast 256      # one member of the fast recipe
python -m benchmarks.step plain 256     # the published setting as a plain script (examples/tiny.py)
"""

from __future__ import annotations

import itertools
import json
import resource
import runpy
import statistics
import sys
import time
from pathlib import Path

import torch

WARM_UP = 3


def plain_steps(height: int, width: int, steps: int) -> list[float]:
    """Seconds of each step of examples/tiny.py's loop, its printing left out."""
    script = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "tiny.py"))
    net = script["hourglass"]()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    target, code = torch.rand(1, 3, height, width), 0.1 * torch.rand(1, 32, height, width)
    average, seconds = torch.zeros_like(target), []
    for _ in range(steps):
        begin = time.perf_counter()
        optimizer.zero_grad()
        out = net(code + torch.randn_like(code) / 30)
        (out - target).square().mean().backward()
        optimizer.step()
        average = 0.99 * average + 0.01 * out.detach()
        seconds.append(time.perf_counter() - begin)
    return seconds


def recipe_steps(name: str, side: int, steps: int) -> list[float]:
    """Seconds of each step of a denoising fit with one member, its stopping rule included."""
    from preimage.recipes import recipe
    from preimage.restore.denoise import denoise

    few = recipe(name, steps=steps, restarts=1)
    fit = denoise(torch.rand(1, 3, side, side), noise="gaussian", sigma=25 / 255, recipe=few)
    moments = [0.0, *(step.seconds for step in fit)]
    return [b - a for a, b in itertools.pairwise(moments)]


def main() -> None:
    name, side = sys.argv[1], int(sys.argv[2])
    steps = int(sys.argv[3]) if len(sys.argv) > 3 else 12
    seconds = plain_steps(side, side, steps) if name == "plain" else recipe_steps(name, side, steps)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    counted = seconds[WARM_UP:] or seconds
    print(json.dumps({"seconds": statistics.median(counted), "least": min(counted), "peak_bytes": peak}))


if __name__ == "__main__":
    main()
