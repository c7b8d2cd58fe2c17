"""LossEstimator: an estimate of a classifier's own loss for an image, from the features of its layers.

Of each of some layers the features are averaged over the picture, taken through a linear layer with ReLU to 128 units, and all
of them to one number. It is trained by comparison: of two pictures, that of the larger loss must get the larger estimate.

Source: Yoo and Kweon, Learning Loss for Active Learning, CVPR 2019; Narayanaswamy, Thiagarajan, Spanias, ICASSP 2021, eq. 2.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import nn

from preimage.classifiers.classifier import Classifier
from preimage.errors import InputError

UNITS, MARGIN = 128, 1.0
MOST_LAYERS = 4
LEVELS = 101  # quantiles that are stored, 0 to 1 by hundredths


class LossEstimator(nn.Module):
    """The estimated loss of pictures from the features of some layers: {layer: (b, c, ...)} -> (b,).

    Training fixes only the order of the estimates, so `settle` stores their quantiles and their spread on pictures that the
    training did not see; `relative` is the distance of an estimate from a quantile, in units of that spread.

    Example:
        >>> estimator = LossEstimator({"layer1": 64, "layer2": 128})
        >>> estimator({"layer1": torch.rand(5, 64, 30, 40), "layer2": torch.rand(5, 128, 15, 20)}).shape
        torch.Size([5])

    Args:
        channels: number of channels of each layer, by name.
        units: of the linear layer that each goes through.
    """

    quantiles: torch.Tensor
    spread: torch.Tensor

    def __init__(self, channels: dict[str, int], units: int = UNITS) -> None:
        super().__init__()
        if not channels:
            raise InputError("a loss estimator looks at one layer at least, got none")
        self.channels, self.units = dict(channels), units
        # A module's name must not have dots in it; layers do.
        self.branches = nn.ModuleList(nn.Linear(count, units) for count in channels.values())
        self.head = nn.Linear(units * len(channels), 1)
        self.is_settled = False  # not known to be, for whoever asks the quantiles waits for the device
        self.register_buffer("quantiles", torch.zeros(LEVELS))
        self.register_buffer("spread", torch.ones(()))

    @property
    def layers(self) -> list[str]:
        """The layers that it looks at."""
        return list(self.channels)

    def forward(self, features: dict[str, torch.Tensor]) -> torch.Tensor:
        """{layer: (b, c, ...)}, of tokens (b, n, c) -> (b,): the estimates, whose scale has no meaning of its own.

        They are where the features are, wherever the estimator is.
        """
        own, asked = self.head.weight.device, next(iter(features.values())).device
        each = [
            torch.relu(branch(pooled(features[layer], count).to(own)))
            for branch, (layer, count) in zip(self.branches, self.channels.items(), strict=True)
        ]
        return self.head(torch.cat(each, 1)).squeeze(1).to(asked)

    @torch.no_grad()
    def settle(self, estimates: torch.Tensor) -> None:
        """Store quantiles and spread of estimates (n,) on pictures that were not trained on.

        Raises:
            InputError: fewer than two estimates, or all alike: nothing was learned.
        """
        values = estimates.detach().float().flatten()
        if len(values) < 2 or float(values.std()) == 0:
            raise InputError(
                "the estimates of the loss do not differ: the loss estimator has learned nothing; train longer"
            )
        self.quantiles.copy_(torch.quantile(values, torch.linspace(0, 1, LEVELS, device=values.device)))
        self.spread.copy_(values.std())

    def quantile(self, level: float) -> torch.Tensor:
        """The quantile of the estimates that it was settled on: this fraction of them is lower.

        Raises:
            InputError: a level that is not from 0 to 1, or an estimator that was never settled.
        """
        if not 0 <= level <= 1:
            raise InputError(
                f"a quantile must be from 0 to 1, got {level}: 0.1 asks for the confidence of the surest tenth"
            )
        # Once: the number is read from the device, which a recorded step (a CUDA graph) cannot.
        self.is_settled = self.is_settled or bool(self.quantiles.any())
        if not self.is_settled:
            raise InputError("the loss estimator does not know its own scale: call settle with held-out estimates")
        return self.quantiles[round(level * (LEVELS - 1))]

    def relative(self, estimates: torch.Tensor, level: float) -> torch.Tensor:
        """(estimates - quantile) / spread, (b,): what eq. 4 of Narayanaswamy et al. squares."""
        rest, spread = (each.to(estimates.device) for each in (self.quantile(level), self.spread))
        return (estimates - rest) / spread


def pooled(features: torch.Tensor, channels: int) -> torch.Tensor:
    """The mean over places: (b, c, h, w), tokens (b, n, c), or (b, c) as it is -> (b, c).

    Raises:
        InputError: features of another number of channels.
    """
    if features.ndim == 4 and features.shape[1] == channels:
        return features.mean((2, 3))
    if features.ndim == 4 and features.shape[3] == channels:  # (b, h, w, c), as of Swin
        return features.mean((1, 2))
    if features.ndim == 3 and features.shape[2] == channels:
        return features.mean(1)
    if features.ndim == 2 and features.shape[1] == channels:
        return features
    raise InputError(f"the loss estimator expects {channels} channels of a layer, got features {tuple(features.shape)}")


def block_layers(classifier: Classifier, x: torch.Tensor) -> list[str]:
    """The layers a loss estimator looks at: the last of each resolution, at most four; of a transformer, four spaced evenly.

    Raises:
        InputError: a classifier without blocks: name the layers.
    """
    shapes = {name: shape[1:] for name, shape in classifier.shapes(x).items()}
    row = _numbered({name for name, shape in shapes.items() if len(shape) == 2})
    if len(row) > 2:  # a transformer's blocks, of tokens
        return _evenly(row)
    of_size: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for name, shape in shapes.items():
        size = _size_in(shape, classifier.size or (x.shape[-2], x.shape[-1]))
        if size is not None and min(size) > 1:
            of_size[size].append(name)
    # Of what gives the same height and width the last is the whole of a block, for it is computed after its parts; the first
    # layers of the next block, which may still have that size, have longer names.
    chosen = [
        [name for name in names if name.count(".") == min(n.count(".") for n in names)][-1]
        for names in of_size.values()
    ]
    if not chosen:
        raise InputError("the classifier has no blocks that a loss estimator could look at: name layers of it")
    return chosen[-MOST_LAYERS:]


def _size_in(shape: tuple[int, ...], size: tuple[int, int]) -> tuple[int, int] | None:
    """(h, w) of features (c, h, w), or (h, w, c), told by the shape of the picture they are of; None: neither."""
    for height, width in (shape[1:3], shape[:2]) if len(shape) == 3 else ():
        if abs(height * size[1] - width * size[0]) <= max(size):
            return height, width
    return None


def _numbered(names: set[str]) -> list[str]:
    """The longest row of names that differ in a last number alone (blocks.0, blocks.1, ...), the outermost of equals."""
    rows: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for name in names:
        if found := re.fullmatch(r"(.*?)(\d+)", name):
            rows[found[1]].append((int(found[2]), name))
    longest = max(rows, key=lambda stem: (len(rows[stem]), -stem.count(".")), default=None)
    return [] if longest is None else [name for _, name in sorted(rows[longest])]


def _evenly(names: list[str]) -> list[str]:
    """At most four of them, the last among them."""
    count = min(MOST_LAYERS, len(names))
    return [names[round(k * len(names) / count) - 1] for k in range(1, count + 1)]


def ranking_loss(estimates: torch.Tensor, losses: torch.Tensor, margin: float = MARGIN) -> torch.Tensor:
    """Mean over the ordered pairs l_i > l_j of max(0, margin - (estimate_i - estimate_j)): (b,), (b,) -> ().

    Pairs that are not ordered add a constant in eq. 2, and train nothing; a mean rather than a sum, for a sum would make its
    weight depend on the batch size. The true losses are detached: the classifier must not raise them to please the order.

    Example:
        >>> ranking_loss(torch.tensor([2.0, 0.0]), torch.tensor([0.9, 0.1]))
        tensor(0.)

    Source: Narayanaswamy, Thiagarajan, Spanias, ICASSP 2021, eq. 2, gamma = 1.
    """
    losses = losses.detach()
    ordered = losses[:, None] > losses[None, :]
    hinge = (margin - (estimates[:, None] - estimates[None, :])).clamp_min(0)
    return (hinge * ordered).sum() / ordered.sum().clamp_min(1)


def rank_correlation(a: Sequence[float] | torch.Tensor, b: Sequence[float] | torch.Tensor) -> float:
    """Spearman's, of two rows of numbers: -1 to 1; nan where one of them does not vary.

    By scipy's ranks in double precision: torchmetrics sums tied ranks in 32 bits, too few for a row that is mostly zero.
    """
    from scipy.stats import rankdata

    ranks = [torch.from_numpy(rankdata(torch.as_tensor(row).flatten().double().cpu().numpy())) for row in (a, b)]
    x, y = (row - row.mean() for row in ranks)
    return float((x @ y) / (x.norm() * y.norm()))
