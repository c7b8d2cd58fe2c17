"""train as a task value: quick to import, started by options; its Run, result, report and model file."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from classifiers.small import Tiny, refused, tiny

from preimage.classifiers import Classifier, load_model
from preimage.classifiers.labelled import read_labelled
from preimage.classifiers.model_file import write_model
from preimage.classifiers.settings import Settings
from preimage.defend.adversarial import SETTINGS
from preimage.defend.train import TrainOptions, settings_of, train
from preimage.defend.training_run import TrainingRun, write_trained
from preimage.engine import checkpoint
from preimage.tasks import described

COLORS = ((200, 40, 40), (40, 200, 40), (40, 40, 200))
BRIEF = {"backbone": "thin_resnet10", "epochs": 2, "batch": 16, "rate": 3e-3, "device": "cpu"}
OWN = "classifiers.small:own_classifier"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 images of 32 x 32 in three colors, 9 of them to test."""
    random = np.random.default_rng(0)
    x = np.stack([np.array(COLORS[i % 3]) + random.normal(0, 25, (32, 32, 3)) for i in range(36)])
    x, y = x.clip(0, 255).astype(np.uint8), np.arange(36) % 3
    path = tmp_path_factory.mktemp("data") / "colors.npz"
    np.savez(path, x_train=x[9:], y_train=y[9:], x_test=x[:9], y_test=y[:9], class_names=["red", "green", "blue"])
    return path


@pytest.fixture(scope="module")
def run(data: Path) -> TrainingRun:
    """A training that is finished."""
    run = train(data, **BRIEF)
    run.run()
    return run


def test_importing_the_task_imports_no_torch():
    code = "import sys, preimage.defend.train as m; m.train.summary; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_option_is_described_once():
    own = described(TrainOptions)
    assert own.keys() == {field.name for field in fields(TrainOptions)}
    assert all(each.help.endswith(".") and "\n" not in each.help for each in own.values())
    assert train.example.startswith("preimage train ")


def test_options_that_are_not_specified_are_those_of_the_kind_of_training():
    assert settings_of(TrainOptions()) == Settings()
    assert settings_of(TrainOptions(adversarial=8)) == SETTINGS
    mixed = settings_of(TrainOptions(adversarial=8, batch=32, backbone="resnet18", turned=True, seed=3))
    assert (mixed.batch, mixed.backbone, mixed.upright, mixed.seed) == (32, "resnet18", False, 3)
    assert mixed.epochs == SETTINGS.epochs


def test_its_steps_count_all_batches_and_each_epoch_ends_once(data):
    run = train(data, **BRIEF)
    assert not run.finished
    steps = [next(run), *list(run)]
    batches = [step for step in steps if not step.completes_epoch]
    assert [step.index for step in batches] == list(range(1, batches[-1].total + 1))
    assert [after.index - before.index for before, after in pairwise(steps)].count(0) == 2
    assert [step.completes_epoch for step in steps].count(True) == 2
    assert steps[-1].completes_epoch
    assert all(step.status and "\n" not in step.status for step in steps)
    assert run.finished
    assert run.current is run
    assert run.size == (32, 32)


def test_its_report_is_json_with_the_numbers_of_every_epoch(run):
    result = run.result()
    assert train.report is not None
    report = json.loads(json.dumps(train.report(result), allow_nan=False))
    assert set(report["test"]) == {"balanced_accuracy", "accuracy", "recall", "calibration_error", "rank_correlation"}
    assert [row["epoch"] for row in report["history"]] == [1, 2]
    assert (report["classes"], report["size"], report["device"]) == (["red", "green", "blue"], [32, 32], "cpu")
    assert report["pictures"] == {"train": 21, "validation": 6, "test": 9}
    assert report["test"]["balanced_accuracy"] == result.about["test"]["balanced_accuracy"]
    result.about["test"]["rank_correlation"] = float("nan")
    assert train.report(result)["test"]["rank_correlation"] is None


def test_its_summary_has_every_score_and_the_recall_of_every_class(run):
    assert train.summary_lines is not None
    lines = train.summary_lines(run.result())
    about = run.result().about
    for name in ("balanced_accuracy", "accuracy", "calibration_error", "rank_correlation"):
        (line,) = [line for line in lines if line.startswith(f"{name.replace('_', ' ')} ")]
        assert f"{about['test'][name]:.3f}" in line
    assert sum(line.startswith("recall of ") for line in lines) == 3
    assert not any("\n" in line for line in lines)


def test_its_remarks_name_the_data_and_how_many_images_serve_what(run):
    (remark,) = run.remarks
    assert all(word in remark for word in ("colors.npz", "36", "32 x 32", "3 classes", "21", "6", "9"))


