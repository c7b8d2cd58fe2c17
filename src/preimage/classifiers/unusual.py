"""What is unusual for a classifier: beside the estimated loss its energy, and how far its features are from those of training.

    score = (estimate - mean) / deviation  +  w [energy]_+  +  w [mean over layers of log d^2]_+

[t]_+ is how far t is beyond its 80 % quantile on held-out pictures, in their deviations, and 0 within it. So most usual pictures
are in the order of the estimated loss, and what is unlike them lies above. d^2 is the squared distance from the mean of the
pooled features, by a probabilistic principal component analysis; log d^2 counts in the deviations of each layer.

Source: energy, Liu et al., NeurIPS 2020; distance of features, Lee et al., NeurIPS 2018; its reconstruction part, Tipping and
Bishop, Probabilistic Principal Component Analysis, 1999. (The combination was chosen here.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from preimage.classifiers.classifier import Classifier
    from preimage.classifiers.labelled import Labelled
    from preimage.classifiers.loss_estimator import LossEstimator

MOST_FITTED = 4000  # images whose features a density is fitted to
# MEASURED with EfficientNet-Lite0 at 160 px, six layers, fitted to 110 photographs, and an estimate that knows nothing: AUROC of
# crops 0.72, blur 0.89, noise 0.91, lesions 0.90, rank correlation with the estimate 0.73; with limits at 90 %: 0.60, 0.80, 0.86,
# 0.83 and 0.85.
USUAL, WEIGHT = 0.8, 2.0
RANK = 16  # principal components of each layer
LEAST = 1e-4  # of the largest variance; below it a component is noise


class FeatureDensity(nn.Module):
    """log d^2 of features (b, c): high where they are unlike those that it was fitted to.

    Example:
        >>> density = FeatureDensity(8, rank=3)
        >>> density.fit(torch.randn(100, 8, generator=torch.Generator().manual_seed(0)))
        >>> bool(density(torch.full((1, 8), 9.0)) > density(torch.zeros(1, 8)))
        True

    Args:
        channels: c.
        rank: number of principal components, at most c.
    """

    center: torch.Tensor
    basis: torch.Tensor
    variances: torch.Tensor
    rest: torch.Tensor

    def __init__(self, channels: int, rank: int) -> None:
        super().__init__()
        rank = min(rank, channels)
        self.register_buffer("center", torch.zeros(channels))
        self.register_buffer("basis", torch.zeros(channels, rank))
        self.register_buffer("variances", torch.ones(rank))
        self.register_buffer("rest", torch.ones(()))

    @torch.no_grad()
    def fit(self, features: torch.Tensor) -> None:
        """Fit to features (n, c) of usual pictures, n at least 2."""
        x = features.detach().double()
        self.center.copy_(x.mean(0))
        _, singular, directions = torch.linalg.svd(x - x.mean(0), full_matrices=False)
        variances, rank = singular.square() / (len(x) - 1), self.basis.shape[1]
        least = LEAST * variances[0].clamp_min(1e-12)
        count = min(rank, len(variances))
        self.basis[:, :count].copy_(directions[:count].T)
        self.variances[:count].copy_(variances[:count].clamp_min(least))
        self.rest.copy_((variances[count:].sum() / max(1, x.shape[1] - count)).clamp_min(least))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(b, c) -> (b,)."""
        with torch.autocast(features.device.type, enabled=False):  # what is left is a small difference
            x = features.float() - self.center
            inside = x @ self.basis
            left = (x - inside @ self.basis.T).square().sum(1) / self.rest
            return ((inside.square() / self.variances).sum(1) + left + 1e-6).log()


class Usual(nn.Module):
    """How far terms (b, t) are beyond what is usual for each, in deviations of usual pictures.

    Args:
        count: number t of terms.
    """

    limit: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        self.register_buffer("limit", torch.zeros(count))
        self.register_buffer("deviation", torch.ones(count))

    @torch.no_grad()
    def fit(self, terms: torch.Tensor) -> None:
        """Fit to terms (n, t) of held-out usual pictures."""
        self.limit.copy_(terms.float().quantile(USUAL, 0))
        self.deviation.copy_(terms.float().std(0).clamp_min(1e-6))

    def forward(self, terms: torch.Tensor) -> torch.Tensor:
        """(b, t) -> (b, t), 0 where a term is usual."""
        return ((terms - self.limit) / self.deviation).clamp_min(0)


class Unusualness(nn.Module):
    """The score of the module's docstring, of estimates (b,), logits (b, classes) and pooled features (b, c) of each layer.

    Args:
        channels: c of each layer.
        rank: principal components of each.
    """

    mean: torch.Tensor
    deviation: torch.Tensor
    middles: torch.Tensor
    spreads: torch.Tensor

    def __init__(self, channels: Sequence[int], rank: int = RANK) -> None:
        super().__init__()
        self.rank = rank
        self.densities: nn.ModuleList = nn.ModuleList(FeatureDensity(count, rank) for count in channels)
        self.usual: Usual = Usual(2)
        self.register_buffer("middles", torch.zeros(len(channels)))
        self.register_buffer("spreads", torch.ones(len(channels)))
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("deviation", torch.ones(()))

    def distances(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """log d^2 of each layer, (b, layers)."""
        return torch.stack([density(x) for density, x in zip(self.densities, features, strict=True)], 1)

    def terms(self, logits: torch.Tensor, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Energy and the mean distance, (b, 2)."""
        distance = ((self.distances(features) - self.middles) / self.spreads).mean(1)
        return torch.stack([-logits.logsumexp(1), distance], 1)

    def fit(
        self,
        trained: Sequence[torch.Tensor],
        estimates: torch.Tensor,
        logits: torch.Tensor,
        features: Sequence[torch.Tensor],
    ) -> None:
        """Fit to features of trained pictures, and to estimates, logits and features of held-out ones."""
        for density, x in zip(self.densities, trained, strict=True):
            assert isinstance(density, FeatureDensity)
            density.fit(x)
        with torch.no_grad():
            distances = self.distances(features)
            self.middles.copy_(distances.median(0).values)
            self.spreads.copy_(distances.std(0).clamp_min(1e-6))
            self.usual.fit(self.terms(logits, features))
            self.mean.copy_(estimates.mean())
            self.deviation.copy_(estimates.std().clamp_min(1e-6))

    def forward(self, estimates: torch.Tensor, logits: torch.Tensor, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """(b,)."""
        beyond = self.usual(self.terms(logits, features)).sum(1)
        return (estimates - self.mean) / self.deviation + WEIGHT * beyond


@torch.no_grad()
def fit_terms(
    classifier: Classifier, estimator: LossEstimator, learned: Labelled, validation: Labelled, device: torch.device
) -> None:
    """Give an estimator the terms that its score adds, fitted to features of what was learned from, and to held-out pictures."""

    def gathered(data: Labelled) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
        pooled, logits, estimates = [], [], []
        for indices in torch.arange(len(data)).split(128):
            found, features = classifier.logits_and_features(data.batch(indices, device), estimator.layers)
            pooled.append(estimator.pooled(features))
            logits.append(found)
            estimates.append(estimator(features))
        return [torch.cat(parts) for parts in zip(*pooled, strict=True)], torch.cat(logits), torch.cat(estimates)

    estimator.add_terms(RANK)
    estimator.to(device)
    assert estimator.unusual is not None
    trained, _, _ = gathered(learned.subset(list(range(0, len(learned), max(1, len(learned) // MOST_FITTED)))))
    features, logits, estimates = gathered(validation)
    estimator.unusual.fit(trained, estimates, logits, features)
