"""What tests of explanations share: a picture, a thin recipe, a small classifier with a loss estimator."""

from __future__ import annotations

from dataclasses import replace

import torch
from classifiers.small import tiny

from preimage.classifiers import LossEstimator, TrainedModel
from preimage.explain.recipes import FAST_RECOVERY
from preimage.networks import SkipNet
from preimage.recipes import recipe

NETWORK = SkipNet.Config(down=(8, 8), up=(8, 8), skip=(2, 2), padding="zeros")
THIN = replace(FAST_RECOVERY, network=NETWORK, steps=30)
BRIEF = replace(THIN, steps=3)
PIXELS = recipe("fast", steps=60)


def picture(height: int = 32, width: int = 32) -> torch.Tensor:
    """(3, h, w): shades, and waves."""
    rows, columns = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    return torch.stack([rows, columns, 0.5 + 0.3 * torch.sin(6 * rows * columns)])


def estimated() -> TrainedModel:
    """The tiny classifier, and an untrained estimator of its loss that knows some scale."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        estimator = LossEstimator({"block1": 8, "block2": 12}, units=4)
    estimator.settle(torch.linspace(-1, 1, 50))
    return TrainedModel(tiny(), estimator.eval().requires_grad_(False), {"target_quantile": 0.2})
