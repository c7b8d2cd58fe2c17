"""What is unusual for a classifier: beside the estimated loss a head that knows shifted pictures, and the distance of features.

    score = standardized estimate  +  standardized entropy  +  w_1 [shift head]_+  +  w_2 [log d^2]_+

[t]_+ is how far t is beyond its 90 % quantile on held-out pictures, in their deviations, and 0 within it. So most usual pictures
are in the order of the first two, by which their losses are, and what is unlike them lies above. The shift head was trained to
rank shifted pictures (shifts.py) above others. d^2 is the squared distance of the first layer's pooled features from their mean,
by a probabilistic principal component analysis: of all layers it is the first that knows blur, noise and foreign pictures best.

Source: distance of features, Lee et al., NeurIPS 2018; its reconstruction part, Tipping and Bishop, Probabilistic Principal
Component Analysis, 1999; entropy, Hendrycks and Gimpel, ICLR 2017. (The combination was chosen here: benchmarks/LOG.md.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from preimage.classifiers.classifier import Classifier
    from preimage.classifiers.labelled import Labelled
    from preimage.classifiers.loss_estimator import LossEstimator

MOST_FITTED = 4000  # images whose features a density is fitted to
USUAL, WEIGHTS = 0.9, (4.0, 5.0)  # of the shift head and of the distance
RANK = 16  # principal components
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
        x = features.detach().cpu().double()
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
    """The score of the module's docstring, of estimates (b,), shift scores (b,), logits (b, classes), first features (b, c).

    Args:
        channels: c.
        rank: principal components.
    """

    means: torch.Tensor
    deviations: torch.Tensor

    def __init__(self, channels: int, rank: int = RANK) -> None:
        super().__init__()
        self.rank: int = rank
        self.density: FeatureDensity = FeatureDensity(channels, rank)
        self.usual: Usual = Usual(2)
        self.register_buffer("means", torch.zeros(2))
        self.register_buffer("deviations", torch.ones(2))

    @torch.no_grad()
    def fit(
        self,
        trained: torch.Tensor,
        estimates: torch.Tensor,
        shifted: torch.Tensor,
        logits: torch.Tensor,
        features: torch.Tensor,
    ) -> None:
        """Fit to features (n, c) of trained pictures, and to what is known of held-out ones."""
        self.density.fit(trained)
        usual = torch.stack([estimates, entropy(logits)], 1)
        self.means.copy_(usual.mean(0))
        self.deviations.copy_(usual.std(0).clamp_min(1e-6))
        self.usual.fit(torch.stack([shifted, self.density(features)], 1))

    def forward(
        self, estimates: torch.Tensor, shifted: torch.Tensor, logits: torch.Tensor, features: torch.Tensor
    ) -> torch.Tensor:
        """(b,)."""
        usual = ((torch.stack([estimates, entropy(logits)], 1) - self.means) / self.deviations).sum(1)
        beyond = self.usual(torch.stack([shifted, self.density(features)], 1))
        return usual + (beyond * beyond.new_tensor(WEIGHTS)).sum(1)


def entropy(logits: torch.Tensor) -> torch.Tensor:
    """Of the classes' probabilities, in nats: (b, classes) -> (b,)."""
    logs = logits.float().log_softmax(1)
    return -(logs.exp() * logs).sum(1)


@torch.no_grad()
def fit_terms(
    classifier: Classifier, estimator: LossEstimator, trained: torch.Tensor, held: Labelled, device: torch.device
) -> None:
    """Give an estimator the terms that its score adds.

    Args:
        classifier: finished.
        estimator: which is changed in place.
        trained: `LossEstimator.first` of pictures that were learned from, (n, values).
        held: held-out pictures.
        device: where all of them are.
    """
    estimator.add_terms(RANK)
    estimator.to(device)
    assert estimator.unusual is not None
    found = []
    for x in held.batches(device):
        logits, features = classifier.logits_and_features(x, estimator.layers)
        found.append((estimator(features), estimator.shift_score(features), logits, estimator.first(features)))
    some = trained[:: max(1, len(trained) // MOST_FITTED)]
    estimator.unusual.fit(some, *(torch.cat(parts) for parts in zip(*found, strict=True)))
