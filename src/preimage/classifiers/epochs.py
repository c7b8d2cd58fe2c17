"""What a training yields: each batch, and each epoch with its losses and scores."""

from __future__ import annotations

from dataclasses import dataclass

from preimage.classifiers.scores import Scores


@dataclass(frozen=True)
class Batch:
    """One step of the optimizer.

    Args:
        index: number of the batch in its epoch, from 1.
        total: batches of an epoch.
        epoch: number of the epoch, from 1.
        epochs: how many there will be.
    """

    index: int
    total: int
    epoch: int
    epochs: int


@dataclass(frozen=True)
class Epoch:
    """One pass over the training part.

    Args:
        index: number of the epoch, from 1.
        total: how many there will be.
        seconds: since the first epoch began.
        loss: mean cross-entropy of its batches.
        auxiliary: mean ranking loss of its batches.
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
