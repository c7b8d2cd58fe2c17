"""The thin ResNets: half the channels, a quarter of the work, and files that are read again."""

from __future__ import annotations

import pytest
import torch
from classifiers.small import refused

from preimage.classifiers import Classifier, TrainedModel, load_classifier
from preimage.classifiers.blocks import block_layers
from preimage.classifiers.model_file import Backbone, write_model


@pytest.mark.parametrize(("name", "convolutions"), [("thin_resnet10", 12), ("thin_resnet18", 20)])
def test_they_have_the_layers_of_a_resnet(name, convolutions):
    model = Backbone(name).build(7)
    assert sum(isinstance(part, torch.nn.Conv2d) for part in model.modules()) == convolutions  # three in shortcuts
    classifier = Classifier(model, 7)
    x = torch.rand(2, 3, 32, 40)
    assert classifier(x).shape == (2, 7)
    assert block_layers(classifier, x) == ["layer1", "layer2", "layer3", "layer4"]
    assert classifier.shapes(x)["layer1"] == (2, 32, 32, 40)
    assert classifier.shapes(x)["layer4"] == (2, 256, 4, 5)


def test_they_have_a_quarter_of_the_weights():
    own, usual = (
        sum(p.numel() for p in Backbone(name).build(10).parameters()) for name in ("thin_resnet18", "resnet18")
    )
    assert own / usual == pytest.approx(0.25, abs=0.01)


def test_a_file_is_read_again(tmp_path):
    classifier = Classifier(Backbone("thin_resnet10").build(3), 3)
    path = write_model(tmp_path / "thin.pt", TrainedModel(classifier, origin=Backbone("thin_resnet10", small=True)))
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(load_classifier(str(path))(x), classifier(x))


def test_an_unknown_name_is_one_line():
    assert "thin_resnet50" in refused("not-found", Backbone("thin_resnet50").build, 3)
