"""Which image excites a class most?

python examples/maximize.py [out]
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from counterfactual import trained
from shapes import draw_shapes

from preimage import maximize


def main(out: str = "out", *, pictures: int = 1200, epochs: int = 4, steps: int | None = None) -> None:
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    classifier = trained(draw_shapes(pictures), epochs)

    for target in classifier.classes:
        found = maximize(classifier=classifier, target=target, size=(64, 64), steps=steps).run()
        found.save(folder / f"{target}.png".replace(" ", "_"), overwrite=True)
        print(target, found.numbers["excitation"])


if __name__ == "__main__":
    main(*sys.argv[1:2])
