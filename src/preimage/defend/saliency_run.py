"""The Run of the task saliency, its result, and the files that it can write."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from preimage.classifiers import Classifier
from preimage.classifiers.fingerprint import model_fingerprint
from preimage.classifiers.modules import takes_unit_range
from preimage.classifiers.resizing import Frame, explained_frame, for_input
from preimage.defend.attribution import NOISY, SaliencyMap, saliency_map
from preimage.defend.faithfulness import Curve, deletion, insertion
from preimage.defend.progress import Progress, StepwiseRun
from preimage.defend.saliency import Deleted, Method, SaliencyOptions, methods_of
from preimage.engine.checkpoint import fingerprint
from preimage.engine.devices import choose_device
from preimage.errors import InputError
from preimage.explain.inputs import at_working_size, model_on, one_picture, remarks_on
from preimage.images import Picture, as_picture, write_bytes_atomically, write_float_tiff
from preimage.modes import in_own_modes


@dataclass(frozen=True, eq=False)
class EvaluatedMap:
    """A saliency map, its insertion and deletion curves, and the seconds that the map took."""

    found: SaliencyMap
    insertion: Curve
    deletion: Curve
    seconds: float

    def report(self) -> dict[str, Any]:
        """Scores, settings and curves as plain data."""
        return {
            "method": self.found.method,
            "insertion": float(self.insertion.area[0]),
            "deletion": float(self.deletion.area[0]),
            "settings": self.found.settings,
            "is_zero": not bool(self.found.merged.any()),
            "seconds": round(self.seconds, 3),
            "shares": self.insertion.shares.tolist(),
            "insertion_curve": self.insertion.probabilities[0].tolist(),
            "deletion_curve": self.deletion.probabilities[0].tolist(),
        }


@dataclass(frozen=True, eq=False)
class SaliencyResult:
    """The maps of one image for one class, in the order of the methods; `deleted` is the replacement of deleted pixels."""

    picture: Picture
    maps: tuple[EvaluatedMap, ...]
    deleted: Deleted
    frame: Frame | None = None  # the classifier's input on the image; None: all of the image is its input

    @property
    def map(self) -> torch.Tensor:
        """(1, 1, h, w) at the image's size: the map of the first method."""
        return self.maps[0].found.map

    def __getitem__(self, method: Method) -> EvaluatedMap:
        """The map of a method; one that was not computed is an InputError."""
        maps = {each.found.method: each for each in self.maps}
        if method not in maps:
            raise InputError(f"there is no map by {method!r}: computed were {', '.join(maps)}")
        return maps[method]

    def report(self) -> dict[str, Any]:
        """All numbers as plain data."""
        first = self.maps[0].found
        return {
            "size": list(first.map.shape[-2:]),
            "seen_size": list(first.seen.shape[-2:]),
            **({} if self.frame is None else self.frame.report()),
            "prediction": first.prediction,
            "target": first.target_class,
            "confidence": first.confidence,
            "deleted": self.deleted,
            "methods": [each.report() for each in self.maps],
        }

    def summary_lines(self) -> list[str]:
        """The class, then the scores of each method, for people."""
        first, rows = self.maps[0].found, [each.report() for each in self.maps]
        other = "" if first.prediction == first.target_class else f" (predicted: {first.prediction})"
        names = [row["method"] + " (zero everywhere)" * row["is_zero"] for row in rows]
        width = max(map(len, [*names, "method"]))
        return [
            f"class {first.target_class}, confidence {first.confidence:.3f}{other}",
            f"{'method':{width}}   insertion   deletion   seconds",
            *(
                f"{name:{width}}   {row['insertion']:9.3f}   {row['deletion']:8.3f}   {each.seconds:7.1f}"
                for name, row, each in zip(names, rows, self.maps, strict=True)
            ),
            f"a faithful map has high insertion and low deletion (to {self.deleted})",
        ]


