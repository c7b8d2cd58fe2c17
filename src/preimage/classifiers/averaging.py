"""The exponential moving average of the weights of a classifier and its loss estimator, without waiting for the device."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from preimage.classifiers.classifier import Classifier
from preimage.classifiers.loss_estimator import LossEstimator

EMA_WEIGHT = 0.998  # of the average; in the first steps less, so that the initial weights are forgotten


@torch.no_grad()
def update_average(average: AveragedModel, current: nn.Module) -> None:
    """One step of the moving average of weights and buffers, in place; the first step copies them.

    AveragedModel's own step reads its count from the device, and so waits for it. Here the count stays on the CPU.

    Example:
        >>> model = nn.Linear(2, 2)
        >>> average = AveragedModel(model)
        >>> update_average(average, model)
        >>> int(average.n_averaged), torch.equal(average.module.weight, model.weight)
        (1, True)
    """
    count = int(average.n_averaged)
    weight = max(1 - EMA_WEIGHT, 9 / (10 + count)) if count else 1.0
    pairs = [
        pair
        for of in (nn.Module.parameters, nn.Module.buffers)
        for pair in zip(of(average.module), of(current), strict=True)
    ]
    numbers = [pair for pair in pairs if pair[0].is_floating_point()]
    torch._foreach_lerp_([own for own, _ in numbers], [its.detach() for _, its in numbers], weight)  # pyright: ignore[reportPrivateImportUsage]
    for own, its in pairs:
        if not own.is_floating_point():  # counts, of batches
            own.copy_(its)
    average.n_averaged += 1


def parts(both: nn.Module) -> tuple[Classifier, LossEstimator]:
    """The classifier and the loss estimator that are averaged together."""
    classifier, estimator = both.children()
    assert isinstance(classifier, Classifier)
    assert isinstance(estimator, LossEstimator)
    return classifier, estimator
