"""The class terms of a pair: what brings the target class into the counterfactual, and keeps that of the picture in its twin.

The twin, the reconstruction, has such a term only from when the classifier calls it otherwise than the picture
(class_schedule.py): a difference to another animal would say nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch.nn import functional

from preimage.classifiers import Classifier
from preimage.classifiers.outputs import PRESENT
from preimage.explain.forward import CachedForward
from preimage.problem import Each, Regularizer, name_of

Loss = Callable[[torch.Tensor], torch.Tensor]
Probabilities = Callable[[torch.Tensor], torch.Tensor]


def cross_entropy(target: int, logits: torch.Tensor) -> torch.Tensor:
    """-log of the probability of a class, (b,)."""
    return -logits.log_softmax(1)[:, target]


def label_loss(target: int, absent: bool, probabilities: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """-log of the probability that a label is present (or absent), and the divergence of the others, summed, (b,).

    Args:
        probabilities: (labels,) of the given image, from which all other labels are not to differ: KL(p_0 || p) of each.
    """
    each = _divergences(probabilities, logits)
    others = each.sum(1) - each[:, target]
    return others - functional.logsigmoid(-logits[:, target] if absent else logits[:, target])


def _divergences(probabilities: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """KL(p_0 || p) of each independent label, (b, labels)."""
    bernoulli = partial(functional.binary_cross_entropy_with_logits, reduction="none")
    given = probabilities.to(logits).expand_as(logits)
    return bernoulli(logits, given) - bernoulli(given.logit(1e-6), given)


def divergence(probabilities: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """KL(p_0 || p) of the classes, (b,); probabilities: p_0, (classes,)."""
    return functional.kl_div(logits.log_softmax(1), probabilities.to(logits).expand_as(logits), reduction="none").sum(1)


def label_divergence(probabilities: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """KL(p_0 || p) of each independent label, summed, (b,); probabilities: p_0, (labels,)."""
    return _divergences(probabilities, logits).sum(1)


def loss_of(classifier: Classifier, target: int, absent: bool, probabilities: torch.Tensor) -> Loss:
    """The loss of logits (b, classes): of one class of several, or of a label among independent ones."""
    if classifier.independent:
        return partial(label_loss, target, absent, probabilities)
    return partial(cross_entropy, target)


def loss_of_change(classifier: Classifier, probabilities: torch.Tensor) -> Loss:
    """The loss of logits (b, classes) that are to say what the given image's probabilities, (classes,), say."""
    return partial(label_divergence if classifier.independent else divergence, probabilities)


@dataclass(frozen=True, eq=False)
class ClassTerm:
    """The loss of images (b, c, h, w), (b,): with altered copies the mean over those of each image.

    Args:
        forward: of the classifier.
        loss: of logits.
        is_altered: whether it is of copies, where there are any.
        further: terms of further classifiers, with which the mean is taken.
    """

    forward: CachedForward
    loss: Loss
    is_altered: bool = True
    further: tuple[ClassTerm, ...] = ()

    @property
    def __name__(self) -> str:
        return name_of(self.loss)

    @property
    def is_apart(self) -> bool:
        """Whether it needs a forward pass of its own."""
        return self.is_altered and self.forward.is_altering

    @property
    def is_random(self) -> bool:
        """Whether it is of copies, which are others at every step."""
        return (self.is_altered and self.forward.copies is not None) or any(each.is_random for each in self.further)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        passed = self.forward.of_copies(x) if self.is_apart else self.forward(x)
        own = self.loss(passed.logits).unflatten(0, (len(x), -1)).mean(1)
        return torch.stack([own, *(each(x) for each in self.further)]).mean(0) if self.further else own


class ClassTerms(Each):
    """The ClassTerms of members: one forward pass for all that need none of their own."""

    def __init__(self, terms: Sequence[ClassTerm]) -> None:
        super().__init__(terms)
        self.terms: list[ClassTerm] = list(terms)

    def __call__(self, x: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        logits = self.terms[0].forward(x).logits
        each = zip(self.terms, x.split(1), logits.split(1), strict=True)
        return torch.cat(
            [term(image) if term.is_apart or term.further else term.loss(row) for term, image, row in each]
        )

    def chosen(self, indices: Sequence[int]) -> Regularizer:
        some = [self.terms[i] for i in indices]
        return some[0] if len(some) == 1 else ClassTerms(some)


def of_pairs(
    forward: CachedForward, further: Sequence[Probabilities], x: torch.Tensor, *, absent: bool = False
) -> torch.Tensor:
    """Class probabilities (b, classes) of pairs (b, c, h, w): of the others as they are; of the counterfactuals the mean over
    copies and over further classifiers; with copies that of the image as it is where that is less (with `absent`, more).
    """
    if forward.copies is None and not further:
        return forward.probabilities(x)
    own = forward.plain_probabilities(x)
    sought = torch.stack([found(x[::2]) for found in (forward.probabilities, *further)]).mean(0)
    if forward.copies is not None:
        sought = (torch.maximum if absent else torch.minimum)(sought, own[::2])
    return torch.stack([sought, own[1::2]], 1).flatten(0, 1)


def counted(copies: int, further: int) -> str:
    """Whose probability `of_pairs` gives, in words.

    Example:
        >>> counted(4, 1)
        'by the mean over altered copies and classifiers and by the image as it is'
    """
    over = [word for word, there in (("altered copies", copies), ("classifiers", further)) if there]
    return f"by the mean over {' and '.join(over)}{' and by the image as it is' if copies else ''}" if over else ""


def keeps_class(classifier: Classifier, given: torch.Tensor, found: torch.Tensor) -> bool:
    """Whether the answer is that on the given image: its class, or all of its labels; probabilities (classes,) each."""
    if classifier.independent:
        return bool(((found >= PRESENT) == (given >= PRESENT)).all())
    return int(found.argmax()) == int(given.argmax())
