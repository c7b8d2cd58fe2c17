"""The Run of the task train, and the file that it writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from preimage.classifiers.arguments import requested_classes
from preimage.classifiers.class_matching import indices_of, is_alike
from preimage.classifiers.classifier import Classifier
from preimage.classifiers.labelled import LABELS, TEST, Labelled, read_labelled
from preimage.classifiers.model_file import TrainedModel, write_model
from preimage.classifiers.train import Epoch, Training
from preimage.defend.adversarial import AdversarialTraining
from preimage.defend.progress import Progress, StepwiseRun
from preimage.defend.train import TrainOptions, settings_of
from preimage.errors import InputError
from preimage.explain.inputs import as_model
from preimage.extras import require
from preimage.images.ranges import EIGHT_BITS
from preimage.images.stacks import Reading
from preimage.modes import in_own_modes

MOST_SAID = 20  # classes whose other names are said
SMALLEST_OF_TIMM = 32  # pixels a side: most of its networks halve five times, and on maps below a pixel results vary


@dataclass(frozen=True)
class TrainingStep(Progress):
    """A batch, counted from 1 over all epochs; or the end of an epoch, which is yielded after the last batch of each."""

    completes_epoch: bool = False


class TrainingRun(StepwiseRun[TrainingStep, TrainedModel]):
    """A training: an iterator of TrainingSteps that ends in a TrainedModel.

    `state_dict` is that after the last complete epoch, at any time: a saved state continues with the next one.

    Example:
        >>> data = {"x": np.random.rand(16, 32, 32, 3) * 255, "y": np.arange(16) % 2}
        >>> np.savez("data.npz", x=data["x"].astype(np.uint8), y=data["y"])
        >>> run = TrainingRun("data.npz", TrainOptions(backbone="thin_resnet10", epochs=1, batch=8, device="cpu"))
        >>> [(step.index, step.total, step.completes_epoch) for step in run]
        [(1, 2, False), (2, 2, False), (2, 2, True)]

    Args:
        data: a folder with one folder per class (below train/ and test/ or not); a CSV with a column `filename`, relative to
            it; an npz with x_train, y_train, x_test, y_test, or x, y; or Labelled.
        options: those of the task.

    Raises:
        InputError: data, a classifier or options that cannot be used.
    """

    task = "train"

    def __init__(self, data: str | Path | Labelled | None, options: TrainOptions) -> None:
        settings = settings_of(options)
        require("classifiers", "torchmetrics", subject="a training is scored")
        self.options = options
        self.finished_classifier: TrainedModel | None = (
            None if options.classifier is None else as_model(options.classifier, options.stated)
        )
        given = None if self.finished_classifier is None else self.finished_classifier.classifier
        if given is not None and given.independent:
            way = "explain it with --uncertainty entropy or energy"
            raise InputError(
                f"a loss estimator is of classes that exclude one another, not of labels: {way}", code="class"
            )
        read = _read(data, options, given)
        if settings.backbone.startswith("timm:") and given is None and min(read.size) < SMALLEST_OF_TIMM:
            side = f"{settings.backbone} on images of {min(read.size)} px keeps less than a pixel of them"
            raise InputError(f"{side}: --size {SMALLEST_OF_TIMM} or more, or --backbone thin_resnet10", code="size")
        if options.adversarial is not None:
            self.training: Training = AdversarialTraining(
                read, settings, eps=options.adversarial, device=options.device
            )
        else:
            self.training = Training(read, settings, classifier=given, device=options.device)
        self.remarks: tuple[str, ...] = tuple(_remarks(read, self.training))
        self._steps = self._all_steps()

    @in_own_modes
    def __next__(self) -> TrainingStep:
        return next(self._steps)

    def _all_steps(self) -> Iterator[TrainingStep]:
        step = TrainingStep(0, 0)
        for done in self.training.steps():
            if isinstance(done, Epoch):
                yield replace(step, status=epoch_in_words(done), completes_epoch=True)
            else:
                index = (done.epoch - 1) * done.total + done.index
                step = TrainingStep(index, done.epochs * done.total, f"epoch {done.epoch} of {done.epochs}")
                yield step

    def result(self) -> TrainedModel:
        """The best epoch's classifier and loss estimator, with all numbers; InputError before an epoch is complete."""
        model = self.training.result()
        if self.finished_classifier is None:
            return model
        spec = self.options.classifier
        about = model.about | {"classifier": spec if isinstance(spec, str | Path) else type(spec).__name__}
        return replace(model, origin=self.finished_classifier.origin, about=about)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the images."""
        return self.training.data.size

    @property
    def finished(self) -> bool:
        """Whether all epochs are complete."""
        return self.training.index >= self.training.epochs

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What identifies the job: data, classifier and settings."""
        return self.training.fingerprint

    def state_dict(self) -> dict[str, Any]:
        """The state after the last complete epoch."""
        return self.training.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue with the epoch after that of `state_dict`."""
        self._steps = self._all_steps()
        self.training.load_state_dict(state)


def _read(data: str | Path | Labelled | None, options: TrainOptions, classifier: Classifier | None) -> Labelled:
    if data is None:
        raise InputError("give a folder with one folder per class, a CSV or an npz to train on", code="option")
    named = None if classifier is not None else requested_classes(options.classes)
    if isinstance(data, Labelled):
        return data.renamed(named)
    own = None if classifier is None else classifier.size
    return read_labelled(
        data,
        size=own if options.size is None else options.size,
        label_column=options.label_column or LABELS,
        split_column=options.split_column,
        group=options.group,
        seed=options.seed,
        reading=Reading(options.value_range, None if classifier is None else classifier.values, options.salvage),
        data_root=options.data_root,
    ).renamed(named)


def _remarks(read: Labelled, training: Training) -> Iterator[str]:
    """What is trained on, and how its classes are those of a finished classifier with other names."""
    height, width = read.size
    counts = ((training.learned, "training"), (training.validation, "validation"), (read.part(TEST), "the test"))
    parts = ", ".join(f"{len(part)} for {name}" for part, name in counts)
    yield f"{read.name}: {len(read)} images of {width} x {height} in {len(read.classes)} classes: {parts}"
    if read.values != EIGHT_BITS:
        yield f"values {read.values} are black to white in all images, and will be for the classifier"
    yield from read.remarks
    if training.frozen:
        yield from _names(read, training.data.classes)


def _names(read: Labelled, classes: tuple[str, ...]) -> Iterator[str]:
    """Which of a finished classifier's classes those of the data are, if their names do not say it."""
    indices = indices_of(read.classes, classes, read.name)
    pairs = [(own, classes[index]) for own, index in zip(read.classes, indices, strict=True)]
    unlike = [f"{own} is {other}" for own, other in pairs if not is_alike(own, other)]
    if unlike:
        shown = ", ".join(unlike[:MOST_SAID]) + (
            f" and {len(unlike) - MOST_SAID} more" if len(unlike) > MOST_SAID else ""
        )
        ways = "in their order" if indices == list(range(len(classes))) else "by synset id, index or one of their names"
        yield f"the classifier has other class names, so its classes are taken {ways}: {shown}"
    if len(pairs) < len(classes):
        yield f"the data are of {len(pairs)} of the classifier's {len(classes)} classes"


