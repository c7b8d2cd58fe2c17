"""What the logits of a classifier say: the probabilities of its classes, and which are predicted."""

from __future__ import annotations

import torch

from preimage.classifiers.outputs import INDEPENDENT, PRESENT, OutputKind


class Answers:
    """The part of a Classifier that reads its logits: of classes that exclude one another, or of independent labels.

    Args:
        classes: their names.
        output: what the model returns.
        label: the one of several labels that is classified; None: all classes are.
    """

    classes: tuple[str, ...]
    output: OutputKind | None
    label: int | None

    @property
    def independent(self) -> bool:
        """Whether the classes are labels that do not exclude one another."""
        return self.output in INDEPENDENT and self.label is None

    def probabilities_of(self, logits: torch.Tensor) -> torch.Tensor:
        """The class probabilities of logits (b, classes), as by `probabilities`."""
        return logits.sigmoid() if self.independent else logits.softmax(1)

    def predicts(self, probabilities: torch.Tensor, index: int) -> torch.Tensor:
        """Whether the class is predicted by probabilities (b, classes), (b,): the most probable one, a label from 0.5 on."""
        if self.independent:
            return probabilities[:, index] >= PRESENT
        return probabilities.argmax(1) == index

    def predicted(self, probabilities: torch.Tensor) -> str:
        """The name of the predicted class of probabilities (classes,); of independent labels those of all, or "none"."""
        if not self.independent:
            return self.classes[int(probabilities.argmax())]
        present = (name for k, name in enumerate(self.classes) if float(probabilities[k]) >= PRESENT)
        return ", ".join(present) or "none"

    def in_words(self, probabilities: torch.Tensor) -> str:
        """The predicted class of probabilities (classes,) with its own; of independent labels the three most probable present.

        Example:
            >>> from preimage import Classifier
            >>> Classifier(torch.nn.Flatten(), ["effusion", "mass"], output="labels").in_words(torch.tensor([0.91, 0.2]))
            'effusion 0.91'
        """
        most = probabilities.argsort(descending=True).tolist()[: 3 if self.independent else 1]
        present = [k for k in most if not self.independent or float(probabilities[k]) >= PRESENT]
        named = ", ".join(f"{self.classes[k]} {float(probabilities[k]):.2f}" for k in present or most[:1])
        return named if present else f"none, {named}"
