"""The head that knows shifted pictures, fitted to the features of a finished classifier, each computed once.

A head that is trained beside the classifier follows features which move with every step, costs it a second pass over each batch
and one over as many shifted pictures, and sees them rotated and cropped, which blurs. After the training the features stand
still: some drawings of each picture are passed through the classifier once, and the head, a small network of their moments, is
trained on what was kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from preimage.classifiers.loss_estimator import LossEstimator, above_by_margin
from preimage.classifiers.shifts import shifted_pictures

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from preimage.classifiers.classifier import Classifier
    from preimage.classifiers.labelled import Labelled

DRAWINGS, MOST_PASSED = 2, 20_000  # shifted ones of each picture; pictures that go through the classifier, at most
STEPS, BATCH, RATE, DECAY = 600, 128, 2e-3, 0.05  # of AdamW; the rate falls to 0 as a line


def fit_shift_head(
    classifier: Classifier,
    estimator: LossEstimator,
    learned: Labelled,
    kinds: Sequence[str],
    device: torch.device,
    *,
    seed: int,
) -> torch.Tensor:
    """Train the head of an estimator to rank pictures shifted in some kinds (shifts.py) above the learned ones as they are.

    Args:
        classifier: finished; it stays as it is.
        estimator: with a head for shifted pictures, which is changed in place.
        learned: the pictures that the classifier has learned from, two or more.
        seed: of the shifts and of the order of the batches.

    Returns:
        `LossEstimator.first` of the learned pictures that were passed, (n, values).
    """
    head = estimator.shifted
    assert head is not None
    generator = torch.Generator().manual_seed(seed)
    some = learned.thinned(MOST_PASSED // 2)
    usual = _taken(classifier, head, some.batches(device, BATCH))
    drawings = range(min(DRAWINGS, max(1, MOST_PASSED // len(some) - 1)))
    shifted = (_taken(classifier, head, _shifted_batches(some, device, kinds, generator)) for _ in drawings)
    _train(head, usual, torch.cat(list(shifted)), generator)
    return usual[:, : head.widths[0]]


def _shifted_batches(
    data: Labelled, device: torch.device, kinds: Sequence[str], generator: torch.Generator
) -> Iterator[torch.Tensor]:
    for x in data.batches(device, BATCH):
        if len(x) > 1:  # a mix needs another
            yield shifted_pictures(x, generator, kinds)


@torch.no_grad()
def _taken(classifier: Classifier, head: LossEstimator, batches: Iterable[torch.Tensor]) -> torch.Tensor:
    """What the head takes of pictures, (n, values)."""
    passed = (classifier.logits_and_features(x, head.layers)[1] for x in batches)
    return torch.cat([torch.cat(head.pooled(features), 1).float() for features in passed])


@torch.enable_grad()
def _train(head: LossEstimator, usual: torch.Tensor, shifted: torch.Tensor, generator: torch.Generator) -> None:
    """Of inputs of mean 0 and deviation 1, which the first layer's weights then contain."""
    mean, deviation = usual.mean(0), usual.std(0).clamp_min(1e-6)

    def scores(values: torch.Tensor) -> torch.Tensor:
        drawn = torch.randint(len(values), (BATCH,), generator=generator).to(values.device)
        return head.of_pooled(list(((values[drawn] - mean) / deviation).split(head.widths, 1)))

    optimizer = torch.optim.AdamW(head.requires_grad_(True).parameters(), lr=RATE, weight_decay=DECAY)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = RATE * (1 - step / STEPS)
        optimizer.zero_grad(set_to_none=True)
        above_by_margin(scores(usual), scores(shifted)).backward()
        optimizer.step()
    head.take_units(mean.split(head.widths), deviation.split(head.widths))
