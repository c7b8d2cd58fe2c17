"""What a classifier returns is stated where it is loaded, and kept by its file."""

from __future__ import annotations

from typing import get_args

import pytest
from classifiers.small import refused

from preimage.classifiers import Classifier, TrainedModel, load_classifier, load_model
from preimage.classifiers.fingerprint import model_fingerprint
from preimage.classifiers.model_file import Backbone, write_model
from preimage.classifiers.outputs import OutputKind


@pytest.mark.parametrize("output", get_args(OutputKind))
def test_the_output_is_stated_when_a_classifier_is_loaded(output):
    loaded = load_classifier("classifiers.small:own_classifier", output=output)
    assert loaded.output == output
    assert load_model("classifiers.small:own_classifier").classifier.output is None


@pytest.mark.parametrize("output", ["probabilities", "sigmoid", "labels", "label-probabilities"])
def test_a_model_file_keeps_what_its_classifier_returns(tmp_path, output):
    origin = Backbone("thin_resnet10")
    classifier = Classifier(origin.build(2), ["left", "right"], size=32, output=output)
    path = write_model(tmp_path / "m.pt", TrainedModel(classifier, origin=origin))
    again = load_classifier(path)
    assert again.output == output
    assert model_fingerprint(again) == model_fingerprint(classifier)
    assert load_classifier(path, output="logits").output == "logits"


def test_a_file_of_logits_and_a_fingerprint_are_as_they_were(tmp_path):
    origin = Backbone("thin_resnet10")
    model = origin.build(2)
    stated, unstated = (Classifier(model, 2, size=32, output=each) for each in ("logits", None))
    assert model_fingerprint(stated) == model_fingerprint(unstated)
    assert model_fingerprint(stated) != model_fingerprint(stated.with_output("labels"))
    path = write_model(tmp_path / "m.pt", TrainedModel(stated, origin=origin))
    assert load_classifier(path).output is None


def test_one_label_of_several_is_not_written_as_if_it_were_the_classifier(tmp_path):
    origin = Backbone("thin_resnet10")
    one = Classifier(origin.build(3), 3, size=32, output="labels").of_label(0)
    refused("classifier", write_model, tmp_path / "m.pt", TrainedModel(one, origin=origin))


def test_transformers_say_themselves_that_their_labels_are_independent(tmp_path):
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    config = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=8,
        id2label={0: "effusion", 1: "mass"}, label2id={"effusion": 0, "mass": 1},
        problem_type="multi_label_classification",
    )  # fmt: skip
    ViTForImageClassification(config).save_pretrained(tmp_path)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    assert load_classifier(f"hf:{tmp_path}").independent
