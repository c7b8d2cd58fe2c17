"""What trials are made of: small pictures, a thin recipe, a model file, and what undamaged runs give."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image

from preimage.classifiers import Classifier, LossEstimator, TrainedModel
from preimage.classifiers.model_file import Backbone, write_model
from tests.cli.tiny import TINY, pictures
from tests.robustness.server import CANARY, Arena, Fault

# A thin fit, with equal bits for equal calls; and the shortest one that returns its very input.
FIT = ("--recipe", "tiny.json", "--stop", "steps", "--seed", 0, "--device", "cpu")
AS_IT_IS = (*FIT, "--steps", 2, "--strength", 0)
GRADIENT = ("--method", "gradient", "--device", "cpu")
# At 16 px the backbone ends in maps of one pixel, where oneDNN of PyTorch 2.9 gives other numbers in each run.
TRAINING = ("--backbone", "timm:test_resnet", "--batch", 8, "--size", 32, "--device", "cpu", "--seed", 0)
EVIL = f"import pathlib\npathlib.Path({CANARY!r}).touch()\ndef run():\n    pathlib.Path({CANARY!r}).touch()\n"
Body = Callable[[Arena], Fault | None]


@dataclass(frozen=True)
class Trial:
    """One attack: `body` puts files into the folder, runs commands there, and returns what it found wrong, if anything."""

    kind: str
    name: str
    body: Body


def thinned(trials: Sequence[Trial], count: int) -> list[Trial]:
    """So many of them, evenly."""
    count = min(count, len(trials))
    return [trials[i * len(trials) // count] for i in range(count)]


def random_of(seed: int, *about: object) -> random.Random:
    return random.Random(f"{seed} {about}")


def prepare(folder: Path) -> None:
    """The files of the base."""
    clean, noisy = pictures(24, 32)
    Image.fromarray(clean).save(folder / "clean.png")
    Image.fromarray(noisy).save(folder / "noisy.png")
    Image.fromarray(np.ascontiguousarray(noisy[::-1])).save(folder / "other.png")
    Image.fromarray(np.kron(noisy, np.ones((2, 2, 1), np.uint8))).save(folder / "large.png")
    mask = np.zeros((24, 32), np.uint8)
    mask[8:14, 10:20] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    tifffile.imwrite(folder / "stack.tif", noisy.transpose(2, 0, 1), photometric="minisblack", metadata=None)
    bell = np.exp(-((np.arange(5) - 2.0) ** 2) / 2)
    np.save(folder / "kernel.npy", np.outer(bell, bell) / bell.sum() ** 2)
    (folder / "tiny.json").write_text(json.dumps(TINY))
    (folder / "evil.py").write_text(EVIL)
    (folder / "out").mkdir()
    rng = np.random.default_rng(0)
    for name, color in (("red", (200, 40, 40)), ("green", (40, 200, 40))):
        (folder / "colors" / name).mkdir(parents=True)
        for i in range(8):
            pixels = (np.array(color) + rng.normal(0, 25, (32, 32, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "colors" / name / f"{i}.png")
    for name, classes in (("model.pt", ["round", "square", "star"]), ("other.pt", ["left", "right", "up"])):
        torch.manual_seed(len(classes[0]))
        classifier = Classifier(Backbone("timm:test_resnet").build(3), classes, size=(24, 32))
        _, features = classifier.logits_and_features(torch.zeros(1, 3, 24, 32), ["layer1"])
        estimator = LossEstimator({"layer1": features["layer1"].shape[1]}, units=4)
        estimator.settle(torch.linspace(-1, 1, 20))
        write_model(
            folder / name, TrainedModel(classifier, estimator, {"target_quantile": 0.2}, Backbone("timm:test_resnet"))
        )


def pixels(path: Path) -> NDArray[np.generic] | None:
    """A picture that was written, or None if it is not there or not whole."""
    if not path.exists():
        return None
    logging.disable()  # tifffile's own remarks
    try:
        if path.suffix == ".tif":
            return tifffile.imread(path)
        with Image.open(path) as image:
            return np.asarray(image)
    except Exception:
        return None
    finally:
        logging.disable(logging.NOTSET)


def same_weights(path: Path, other: Path) -> bool:
    """Whether two model files hold the same weights."""
    ours, theirs = (torch.load(each, weights_only=True)["weights"] for each in (path, other))
    return ours.keys() == theirs.keys() and all(torch.equal(value, theirs[name]) for name, value in ours.items())
