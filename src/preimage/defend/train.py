"""The task of training: a classifier and the estimator of its loss, from labelled images, also against an attack."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preimage.errors import InputError
from preimage.tasks import Output, SeededOptions, TaskSpec, option

if TYPE_CHECKING:
    from preimage.classifiers.model_file import TrainedModel
    from preimage.classifiers.settings import Settings
    from preimage.classifiers.train import Training


@dataclass(frozen=True, kw_only=True)
class TrainOptions(SeededOptions):
    """Options of training."""

    label_column: str | None = option(
        None, help="Column of a CSV with the class, a number or a word (default: class_index).", group="Task"
    )
    split_column: str | None = option(
        None, help="Column of a CSV that holds train and test (default: a test part is drawn)."
    )
    group: str | None = option(
        None, help="Column of a CSV whose values must not be on both sides of a split: a patient, a lesion."
    )
    size: int | None = option(
        None, help="Short side in pixels (default: the images' own, at most 120, or the classifier's).", minimum=16
    )
    turned: bool = option(False, help="Augment by all rotations, for images without an upright (lesions, cells).")
    backbone: str | None = option(
        None,
        help="Network: of torchvision, or timm:NAME (default: resnet18; thin_resnet18 with --adversarial).",
    )
    epochs: int | None = option(
        None,
        help="Passes over the training part (default: 20 to 200, of 2600 steps; 40 with --adversarial).",
        minimum=1,
    )
    batch: int | None = option(None, help="Images per step (default: 64; 128 with --adversarial).", minimum=1)
    rate: float = option(
        1e-3, help="Peak learning rate of AdamW, above 0; Muon's is 20 times as large.", minimum=0, exclusive=True
    )
    classifier: str | None = option(
        None,
        help="Finished classifier, as in the explaining tasks, whose loss estimator is fitted with --freeze.",
        kind="classifier",
    )
    freeze: bool = option(False, help="Fit only the loss estimator, to the --classifier as it is.")
    adversarial: float | None = option(
        None,
        help="Train against perturbations of at most so many 1/255 in every value, above 0; 8 is usual.",
        minimum=0,
        exclusive=True,
    )


def settings_of(options: TrainOptions) -> Settings:
    """How the training goes.

    Raises:
        InputError: options that exclude one another.
    """
    from preimage.classifiers.settings import Settings

    if options.freeze and options.classifier is None:
        raise InputError("--freeze needs the finished classifier: give --classifier, too", code="option")
    if options.classifier is not None and not options.freeze:
        raise InputError(
            "--classifier without --freeze would train a finished classifier further, which is not supported: give --freeze to "
            "fit its loss estimator alone, or leave --classifier out to train a classifier anew",
            code="option",
        )
    for name in ("backbone", "adversarial"):
        if options.freeze and getattr(options, name) is not None:
            raise InputError(
                f"--{name} is of a classifier that is trained anew: leave it out with --freeze", code="option"
            )
    base = Settings()
    if options.adversarial is not None:
        from preimage.defend.adversarial import SETTINGS

        base = SETTINGS
    chosen = {name: getattr(options, name) or getattr(base, name) for name in ("backbone", "epochs", "batch")}
    return replace(base, **chosen, rate=options.rate, upright=not options.turned, seed=options.seed)


@dataclass(frozen=True)
class TrainingStep:
    """Progress of a training: the batch and how many there are, a few words, and whether an epoch is complete with it."""

    index: int
    total: int
    status: str
    completes_epoch: bool = False


class TrainingRun:
    """A training as a Run: an iterator of TrainingSteps that ends in a TrainedModel.

    Args:
        data: a folder with one folder per class (below train/ and test/ or not); a CSV with a column filename, relative to it;
            or an npz with x_train, y_train, x_test, y_test, or x, y.
        options: those of the task.

    Raises:
        InputError: data, a classifier or options that cannot be used.
    """

    task = "train"

    def __init__(self, data: str | Path, options: TrainOptions) -> None:
        from preimage.classifiers.labelled import LABELS, read_labelled
        from preimage.classifiers.load import load_model
        from preimage.classifiers.train import Training

        settings = settings_of(options)
        self.given: TrainedModel | None = None if options.classifier is None else load_model(options.classifier)
        own = None if self.given is None else self.given.classifier.size
        read = read_labelled(
            Path(data),
            size=options.size if options.size is not None else own,
            label_column=options.label_column or LABELS,
            split_column=options.split_column,
            group=options.group,
            seed=options.seed,
        )
        self.training: Training
        if options.adversarial is not None:
            from preimage.defend.adversarial import AdversarialTraining

            self.training = AdversarialTraining(read, settings, eps=options.adversarial, device=options.device)
        else:
            classifier = None if self.given is None else self.given.classifier
            self.training = Training(read, settings, classifier=classifier, device=options.device)
        self.remarks = tuple(self._remarks(read))
        self._steps: Iterator[TrainingStep] | None = None

    def _remarks(self, read: Any) -> Iterator[str]:
        """What is learned from, before it takes its time."""
        training, (height, width) = self.training, read.size
        parts = (
            f"{len(training.learned)} for training, {len(training.validation)} for validation, {len(read.part('test'))} for "
            "the test"
        )
        yield f"{read.name}: {len(read)} images of {width} x {height} in {len(read.classes)} classes: {parts}"
        classes = training.data.classes
        if sorted(name.lower() for name in read.classes) != sorted(name.lower() for name in classes):
            pairs = ", ".join(f"{own} is {other}" for own, other in zip(read.classes, classes, strict=True))
            yield f"the classifier has other class names, so its classes are taken in their order: {pairs}"

    # ------------------------------------------------------------------ the loop

    def __iter__(self) -> Iterator[TrainingStep]:
        return self

    def __next__(self) -> TrainingStep:
        if self._steps is None:
            self._steps = self._iterated()
        return next(self._steps)

    def _iterated(self) -> Iterator[TrainingStep]:
        from preimage.classifiers.train import Epoch

        last = TrainingStep(1, 1, "")
        for step in self.training.steps():
            if isinstance(step, Epoch):
                yield replace(last, status=_in_words(step), completes_epoch=True)
            else:
                done = (step.epoch - 1) * step.total + step.index
                last = TrainingStep(done, step.epochs * step.total, f"epoch {step.epoch} of {step.epochs}")
                yield last

    def run(self) -> TrainedModel:
        """All epochs, and the result."""
        for _ in self:
            pass
        return self.result()

    def result(self) -> TrainedModel:
        """The best epoch's classifier and loss estimator; the test part is read here, once."""
        model = self.training.result()
        return model if self.given is None else replace(model, origin=self.given.origin)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return self.training.index >= self.training.epochs

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What a checkpoint knows the training by."""
        return self.training.identity

    def state_dict(self) -> dict[str, Any]:
        """The state after the last complete epoch."""
        return self.training.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.training.load_state_dict(state)


def _in_words(epoch: Any) -> str:
    best = "the best so far" if epoch.best == epoch.index else f"best: epoch {epoch.best}"
    attacked = "" if epoch.robust is None else f", under attack {epoch.robust:.3f}"
    scores = epoch.validation
    return (
        f"epoch {epoch.index} of {epoch.total}: loss {epoch.loss:.3f}, validation: balanced accuracy "
        f"{scores.balanced_accuracy:.3f}{attacked}, rank correlation {scores.rank_correlation:.3f} ({best})"
    )


def start(data: Any, options: TrainOptions) -> TrainingRun:
    """The training as a Run.

    Raises:
        InputError: data or options that cannot be used.
    """
    return TrainingRun(data, options)


def write_trained(model: TrainedModel, path: Path, *, overwrite: bool = False) -> None:
    """Write the model file."""
    from preimage.classifiers.model_file import write_model

    write_model(path, model, overwrite=overwrite)


def _report(model: TrainedModel) -> dict[str, Any]:
    return {"classes": list(model.classifier.classes), **{str(name): value for name, value in model.about.items()}}


def _summary(model: TrainedModel) -> list[str]:
    """How good it is on the test part, beside the validation part by which it was chosen, which flatters it."""
    about, classes = model.about, model.classifier.classes
    test, validation = about["test"], about["validation"]
    names = ("balanced_accuracy", "accuracy", "calibration_error", "rank_correlation")
    lines = [f"{'':44}{'test':>10}{'validation':>13}"]
    for name in names:
        note = " of estimated and true loss" if name == "rank_correlation" else ""
        lines.append(_row(f"{name.replace('_', ' ')}{note}", test[name], validation[name]))
    for name, *recalls in zip(classes, test["recall"], validation["recall"], strict=True):
        lines.append(_row(f"recall of {name}", *recalls))
    if "adversarial" in about:
        found = about["adversarial"]
        lines.append(f"test accuracy under {found['attack']} at eps {found['eps']:g}: {found['test']:.3f}")
    lines.append(f"epoch {about['epoch']} of {about['settings']['epochs']} was chosen")
    lines.append(f"target quantile of the estimated loss: {about['target_quantile']}")
    return lines


def _row(name: str, test: float | None, validation: float | None) -> str:
    shown = ("none" if value is None or value != value else f"{value:.3f}" for value in (test, validation))
    return f"{name:44}{next(shown):>10}{next(shown):>13}"


train = TaskSpec(
    "train",
    "Train a classifier and the estimator of its loss on labelled images.",
    "preimage train lesions/labels.csv --split-column split --group lesion_id --turned -o lesions.pt",
    TrainOptions,
    start,
    inputs="data",
    outputs=(
        Output(
            "output",
            "Model file to write, a .pt file.",
            (".pt",),
            "preimage.defend.train:write_trained",
            default="{stem}.pt",
        ),
    ),
    report=_report,
    summary_lines=_summary,
)
