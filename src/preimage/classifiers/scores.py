"""What a training yields: batches, epochs, and how good the classifier and the estimate of its loss are, by torchmetrics."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy

from preimage.classifiers.loss_estimator import rank_correlation
from preimage.extras import extra

BINS = 15
QUANTILES, RELIABLE = (0.3, 0.2, 0.1, 0.05), 0.95


@dataclass(frozen=True, eq=False)
class Predictions:
    """Logits (n, classes) and estimated losses (n,) of n images, with their labels (n,)."""

    labels: torch.Tensor
    logits: torch.Tensor
    estimates: torch.Tensor


@dataclass(frozen=True)
class Scores:
    """How good a classifier and the estimate of its loss are.

    Args:
        balanced_accuracy: mean recall of the classes that occur, 0 to 1.
        accuracy: fraction of images that are correctly classified.
        recall: of each class, 0 to 1; None for one of which there is no image.
        calibration_error: expected calibration error, the mean difference of confidence and accuracy, 0 to 1.
        rank_correlation: Spearman's, of the estimated and the true loss, -1 to 1; nan if one of them does not vary.
    """

    balanced_accuracy: float
    accuracy: float
    recall: tuple[float | None, ...]
    calibration_error: float
    rank_correlation: float

    @property
    def criterion(self) -> float:
        """What the best epoch is chosen by: the classifier first, then the estimate."""
        correlation = -1.0 if math.isnan(self.rank_correlation) else self.rank_correlation
        return self.balanced_accuracy + 0.5 * correlation


@dataclass(frozen=True)
class Batch:
    """One step of the optimizer: the numbers of the batch in its epoch and of the epoch, from 1, and how many there are."""

    index: int
    total: int
    epoch: int
    epochs: int


@dataclass(frozen=True)
class Epoch:
    """One pass over the training part, the number of which counts from 1.

    Args:
        seconds: since the first epoch began.
        loss, auxiliary: mean cross-entropy and mean ranking loss of its batches.
        validation: scores of the averaged weights on the validation part.
        best: the epoch of the best scores so far.
        robust: accuracy on the validation part under attack, 0 to 1, of an adversarial training alone.
    """

    index: int
    total: int
    seconds: float
    loss: float
    auxiliary: float
    validation: Scores
    best: int
    robust: float | None = None


def score(found: Predictions) -> Scores:
    """All scores of some predictions."""
    with extra("classifiers"):
        from torchmetrics.functional.classification import multiclass_calibration_error, multiclass_recall

    labels, logits, count = found.labels, found.logits, found.logits.shape[1]
    predicted = logits.argmax(1)
    recall = multiclass_recall(predicted, labels, num_classes=count, average="none")
    occurs = labels.bincount(minlength=count) > 0
    calibration_error = multiclass_calibration_error(logits.softmax(1), labels, num_classes=count, n_bins=BINS)
    return Scores(
        balanced_accuracy=float(recall[occurs].mean()),
        accuracy=float((predicted == labels).float().mean()),
        recall=tuple(share if there else None for share, there in zip(recall.tolist(), occurs.tolist(), strict=True)),
        calibration_error=float(calibration_error),
        rank_correlation=rank_correlation(found.estimates, cross_entropy(logits, labels, reduction="none")),
    )


def target_quantile(found: Predictions) -> float:
    """The widest quantile of the estimated loss below which 95 % are correctly classified; 0.1 if there is none."""
    correct = found.logits.argmax(1) == found.labels
    order = found.estimates.argsort()
    for level in QUANTILES:
        lowest = order[: max(1, round(level * len(order)))]
        if float(correct[lowest].float().mean()) >= RELIABLE:
            return level
    return 0.1
