"""What do the layers of a classifier keep of an image? An image for each that has the same features.

python examples/invert.py [out]
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from counterfactual import trained
from shapes import draw_shapes

from preimage import invert


def main(out: str = "out", *, pictures: int = 1200, epochs: int = 4, steps: int | None = None) -> None:
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    classifier = trained(draw_shapes(pictures), epochs)
    image = draw_shapes(1, seed=1).pictures[0].float() / 255

    for layer in classifier.layers()[1:4]:
        kept = invert(image, classifier=classifier, layers=layer, steps=steps).run()
        kept.save(folder / f"inverted-{layer}.png", overwrite=True)
        print(f"{layer}: feature error {kept.numbers['feature_error']:.3f} (1: nothing is kept)")


if __name__ == "__main__":
    main(*sys.argv[1:2])
