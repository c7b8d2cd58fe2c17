"""Is an image adversarial? A threshold from images that are not, and the score of one that is attacked.

python examples/inspect_images.py [out]
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from counterfactual import trained
from PIL import Image
from shapes import draw_shapes

from preimage import inspect


def main(out: str = "out", *, pictures: int = 1200, epochs: int = 4, count: int = 20, steps: int | None = None) -> None:
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    classifier = trained(draw_shapes(pictures), epochs)
    clean = folder / "clean"
    clean.mkdir(exist_ok=True)
    for k, picture in enumerate(draw_shapes(count, seed=1).pictures):
        Image.fromarray(picture.movedim(0, -1).numpy()).save(clean / f"{k}.png")
    threshold = inspect(calibrate=clean, classifier=classifier, steps=steps, seed=0).run()
    path = threshold.save(folder / "thresholds.json", overwrite=True)

    image = draw_shapes(1, seed=2).pictures.float() / 255
    image.requires_grad_()
    confidence = classifier(image).softmax(1).max()
    (gradient,) = torch.autograd.grad(confidence, image)
    attacked = (image - 10 / 255 * gradient.sign()).clamp(0, 1).detach()  # FGSM
    for name, given in (("as it is", image.detach()), ("attacked", attacked)):
        seen = inspect(given, classifier=classifier, thresholds=path, steps=steps, seed=0).run()
        print(name, *seen.summary_lines(), sep="\n  ")


if __name__ == "__main__":
    main(*sys.argv[1:2])
