"""Your own classifier: any module, its classes, and how its images are normalized.

python examples/own_classifier.py [out]
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from shapes import draw_shapes
from torch import nn

from preimage import Classifier, counterfactual


def main(out: str = "out", *, pictures: int = 1000, epochs: int = 6, steps: int | None = None) -> None:
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU())
    model = nn.Sequential(*model, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(32, 2))
    drawn = draw_shapes(pictures)
    x = (drawn.pictures.float() / 255 - 0.5) / 0.25
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for batch in torch.arange(pictures).repeat(epochs).split(50):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[batch]), drawn.labels[batch]).backward()
        optimizer.step()

    classifier = Classifier(model, ["orange disc", "blue disc"], mean=(0.5,) * 3, std=(0.25,) * 3)
    image = draw_shapes(1, seed=1).pictures[0].float() / 255
    print(classifier.layers())
    found = counterfactual(image, classifier=classifier, steps=steps).run()
    found.save(folder / "as_the_other_class.png", overwrite=True)
    print(f"{found.classes[found.prediction]} -> {found.classes[found.target]}: valid {found.valid}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
