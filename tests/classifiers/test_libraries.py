"""Networks of libraries are the libraries' own, also with weights of a file, and when a model file makes them again."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch
from classifiers.small import refused
from torch import nn

from preimage.classifiers import LossEstimator, load_classifier, load_model
from preimage.classifiers.model_file import write_model

X = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
TRANSFORMING = ["googlenet", "inception_v3"]


def published(name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """The network as torchvision makes it with its own weights, here random ones, and these as they are fetched."""
    from torchvision import models

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = models.get_model(name, weights=None, init_weights=False, transform_input=True).eval()
        for part in made.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.momentum = None
                part.train()
        made(X)  # so that its answers depend on the image
        held = made.state_dict()
    weights = models.get_model_weights(name).DEFAULT  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setattr(type(weights), "get_state_dict", lambda *_, **__: dict(held))
    return models.get_model(name, weights=weights).eval(), held


def of_file(name: str, held: dict[str, torch.Tensor], tmp_path) -> str:
    torch.save(held, tmp_path / "w.pth")
    return f"torchvision:{name}@{tmp_path / 'w.pth'}"


@pytest.mark.parametrize("name", TRANSFORMING)
def test_weights_of_a_file_are_in_the_network_that_torchvision_makes_for_its_own(tmp_path, monkeypatch, name):
    official, fetched = published(name, monkeypatch)
    expected = official(X)
    for held in (fetched, official.state_dict()):  # with the heads for training, and as they are left
        for spelled in (name, name.upper()):
            found = load_classifier(of_file(spelled, held, tmp_path)).model
            assert torch.equal(found(X), expected)
    found.transform_input = False  # pyright: ignore[reportArgumentType]
    assert not torch.allclose(found(X), expected, rtol=1e-2)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("googlenet", "its own weights"),
        ("googlenet", "the file that is fetched"),
        ("googlenet", "the file of one tuned"),
        ("googlenet", "none"),
        ("inception_v3", "its own weights"),
        ("inception_v3", "none"),
    ],
)
def test_a_model_file_on_a_network_with_a_transformed_input_is_read_as_it_was(tmp_path, monkeypatch, name, kind):
    official, fetched = published(name, monkeypatch)
    spec = f"torchvision:{name}"
    if kind == "none":
        spec += "@none"
    elif kind != "its own weights":
        spec = of_file(name, fetched if "fetched" in kind else official.state_dict(), tmp_path)
    given = load_model(spec)
    path = write_model(tmp_path / "m.pt", replace(given, estimator=LossEstimator({"fc": 4})))
    read = load_model(path)
    assert torch.equal(read.classifier.model(X), given.classifier.model(X))
    assert read.classifier.model.transform_input is True
    assert read.estimator is not None


@pytest.mark.parametrize("name", TRANSFORMING)
def test_heads_for_training_alone_may_be_missing_and_the_classes_be_others(tmp_path, monkeypatch, name):
    official: Any = published(name, monkeypatch)[0]
    official.AuxLogits, official.aux_logits = None, False
    official.fc = nn.Linear(official.fc.in_features, 4)
    held = {f"module.{key}": value for key, value in official.state_dict().items()}
    found = load_model(of_file(name, held, tmp_path), classes="a,b,c,d")
    assert torch.equal(found.classifier.model(X), official(X))
    path = write_model(tmp_path / "m.pt", found)
    assert torch.equal(load_classifier(path).model(X), official(X))


@pytest.mark.parametrize("name", TRANSFORMING)
def test_untrained_networks_come_without_a_warning_of_torchvision(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_classifier(f"torchvision:{name}@none", classes=3).model(X).shape == (2, 3)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("resnet18.bad", "no weights 'bad' of resnet18: did you mean resnet18.a"),
        ("resnet18.a1_in22k@none", "did you mean resnet18.a1_in1k"),
        ("test_vit.@none", "no weights '' of test_vit"),
        ("test_vit.in1k.more@w.pth", "no weights 'in1k.more' of test_vit: did you mean test_vit.r160_in1k"),
    ],
)
def test_a_tag_that_timm_does_not_know_is_one_line_with_those_near_it(name, found):
    assert found in refused("not-found", load_classifier, f"timm:{name}")
