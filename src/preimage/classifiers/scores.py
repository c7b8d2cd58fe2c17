"""How good a classifier and the estimate of its loss are, by torchmetrics."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from preimage.classifiers.loss_estimator import rank_correlation

BINS = 15
QUANTILES, SURE = (0.3, 0.2, 0.1, 0.05), 0.95


@dataclass(frozen=True, eq=False)
class Answers:
    """Predictions for n images: labels (n,), logits (n, classes), estimated losses (n,)."""

    labels: torch.Tensor
    logits: torch.Tensor
    estimates: torch.Tensor

    @property
    def losses(self) -> torch.Tensor:
        """The true cross-entropy of each, (n,)."""
        return functional.cross_entropy(self.logits, self.labels, reduction="none")


@dataclass(frozen=True)
class Scores:
    """Of a classifier: the mean recall of its classes, the share told right, each recall, how far confidence is from that share
    (expected calibration error), and Spearman's correlation of the estimated and the true loss."""

    balanced_accuracy: float
    accuracy: float
    recall: tuple[float, ...]
    calibration_error: float
    rank_correlation: float

    @property
    def worth(self) -> float:
        """What an epoch is chosen by: the classifier first, then the estimate."""
        correlation = self.rank_correlation if self.rank_correlation == self.rank_correlation else -1.0
        return self.balanced_accuracy + 0.5 * correlation


def score(found: Answers) -> Scores:
    """All scores of some answers.

    Example:
        >>> score(Answers(torch.tensor([0, 1]), torch.eye(2), torch.tensor([0.1, 0.2]))).balanced_accuracy
        1.0
    """
    from torchmetrics.functional.classification import multiclass_calibration_error, multiclass_recall

    count = found.logits.shape[1]
    told = found.logits.argmax(1)
    present = found.labels.bincount(minlength=count) > 0
    recall = multiclass_recall(told, found.labels, num_classes=count, average="none")
    return Scores(
        balanced_accuracy=float(recall[present].mean()),
        accuracy=float((told == found.labels).float().mean()),
        recall=tuple(recall.tolist()),
        calibration_error=float(
            multiclass_calibration_error(found.logits.softmax(1), found.labels, num_classes=count, n_bins=BINS)
        ),
        rank_correlation=rank_correlation(found.estimates, found.losses),
    )


def target_quantile(found: Answers) -> float:
    """The largest quantile of the estimated loss below which nearly all images are classified correctly; 0.1 if none."""
    right = found.logits.argmax(1) == found.labels
    order = found.estimates.argsort()
    for level in QUANTILES:
        surest = order[: max(1, round(level * len(order)))]
        if float(right[surest].float().mean()) >= SURE:
            return level
    return 0.1
