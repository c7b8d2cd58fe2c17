"""Settings of a training, and scores of predictions."""

from __future__ import annotations

import pytest
import torch
from classifiers.small import Tiny, refused

from preimage.classifiers import Classifier
from preimage.classifiers.blocks import block_layers
from preimage.classifiers.scores import Predictions, score, target_quantile
from preimage.classifiers.settings import Settings


def test_a_loss_estimator_takes_the_last_layer_of_each_resolution():
    from preimage.classifiers import load_classifier

    x = torch.rand(1, 3, 64, 64)
    assert block_layers(Classifier(Tiny(), 3), x) == ["block1", "block2"]
    assert block_layers(load_classifier("torchvision:resnet18@none"), x) == ["layer1", "layer2", "layer3", "layer4"]
    mobile = ["features.1", "features.3", "features.8", "features"]
    assert block_layers(load_classifier("torchvision:mobilenet_v3_small@none"), x) == mobile
    every_third = [f"encoder.layers.encoder_layer_{k}" for k in (2, 5, 8, 11)]
    assert block_layers(load_classifier("torchvision:vit_b_32@none"), x) == every_third
    assert all(name.startswith("blocks.") for name in block_layers(load_classifier("timm:test_vit@none"), x))


def test_scores_of_known_predictions():
    labels = torch.tensor([0, 0, 0, 1])
    logits = torch.tensor([[9.0, 0], [9, 0], [0, 9], [0, 9]])
    scores = score(Predictions(labels, logits, torch.tensor([0.0, 0.1, 5.0, 0.2])))
    assert (scores.balanced_accuracy, scores.accuracy) == (pytest.approx(5 / 6), 0.75)
    assert scores.recall == (pytest.approx(2 / 3), 1.0)
    assert scores.calibration_error == pytest.approx(0.25, abs=0.01)


def test_the_target_quantile_is_the_widest_that_is_reliable():
    labels = torch.zeros(100, dtype=torch.long)
    estimates = torch.arange(100.0)
    right = torch.tensor([[1.0, 0]]).expand(100, 2).clone()
    assert target_quantile(Predictions(labels, right, estimates)) == 0.3
    right[8:] = torch.tensor([0.0, 1])
    assert target_quantile(Predictions(labels, right, estimates)) == 0.05


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 0}, {"epochs": 2.5}, {"batch": 1}, {"mix": 1.5}, {"mix": float("nan")}, {"crop": 0.0}, {"rate": 0.0},
        {"rate": float("inf")}, {"rate": float("nan")},
    ],
    ids=str,
)  # fmt: skip
def test_settings_out_of_range_are_one_line_that_names_them(changes):
    assert next(iter(changes)) in refused("invalid-value", Settings, **changes)
