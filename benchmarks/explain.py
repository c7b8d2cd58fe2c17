"""Explanations: seconds of `recover` and `counterfactual` at 160 x 120, beside the published setting, and of a training epoch.

python -m benchmarks.explain                 # lesions of PREIMAGE_DATA; out/models/lesions.pt if it is there
python -m benchmarks.explain --epoch         # and one epoch of training, projected to a whole training
python -m benchmarks.explain --imagenet      # instead: by default at 224 px, of EfficientNet-Lite0 (extra imagenet)

The fast recipe runs to its end, RUNS lesions; of the published setting STEPS steps are timed and its 5000 projected. Without
a trained classifier an untrained one is asked, whose counterfactual takes all steps. Rows are appended to
docs/results/explain_seconds.csv.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from preimage.classifiers import Classifier, LossEstimator, load_model
from preimage.classifiers.model_file import Backbone, TrainedModel
from preimage.classifiers.settings import Settings
from preimage.classifiers.train import Batch, Training
from preimage.explain.counterfactual import counterfactual
from preimage.explain.invert import invert
from preimage.explain.maximize import maximize
from preimage.explain.recipes import PAPER_RECOVERY
from preimage.explain.recover import recover
from preimage.explain.run import ExplanationRun
from studies.harness.classifiers import LESION_CLASSES as CLASSES
from studies.harness.classifiers import labelled
from studies.harness.lesions import Lesion, some_lesions
from studies.harness.lite import lite0, recognized
from studies.harness.rows import append_rows
from studies.harness.study import Run

MODEL = Path("out/models/lesions.pt")
TABLE = Path("docs/results/explain_seconds.csv")
RUNS, STEPS, WARM_UP = 3, 8, 2
MIDDLE = "_blocks.8"  # of EfficientNet-Lite0's 16
TASKS: dict[str, Callable[..., ExplanationRun]] = {"recover": recover, "counterfactual": counterfactual}


def classifier(lesions: list[Lesion]) -> TrainedModel:
    """The trained one, or a ResNet-18 that has learned nothing."""
    if MODEL.exists():
        return load_model(MODEL)
    torch.manual_seed(0)
    classifier = Classifier(Backbone("resnet18").build(len(CLASSES)), CLASSES, (0.7, 0.55, 0.55), (0.15,) * 3)
    estimator = LossEstimator({f"layer{k}": 64 * 2 ** (k - 1) for k in range(1, 5)}).eval().requires_grad_(False)
    with torch.no_grad():
        pictures = torch.cat([lesion.picture for lesion in lesions])
        estimator.settle(estimator(classifier.logits_and_features(pictures, estimator.layers)[1]))
    return TrainedModel(classifier, estimator)


def whole(task: str, model: TrainedModel, lesion: Lesion) -> dict[str, Any]:
    """A run of the fast recipe from the picture in memory to the result."""
    begin = time.perf_counter()
    found = TASKS[task](lesion.picture, classifier=model, recipe="fast").run()
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "steps": found.steps, "valid": found.numbers.get("valid", "")}


def published(task: str, model: TrainedModel, lesion: Lesion) -> float:
    """Seconds of all steps of the published setting, projected from the median of a few."""
    ends = []
    for step in TASKS[task](lesion.picture, classifier=model, recipe="paper"):
        ends.append(time.perf_counter())
        if step.index == STEPS + WARM_UP:
            break
    each = [after - before for before, after in zip(ends[WARM_UP - 1 :], ends[WARM_UP:], strict=False)]
    return statistics.median(each) * PAPER_RECOVERY.steps


def epoch(study: Run) -> tuple[float, float]:
    """(seconds of a step of a training's batch, seconds projected for a whole training), the reading of pictures left out."""
    training = Training(labelled(study, "lesions"), Settings(upright=False))
    ends, total = [], 1
    for step in training.steps():
        ends.append(time.perf_counter())
        assert isinstance(step, Batch)
        total = step.total
        if step.index == STEPS + WARM_UP:
            break
    a_step = statistics.median(after - before for before, after in pairwise(ends[1:]))
    return a_step, a_step * total * training.settings.epochs


def at_imagenet(study: Run) -> list[dict[str, Any]]:
    """Each explanation of an ImageNet classifier once, nothing stated but the classifier, of inversion the middle layer."""
    model, (name, picture) = lite0(), next(iter(recognized(study, 1).items()))
    asked: dict[str, Callable[[], Any]] = {
        "counterfactual": lambda: counterfactual(picture, classifier=model, uncertainty="none").run(),
        "maximize": lambda: maximize(classifier=model, target="zebra").run(),
        "invert": lambda: invert(picture, classifier=model, layers=MIDDLE).run(),
    }
    rows = []
    for task, run in asked.items():
        begin = time.perf_counter()
        found = run()
        row = {"task": f"{task} at 224 px", "picture": name if task != "maximize" else "zebra"}
        row |= {"seconds": time.perf_counter() - begin, "steps": found.steps}
        rows.append(row | {"threads": torch.get_num_threads(), "trained": True})
        print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    return rows


def main() -> None:
    study = Run("explain", "small")
    if "--imagenet" in sys.argv:
        append_rows(TABLE, at_imagenet(study))
        return
    lesions = some_lesions(study, RUNS)
    model = classifier(lesions)
    console = Console()
    table = Table(
        "task", "lesion", "seconds", "steps", "valid", "published, s", "published / fast", title="160 x 120 pixels"
    )
    rows = []
    for task in TASKS:
        slow = published(task, model, lesions[0])
        for lesion in lesions:
            row = {"task": task, "picture": lesion.name, **whole(task, model, lesion), "published_seconds": slow}
            row |= {"ratio": slow / row["seconds"], "threads": torch.get_num_threads(), "trained": MODEL.exists()}
            rows.append(row)
            told = (f"{row['seconds']:.1f}", str(row["steps"]), str(row["valid"]), f"{slow:.0f}", f"{row['ratio']:.0f}")
            table.add_row(task, lesion.name, *told)
    append_rows(TABLE, rows)
    console.print(table)
    if "--epoch" in sys.argv:
        a_step, all_steps = epoch(study)
        console.print(f"training: {a_step:.2f} s a step, {all_steps / 60:.1f} minutes projected for all epochs")


if __name__ == "__main__":
    main()
