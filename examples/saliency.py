"""Which pixels does a prediction depend on? Two methods, with scores of how faithful their maps are.

python examples/saliency.py [out]
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from counterfactual import trained
from shapes import draw_shapes

from preimage import saliency
from preimage.defend.saliency_run import write_overlay


def main(out: str = "out", *, pictures: int = 1200, epochs: int = 4, steps: int = 50) -> None:
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    classifier = trained(draw_shapes(pictures), epochs)
    image = draw_shapes(1, seed=1).pictures[0].float() / 255

    found = saliency(image, classifier=classifier, method="mig-sg,integrated-gradients", n_steps=steps).run()
    for each in found.maps:
        scores = f"insertion {float(each.insertion.area[0]):.2f}, deletion {float(each.deletion.area[0]):.2f}"
        print(f"{each.found.method}: {scores}")
    write_overlay(found, folder / "where.png", overwrite=True)


if __name__ == "__main__":
    main(*sys.argv[1:2])
