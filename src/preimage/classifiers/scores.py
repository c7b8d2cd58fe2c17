"""How good a classifier and the estimate of its loss are, by torchmetrics."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from preimage.classifiers.loss_estimator import rank_correlation

BINS = 15
QUANTILES, RELIABLE = (0.3, 0.2, 0.1, 0.05), 0.95


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a classifier and its loss estimator predict for n images whose labels are known.

    Args:
        labels: (n,) the index of each true class.
        logits: (n, classes).
        estimates: (n,) estimated losses.
    """

    labels: torch.Tensor
    logits: torch.Tensor
    estimates: torch.Tensor

    @property
    def losses(self) -> torch.Tensor:
        """The true cross-entropy of each, (n,)."""
        return functional.cross_entropy(self.logits, self.labels, reduction="none")


@dataclass(frozen=True)
class Scores:
    """How good a classifier and the estimate of its loss are.

    Args:
        balanced_accuracy: mean recall of the classes that occur, 0 to 1.
        accuracy: fraction of images that are correctly classified.
        recall: of each class, 0 to 1.
        calibration_error: expected calibration error, the mean difference of confidence and accuracy, 0 to 1.
        rank_correlation: Spearman's, of the estimated and the true loss, -1 to 1; nan if one of them does not vary.
    """

    balanced_accuracy: float
    accuracy: float
    recall: tuple[float, ...]
    calibration_error: float
    rank_correlation: float

    @property
    def criterion(self) -> float:
        """What the best epoch is chosen by: the classifier first, then the estimate."""
        correlation = self.rank_correlation if self.rank_correlation == self.rank_correlation else -1.0
        return self.balanced_accuracy + 0.5 * correlation


def score(found: Predictions) -> Scores:
    """All scores of some predictions.

    Example:
        >>> score(Predictions(torch.tensor([0, 1]), torch.eye(2), torch.tensor([0.1, 0.2]))).balanced_accuracy
        1.0
    """
    from torchmetrics.functional.classification import multiclass_calibration_error, multiclass_recall

    count = found.logits.shape[1]
    predicted = found.logits.argmax(1)
    present = found.labels.bincount(minlength=count) > 0
    recall = multiclass_recall(predicted, found.labels, num_classes=count, average="none")
    return Scores(
        balanced_accuracy=float(recall[present].mean()),
        accuracy=float((predicted == found.labels).float().mean()),
        recall=tuple(recall.tolist()),
        calibration_error=float(
            multiclass_calibration_error(found.logits.softmax(1), found.labels, num_classes=count, n_bins=BINS)
        ),
        rank_correlation=rank_correlation(found.estimates, found.losses),
    )


def target_quantile(found: Predictions) -> float:
    """The widest quantile of the estimated loss below which 95 % are correctly classified; 0.1 if there is none.

    Example:
        >>> target_quantile(Predictions(torch.tensor([0, 1]), torch.eye(2), torch.tensor([0.1, 0.2])))
        0.3
    """
    correct = found.logits.argmax(1) == found.labels
    order = found.estimates.argsort()
    for level in QUANTILES:
        lowest = order[: max(1, round(level * len(order)))]
        if float(correct[lowest].float().mean()) >= RELIABLE:
            return level
    return 0.1
