"""mixup: a batch is blended with itself in another order, and its loss with it.

    x = share * x_i + (1 - share) * x_j,     L = share * CE(x, y_i) + (1 - share) * CE(x, y_j),     0.5 <= share <= 1

Source: Zhang et al., mixup: Beyond Empirical Risk Minimization, ICLR 2018.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

Targets = Sequence[tuple[float, torch.Tensor]]
"""Labels (b,) of images, each with the share of its class in the image."""


def mixup(count: int, mix: float, generator: torch.Generator) -> tuple[float, torch.Tensor]:
    """The share, 0.5 to 1, that each of `count` images keeps in a blend, and the order (count,) of those that fill the rest.

    Example:
        >>> mixup(3, 0.0, torch.Generator())
        (1.0, tensor([0, 1, 2]))

    Args:
        count: images of the batch.
        mix: the share is drawn from Beta(mix, mix); 0: nothing is blended.
        generator: of all draws, on the CPU.
    """
    if not mix:
        return 1.0, torch.arange(count)
    random = np.random.default_rng(int(torch.randint(2**31, (), generator=generator)))
    share = float(random.beta(mix, mix))
    return max(share, 1 - share), torch.randperm(count, generator=generator)


def loss_of(logits: torch.Tensor, targets: Targets) -> torch.Tensor:
    """The cross-entropy (b,) of logits (b, classes) to each of the targets, weighted by their shares.

    Example:
        >>> labels = torch.tensor([0, 1])
        >>> loss_of(torch.zeros(2, 2), [(0.5, labels), (0.5, labels.flip(0))])
        tensor([0.6931, 0.6931])
    """
    each = [share * functional.cross_entropy(logits.float(), labels, reduction="none") for share, labels in targets]
    return torch.stack(each).sum(0)
