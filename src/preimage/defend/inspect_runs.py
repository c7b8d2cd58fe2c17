"""The Runs of the task inspect: of one image, and of a folder of unattacked images; their results and files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from preimage.classifiers import Classifier
from preimage.classifiers.fingerprint import model_fingerprint, short_fingerprint
from preimage.classifiers.resizing import explained_frame, for_input
from preimage.defend.inspect import InspectOptions
from preimage.defend.inspection import Inspecting, Inspection, Threshold
from preimage.defend.purification import adapted, as_given
from preimage.engine.checkpoint import fingerprint
from preimage.engine.devices import choose_device
from preimage.engine.recipe import Recipe
from preimage.engine.step import Step
from preimage.errors import InputError
from preimage.explain.inputs import as_model, at_working_size, one_picture, remarks_on
from preimage.images import Picture
from preimage.images.formats import SUFFIXES
from preimage.recipes import RecipeLike
from preimage.series.parts import Series

MOST_REMARKS = 3  # on the images of a calibration; of further ones their number is said
TOGETHER = 16  # unattacked images of one size that are fitted side by side


@dataclass(frozen=True, eq=False)
class InspectedImage:
    """The inspection of one image, and the threshold it is compared to; without one there is no verdict."""

    picture: Picture
    inspection: Inspection
    classes: Sequence[str]
    threshold: Threshold | None
    classifier: str  # its fingerprint
    recipe: Recipe  # of the fit, adapted to the image
    seed: int
    seconds: float

    @property
    def suspicious(self) -> bool | None:
        """Whether the score exceeds the threshold; None if there is no threshold."""
        return None if self.threshold is None else self.threshold.exceeded_by(self.inspection.score)

    def report(self) -> dict[str, Any]:
        """All numbers as plain data."""
        found, names, threshold = self.inspection, self.classes, self.threshold
        tops = found.early.max(1)
        outputs = zip(found.steps, tops.indices.tolist(), tops.values.tolist(), found.early.tolist(), strict=True)
        return {
            "class": names[found.predicted],
            "confidence": float(found.given[found.predicted]),
            "early_class": names[found.early_predicted],
            "early_confidence": float(found.mean[found.early_predicted]),
            **(self._labels() if found.independent else {}),
            "score": found.score,
            "threshold": None if threshold is None else threshold.value,
            "verdict": {None: None, True: "suspicious", False: "nothing strange"}[self.suspicious],
            "false_alarms": None if threshold is None else threshold.false_alarms,
            "counted_from_step": found.counted,
            "curve": [
                {"step": step, "class": names[top], "confidence": value, "of_given_class": values[found.predicted]}
                for step, top, value, values in outputs
            ],
            "classifier_fingerprint": self.classifier,
            "recipe": self.recipe.describe(),
            "seed": self.seed,
            "seconds": round(self.seconds, 3),
        }

    def _labels(self) -> dict[str, Any]:
        """The probability of each independent label, for the image and on the mean of its early outputs."""
        rows = {"labels": self.inspection.given, "early_labels": self.inspection.mean}
        return {name: dict(zip(self.classes, row.tolist(), strict=True)) for name, row in rows.items()}

    def summary_lines(self) -> list[str]:
        """The predictions, then the verdict, for people."""
        report, threshold = self.report(), self.threshold
        if threshold is None:
            verdict = "; no verdict without a threshold: --calibrate FOLDER makes one, --thresholds FILE reads it"
        elif self.suspicious:
            share = f"{threshold.false_alarms:.0%} of unattacked images"
            verdict = f", above the threshold {threshold.value:.3f}: suspicious, as are {share}"
        else:
            verdict = f", not above the threshold {threshold.value:.3f}: nothing strange was found"
        predicted = f"{report['class']} {report['confidence']:.2f}"
        early = f"{report['early_class']} {report['early_confidence']:.2f}"
        return [f"{predicted}; early outputs: {early}", f"disagreement {report['score']:.3f} (0 to 1){verdict}"]


class InspectionRun(Inspecting):
    """The inspection of one image: an iterator of the Steps of its fit."""

    def __init__(self, image: Any, options: InspectOptions) -> None:
        model = as_model(options.classifier, options.stated)
        self.classifier: Classifier = model.classifier
        ways: Any = {} if isinstance(image, Picture) else {"value_range": options.value_range, "page": options.page}
        self.shown: Picture = one_picture(image, values=self.classifier.values, **ways)
        self.threshold: Threshold | None = None
        if options.thresholds is not None:
            recipe: Any = options.recipe
            self.threshold = Threshold.read(options.thresholds).checked(self.classifier, recipe, options.every)
        arguments = _arguments(self.shown.tensor, self.classifier, options)
        super().__init__(**arguments)
        height, width = self.shown.tensor.shape[-2:]
        frame = explained_frame(self.classifier, (height, width))
        self.remarks: tuple[str, ...] = (*self.remarks, *remarks_on(model, arguments["images"], frame))
        self.fingerprint: dict[str, Any] = {
            "input": fingerprint(self.shown.tensor),
            "classifier": model_fingerprint(self.classifier),
            "recipe": self.recipe.describe(),
            "every": self.every,
            "seed": options.seed,
        }

    def result(self) -> InspectedImage:
        """The inspection, once all steps are done; an InputError earlier than that."""
        (found,) = super().result()
        own = self.classifier.classes, self.threshold, short_fingerprint(self.classifier)
        return InspectedImage(self.shown, found, *own, self.recipe, self.seed, self.seconds)


class CalibrationRun(Series):
    """The inspection of a folder of unattacked images, some of one size at a time: an iterator of Steps."""

    task = "inspect"
    remarks: tuple[str, ...] = ()

    def __init__(self, options: InspectOptions) -> None:
        self.options = options
        self.recipe: RecipeLike = options.recipe  # as it was given, before its adaptation to a size
        folder = Path(options.calibrate or "")
        self.paths: list[Path] = sorted(
            path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()
        )
        if not self.paths:
            what = f"holds no image ({', '.join(SUFFIXES)})" if folder.is_dir() else "is not a folder"
            raise InputError(f"--calibrate {folder} {what}: give a folder of unattacked images", code="not-found")
        self.classifier: Classifier = as_model(options.classifier, options.stated).classifier
        # All images are decoded once before the first fit, which may take hours.
        by_shape: dict[tuple[int, ...], list[Path]] = {}
        remarks: list[str] = []
        for path in self.paths:
            picture = self._read(path)
            remarks += picture.remarks
            by_shape.setdefault(tuple(picture.tensor.shape), []).append(path)
        self.remarks += (*remarks[:MOST_REMARKS], *_of_more(len(remarks) - MOST_REMARKS))
        self.groups: list[list[Path]] = []
        self.total: int = 0
        for shape, paths in by_shape.items():
            groups = [paths[first : first + TOGETHER] for first in range(0, len(paths), TOGETHER)]
            size = _working(torch.zeros(shape), self.classifier)[0].shape[-2:]
            if min(size) < 16:
                raise InputError(f"{paths[0]} has fewer than 16 pixels a side: leave it out", code="size")
            self.groups += groups
            self.total += len(groups) * adapted(self.recipe, size).steps
        super().__init__("group", len(self.groups))
        self.fingerprint: dict[str, Any] = {
            "images": [str(path) for path in self.paths],
            "classifier": model_fingerprint(self.classifier),
            "recipe": as_given(self.recipe).describe(),
            "every": options.every,
            "seed": options.seed,
        }
        self.current: Inspecting = self.made(0)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images at hand, as they are fitted."""
        return self.current.size

    def made(self, turn: int) -> Inspecting:
        seen = torch.cat([self._read(path).tensor for path in self.groups[turn]])
        return Inspecting(**_arguments(seen, self.classifier, self.options))

    def _read(self, path: Path) -> Picture:
        own = self.options
        ways: Any = {"values": self.classifier.values, "salvage": own.salvage}
        try:
            return one_picture(path, own.value_range, **ways)
        except InputError:
            if own.page is None:
                raise
            return one_picture(path, own.value_range, page=own.page, **ways)  # of the files that have several

    def end(self, result: Any) -> dict[str, Any]:
        return {"scores": [found.score for found in result], "seconds": self.current.seconds}

    def __next__(self) -> Step:
        step, turn = super().__next__(), len(self.done)
        first, last = (1 + sum(map(len, self.groups[:turn])), sum(map(len, self.groups[: turn + 1])))
        return replace(step, total=self.total, status=f"images {first} to {last} of {len(self.paths)}")

    def result(self) -> Any:
        """The Threshold, once all images are inspected; an InputError earlier than that."""
        if not self.finished:
            raise InputError("a calibration ends with the last image: iterate to the end, or call run()", code="option")
        parts = [*self.done, self.end(self.current.result())]
        scores = [score for part in parts for score in part["scores"]]
        return Threshold.of(scores, self.classifier, self.recipe, self.options.every)


