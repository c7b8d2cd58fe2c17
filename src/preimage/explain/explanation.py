"""What an explaining task returns: a Result with the given image, numbers for a report, panels for a figure."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from preimage.engine.result import Result
from preimage.explain.options import numbered

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curve = list[tuple[int, float]]
STRENGTHS = tuple(k / 20 for k in range(21))


@dataclass(frozen=True, eq=False)
class Explanation(Result):
    """A Result that explains a classifier.

    Args:
        given: the image that was explained, (1, c, h, w), at the size at which it was explained; None if there was none.
        numbers: plain data of the report.
        panels: images of the figure by title, (c, h, w) in 0 to 1 each.
        curves: {title: {line: [(step, value)]}}, drawn below the panels.
        limits: how it must not be interpreted, a sentence each.
        others: those of further seeds.
    """

    given: torch.Tensor | None = None
    numbers: dict[str, Any] = field(default_factory=dict)
    panels: dict[str, torch.Tensor] = field(default_factory=dict, repr=False)
    curves: dict[str, dict[str, Curve]] = field(default_factory=dict, repr=False)
    limits: tuple[str, ...] = ()
    others: tuple[Explanation, ...] = ()

    def plot(self) -> Figure:
        """The panels, and the curves below, as a matplotlib Figure."""
        from preimage.figures.explanation import explanation_figure

        return explanation_figure(self)


@dataclass(frozen=True, eq=False)
class Counterfactual(Explanation):
    """A counterfactual; `image` is (1, c, h, w), at the size of the input.

    Args:
        changed, reconstruction: with and without the class term, (1, c, h, w), at the size at which it was explained.
        classes: the classifier's.
        prediction, target: indices of the predicted class of the input, and of the target class.
        valid: whether the classifier predicts the target for `changed`; of an independent label that was present: no more.
        confidence: the probability of the target there, 0 to 1, or of the absence of such a label.
        probabilities: {"given", "reconstruction", "counterfactual"}: (classes,) each.
        along_strengths: the probability of the target for each image of `strengths()`.
    """

    changed: torch.Tensor = field(default_factory=lambda: torch.zeros(0))
    reconstruction: torch.Tensor = field(default_factory=lambda: torch.zeros(0))
    classes: tuple[str, ...] = ()
    prediction: int = 0
    target: int = 0
    valid: bool = False
    confidence: float = 0.0
    probabilities: dict[str, torch.Tensor] = field(default_factory=dict)
    along_strengths: tuple[float, ...] = ()
    others: tuple[Counterfactual, ...] = ()  # pyright: ignore[reportIncompatibleVariableOverride]

    @property
    def difference(self) -> torch.Tensor:
        """What the class term changed, (1, c, h, w), signed."""
        return self.changed - self.reconstruction

    def strengths(self) -> list[tuple[float, torch.Tensor]]:
        """Images from the reconstruction (0) to the counterfactual (1): (strength, image) each."""
        return [(share, torch.lerp(self.reconstruction, self.changed, share)) for share in STRENGTHS]


Kind = TypeVar("Kind", bound=Explanation)


def extended(result: Result, kind: type[Kind], **more: Any) -> Kind:
    """A Result as a kind of Explanation, with the values of its further fields."""
    return kind(**{each.name: getattr(result, each.name) for each in fields(Result)} | more)


def write_images(explanation: Explanation, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write the image, and those of further seeds as NAME-2, NAME-3 and so on."""
    written = explanation.save(path, overwrite=overwrite)
    for number, other in enumerate(explanation.others, 2):
        other.save(numbered(Path(path), number), overwrite=overwrite)
    return written
