"""Pictures of 32 pixels, as CIFAR-10's: train a classifier of an npz file or a folder, then ask what would have to change.

python examples/small_pictures.py cifar10.npz [out]     # x_train, y_train, ... ; minutes on a CPU
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from preimage import counterfactual, maximize
from preimage.classifiers.labelled import TEST, read_labelled
from preimage.classifiers.settings import Settings
from preimage.classifiers.train import Training
from preimage.figures.restoration import save_figure


def explain(data: str, folder: Path, epochs: int | None = None, steps: int | None = None) -> None:
    """Train, print how good it is, and write one figure each."""
    pictures = read_labelled(data)
    training = Training(pictures, Settings(epochs=epochs))
    for epoch in training:
        print(
            f"epoch {epoch.index} of {epoch.total}: balanced accuracy {epoch.validation.balanced_accuracy:.3f}",
            flush=True,
        )
    model = training.result()
    print(f"held out: balanced accuracy {model.about['test']['balanced_accuracy']:.3f}")

    held_out = pictures.part(TEST)
    x = held_out.batch(torch.tensor([0]), torch.device("cpu"))
    changed = counterfactual(x, classifier=model, steps=steps).run()
    before, after = (changed.classes[k] for k in (changed.prediction, changed.target))
    print(f"{before} -> {after}: valid {changed.valid}, confidence {changed.confidence:.2f}")
    save_figure(changed.plot(), folder / "counterfactual.png", overwrite=True)
    exciting = maximize(classifier=model, target=changed.target, steps=steps).run()
    exciting.save(folder / "maximized.png", overwrite=True)


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(f"usage: {__doc__}")
    folder = Path(sys.argv[2] if len(sys.argv) > 2 else "out")
    folder.mkdir(parents=True, exist_ok=True)
    explain(sys.argv[1], folder)


if __name__ == "__main__":
    main()