class SaliencyRun(StepwiseRun[Progress, SaliencyResult]):
    """The maps of one image, method by method: an iterator of Progress."""

    task = "saliency"

    def __init__(self, image: Any, options: SaliencyOptions) -> None:
        device = choose_device(options.device)
        self.methods: tuple[Method, ...] = methods_of(options.method)
        model = model_on(options.classifier, device, options.stated)
        self.classifier: Classifier = model.classifier
        self.picture: Picture = one_picture(image, values=self.classifier.values)
        height, width = self.picture.tensor.shape[-2:]
        self.frame: Frame | None = explained_frame(self.classifier, (height, width))
        self.options: SaliencyOptions = replace(options, classifier=self.classifier)
        self.maps: list[EvaluatedMap] = []
        image = at_working_size(self.picture.tensor, self.classifier).clamp(0, 1)
        self.remarks: tuple[str, ...] = remarks_on(model, image.to(device), self.frame)
        if takes_unit_range(self.classifier) and set(NOISY) & set(self.methods) and options.sigma:
            self.remarks += ("the classifier takes images in 0 to 1 alone: the noise of the method is clipped to that",)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What identifies the job: image, classifier and options."""
        elsewhere = ("classifier", "classifier_output", "classes", "device")  # or nowhere
        own = {name: value for name, value in vars(self.options).items() if name not in elsewhere}
        own["baseline"] = str(own["baseline"])
        return {**own, "input": fingerprint(self.picture.tensor), "classifier": model_fingerprint(self.classifier)}

    @property
    def finished(self) -> bool:
        """Whether the maps of all methods are computed."""
        return len(self.maps) == len(self.methods)

    @in_own_modes
    def __next__(self) -> Progress:
        """Compute the map of the next method, and its curves."""
        if self.finished:
            raise StopIteration
        method = self.methods[len(self.maps)]
        begin = time.perf_counter()
        found = saliency_map(self.picture, self.options, method)
        seconds = time.perf_counter() - begin
        of_seen = self.classifier if self.frame is None else for_input(self.classifier)
        classified = of_seen, found.seen, found.merged, found.target
        curves = insertion(*classified), deletion(*classified, to=self.options.deleted)
        self.maps.append(EvaluatedMap(found, *curves, seconds))
        return Progress(len(self.maps), len(self.methods), method)

    def result(self) -> SaliencyResult:
        """The maps so far; an InputError if none is computed yet."""
        if not self.maps:
            raise InputError("no map is computed yet: iterate the Run, or call run()", code="option")
        return SaliencyResult(self.picture, tuple(self.maps), self.options.deleted, self.frame)

    def state_dict(self) -> dict[str, Any]:
        """The maps so far as plain data and tensors."""
        return {"maps": [asdict(each) for each in self.maps]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the maps of `state_dict`."""
        self.maps = [
            EvaluatedMap(
                SaliencyMap(**each["found"]), Curve(**each["insertion"]), Curve(**each["deletion"]), each["seconds"]
            )
            for each in state["maps"]
        ]


# ---------------------------------------------------------------------- files


def write_overlay(result: SaliencyResult, path: Path, *, overwrite: bool = False) -> None:
    """Write the map over the image as 8 bits; of several methods the figure."""
    from preimage.figures.restoration import display_range
    from preimage.figures.saliency import overlay

    if len(result.maps) > 1:
        write_figure(result, path, overwrite=overwrite)
        return
    drawn = overlay(result.picture.tensor[0], result.map[0], display_range(result.picture))
    picture = as_picture((drawn * 255).round().to(torch.uint8))
    picture.write(picture.tensor, path, overwrite=overwrite)


def write_figure(result: SaliencyResult, path: Path, *, overwrite: bool = False) -> None:
    """Write a figure of image, maps and curves as PNG."""
    from preimage.figures.restoration import display_range, save_figure
    from preimage.figures.saliency import saliency_figure

    found, insertions, deletions = zip(
        *((each.found, each.insertion, each.deletion) for each in result.maps), strict=True
    )
    figure = saliency_figure(result.picture.tensor[0], found, insertions, deletions, display_range(result.picture))
    save_figure(figure, path, overwrite=overwrite)


def write_array(result: SaliencyResult, path: Path, *, overwrite: bool = False) -> None:
    """Write float32 (h, w), or (n, h, w) of several methods; .npz: each by its name; TIFF: pages."""
    import numpy as np

    maps: dict[str, Any] = {each.found.method: each.found.map[0, 0].numpy() for each in result.maps}
    kind, values = path.suffix.lower(), list(maps.values())
    if kind == ".npz":
        write_bytes_atomically(path, partial(np.savez, **maps), overwrite=overwrite)
    elif kind == ".npy":
        array = values[0] if len(values) == 1 else np.stack(values)
        write_bytes_atomically(path, lambda file: np.save(file, array, allow_pickle=False), overwrite=overwrite)
    else:
        write_float_tiff(torch.cat([each.found.map for each in result.maps]), path, overwrite=overwrite)
