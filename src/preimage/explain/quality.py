"""The quality of an explanation in numbers: similarity to the input, place of the change, and dependence on the classifier.

An image `before` was changed to `after` so that a classifier predicts another class. No single number says whether that explains
anything: an adversarial change reaches the class as well. So place, spectrum, transfer to a second classifier and the comparison
with a randomized one belong to it. All images are (b, c, h, w) in 0 to 1; all results (b,) unless stated.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from preimage.classifiers import Classifier, LossEstimator
from preimage.classifiers.loss_estimator import rank_correlation
from preimage.engine.devices import wide
from preimage.errors import InputError
from preimage.explain.abcd import abcd
from preimage.explain.similarity import (
    check_alike,
    heat_map,
    high_frequency_share,
    inside_share,
    inside_share_of_others,
    l1,
    l2,
    ms_ssim,
    ratio,
)
from preimage.metrics import ssim


@torch.no_grad()
def feature_distance(second: Classifier, a: torch.Tensor, b: torch.Tensor, layer: str | None = None) -> torch.Tensor:
    """|f(a) - f(b)|^2 / |f(b)|^2 of the features of a second classifier, 0 for equal ones.

    layer: by default the last one with spatial dimensions, (b, c, h, w) or tokens (b, n, c); else the last but one.
    """
    check_alike(a, b)
    if not layer:
        shapes = second.shapes(b[:1])
        spatial = [name for name, shape in shapes.items() if sum(side > 1 for side in shape[1:]) > 1]
        layer = spatial[-1] if spatial else list(shapes)[-2:][0]
    of_a, of_b = (second.features(x, layer).flatten(1) for x in (a, b))
    return ratio((of_a - of_b).square().sum(1), of_b.square().sum(1))


class Transfer(NamedTuple):
    """Of one classifier: the target's probability before and after, and whether it predicts the target after; (b,) each."""

    before: torch.Tensor
    after: torch.Tensor
    reached: torch.Tensor


@torch.no_grad()
def transfer(
    second: Classifier, before: torch.Tensor, after: torch.Tensor, target: str | int, *, absent: bool = False
) -> Transfer:
    """Whether a second, independently trained classifier follows the change: real ones transfer, adversarial ones rarely.

    Of the classifier that was explained itself it gives validity and confidence. target: a class that both have, by name;
    absent: it is an independent label, reached where it is no more predicted.
    """
    check_alike(after, before)
    index = second.class_index(target)
    first, last = second.probabilities(before), second.probabilities(after)
    return Transfer(first[:, index], last[:, index], second.predicts(last, index) != absent)


@torch.no_grad()
def estimated_loss(classifier: Classifier, estimator: LossEstimator, x: torch.Tensor) -> torch.Tensor:
    """The estimated loss of images, in units of its spread, counted from the median of those it was settled on."""
    logits, features = classifier.logits_and_features(x, estimator.layers)
    return estimator.relative(estimator.score(features, logits), 0.5)


def judge(
    before: torch.Tensor,
    after: torch.Tensor,
    *,
    classifier: Classifier,
    target: str | int,
    reconstruction: torch.Tensor | None = None,
    estimator: LossEstimator | None = None,
    mask: torch.Tensor | None = None,
    other_masks: torch.Tensor | Sequence[torch.Tensor] | None = None,
    second: Classifier | None = None,
    signs: bool = False,
    absent: bool = False,
) -> list[dict[str, Any]]:
    """All numbers for which the arguments suffice, by name, of each of some images that were changed towards a class.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
        >>> before, after, mask = torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 32), torch.zeros(32, 32, dtype=torch.bool)
        >>> mask[:16, :16] = after[..., :16, :16] = True
        >>> judge(before, after, classifier=Classifier(model, 2), target=1, mask=mask)[0]["inside_share"]
        4.0

    Args:
        before, after: (b, c, h, w) in 0 to 1, on any device; they are judged where the classifier is.
        target: the target class, by name or index.
        reconstruction: what the same fit gives without the class; the change then is after - reconstruction, for place and
            spectrum, and what the prior cannot draw does not count as change. Without it, after - before.
        estimator: of the classifier's loss, settled.
        mask: bool (h, w) or (b, 1, h, w), where the change should be; other_masks: those of other images, (h, w) each.
        second: an independently trained classifier that has the target among its classes.
        absent: the target is an independent label that is to disappear.
        signs: also the ABCD signs, of color images of lesions.

    Raises:
        InputError: images that differ in shape, or whatever the single functions raise.
    """
    place = classifier.mean.device
    before, after = before.to(place), after.to(place)
    base = before if reconstruction is None else reconstruction.to(place)
    check_alike(after, before)
    check_alike(after, base)
    change = after - base
    own = transfer(classifier, before, after, target, absent=absent)
    columns: dict[str, torch.Tensor] = {
        "valid": own.reached,
        "confidence_before": own.before,
        "confidence_after": own.after,
        "l1": l1(after, before),
        "l2": l2(after, before),
        "ms_ssim": ms_ssim(after, before),
        "high_frequency_share": high_frequency_share(change),
    }
    if mask is not None:
        columns["inside_share"] = inside_share(change, mask)
    if other_masks is not None:
        columns["inside_share_of_others"] = inside_share_of_others(change, other_masks)
    if second is not None:
        if second.layers():  # none of what is scripted or exported
            columns["feature_distance"] = feature_distance(second, after, before)
        followed = transfer(second, before, after, target, absent=absent)._asdict()
        columns |= {f"transfer_{name}": column for name, column in followed.items()}
    pairs = {"before": before, "after": after}
    if estimator is not None:
        columns |= {f"loss_{when}": estimated_loss(classifier, estimator, x) for when, x in pairs.items()}
    found = [{name: column[i].item() for name, column in columns.items()} for i in range(len(before))]
    for i, numbers in enumerate(found if signs else ()):
        for when, x in pairs.items():
            numbers |= {f"{name}_{when}": value for name, value in vars(abcd(x[i])).items()}
    return found


# ---------------------------------------------------------------------- several seeds, and a randomized classifier


class Stability(NamedTuple):
    """The mean correlation of every two seeds, -1 to 1: of their changes, and of their heat maps."""

    change: float
    heat_map: float


def stability(changes: torch.Tensor) -> Stability:
    """How alike the changes of several seeds to one image are, (n, c, h, w): Pearson's correlation, mean over all pairs.

    Raises:
        InputError: fewer than two.
    """
    if changes.ndim != 4 or len(changes) < 2:
        raise InputError(f"stability is of the changes (n, c, h, w) of two seeds or more, got {tuple(changes.shape)}")
    return Stability(_mean_correlation(changes), _mean_correlation(heat_map(changes)))


def _mean_correlation(rows: torch.Tensor) -> float:
    count = len(rows)
    table = torch.corrcoef(wide(rows).flatten(1))
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
    of_any_size = nn.modules.batchnorm._BatchNorm
    norms = [m for m in classifier.modules() if isinstance(m, of_any_size) and m.track_running_stats]
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


class Sanity(NamedTuple):
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
