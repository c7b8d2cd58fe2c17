"""An image with the same early features, of which the classifier is confident.

python examples/recover.py [out]
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from counterfactual import trained
from shapes import draw_shapes

from preimage import recover


def main(out: str = "out", *, pictures: int = 1200, epochs: int = 4, steps: int | None = None) -> None:
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    classifier = trained(draw_shapes(pictures), epochs)
    image = draw_shapes(1, seed=1).pictures[0].float() / 255

    found = recover(image, classifier=classifier, steps=steps).run()
    found.save(folder / "recovered.png", overwrite=True)
    for name, x in (("given", image[None]), ("recovered", found.image)):
        print(f"{name}: probabilities {classifier(x).softmax(1)[0].tolist()}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
