"""Whether an explanation depends on the learned weights of the classifier, and how similar those of several seeds are."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn

from preimage.classifiers import Classifier
from preimage.classifiers.loss_estimator import rank_correlation
from preimage.errors import InputError
from preimage.explain.similarity import check_alike, heat_map
from preimage.metrics import ssim


@dataclass(frozen=True)
class Stability:
    """The mean correlation of every two seeds, -1 to 1: of their changes, and of their heat maps."""

    change: float
    heat_map: float


def stability(changes: torch.Tensor) -> Stability:
    """How alike the changes of several seeds to one image are, (n, c, h, w): Pearson's correlation, mean over all pairs.

    Raises:
        InputError: fewer than two.
    """
    if changes.ndim != 4 or len(changes) < 2:
        raise InputError(
            f"stability compares the changes (n, c, h, w) of two seeds or more, got {tuple(changes.shape)}"
        )
    return Stability(_mean_correlation(changes), _mean_correlation(heat_map(changes)))


def _mean_correlation(rows: torch.Tensor) -> float:
    count = len(rows)
    table = torch.corrcoef(rows.double().flatten(1))
    return float((table.sum() - table.trace()) / (count * (count - 1)))


def randomized(classifier: Classifier, images: torch.Tensor, *, seed: int = 0) -> Classifier:
    """A copy with randomized weights: the entries of each weight and bias are shuffled, which keeps their scale.

    The statistics of batch norms are then measured anew; those of the trained network would let the logits grow without bound
    layer by layer. The given classifier is not touched.

    Args:
        images: (b, 1 or 3, h, w) on which they are measured, with their mirror images: those to be explained.

    Source: Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018, the model parameter randomization test.
    """
    other = copy.deepcopy(classifier)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in other.model.parameters():
            order = torch.randperm(weight.numel(), generator=generator).to(weight.device)
            weight.copy_(weight.flatten()[order].reshape(weight.shape))
        _measure_batch_norms(other, torch.cat([images, images.flip(3)]))
    return other


def _measure_batch_norms(classifier: Classifier, images: torch.Tensor) -> None:
    norms = [
        m for m in classifier.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats
    ]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over what is seen
        norm.train()
    if norms:
        classifier(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


@dataclass(frozen=True, eq=False)
class Sanity:
    """How alike two heat maps are, (b,) each, 0 to 1: low says that the explanation depends on what the model has learned."""

    rank_correlation: torch.Tensor
    similarity: torch.Tensor


def sanity(change: torch.Tensor, change_of_randomized: torch.Tensor) -> Sanity:
    """The change against the one that explains a `randomized` classifier: |Spearman's correlation| and SSIM of the heat maps.

    Each map is divided by its largest value first. A map without any change has NaN for a correlation.

    Source: Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018, section 3.
    """
    check_alike(change, change_of_randomized)
    maps = [heat_map(x.float()) for x in (change, change_of_randomized)]
    correlations = [rank_correlation(a, b) for a, b in zip(*maps, strict=True)]
    scaled = [x / x.amax((1, 2, 3), keepdim=True).clamp_min(1e-12) for x in maps]
    return Sanity(change.new_tensor(correlations).abs(), ssim(scaled[0], scaled[1]).clamp_min(0))
