"""`preimage inspect IMAGE... --classifier P`: is the classifier of one mind about a picture and its early outputs?"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from preimage.cli.inspect_options import InspectOptions, check_options, figure_of

if TYPE_CHECKING:
    from preimage.classifiers import Classifier
    from preimage.cli.interrupt import Interrupt
    from preimage.defend.inspection import Inspecting, Inspection
    from preimage.defend.thresholds import Threshold
    from preimage.engine.recipe import Recipe
    from preimage.images import Picture

_TOGETHER = 16  # clean pictures of one size that are fitted side by side


def inspect(
    *inputs: Annotated[Path, Parameter(name="INPUT", help="Pictures: PNG, JPEG, WebP, TIFF, BMP or GIF.")],
    options: Annotated[InspectOptions, Parameter(name="*")],
) -> int:
    """Show each picture's early outputs to the classifier and say how far it is of another mind about them."""
    from preimage.cli.batch import threads_of
    from preimage.cli.interrupt import Interrupt

    work = _Work(options, inputs)
    with threads_of(options.threads), Interrupt(quiet=True) as interrupt:
        return work.calibrated(interrupt) if options.calibrate else work.inspected(interrupt)


class _Work:
    """One command: the classifier, the recipe and the threshold, known to be right before any fit."""

    def __init__(self, options: InspectOptions, inputs: Sequence[Path]) -> None:
        from preimage.classifiers import load_classifier
        from preimage.cli.choices import choose_recipe
        from preimage.cli.options import Options
        from preimage.defend import purify
        from preimage.defend.defence import random_source
        from preimage.defend.inspection import looks_every
        from preimage.defend.thresholds import Threshold
        from preimage.engine.devices import choose_device

        self.options, self.inputs = options, inputs
        check_options(options, inputs)
        self.recipe: Recipe = choose_recipe(Options(recipe=options.recipe, steps=options.steps), purify)
        looks_every(self.recipe, options.every)
        random_source(1, options.seed)
        self.device = choose_device(options.device)
        self.classifier: Classifier = load_classifier(options.classifier)
        self.threshold: Threshold | None = None
        if options.thresholds is not None:
            self.threshold = Threshold.read(options.thresholds).checked(self.classifier, self.recipe, options.every)

    # ------------------------------------------------------------------ pictures

    def inspected(self, interrupt: Interrupt) -> int:
        """Every input, one after another; the exit code: 2 if one could not be read."""
        from preimage.cli.failures import closed_pipe_is_no_failure, report_failure
        from preimage.cli.report import as_json, write_reports

        reports: list[dict[str, Any]] = []
        several, code = len(self.inputs) > 1, 0
        for path in self.inputs:
            try:
                report = self._one(path, interrupt)
                if report is None:
                    print(f"preimage: {path}: ended before all steps were done, nothing was written", file=sys.stderr)
                    return interrupt.exit_code
                reports.append(report)
                if self.options.report is not None:
                    write_reports(reports, self.options.report, several=several)
            except Exception as error:
                code = report_failure(error, path, command="inspect")
        if self.options.json and (reports or several):
            with closed_pipe_is_no_failure():
                print(as_json(reports, several=several))
        return code

    def _one(self, path: Path, interrupt: Interrupt) -> dict[str, Any] | None:
        """One picture: its report; None if it was interrupted."""
        from preimage.figures.restoration import save_figure

        options = self.options
        picture = self._read(path)
        inspecting = self._inspecting([picture])
        if not _iterate(inspecting, path.name, interrupt, quiet=options.quiet):
            return None
        found = inspecting.result()[0]
        report = self._report(path, found, inspecting)
        place = figure_of(path, options)
        if place is not None:
            from preimage.figures.inspection import inspection_figure

            value = None if self.threshold is None else self.threshold.value
            drawn = inspection_figure(
                picture.tensor[0], found, self.classifier.classes, threshold=value, title=f"{path.name}:"
            )
            save_figure(drawn, place, overwrite=options.overwrite)
        if not options.quiet:
            self._say(report, place)
        return report

    def _read(self, path: Path) -> Picture:
        from preimage.explain.inputs import one_picture

        return one_picture(path, self.options.value_range, page=self.options.page)

    def _inspecting(self, pictures: Sequence[Picture]) -> Inspecting:
        import torch

        from preimage.defend.inspection import Inspecting
        from preimage.explain.inputs import at_working_size

        seen = torch.cat([picture.tensor for picture in pictures])
        return Inspecting(
            at_working_size(seen, self.classifier).clamp(0, 1),
            self.classifier,
            seen=seen,
            recipe=self.recipe,
            every=self.options.every,
            seed=self.options.seed,
            device=self.device,
        )

    def _report(self, path: Path, found: Inspection, inspecting: Inspecting) -> dict[str, Any]:
        """What was found, as plain data."""
        import torch

        from preimage.defend.checks import fingerprint_of

        names, mean, threshold = self.classifier.classes, found.mean, self.threshold
        tops = found.early.max(1)
        looks = zip(found.steps, tops.indices.tolist(), tops.values.tolist(), found.early.tolist(), strict=True)
        return {
            "task": "inspect",
            "input": str(path),
            "class": names[found.predicted],
            "confidence": float(found.given[found.predicted]),
            "early_class": names[found.cleaned],
            "early_confidence": float(mean[found.cleaned]),
            "score": found.score,
            "threshold": None if threshold is None else threshold.value,
            "verdict": None if threshold is None else _verdict(threshold, found.score),
            "false_alarms": None if threshold is None else threshold.false_alarms,
            "counted_from_step": found.counted,
            "curve": [
                {"step": step, "class": names[top], "confidence": value, "of_given_class": chances[found.predicted]}
                for step, top, value, chances in looks
            ],
            "classifier": self.options.classifier,
            "classifier_fingerprint": fingerprint_of(self.classifier),
            "recipe": inspecting.fit.recipe.describe(),
            "seed": inspecting.seed,
            "seconds": round(inspecting.fit.seconds, 3),
            "device": str(self.device),
            "threads": torch.get_num_threads(),
        }

    def _say(self, report: dict[str, Any], figure: Path | None) -> None:
        from preimage.cli.failures import closed_pipe_is_no_failure

        place = sys.stderr if self.options.json else sys.stdout
        said = f"{report['class']} {report['confidence']:.2f}"
        early = f"{report['early_class']} {report['early_confidence']:.2f}"
        score = f"disagreement {report['score']:.3f} (0 to 1)"
        if self.threshold is None:
            verdict = (
                f"{score}; no verdict without a threshold: --calibrate FOLDER makes one, --thresholds FILE reads it"
            )
        else:
            above = self.threshold.exceeded_by(report["score"])
            share = f"{self.threshold.false_alarms:.0%} of clean pictures"
            verdict = (
                f"{score}, above the threshold {self.threshold.value:.3f}: suspicious, as are {share}"
                if above
                else f"{score}, not above the threshold {self.threshold.value:.3f}: nothing strange was found"
            )
        with closed_pipe_is_no_failure():
            print(f"{report['input']}: {said}; early outputs: {early}", file=place)
            print(f"  {verdict}", file=place)
            if figure is not None:
                print(f"  figure: {figure}", file=place)

    # ------------------------------------------------------------------ clean pictures

    def calibrated(self, interrupt: Interrupt) -> int:
        """The threshold of a folder of clean pictures, written; the exit code."""
        from preimage.defend.thresholds import Threshold

        scores: list[float] = []
        paths = _pictures_of(self.options.calibrate)
        for group in self._groups(paths):
            name = f"clean pictures {len(scores) + 1} to {len(scores) + len(group)} of {len(paths)}"
            inspecting = self._inspecting(group)
            if not _iterate(inspecting, name, interrupt, quiet=self.options.quiet):
                print("preimage: ended before all pictures were inspected, nothing was written", file=sys.stderr)
                return interrupt.exit_code
            scores += [found.score for found in inspecting.result()]
        threshold = Threshold.of(scores, self.classifier, self.recipe, self.options.every)
        threshold.save(self.options.written, overwrite=self.options.overwrite)
        self._say_threshold(threshold)
        return 0

    def _groups(self, paths: Sequence[Path]) -> Iterator[list[Picture]]:
        """The pictures, some of one size and kind at a time; all are read once before the first fit, to be known to be whole."""
        shapes: dict[tuple[int, ...], list[Path]] = {}
        for path in paths:
            shapes.setdefault(tuple(self._read(path).tensor.shape[1:]), []).append(path)
        for alike in shapes.values():
            for first in range(0, len(alike), _TOGETHER):
                yield [self._read(path) for path in alike[first : first + _TOGETHER]]

    def _say_threshold(self, threshold: Threshold) -> None:
        import json

        from preimage.cli.failures import closed_pipe_is_no_failure
        from preimage.images import write_bytes_atomically

        options = self.options
        report = {
            "task": "inspect --calibrate",
            "input": str(options.calibrate),
            "output": str(options.written),
            "pictures": threshold.pictures,
            "threshold": threshold.value,
            "false_alarms": threshold.false_alarms,
            "scores": list(threshold.scores),
        }
        content = json.dumps(report, indent=2, allow_nan=False)
        if options.report is not None:
            write_bytes_atomically(options.report, f"{content}\n".encode(), overwrite=options.overwrite)
        with closed_pipe_is_no_failure():
            if options.json:
                print(content)
            if not options.quiet:
                place = sys.stderr if options.json else sys.stdout
                share = f"{threshold.false_alarms:.0%}"
                print(f"{threshold.pictures} clean pictures -> {options.written}", file=place)
                print(f"  threshold {threshold.value:.3f}: about {share} of such pictures are above it", file=place)
                if not threshold.promises:
                    print(f"  it takes 19 pictures to keep to {share}: more may be above it", file=place)


def _pictures_of(folder: Path | None) -> list[Path]:
    """The pictures in a folder and those below it.

    Raises:
        InputError: no folder, or none in it.
    """
    from preimage.classifiers.labelled import SUFFIXES
    from preimage.errors import InputError

    if folder is None or not folder.is_dir():
        raise InputError(f"--calibrate {folder} is no folder: give one with clean pictures")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise InputError(
            f"--calibrate {folder} holds no picture ({', '.join(SUFFIXES)}): give a folder with clean ones"
        )
    return found


def _verdict(threshold: Threshold, score: float) -> str:
    return "suspicious" if threshold.exceeded_by(score) else "nothing strange"


def _iterate(inspecting: Inspecting, name: str, interrupt: Interrupt, *, quiet: bool) -> bool:
    """To the end, or to where a signal ended it."""
    from preimage.cli.progress import Progress

    with Progress(name, quiet=quiet) as progress:
        for step in inspecting:
            progress.show(step)
            if interrupt.number:
                return False
    return True
