"""What would have to change for another answer? On drawn pictures whose class has one known cause, the color of a disc.

python examples/counterfactual.py [out/counterfactual.png]     # draws, trains a small classifier, explains it
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from shapes import CLASSES, Shapes, draw_shapes
from torch import nn
from torch.nn import functional

from preimage import Classifier, counterfactual
from preimage.explain.similarity import inside_share
from preimage.figures.restoration import save_figure

SIDE, MEAN, STD = 64, (0.5,) * 3, (0.25,) * 3


def classifier() -> nn.Sequential:
    """Four convolutions and the strongest answer anywhere."""
    layers: list[nn.Module] = []
    for before, after, stride in ((3, 24, 1), (24, 24, 2), (24, 48, 2), (48, 48, 2)):
        layers += [nn.Conv2d(before, after, 3, stride, 1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(48, 2))


def trained(shapes: Shapes, epochs: int = 4) -> Classifier:
    """Your own model in five lines: the module, its classes, how its pictures are normalized."""
    model = classifier()
    x = (shapes.pictures.float() / 255 - MEAN[0]) / STD[0]
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(50):
            loss = functional.cross_entropy(model(x[batch]), shapes.labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return Classifier(model, CLASSES, MEAN, STD)


def main(
    out: str = "out/counterfactual.png", *, pictures: int = 1200, epochs: int = 4, steps: int | None = None
) -> None:
    place = Path(out)
    torch.manual_seed(0)
    classifier = trained(draw_shapes(pictures, SIDE), epochs)
    held_out = draw_shapes(200, SIDE, seed=1)
    told = classifier(held_out.pictures.float() / 255).argmax(1)
    print(f"{float((told == held_out.labels).float().mean()):.1%} of 200 new pictures are classified correctly")
    for number in range(4):
        found = counterfactual(held_out.pictures[number].float() / 255, classifier=classifier, steps=steps).run()
        shares = (float(inside_share(found.difference, mask[number])) for mask in (held_out.discs, held_out.bars))
        on_disc, on_bars = shares
        print(
            f"{found.classes[found.prediction]} -> {found.classes[found.target]}: valid {found.valid}, confidence "
            f"{found.confidence:.2f}; change on the disc {on_disc:.1f} times, on the bars {on_bars:.1f} times that of chance"
        )
        if number == 0:
            place.parent.mkdir(parents=True, exist_ok=True)
            save_figure(found.plot(), place, overwrite=True)
            print(f"figure: {place}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