def _arguments(seen: torch.Tensor, classifier: Classifier, options: InspectOptions) -> dict[str, Any]:
    """The arguments of Inspecting."""
    (images, model), device = _working(seen, classifier), choose_device(options.device)
    own = {"recipe": options.recipe, "every": options.every, "seed": options.seed, "device": device}
    return {"images": images, "model": model, "seen": seen if model is classifier else images, **own}


def _of_more(count: int) -> list[str]:
    return [f"{count} more remarks on images like these"] if count > 0 else []


def _working(seen: torch.Tensor, classifier: Classifier) -> tuple[torch.Tensor, Classifier]:
    """Images as they are fitted, and the classifier for those: its input, if it crops images or puts them in a letterbox."""
    frame = explained_frame(classifier, (seen.shape[-2], seen.shape[-1]))
    if frame is None:
        return at_working_size(seen, classifier).clamp(0, 1), classifier
    return frame(seen, classifier.mean.cpu()).clamp(0, 1), for_input(classifier)


# ---------------------------------------------------------------------- files


def write_figure(result: InspectedImage, path: Path, *, overwrite: bool = False) -> None:
    """Write image, early outputs and the class probabilities over the iterations as PNG."""
    from preimage.figures.inspection import inspection_figure
    from preimage.figures.restoration import save_figure

    value = None if result.threshold is None else result.threshold.value
    figure = inspection_figure(result.picture.tensor[0], result.inspection, result.classes, threshold=value)
    save_figure(figure, path, overwrite=overwrite)
