"""An ensemble: further classifiers with the same classes, whose mean with the explained one the class term takes.

What only one network reacts to is averaged out (Liu, Chen, Liu, Song, Delving into Transferable Adversarial Examples, ICLR 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from preimage.classifiers import Classifier
from preimage.errors import InputError
from preimage.explain.class_term import ClassTerm, loss_of
from preimage.explain.forward import CachedForward
from preimage.explain.inputs import AnyClassifier, Given, beside, check_sound
from preimage.explain.options import Stated


@dataclass(frozen=True, eq=False)
class Further:
    """A further classifier.

    Args:
        forward: its own, on the same images and copies as the explained one's.
        order: (classes,): the index it has for each class of the explained one.
    """

    forward: CachedForward
    order: torch.Tensor

    def term(self, target: int, absent: bool, image: torch.Tensor) -> ClassTerm:
        """The class term towards a class of the explained one; of independent labels the others stay as on the image."""
        own = self.forward.classifier
        with torch.no_grad():
            given = own.probabilities(self.forward.composed(image))[0]
        return ClassTerm(self.forward, loss_of(own, int(self.order[target]), absent, given))

    def probabilities(self, x: torch.Tensor) -> torch.Tensor:
        """Of images (b, c, h, w), those of the classes of the explained one, (b, classes); the mean over fixed copies."""
        return self.forward.probabilities(x).index_select(1, self.order)


def further_of(
    classifiers: Sequence[AnyClassifier] | None, given: Given, forward: CachedForward, stated: Stated
) -> list[Further]:
    """The further classifiers of an ensemble on the device of the given image; stated: of each of them.

    Raises:
        InputError: a classifier of other classes, or of independent labels beside one of classes that exclude one another.
    """
    if isinstance(classifiers, str) or not isinstance(classifiers or (), Sequence):
        found = type(classifiers).__name__
        raise InputError(f"further_classifiers must be a list of classifiers, got {found}: put it in [ ]", code="type")
    return [_further(each, given, forward, stated) for each in classifiers or ()]


def _further(given_as: AnyClassifier, given: Given, forward: CachedForward, stated: Stated) -> Further:
    classifier = beside(given_as, given, stated)
    check_sound(classifier, given.on_device, "a further classifier")
    if classifier.independent != given.classifier.independent:
        raise InputError(
            "an ensemble has classes that exclude one another or independent labels, not both: leave the other one out",
            code="classifier",
        )
    order = [_index(classifier, name) for name in given.classifier.classes]
    shared = {name: getattr(forward, name) for name in ("image", "region", "copies", "coarse_to_fine")}
    own = CachedForward(classifier, **shared)
    return Further(own, torch.tensor(order, device=given.device))


def _index(classifier: Classifier, name: str) -> int:
    try:
        return classifier.class_index(name)
    except InputError as error:
        raise InputError(f"a further classifier has no class {name!r}: {error}", code="class") from error
