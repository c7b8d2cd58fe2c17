"""`preimage train DATA -o model.pt`: a classifier and the estimator of its loss, from labelled pictures; resumable."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from preimage.cli.train_options import TrainOptions, settings_of

if TYPE_CHECKING:
    from preimage.classifiers.labelled import Labelled
    from preimage.classifiers.model_file import TrainedModel
    from preimage.classifiers.settings import Settings
    from preimage.classifiers.train import Batch, Epoch, Training
    from preimage.cli.interrupt import Interrupt


def train(
    data: Annotated[
        Path,
        Parameter(
            name="DATA",
            help="A folder with one folder per class (below train/ and test/ or not); a CSV with a column filename, relative to "
            "it; or an npz with x_train, y_train, x_test, y_test, or x, y.",
        ),
    ],
    /,
    *,
    options: Annotated[TrainOptions, Parameter(name="*")],
) -> int:
    """Learn from the training part, choose by a part of it that is held out, and read the test part once, at the end."""
    from preimage.classifiers.model_file import write_model
    from preimage.cli.interrupt import Interrupt
    from preimage.engine import checkpoint

    settings = settings_of(options)
    _check_places(data, options)
    with _threads(options.threads), Interrupt(quiet=True) as interrupt:
        training, given = _training(data, settings, options)
        saved: Any = training  # a Run as far as a checkpoint asks
        if options.resume and options.checkpoint.exists():
            checkpoint.load(saved, options.checkpoint)
        if not _learn(training, options, interrupt):
            return interrupt.exit_code
        model = _with_origin(training.result(), given)
        report = _report(model, training, data, options)
        write_model(options.output, model, overwrite=options.may_replace)
        _write_report(report, options)
        options.checkpoint.unlink(missing_ok=True)
    _say(report, options)
    return 0


# ---------------------------------------------------------------------- what is known before the training


def _check_places(data: Path, options: TrainOptions) -> None:
    """Long before they are written."""
    from preimage.errors import InputError
    from preimage.images import check_place

    if options.output.suffix.lower() != ".pt":
        raise InputError(f"--output {options.output}: --classifier takes FILE.pt: give it such a name")
    named = {"DATA": data, "--output": options.output, "its checkpoint": options.checkpoint}
    named |= {} if options.report is None else {"--report": options.report}
    if options.classifier is not None:
        named["--classifier"] = Path(options.classifier.rpartition("@")[2])
    seen: dict[Path, str] = {}
    for what, path in named.items():
        other = seen.setdefault(path.resolve(), what)
        if other != what:
            raise InputError(f"{other} and {what} are both {path}: give two names")
    for path in (options.output, options.report):
        if path is not None:
            check_place(path, overwrite=options.may_replace)
    check_place(options.checkpoint, overwrite=True)


def _training(data: Path, settings: Settings, options: TrainOptions) -> tuple[Training, TrainedModel | None]:
    """The training, and the finished classifier that was given."""
    from preimage.classifiers.labelled import LABELS, read_labelled
    from preimage.classifiers.load import load_model
    from preimage.classifiers.train import Training
    from preimage.defend.adversarial import AdversarialTraining

    given = None if options.classifier is None else load_model(options.classifier)
    own = None if given is None else given.classifier.size
    read = read_labelled(
        data,
        size=options.size if options.size is not None else own,
        label_column=options.label_column or LABELS,
        split_column=options.split_column,
        group=options.group,
        seed=options.seed,
    )
    if options.adversarial is not None:
        training = AdversarialTraining(read, settings, eps=options.adversarial, device=options.device)
    else:
        training = Training(
            read, settings, classifier=None if given is None else given.classifier, device=options.device
        )
    _introduce(training, read, options)
    return training, given


def _introduce(training: Training, read: Labelled, options: TrainOptions) -> None:
    """What is learned from, before it takes its time."""
    import sys

    from preimage.cli.failures import closed_pipe_is_no_failure

    if options.quiet:
        return
    height, width = read.size
    parts = f"{len(training.learned)} to learn from, {len(training.validation)} to choose by, {len(read.part('test'))} to test"
    lines = [f"{read.name}: {len(read)} pictures of {width} x {height} in {len(read.classes)} classes: {parts}"]
    classes = training.data.classes
    if sorted(name.lower() for name in read.classes) != sorted(name.lower() for name in classes):
        pairs = ", ".join(f"{own} is {other}" for own, other in zip(read.classes, classes, strict=True))
        lines.append(f"the classifier has other names, so its classes are taken in their order: {pairs}")
    with closed_pipe_is_no_failure():
        for line in lines:
            print(line, file=sys.stderr if options.json else sys.stdout, flush=True)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(count or before)
        yield
    finally:
        torch.set_num_threads(before)


# ---------------------------------------------------------------------- the training


def _learn(training: Training, options: TrainOptions, interrupt: Interrupt) -> bool:
    """All epochs, each saved; whether they were done before a signal came."""
    import sys

    from preimage.classifiers.train import Epoch
    from preimage.engine import checkpoint

    saved: Any = training
    with _Shown(training, quiet=options.quiet) as shown:
        for step in training.steps():
            if isinstance(step, Epoch):
                checkpoint.save(saved, options.checkpoint)
                shown.epoch(step)
            else:
                shown.batch(step)
            if interrupt.number:
                break
        else:
            return True
    kept = f"{options.checkpoint} has epoch {training.index}: the same command with --resume goes on from there"
    way = kept if training.index else "nothing was kept, for no epoch was whole"
    print(f"preimage: ended before epoch {training.index + 1} of {training.epochs} was done; {way}", file=sys.stderr)
    return False


class _Shown:
    """What is seen meanwhile: a bar on a terminal, and a line an epoch."""

    def __init__(self, training: Training, *, quiet: bool) -> None:
        self.training, self.quiet = training, quiet
        self._bar: Any = None

    def __enter__(self) -> _Shown:
        import sys

        if not self.quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(24), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), refresh_per_second=5, transient=True)
            self._bar.start()
            self._line = self._bar.add_task("", total=None)
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def batch(self, step: Batch) -> None:
        if self._bar is not None:
            done = (step.epoch - 1) * step.total + step.index
            name = f"epoch {step.epoch} of {step.epochs}"
            self._bar.update(self._line, completed=done, total=step.epochs * step.total, description=name)

    def epoch(self, step: Epoch) -> None:
        import sys

        if self.quiet:
            return
        left = (step.total - step.index) * step.seconds / step.index / 60
        best = "the best so far" if step.best == step.index else f"best: epoch {step.best}"
        attacked = "" if step.robust is None else f", under attack {step.robust:.3f}"
        line = (
            f"epoch {step.index} of {step.total}, {left:.1f} minutes left, loss {step.loss:.3f}, validation: balanced accuracy "
            f"{step.validation.balanced_accuracy:.3f}{attacked}, rank correlation {step.validation.rank_correlation:.3f} ({best})"
        )
        if self._bar is None:
            print(line, file=sys.stderr, flush=True)
        else:
            self._bar.console.print(line, highlight=False, markup=False, soft_wrap=True)


# ---------------------------------------------------------------------- what is written and said


def _with_origin(model: TrainedModel, given: TrainedModel | None) -> TrainedModel:
    from dataclasses import replace

    return model if given is None else replace(model, origin=given.origin)


def _report(model: TrainedModel, training: Training, data: Path, options: TrainOptions) -> dict[str, Any]:
    import torch

    return {
        "task": "train",
        "input": str(data),
        "output": str(options.output),
        "classes": list(model.classifier.classes),
        "size": list(training.data.size),
        "classifier": options.classifier,
        "device": str(training.device),
        "threads": torch.get_num_threads(),
        **_plain(model.about),
    }


def _plain(value: Any) -> Any:
    """As JSON knows it: a correlation that there is not is null."""
    import math

    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write_report(report: dict[str, Any], options: TrainOptions) -> None:
    import json

    from preimage.images import write_bytes_atomically

    if options.report is not None:
        content = json.dumps(report, indent=2, allow_nan=False)
        write_bytes_atomically(options.report, f"{content}\n".encode(), overwrite=options.may_replace)


def _say(report: dict[str, Any], options: TrainOptions) -> None:
    import json
    import sys

    from preimage.cli.failures import closed_pipe_is_no_failure

    with closed_pipe_is_no_failure():
        if options.json:
            print(json.dumps(report, indent=2, allow_nan=False))
        if not options.quiet:
            _print_summary(report, options, sys.stderr if options.json else sys.stdout)


def _print_summary(report: dict[str, Any], options: TrainOptions, file: Any) -> None:
    """How good it is on the test part, beside the part by which it was chosen, which it flatters."""
    from rich.console import Console
    from rich.table import Table

    console = Console(file=file, highlight=False, markup=False, soft_wrap=True, emoji=False)
    console.print(f"{report['input']} -> {report['output']}")
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for heading in ("", "test", "validation"):
        table.add_column(heading, justify="left" if not heading else "right")
    test, validation = report["test"], report["validation"]
    for name in ("balanced_accuracy", "accuracy", "calibration_error", "rank_correlation"):
        note = " of estimated and true loss" if name == "rank_correlation" else ""
        table.add_row(f"  {name.replace('_', ' ')}{note}", _number(test[name]), _number(validation[name]))
    for name, *recalls in zip(report["classes"], test["recall"], validation["recall"], strict=True):
        table.add_row(f"  recall of {name}", *map(_number, recalls))
    console.print(table)
    if "adversarial" in report:
        found = report["adversarial"]
        console.print(f"  test accuracy under {found['attack']} at eps {found['eps']:g}: {found['test']:.3f}")
    epochs, minutes = report["settings"]["epochs"], report["seconds"] / 60
    console.print(f"  epoch {report['epoch']} of {epochs} was chosen, in {minutes:.1f} minutes ({report['device']})")
    console.print(f"  target quantile of the estimated loss: {report['target_quantile']}")
    if options.report is not None:
        console.print(f"  report: {options.report}")
    console.print(f"  use it so: preimage counterfactual PICTURE --classifier {options.output}")


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"
