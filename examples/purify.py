"""Remove a perturbation before an image is classified: an early output of a network fitted to it alone.

python examples/purify.py [out]
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from counterfactual import trained
from shapes import draw_shapes

from preimage import purify


def main(out: str = "out", *, pictures: int = 1200, epochs: int = 4, steps: int | None = None) -> None:
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    classifier = trained(draw_shapes(pictures), epochs)
    image = draw_shapes(1, seed=1).pictures[0].float() / 255

    image.requires_grad_()
    label = classifier(image[None]).argmax(1)
    (gradient,) = torch.autograd.grad(torch.nn.functional.cross_entropy(classifier(image[None]), label), image)
    attacked = (image + 10 / 255 * gradient.sign()).clamp(0, 1).detach()  # FGSM

    purified = purify(attacked, steps=steps).run()
    purified.save(folder / "purified.png", overwrite=True)
    for name, given in (
        ("as it was", image.detach()[None]),
        ("attacked", attacked[None]),
        ("purified", purified.image),
    ):
        print(f"{name}: {classifier.classes[int(classifier(given).argmax())]}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
