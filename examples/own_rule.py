"""Your own stopping rule: a score for each member, the lower the better; patience comes with it.

python examples/own_rule.py [out]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from skimage import data

from preimage import Step, StoppingRule, denoise


class Settled(StoppingRule):
    """The least distance between the output of a step and the average of all before."""

    name = "settled"

    def score(self, step: Step) -> torch.Tensor:
        return (step.image - step.average).square().flatten(1).mean(1)


def main(out: str = "out", *, side: int = 192, steps: int | None = None) -> None:
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    clean = data.chelsea()[30 : 30 + side, 130 : 130 + side]
    noisy = (clean + np.random.default_rng(0).normal(0, 25, clean.shape)).clip(0, 255).astype(np.uint8)

    result = denoise(noisy, stop=Settled(patience=30), steps=steps).run()
    result.save(folder / "settled.png", overwrite=True)
    print(result.reason)


if __name__ == "__main__":
    main(*sys.argv[1:2])
