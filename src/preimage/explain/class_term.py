"""The class term of a counterfactual: what brings the target class into one member of a pair, and leaves the other as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch.nn import functional

from preimage.classifiers import Classifier
from preimage.explain.forward import CachedForward

Loss = Callable[[torch.Tensor], torch.Tensor]


def cross_entropy(target: int, logits: torch.Tensor) -> torch.Tensor:
    """-log of the probability of a class, (b,)."""
    return -logits.log_softmax(1)[:, target]


def label_loss(target: int, absent: bool, probabilities: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """-log of the probability that a label is present (or absent), and the divergence of the others, summed, (b,).

    Args:
        probabilities: (labels,) of the given image, from which all other labels are not to differ: KL(p_0 || p) of each.
    """
    bernoulli = partial(functional.binary_cross_entropy_with_logits, reduction="none")
    given = probabilities.to(logits).expand_as(logits)
    divergence = bernoulli(logits, given) - bernoulli(given.logit(1e-6), given)
    others = divergence.sum(1) - divergence[:, target]
    return others - functional.logsigmoid(-logits[:, target] if absent else logits[:, target])


def loss_of(classifier: Classifier, target: int, absent: bool, probabilities: torch.Tensor) -> Loss:
    """The loss of logits (b, classes): of one class of several, or of a label among independent ones."""
    if classifier.independent:
        return partial(label_loss, target, absent, probabilities)
    return partial(cross_entropy, target)


@dataclass(frozen=True, eq=False)
class ClassTerm:
    """The loss of images (b, c, h, w), (b,): pairs of the counterfactual, and its reconstruction without this term.

    Args:
        forward: with altered copies the loss of the counterfactual is the mean over its copies, and 0 for the reconstruction.
        loss: of logits.
        roughness: weight of the total variation of the change, the mean magnitude of its differences between neighbors.
    """

    forward: CachedForward
    loss: Loss
    roughness: float = 0.0

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if self.forward.copies is None:
            found = self.loss(self.forward(x).logits)
        else:
            own = self.loss(self.forward.of_copies(x[0::2]).logits).unflatten(0, (len(x) // 2, -1)).mean(1)
            found = torch.stack([own, torch.zeros_like(own)], 1).flatten()
        if not self.roughness:
            return found
        change = x[0::2] - x[1::2].detach()
        rough = change.diff(dim=-1).abs().flatten(1).mean(1) + change.diff(dim=-2).abs().flatten(1).mean(1)
        return found + self.roughness * torch.stack([rough, torch.zeros_like(rough)], 1).flatten()