def test_the_model_file_is_read_again(run, tmp_path):
    write_trained(run.result(), tmp_path / "model.pt")
    model = load_model(tmp_path / "model.pt")
    assert model.classifier.classes == ("red", "green", "blue")
    assert model.about["history"] == run.result().about["history"]
    assert model.estimator is not None
    refused("exists", write_trained, run.result(), tmp_path / "model.pt")
    write_trained(run.result(), tmp_path / "model.pt", overwrite=True)


@pytest.mark.long
def test_a_checkpoint_of_any_moment_continues_after_the_last_complete_epoch(data, run, tmp_path):
    first = train(data, **BRIEF)
    for _ in range(4):  # two batches, the end of the first epoch, a batch of the second
        next(first)
    checkpoint.save(first, tmp_path / "training.checkpoint")  # pyright: ignore[reportArgumentType]
    second = train(data, **BRIEF)
    next(second)
    checkpoint.load(second, tmp_path / "training.checkpoint")  # pyright: ignore[reportArgumentType]
    assert [step.index for step in second] == [3, 4, 4]
    for name, value in run.result().classifier.state_dict().items():
        assert torch.equal(second.result().classifier.state_dict()[name], value), name
    other = train(data, **BRIEF | {"rate": 0.1})
    refused("checkpoint", checkpoint.load, other, tmp_path / "training.checkpoint")


def test_labeled_images_in_memory_are_data_too(data, run):
    again = train(read_labelled(data), **BRIEF)
    assert again.fingerprint == run.fingerprint
    assert again.remarks == run.remarks


def test_an_adversarial_training_reports_its_robust_accuracy(data):
    run = train(data, **BRIEF | {"adversarial": 4, "epochs": 1})
    assert run.fingerprint != train(data, **BRIEF | {"adversarial": 8, "epochs": 1}).fingerprint
    result = run.run()
    assert train.report is not None
    assert train.summary_lines is not None
    report = train.report(result)
    assert report["adversarial"]["eps"] == 4
    assert 0 <= report["history"][0]["robust"] <= 1
    assert any("eps 4" in line for line in train.summary_lines(result))


@pytest.mark.parametrize(
    "given", [OWN, "file", Classifier(Tiny(3), ["red", "green", "blue"])], ids=["function", "file", "object"]
)
def test_a_finished_classifier_gets_a_loss_estimator_and_stays_as_it_is(data, run, tmp_path, given):
    if given == "file":
        given = str(write_model(tmp_path / "first.pt", run.result()))
    own = given if isinstance(given, Classifier) else load_model(given).classifier
    frozen = train(data, classifier=given, freeze=True, epochs=1, batch=16, device="cpu")
    result = frozen.run()
    assert all(map(torch.equal, result.classifier.state_dict().values(), own.state_dict().values()))
    assert result.about["frozen"]
    other_names = own.classes != ("red", "green", "blue")
    assert len(frozen.remarks) == 1 + other_names
    assert result.about["classifier"] == (given if isinstance(given, str) else "Classifier")
    if isinstance(given, Classifier):
        refused("classifier", write_trained, result, tmp_path / "model.pt")  # nobody knows how to build it again
    else:
        write_trained(result, tmp_path / "model.pt")
        backbone = OWN if given == OWN else None
        again = load_model(tmp_path / "model.pt", backbone=backbone).classifier
        x = torch.rand(2, 3, 32, 32)
        assert torch.equal(again(x), own(x))


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"freeze": True}, "option"),
        ({"classifier": OWN}, "option"),
        ({"classifier": OWN, "freeze": True, "backbone": "resnet18"}, "option"),
        ({"classifier": OWN, "freeze": True, "adversarial": 8}, "option"),
        ({"classifier": "missing.pt", "freeze": True}, "not-found"),
        ({"classifier": tiny(2), "freeze": True}, "class"),
        ({"adversarial": 0}, "invalid-value"),
        ({"adversarial": 300}, "invalid-value"),
        ({"epochs": 0}, "invalid-value"),
        ({"batch": 1}, "invalid-value"),
        ({"rate": 0}, "invalid-value"),
        ({"rate": float("nan")}, "invalid-value"),
        ({"rate": float("inf")}, "invalid-value"),
        ({"size": 8}, "invalid-value"),
        ({"size": 20.5}, "size"),
        ({"seed": -1}, "invalid-value"),
        ({"seed": 1.5}, "invalid-value"),
        ({"group": "who"}, "option"),
        ({"label_column": "kind"}, "option"),
        ({"backbone": "resnet99"}, "not-found"),
        ({"backbone": "timm:resnet99"}, "not-found"),
    ],
    ids=str,
)  # fmt: skip
def test_options_that_cannot_be_are_one_line(data, options, code):
    refused(code, train, data, **{"device": "cpu"} | options)


def test_data_that_cannot_be_are_one_line(data, tmp_path, run):
    refused("option", train)
    refused("not-found", train, tmp_path / "nowhere")
    refused("option", train(data, **BRIEF).result)