def epoch_in_words(epoch: Epoch) -> str:
    """Losses, scores and the time left, in one line for people.

    Example:
        >>> from preimage.classifiers.scores import Scores
        >>> epoch_in_words(Epoch(2, 6, 60.0, 1.0, 0.5, Scores(0.5, 0.5, (0.5, 0.5), 0.1, 0.25), 1))
        'epoch 2 of 6, 2.0 minutes left: loss 1.000, validation: balanced accuracy 0.500, rank correlation 0.250 (best: epoch 1)'
    """
    left = (epoch.total - epoch.index) * epoch.seconds / epoch.index / 60
    best = "the best so far" if epoch.best == epoch.index else f"best: epoch {epoch.best}"
    robust = "" if epoch.robust is None else f", robust accuracy {epoch.robust:.3f}"
    return (
        f"epoch {epoch.index} of {epoch.total}, {left:.1f} minutes left: loss {epoch.loss:.3f}, validation: balanced accuracy "
        f"{epoch.validation.balanced_accuracy:.3f}{robust}, rank correlation {epoch.validation.rank_correlation:.3f} ({best})"
    )


def write_trained(model: TrainedModel, path: Path, *, overwrite: bool = False) -> None:
    """Write the model file."""
    write_model(path, model, overwrite=overwrite)
