"""Every explaining task with classifiers of torchvision, timm and transformers, untrained."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from explain.small import BRIEF, picture

from preimage.classifiers import TrainedModel
from preimage.explain.counterfactual import counterfactual
from preimage.explain.inputs import as_model
from preimage.explain.invert import invert
from preimage.explain.maximize import maximize
from preimage.explain.recover import recover
from preimage.explain.run import blocks_of

ONCE = replace(BRIEF, steps=2)
SETTINGS = {"recipe": ONCE, "device": "cpu"}


def transformer(folder) -> TrainedModel:
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    config = ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=8,
        id2label={0: "benign", 1: "malignant"}, label2id={"benign": 0, "malignant": 1},
    )  # fmt: skip
    ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return as_model(f"hf:{folder}")


@pytest.fixture(scope="module", params=["torchvision:squeezenet1_1@none", "timm:test_resnet@none", "hf"])
def model(request, tmp_path_factory) -> TrainedModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return transformer(tmp_path_factory.mktemp("vit")) if request.param == "hf" else as_model(request.param)


@pytest.mark.long
def test_a_counterfactual(model):
    one = counterfactual(picture(48, 40), classifier=model, **SETTINGS).run()
    assert one.image.shape == (1, 3, 48, 40)
    assert one.target == int(one.probabilities["given"].argsort(descending=True)[1])


def test_a_recovery(model):
    one = recover(picture(48, 40), classifier=model, **SETTINGS).run()
    assert one.numbers["uncertainty"] == "entropy"
    # A classifier that crops is explained at its input.
    size = model.classifier.size if model.classifier.resizing.mode == "crop" else (48, 40)
    assert one.image.shape == (1, 3, *size)


def test_an_inversion_at_the_deepest_block(model):
    layers = blocks_of(model.classifier, picture()[None])
    assert len(layers) == len(set(layers)) > 1
    one = invert(picture(), classifier=model, layers=layers[-2], **SETTINGS).run()
    assert one.numbers["feature_error"] > 0


def test_a_class_and_a_channel(model):
    layer = blocks_of(model.classifier, picture()[None])[0]
    for asked in ({"target": 1}, {"layer": layer, "channel": 3}):
        one = maximize(classifier=model, size=(32, 32), **asked, **SETTINGS).run()
        assert one.image.shape == (1, 3, 32, 32)


def test_a_channel_of_tokens_is_one_of_their_entries(tmp_path):
    model = transformer(tmp_path)
    shapes = model.classifier.shapes(picture()[None])
    layer = next(name for name, shape in shapes.items() if shape == (1, 17, 16))
    one = maximize(classifier=model, layer=layer, channel=15, **SETTINGS).run()
    tokens = model.classifier.features(one.image.clamp(0, 1), layer)
    assert one.numbers["excitation"] == pytest.approx(float(tokens[..., 15].mean()), abs=1e-4)
