"""CIFAR-10 as the studies of attacks see it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from studies.harness import classifiers
from studies.harness.rows import read_rows
from studies.harness.study import Run

CIFAR = classifiers.DATA["cifar10"][0]


def test_a_smoke_run_has_pictures_that_its_classifier_is_right_about(tmp_path):
    study = Run("a", "smoke", None, tmp_path)
    classifier, found = classifiers.subject(study, "cifar10", 5)
    assert found.images.shape == (5, 3, 32, 32)
    assert torch.equal(classifier(found.images).argmax(1), found.labels)
    second = classifiers.classifier(study, "cifar10-second").classifier
    assert not torch.equal(classifier(found.images), second(found.images))


def test_of_the_test_part_the_classes_come_in_turn_and_all_are_classified_correctly(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (80, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(80) % 10
    (tmp_path / "cifar10").mkdir()
    held = {"x_train": pictures[:20], "y_train": labels[:20], "x_test": pictures[20:], "y_test": labels[20:]}
    np.savez(tmp_path / CIFAR, **held)
    study = Run("a", "small", tmp_path, tmp_path / "out")
    classifier = classifiers.untrained(None, "cifar10").classifier
    monkeypatch.setattr(classifiers, "trained", lambda run, name: classifiers.untrained(None, name))
    found = classifiers.subject(study, "cifar10", 4)[1]
    assert len(found.images) == 4
    assert torch.equal(classifier(found.images).argmax(1), found.labels)
    for image, label, number in zip(found.images, found.labels, found.numbers, strict=True):
        assert labels[20 + number] == label
        assert torch.equal(image, torch.from_numpy(pictures[20 + number]).movedim(-1, 0) / 255)
    assert classifiers.subject(study, "cifar10", 4)[1].numbers == found.numbers


def test_pictures_that_were_learned_from_come_in_turn_from_the_training_part(tmp_path):
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (80, 32, 32, 3), dtype=np.uint8)
    (tmp_path / "cifar10").mkdir()
    held = {
        "x_train": pictures[:60],
        "y_train": np.arange(60) // 6,
        "x_test": pictures[60:],
        "y_test": np.arange(20) % 10,
    }
    np.savez(tmp_path / CIFAR, **held)
    found = classifiers.learned_from(Run("a", "small", tmp_path, tmp_path / "out"), "cifar10", 15)
    assert found.labels.tolist() == [*range(10), *range(5)]
    for image, label, number in zip(found.images, found.labels, found.numbers, strict=True):
        assert number // 6 == label
        assert torch.equal(image, torch.from_numpy(pictures[number]).movedim(-1, 0) / 255)


@pytest.mark.long
def test_a_missing_robust_classifier_is_trained_against_attacks_and_kept(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    (tmp_path / "cifar10").mkdir()
    pictures = random.integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)
    held = {
        "x_train": pictures[:40],
        "y_train": np.arange(40) % 10,
        "x_test": pictures[40:],
        "y_test": np.arange(20) % 10,
    }
    np.savez(tmp_path / CIFAR, **held)
    few = "--adversarial 8 --backbone thin_resnet10 --epochs 1 --batch 16 --device cpu"
    monkeypatch.setitem(classifiers.OPTIONS, "cifar10-robust", few)
    study = Run("a", "small", tmp_path, tmp_path / "out")
    found, again = (classifiers.trained(study, "cifar10-robust") for _ in range(2))
    assert found.about["adversarial"]["eps"] == 8
    x = torch.rand(1, 3, 32, 32)
    assert torch.equal(found.classifier(x), again.classifier(x))
    assert [path.name for path in (tmp_path / "out" / "models").iterdir()] == ["cifar10-robust.pt"]
    row = read_rows(tmp_path / "out" / "results" / "classifiers-small.csv")[0]
    assert (row["classifier"], row["backbone"], row["eps"]) == ("cifar10-robust", "thin_resnet10", 8)
