"""CIFAR-10 as the studies of attacks see it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from preimage.studies import cifar
from preimage.studies.scales import Study


def test_a_smoke_run_has_pictures_that_its_classifier_tells_right(tmp_path):
    study = Study("a", "smoke", None, tmp_path)
    classifier = cifar.first_classifier(study)
    found = cifar.told_right(study, classifier, 5)
    assert found.images.shape == (5, 3, 32, 32)
    assert torch.equal(classifier(found.images).argmax(1), found.labels)
    assert not torch.equal(classifier(found.images), cifar.second_classifier(study)(found.images))


def test_of_the_test_part_the_classes_come_in_turn_and_all_are_told_right(tmp_path):
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (80, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(80) % 10
    (tmp_path / "cifar10").mkdir()
    held = {"x_train": pictures[:20], "y_train": labels[:20], "x_test": pictures[20:], "y_test": labels[20:]}
    np.savez(tmp_path / cifar.FILE, **held)
    study = Study("a", "small", tmp_path, tmp_path / "out")
    classifier = cifar.untrained(0)
    found = cifar.told_right(study, classifier, 4)
    assert len(found.images) == 4
    assert torch.equal(classifier(found.images).argmax(1), found.labels)
    for image, label, number in zip(found.images, found.labels, found.numbers, strict=True):
        assert labels[20 + number] == label
        assert torch.equal(image, torch.from_numpy(pictures[20 + number]).movedim(-1, 0) / 255)
    assert cifar.told_right(study, classifier, 4).numbers == found.numbers


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
    np.savez(tmp_path / cifar.FILE, **held)
    found = cifar.learned_from(Study("a", "small", tmp_path, tmp_path / "out"), 15)
    assert found.labels.tolist() == [*range(10), *range(5)]
    for image, label, number in zip(found.images, found.labels, found.numbers, strict=True):
        assert number // 6 == label
        assert torch.equal(image, torch.from_numpy(pictures[number]).movedim(-1, 0) / 255)


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
    np.savez(tmp_path / cifar.FILE, **held)
    monkeypatch.setattr(
        "preimage.studies.cifar.ROBUST", replace(cifar.ROBUST, backbone="thin_resnet10", epochs=1, batch=16)
    )
    study = Study("a", "small", tmp_path, tmp_path / "out")
    found, again = cifar.robust_classifier(study), cifar.robust_classifier(study)
    assert found.about["adversarial"]["eps"] == 8
    x = torch.rand(1, 3, 32, 32)
    assert torch.equal(found.classifier(x), again.classifier(x))
    assert [path.name for path in (tmp_path / "out" / "models").iterdir()] == ["cifar10-robust.pt"]
