"""Train a classifier and the estimator of its loss on a few hundred labeled images.

python examples/train.py [out]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from shapes import CLASSES, draw_shapes

from preimage import train
from preimage.classifiers.model_file import write_model


def main(out: str = "out", *, pictures: int = 400, epochs: int = 6) -> None:
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    drawn = draw_shapes(pictures)
    x, y = drawn.pictures.movedim(1, -1).numpy(), drawn.labels.numpy()
    tests = pictures // 5
    np.savez(folder / "shapes.npz", x_train=x[tests:], y_train=y[tests:], x_test=x[:tests], y_test=y[:tests])

    model = train(folder / "shapes.npz", classes=",".join(CLASSES), epochs=epochs).run()
    write_model(folder / "shapes.pt", model, overwrite=True)
    print(f"balanced accuracy on the test part: {model.about['test']['balanced_accuracy']:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
