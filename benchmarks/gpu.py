"""The GPU table of docs/scale.md: one command, under five minutes on one card.

    PREIMAGE_DATA=../shared/data python -m benchmarks.gpu              # all rows
    python -m benchmarks.gpu --device cpu --quick                       # the script itself, anywhere: 32 px, few steps

F16 with Gaussian noise of sigma 25, quality fast, blind, is fitted twice at each size: the second fit is the warm one
that counts. Rows are printed as they come, and are kept in docs/results/gpu.csv with the name of the card.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from preimage import deblur, denoise, recipe
from preimage.engine.devices import choose_device
from preimage.errors import InputError
from preimage.images import read
from studies.harness.imaging import center_crop, dB, with_gaussian_noise
from studies.harness.rows import append_rows

TABLE = Path("docs/results/gpu.csv")
SIGMA = 25 / 255
FOLDER = {256: 64, 512: 24}  # pictures of each size
AIMS = {"256 px, s": 0.5, "512 px, s": 1.0, "2048 px, s": 6.0, "8 restarts over 1": 2.5, "deblur 512 px, s": 3.0}
AIMS |= {"folder of 256 px, pictures a second": 15.0, "folder of 512 px, pictures a second": 4.0}
AT_LEAST = ("pictures a second",)  # of which more is better


def picture(side: int) -> torch.Tensor:
    """F16: its middle, or all of it enlarged, (1, 3, side, side)."""
    path = Path(os.environ.get("PREIMAGE_DATA", "../shared/data")) / "early_stopping/clean/F16.png"
    if not path.exists():
        raise SystemExit(f"{path} is not there: set PREIMAGE_DATA to the folder of the data")
    image = read(path).tensor
    if side <= image.shape[-1]:
        return center_crop(image, side)
    return torch.nn.functional.interpolate(image, (side, side), mode="bicubic").clamp(0, 1)


def noisy(clean: torch.Tensor) -> torch.Tensor:
    return with_gaussian_noise(clean, SIGMA, 0)


def waited(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


class Bench:
    """The rows, each measured when it is asked for."""

    def __init__(self, device: torch.device, *, quick: bool) -> None:
        self.device, self.quick = device, quick
        self.steps: dict[str, Any] = {"steps": 12, "stop": "steps"} if quick else {}

    def side(self, pixels: int) -> int:
        return 32 if self.quick else pixels

    def warm(self, begun: Callable[[], Any]) -> tuple[float, Any, Any]:
        """Seconds of the second of two equal fits, the fit and its result."""
        begun().run()
        begin = waited(self.device)
        fit = begun()
        result = fit.run()
        return waited(self.device) - begin, fit, result

    def of_size(self, pixels: int) -> Iterator[tuple[str, float]]:
        """Seconds of a warm blind fit, its PSNR, steps and milliseconds a step; what was replayed."""
        clean = picture(self.side(pixels))
        own = {"recipe": recipe("fast", **self.steps), "device": str(self.device)}
        seconds, fit, result = self.warm(lambda: denoise(noisy(clean), **own))
        yield f"{pixels} px, s", seconds
        yield f"{pixels} px, dB", dB(result.image, clean)
        yield f"{pixels} px, steps", result.steps
        yield f"{pixels} px, ms a step", 1000 * seconds / result.steps
        yield f"{pixels} px, steps replayed", replays(fit)

    def restarts(self) -> Iterator[tuple[str, float]]:
        """Milliseconds a step of 1, 2 and 8 members at 256 px."""
        target, paces = noisy(picture(self.side(256))), {}
        for count in (1, 2, 8):
            few = recipe("fast", restarts=count, steps=12 if self.quick else 60, stop="steps")
            fit = denoise(target, recipe=few, device=str(self.device))
            moments = [waited(self.device) for _ in fit]
            paces[count] = statistics.median(b - a for a, b in itertools.pairwise(moments[len(moments) // 2 :]))
            yield f"{count} restarts at 256 px, ms a step", 1000 * paces[count]
        yield "8 restarts over 1", paces[8] / paces[1]

    def deblurred(self) -> Iterator[tuple[str, float]]:
        """A Gaussian kernel at 512 px."""
        clean = picture(self.side(512))
        own = {"recipe": recipe("fast", **self.steps), "device": str(self.device)}
        seconds, fit, result = self.warm(lambda: deblur(clean, kernel="gaussian:1.6", **own))
        yield "deblur 512 px, s", seconds
        yield "deblur 512 px, ms a step", 1000 * seconds / result.steps
        yield "deblur 512 px, steps replayed", replays(fit)

    def folder(self, pixels: int, workers: int) -> Iterator[tuple[str, float]]:
        """Pictures a second of the command over a folder, starting of processes included."""
        count = 3 if self.quick else FOLDER[pixels]
        with tempfile.TemporaryDirectory() as place:
            given = Path(place) / "in"
            given.mkdir()
            clean = picture(self.side(pixels))
            for k in range(count):
                values = (with_gaussian_noise(clean, SIGMA, k)[0].movedim(0, -1) * 255).round().byte().numpy()
                Image.fromarray(values).save(given / f"{k}.png")
            command = [sys.executable, "-m", "preimage", "denoise", str(given), "-o", str(Path(place) / "out")]
            command += ["--workers", str(workers), "--device", self.device.type, "--quiet"]
            command += ["--steps", "12", "--stop", "steps"] if self.quick else []
            begin = time.perf_counter()
            subprocess.run(command, check=True)
            yield f"folder of {pixels} px, pictures a second", count / (time.perf_counter() - begin)

    def rows(self, workers: int) -> list[Callable[[], Iterator[tuple[str, float]]]]:
        sizes = [partial(self.of_size, side) for side in (256, 512, 1024, 2048)]
        folders = [partial(self.folder, side, workers) for side in FOLDER]
        return [*sizes, self.restarts, self.deblurred, *folders]


def replays(fit: Any) -> int:
    graphs = fit.current.graphs
    return 0 if graphs is None else graphs.replays


def met(name: str, value: float) -> str:
    aim = AIMS.get(name)
    if aim is None:
        return ""
    better = value >= aim if name.endswith(AT_LEAST) else value <= aim
    return f"{aim:g}: {'met' if better else 'missed'}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description="The GPU table.")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--workers", type=int, default=4, help="processes of a folder run on the card")
    parser.add_argument("--quick", action="store_true", help="32 px and few steps; nothing is kept")
    asked = parser.parse_args()
    try:
        device = choose_device(asked.device)
    except InputError as error:
        parser.error(str(error))
    card = torch.cuda.get_device_name() if device.type == "cuda" else device.type
    print(f"{card}, PyTorch {torch.__version__}\n\n| | measured | asked |\n|---|---|---|", flush=True)
    bench = Bench(device, quick=asked.quick)
    for measure in bench.rows(asked.workers):
        for name, value in measure():
            print(f"| {name} | {value:.4g} | {'' if asked.quick else met(name, value)} |", flush=True)
            if not asked.quick:
                row = {"card": card, "torch": torch.__version__, "row": name, "value": f"{value:.5g}"}
                append_rows(TABLE, [row])


if __name__ == "__main__":
    main()
