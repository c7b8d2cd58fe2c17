"""The class term of a counterfactual: what brings the target class into one member of a pair, and leaves the other as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch.nn import functional

from preimage.classifiers import Classifier
from preimage.explain.forward import CachedForward
from preimage.problem import Each, Regularizer, name_of

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
    """The loss of images (b, c, h, w), (b,): with altered copies the mean over those of each image.

    Args:
        forward: of the classifier.
        loss: of logits.
    """

    forward: CachedForward
    loss: Loss

    @property
    def __name__(self) -> str:
        return name_of(self.loss)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self.loss(self.forward.of_copies(x).logits).unflatten(0, (len(x), -1)).mean(1)


def class_terms(term: ClassTerm, pairs: int) -> Regularizer:
    """The term for pairs of members, a counterfactual and its reconstruction, whose weight is 0: that needs no copies."""
    return term if term.forward.copies is None else Each([term, nothing] * pairs)


def nothing(x: torch.Tensor) -> torch.Tensor:
    """0 for each image, (b,)."""
    return x.new_zeros(len(x))
