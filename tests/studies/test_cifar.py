"""CIFAR-10 as the studies of attacks see it."""

from __future__ import annotations

import numpy as np
import torch

from preimage.studies import cifar
from preimage.studies.scales import Study


def test_a_smoke_run_has_pictures_that_its_classifier_tells_right(tmp_path):
    study = Study("a", "smoke", None, tmp_path)
    predictor = cifar.first_classifier(study)
    found = cifar.told_right(study, predictor, 5)
    assert found.images.shape == (5, 3, 32, 32)
    assert torch.equal(predictor(found.images).argmax(1), found.labels)
    assert not torch.equal(predictor(found.images), cifar.second_classifier(study)(found.images))


def test_of_the_test_part_the_classes_come_in_turn_and_all_are_told_right(tmp_path):
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (80, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(80) % 10
    (tmp_path / "cifar10").mkdir()
    held = {"x_train": pictures[:20], "y_train": labels[:20], "x_test": pictures[20:], "y_test": labels[20:]}
    np.savez(tmp_path / cifar.FILE, **held)
    study = Study("a", "small", tmp_path, tmp_path / "out")
    predictor = cifar.untrained(0)
    found = cifar.told_right(study, predictor, 4)
    assert len(found.images) == 4
    assert torch.equal(predictor(found.images).argmax(1), found.labels)
    for image, label, number in zip(found.images, found.labels, found.numbers, strict=True):
        assert labels[20 + number] == label
        assert torch.equal(image, torch.from_numpy(pictures[20 + number]).movedim(-1, 0) / 255)
    assert cifar.told_right(study, predictor, 4).numbers == found.numbers
