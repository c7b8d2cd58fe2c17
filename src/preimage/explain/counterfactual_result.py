"""How the Result of a counterfactual's fit, two members for each seed, becomes a Counterfactual."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch.nn import functional

from preimage.classifiers import Classifier
from preimage.classifiers.outputs import PRESENT
from preimage.engine.result import Result
from preimage.explain.class_schedule import ClassTracker
from preimage.explain.class_term import Probabilities, keeps_class
from preimage.explain.explanation import STRENGTHS, Counterfactual, extended
from preimage.explain.inputs import Given
from preimage.explain.quality import judge, stability
from preimage.figures.panels import heat_map, magnified
from preimage.stopping import Tracker

LIMITS = (
    "It shows what this classifier reacts to, not what the disease (or whatever the class is) does.",
    "Another seed gives another change: compute several (--count) and compare them.",
    "A change that a second, independently trained classifier does not follow is likely to be peculiar to this one.",
)


@dataclass(frozen=True, eq=False)
class ResultBuilder:
    """Builds the Counterfactual of a Result and the rule's tracker.

    Args:
        prediction, target: indices of the predicted class of the input and of the target class.
        lesion: where the change is expected, (1, 1, h, w) bool; None: unknown.
        absent: whether the target is an independent label that was present and is to disappear.
        second: an independently trained classifier, on the same device; None: there is none.
        layer: Psi.
        copies: altered copies of the image, at each step.
        further: the class probabilities by further classifiers of an ensemble.
    """

    given: Given
    prediction: int
    target: int
    lesion: torch.Tensor | None = None
    second: Classifier | None = None
    absent: bool = False
    layer: str = ""
    copies: int = 0
    further: tuple[Probabilities, ...] = ()

    def __call__(self, result: Result, tracker: Tracker) -> Counterfactual:
        """That of the first seed, with the others in it and, of several, how alike they are."""
        found = [self._of_pair(result, cast(ClassTracker, tracker), i) for i in range(0, len(result.image), 2)]
        first, others = found[0], found[1:]
        if not others:
            return first
        alike = stability(torch.cat([each.difference for each in found]))
        numbers = first.numbers | {
            "count": len(found),
            "valid_share": sum(each.valid for each in found) / len(found),
            "stability": alike.change,
            "stability_of_heat_maps": alike.heat_map,
        }
        panels = first.panels | {
            f"counterfactual {k}: {'no ' * self.absent}{first.classes[self.target]} {each.confidence:.2f}": each.changed[
                0
            ]
            for k, each in enumerate(others, 2)
        }
        return replace(first, numbers=numbers, panels=panels, others=tuple(others))

    def _of_pair(self, result: Result, tracker: ClassTracker, member: int) -> Counterfactual:
        """The counterfactual of two members, of which this is the first."""
        classifier, x0, names = self.given.classifier, self.given.image, self.given.classifier.classes
        changed, reconstruction = (result.image[i : i + 1].clamp(0, 1) for i in (member, member + 1))
        change = changed - reconstruction
        images = [x0, reconstruction, changed, *(torch.lerp(reconstruction, changed, share) for share in STRENGTHS)]
        with torch.no_grad():
            rows = classifier.probabilities(torch.cat(images).to(self.given.device)).float().cpu()
        probabilities = dict(zip(("given", "reconstruction", "counterfactual"), rows[:3], strict=True))
        confidence, valid = float(rows[2, self.target]), bool(classifier.predicts(rows[2:3], self.target)[0])
        is_kept = keeps_class(classifier, rows[0], rows[1])
        if self.absent:
            confidence, valid = 1 - confidence, not valid
        lines = dict.fromkeys([self.prediction, self.target, *rows[2].argsort(descending=True)[:2].tolist()])
        # A fit that was given up says so itself; of several pairs it is known of the first alone.
        alone = len(result.image) == 2
        by_fit = result.reason_code == "interrupted" or (alone and result.reason_code == "diverged")
        return extended(
            result,
            Counterfactual,
            image=self._at_full_size(changed, change),
            kept_step=result.kept_step[member : member + 1],
            reason_code=result.reason_code if by_fit else tracker.reason_code(member),
            reason=result.reason if by_fit else tracker.reason(member),
            given=x0,
            changed=changed,
            reconstruction=reconstruction,
            classes=names,
            prediction=self.prediction,
            target=self.target,
            valid=valid,
            confidence=confidence,
            probabilities=probabilities,
            along_strengths=tuple(rows[3:, self.target].tolist()),
            limits=LIMITS if is_kept else (self._lost(rows), *LIMITS),
            panels={
                f"input: {classifier.in_words(rows[0])}": x0[0],
                f"reconstruction: {classifier.in_words(rows[1])}": reconstruction[0],
                f"counterfactual: {classifier.in_words(rows[2])}": changed[0],
                "difference, magnified": magnified(change)[0],
                "difference, heat map": heat_map(change)[0],
            },
            curves={"probability": {names[i]: tracker.curve(member, i) for i in lines}},
            numbers={
                "valid": valid,
                "prediction": classifier.predicted(rows[0]),
                "target": names[self.target],
                "confidence": confidence,
                **(self._of_labels(rows) if classifier.independent else {}),
                "layer": self.layer,
                "copies": self.copies,
                **self._of_further(changed),
                "class_weight_factor": tracker.factors[member],
                "reconstruction": classifier.predicted(rows[1]),
                "reconstruction_keeps_class": is_kept,
                "own_class_weight_factor": tracker.factors[member + 1],
                **self._quality(reconstruction, changed),
                "probabilities": {
                    image: dict(zip(names, row.tolist(), strict=True)) for image, row in probabilities.items()
                },
            },
        )

    def _of_further(self, changed: torch.Tensor) -> dict[str, Any]:
        """The confidence that each further classifier of an ensemble has."""
        found = [float(each(changed.to(self.given.device))[0, self.target]) for each in self.further]
        return {"further_confidences": [1 - p if self.absent else p for p in found]} if found else {}

    def _lost(self, rows: torch.Tensor) -> str:
        """That the reconstruction is not what the picture is; rows: as of `_of_labels`."""
        given, found = (self.given.classifier.in_words(row) for row in rows[:2])
        return (
            f"The classifier calls the reconstruction {found}, the picture {given}: what the change is measured from is not the "
            "picture any more. More steps, another layer or a larger class weight may keep it."
        )

    def _of_labels(self, rows: torch.Tensor) -> dict[str, Any]:
        """What became of the target, and of the labels that were to stay as they were; rows: input, reconstruction, changed."""
        names, changes = self.given.classifier.classes, (rows[2] - rows[0]).abs()
        changes[self.target] = 0
        most, flipped = int(changes.argmax()), ((rows[2] >= PRESENT) != (rows[0] >= PRESENT)).nonzero().flatten()
        return {
            "target_is_to_be": "absent" if self.absent else "present",
            "target_probability": float(rows[2, self.target]),
            "other_labels_flipped": [names[k] for k in flipped.tolist() if k != self.target],
            "largest_change_of_another_label": float(changes[most]),
            "other_label_changed_most": names[most],
        }

    def _at_full_size(self, changed: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
        """The changed image; of an input of another size or place, the input with the change added there."""
        whole = self.given.full_size
        if self.given.frame is not None:
            return (whole + self.given.frame.back(change, "bicubic")).clamp(0, 1)
        if self.given.image.shape == whole.shape:
            return changed
        enlarged = functional.interpolate(change, size=whole.shape[-2:], mode="bicubic", align_corners=False)
        return (whole + enlarged).clamp(0, 1)

    def _quality(self, reconstruction: torch.Tensor, changed: torch.Tensor) -> dict[str, Any]:
        """The numbers of quality.py that can be computed."""
        classifier, x0 = self.given.classifier, self.given.image
        return judge(
            x0,
            changed,
            classifier=classifier,
            target=self.target if self.second is None else classifier.classes[self.target],
            reconstruction=reconstruction,
            estimator=self.given.model.estimator,
            mask=self.lesion,
            second=self.second,
            absent=self.absent,
            signs=self.lesion is not None and x0.shape[1] == 3,
        )[0]
