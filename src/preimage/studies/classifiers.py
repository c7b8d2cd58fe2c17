"""The classifiers that studies ask: trained once, into the output folder, and read from there by all that need them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from torch import nn

from preimage.classifiers import load_model
from preimage.classifiers.labelled import Labelled
from preimage.classifiers.model_file import TrainedModel, write_model
from preimage.classifiers.settings import Settings
from preimage.classifiers.train import Training
from preimage.defend.table import alone
from preimage.engine import checkpoint
from preimage.engine.devices import choose_device
from preimage.studies.scales import Study

SAVE_EVERY = 15.0  # seconds between checkpoints, at the end of an epoch


def trained(
    study: Study,
    name: str,
    settings: Settings,
    data: Callable[[Study], Labelled],
    begin: Callable[[Labelled, Settings], Training] = Training,
) -> TrainedModel:
    """A model file of the output folder, on the GPU if there is one; made first where it is missing, resumable.

    Args:
        data: the labelled pictures of a study's data folder; read only where the file is missing.
        begin: the kind of training.
    """
    path = (study.output or Path("out")) / "models" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f"{name}.lock")  # of several processes one trains, the others wait
    with lock.open("w") as file, alone(file):
        _train_if_missing(study, path, settings, data, begin)
    lock.unlink(missing_ok=True)
    model, place = load_model(path), choose_device()
    model.classifier.to(place)
    if model.estimator is not None:
        model.estimator.to(place)
    return model


def _train_if_missing(
    study: Study,
    path: Path,
    settings: Settings,
    data: Callable[[Study], Labelled],
    begin: Callable[[Labelled, Settings], Training],
) -> None:
    if not path.exists():
        kept = path.with_name(f"{path.name}.checkpoint")
        training = begin(data(study), settings)
        if kept.exists():
            checkpoint.load(training, kept)  # pyright: ignore[reportArgumentType]
        print(f"{study.name}: {path} is not there: trained now, {training.epochs} epochs", file=sys.stderr, flush=True)
        saved = time.monotonic()
        for epoch in training:
            if time.monotonic() - saved > SAVE_EVERY:
                checkpoint.save(training, kept)  # pyright: ignore[reportArgumentType]
                saved = time.monotonic()
            line = f"{path.name}: epoch {epoch.index} of {epoch.total}, {epoch.validation.balanced_accuracy:.3f}"
            print(line, file=sys.stderr, flush=True)
        write_model(path, training.result())
        kept.unlink(missing_ok=True)


def small_network(classes: int) -> nn.Sequential:
    """Two convolutions and a linear layer."""
    layers = [nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, classes))
