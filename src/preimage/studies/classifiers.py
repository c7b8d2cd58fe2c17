"""The classifiers that studies ask: trained once, into the output folder, and read from there by all that need them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from torch import nn

from preimage import checkpoint
from preimage.predictors import load_model
from preimage.predictors.labelled import Labelled
from preimage.predictors.model_file import TrainedModel, write_model
from preimage.predictors.settings import Settings
from preimage.predictors.train import Training
from preimage.studies.scales import Study


def trained(
    study: Study,
    name: str,
    settings: Settings,
    data: Callable[[Study], Labelled],
    begin: Callable[[Labelled, Settings], Training] = Training,
) -> TrainedModel:
    """A model file of the output folder, made first where it is missing; resumable after every epoch.

    Args:
        data: the labelled pictures of a study's data folder; read only where the file is missing.
        begin: the kind of training.
    """
    path = (study.output or Path("out")) / "models" / name
    if not path.exists():
        kept = path.with_name(f"{path.name}.checkpoint")
        training = begin(data(study), settings)
        path.parent.mkdir(parents=True, exist_ok=True)
        if kept.exists():
            checkpoint.load(training, kept)  # pyright: ignore[reportArgumentType]
        print(f"{study.name}: {path} is not there: trained now, {training.epochs} epochs", file=sys.stderr, flush=True)
        for epoch in training:
            checkpoint.save(training, kept)  # pyright: ignore[reportArgumentType]
            line = f"{name}: epoch {epoch.index} of {epoch.total}, {epoch.validation.balanced_accuracy:.3f}"
            print(line, file=sys.stderr, flush=True)
        write_model(path, training.result())
        kept.unlink(missing_ok=True)
    return load_model(path)


def small_network(classes: int) -> nn.Sequential:
    """Two convolutions and a linear layer."""
    layers = [nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, classes))
