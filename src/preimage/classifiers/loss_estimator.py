"""LossEstimator: how large a classifier's own loss at an image is likely to be, predicted from the features of its layers.

The features of each of some layers are averaged over the image and pass a linear layer with ReLU to 128 units; all of them a
linear layer to one number. It is trained by comparison: of two images, that of the larger loss must get the larger estimate.

Source: Yoo and Kweon, Learning Loss for Active Learning, CVPR 2019; Narayanaswamy, Thiagarajan, Spanias, ICASSP 2021, eq. 2.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from preimage.classifiers.arguments import in_one_line
from preimage.classifiers.blocks import block_layers
from preimage.classifiers.classifier import Classifier
from preimage.classifiers.layout import spatial_outputs
from preimage.classifiers.unusual import Unusualness
from preimage.errors import InputError
from preimage.rng import drawing_from

UNITS, MARGIN = 128, 1.0  # of the hidden layers; gamma of eq. 2
LEVELS = 101  # quantiles that are stored, 0 to 1 by hundredths


class LossEstimator(nn.Module):
    """The estimated loss of images from the features of some layers: {layer: (b, c, ...)} -> (b,).

    Training fixes only the order of the estimates, so `settle` stores their quantiles and their standard deviation on held-out
    images; `relative` expresses an estimate in units of that deviation, counted from a quantile.

    Example:
        >>> estimator = LossEstimator({"layer1": 64, "layer2": 128})
        >>> estimator({"layer1": torch.rand(5, 64, 30, 40), "layer2": torch.rand(5, 128, 15, 20)}).shape
        torch.Size([5])

    Args:
        channels: number of channels of each of one or more layers, by its name.
        units: of the linear layer that each passes.
        moments: 1: the mean of each channel over the image; 2: its standard deviation as well, by which blur and noise are known.
        rank: above 0, `score` adds what is unusual (unusual.py), with so many principal components.
        shifts: whether there is a head that ranks shifted pictures above others.
    """

    quantiles: torch.Tensor
    spread: torch.Tensor

    def __init__(
        self, channels: dict[str, int], units: int = UNITS, moments: int = 1, rank: int = 0, shifts: bool = False
    ) -> None:
        super().__init__()
        if not channels:
            raise InputError("a loss estimator needs at least one layer, got none: name layers", code="layer")
        self.channels: dict[str, int] = dict(channels)
        self.units: int = units
        self.moments: int = moments
        # A module's name must not have dots in it; layers do.
        self.branches: nn.ModuleList = nn.ModuleList(nn.Linear(moments * count, units) for count in channels.values())
        self.head: nn.Linear = nn.Linear(units * len(channels), 1)
        self.shifted: LossEstimator | None = LossEstimator(channels, units, moments) if shifts else None
        self.unusual: Unusualness | None = None
        if rank:
            self.add_terms(rank)
        self.is_settled: bool = False  # not known to be: reading the quantiles waits for the device
        self.register_buffer("quantiles", torch.zeros(LEVELS))
        self.register_buffer("spread", torch.ones(()))

    @property
    def layers(self) -> list[str]:
        """The names of the layers whose features it takes."""
        return list(self.channels)

    def forward(self, features: dict[str, torch.Tensor]) -> torch.Tensor:
        """{layer: (b, c, ...)}, of tokens (b, n, c) -> (b,) on the features' device; the scale has no meaning of its own."""
        own, place = self.head.weight.device, next(iter(features.values())).device
        return self.of_pooled([x.to(own) for x in self.pooled(features)]).to(place)

    def of_pooled(self, moments: list[torch.Tensor]) -> torch.Tensor:
        """The same of what `pooled` returns: (b, moments * c) of each layer -> (b,)."""
        each = [torch.relu(branch(x)) for branch, x in zip(self.branches, moments, strict=True)]
        return self.head(torch.cat(each, 1)).squeeze(1)

    def pooled(self, features: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        """(b, moments * c) of each layer."""
        return [pooled(features[layer], count, self.moments) for layer, count in self.channels.items()]

    @property
    def widths(self) -> list[int]:
        """How many values `pooled` has of each layer."""
        return [self.moments * count for count in self.channels.values()]

    @torch.no_grad()
    def take_units(self, means: Sequence[torch.Tensor], deviations: Sequence[torch.Tensor]) -> None:
        """Take what `pooled` returns as it is, after a training on (values - means) / deviations, (moments * c) of each layer."""
        for branch, mean, deviation in zip(self.branches, means, deviations, strict=True):
            assert isinstance(branch, nn.Linear)
            branch.weight.div_(deviation)
            branch.bias.sub_(branch.weight @ mean)

    def add_terms(self, rank: int) -> None:
        """Make `score` add what is unusual; `unusual.fit` comes next."""
        self.unusual = Unusualness(self.widths[0], rank)

    def shift_score(self, features: dict[str, torch.Tensor]) -> torch.Tensor:
        """How much images look like shifted ones, (b,); 0 without a head that knows."""
        if self.shifted is None:
            first = next(iter(features.values()))
            return self.head.weight.new_zeros(len(first)).to(first.device)
        return self.shifted(features)

    def first(self, features: dict[str, torch.Tensor]) -> torch.Tensor:
        """What `pooled` has of the first layer."""
        layer, count = next(iter(self.channels.items()))
        return pooled(features[layer], count, self.moments)

    def score(self, features: dict[str, torch.Tensor], logits: torch.Tensor) -> torch.Tensor:
        """What M is made of, (b,): the estimate, with what is unusual added if it has these terms."""
        estimates = self(features)
        if self.unusual is None:
            return estimates
        own = self.head.weight
        parts = (estimates, self.shift_score(features), logits, self.first(features))
        return self.unusual(*(part.to(own) for part in parts)).to(estimates.device)

    @torch.no_grad()
    def settle(self, estimates: torch.Tensor) -> None:
        """Store quantiles and standard deviation of two or more unlike estimates (n,) for held-out images."""
        values = estimates.detach().float().flatten()
        if len(values) < 2 or float(values.std()) == 0:
            raise InputError("the estimates of the loss do not differ: train longer", code="classifier")
        self.quantiles.copy_(torch.quantile(values, torch.linspace(0, 1, LEVELS, device=values.device)))
        self.spread.copy_(values.std())

    def quantile(self, level: float) -> torch.Tensor:
        """The estimate below which a share, 0 to 1, of the held-out images lies; `settle` comes first."""
        if not 0 <= level <= 1:
            raise InputError(f"a quantile must be from 0 to 1, got {level}: 0.1 is the most confident tenth")
        # Once: the number is read from the device, which a recorded step (a CUDA graph) cannot.
        self.is_settled = self.is_settled or bool(self.quantiles.any())
        if not self.is_settled:
            raise InputError("the loss estimator has no scale yet: settle held-out estimates", code="classifier")
        return self.quantiles[round(level * (LEVELS - 1))]

    def relative(self, estimates: torch.Tensor, level: float) -> torch.Tensor:
        """(estimates - quantile) / standard deviation, (b,): what eq. 4 of Narayanaswamy et al. squares."""
        rest, spread = (each.to(estimates.device) for each in (self.quantile(level), self.spread))
        return (estimates - rest) / spread


def untrained_estimator(
    classifier: Classifier, image: torch.Tensor, layers: Sequence[str] = (), *, seed: int, shifts: bool = False
) -> LossEstimator:
    """A loss estimator of random weights for some layers of a classifier; none given: the last of each block.

    With `shifts` it has a head that knows shifted pictures, and takes two moments of the features. The channels of the layers are
    known by an image (1, 3, h, w) in 0 to 1 on the classifier's device.

    Raises:
        InputError: a classifier that cannot process images of this size, or an unknown layer.
    """
    height, width = image.shape[-2:]
    try:
        with torch.no_grad():
            chosen = list(layers) or block_layers(classifier, image)
            _, features = classifier.logits_and_features(image, chosen)
    except InputError:
        raise
    except (RuntimeError, AssertionError, ValueError) as error:  # each library has its own
        reason = f"the classifier cannot process images of {width} x {height} ({in_one_line(error, 120)})"
        raise InputError(f"{reason}: give another size or classifier", code="classifier") from error
    known = {each.name: each.layout.channels for each in spatial_outputs(classifier, image)}
    channels = {layer: known.get(layer, value.shape[-1 if value.ndim == 3 else 1]) for layer, value in features.items()}
    with drawing_from(torch.Generator().manual_seed(seed)):
        return LossEstimator(channels, moments=2 if shifts else 1, shifts=shifts)


def pooled(features: torch.Tensor, channels: int, moments: int = 1) -> torch.Tensor:
    """The mean over positions of features (b, c, h, w), (b, h, w, c) as of Swin, tokens (b, n, c), or (b, c): (b, c).

    moments=2: the mean, and behind it the standard deviation over positions, (b, 2 c).

    Raises:
        InputError: features of another number of channels.
    """
    if moments == 2:
        wide = features.float()
        mean, square = pooled(wide, channels), pooled(wide.square(), channels)
        return torch.cat([mean, (square - mean.square()).clamp_min(0).add(1e-6).sqrt()], 1)
    if features.ndim == 4 and features.shape[1] == channels:
        return features.mean((2, 3))
    if features.ndim in (3, 4) and features.shape[-1] == channels:
        return features.mean(tuple(range(1, features.ndim - 1)))
    if features.ndim == 2 and features.shape[1] == channels:
        return features
    got = f"the loss estimator expects {channels} channels of a layer, got features {tuple(features.shape)}"
    raise InputError(f"{got}: use it with the classifier that it was trained with", code="shape")


def ranking_loss(estimates: torch.Tensor, losses: torch.Tensor) -> torch.Tensor:
    """Mean over the ordered pairs l_i > l_j of max(0, gamma - (estimate_i - estimate_j)): (b,), (b,) -> ().

    Pairs that are not ordered add a constant in eq. 2, and train nothing; a mean rather than a sum, whose weight would depend
    on the batch size. The true losses are detached: the classifier must not raise them to improve the order.

    Example:
        >>> ranking_loss(torch.tensor([2.0, 0.0]), torch.tensor([0.9, 0.1]))
        tensor(0.)

    Source: Narayanaswamy, Thiagarajan, Spanias, ICASSP 2021, eq. 2, gamma = 1.
    """
    losses = losses.detach()
    ordered = losses[:, None] > losses[None, :]
    hinge = (MARGIN - (estimates[:, None] - estimates[None, :])).clamp_min(0)
    return (hinge * ordered).sum() / ordered.sum().clamp_min(1)


def above_by_margin(usual: torch.Tensor, shifted: torch.Tensor) -> torch.Tensor:
    """Mean over all pairs of max(0, gamma - (shifted_i - usual_j)): scores (n,), (m,) of pictures as they are and shifted -> ().

    Among themselves the shifted ones are in no order: that of their true losses costs what the score is for (benchmarks/LOG.md).

    Example:
        >>> above_by_margin(torch.tensor([0.0, 0.5]), torch.tensor([1.5, 4.0]))
        tensor(0.)
    """
    return (MARGIN - (shifted[:, None] - usual[None, :])).clamp_min(0).mean()


def rank_correlation(a: Sequence[float] | torch.Tensor, b: Sequence[float] | torch.Tensor) -> float:
    """Spearman's rank correlation of two rows of numbers: -1 to 1; nan if one of them does not vary.

    Example:
        >>> rank_correlation([1, 2, 3], [9, 5, 1])
        -1.0

    In double precision: torchmetrics sums tied ranks in 32 bits, too few for a row that is mostly zero.
    """
    ranks = [_ranks(torch.as_tensor(row).flatten().cpu().double()) for row in (a, b)]
    x, y = (row - row.mean() for row in ranks)
    return float((x @ y) / (x.norm() * y.norm()))


def _ranks(row: torch.Tensor) -> torch.Tensor:
    """From 1; equal numbers have the mean of their ranks, and all are nan if one is."""
    if bool(row.isnan().any()):
        return torch.full_like(row, torch.nan)
    _, place, count = row.unique(return_inverse=True, return_counts=True)
    return (count.cumsum(0) - (count - 1) / 2).to(row)[place]
