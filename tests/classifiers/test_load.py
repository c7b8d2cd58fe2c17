"""load_classifier and model files: by one word, without running anybody's code; what fails is one clear line."""

from __future__ import annotations

import urllib.error
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from classifiers.small import Tiny, own_classifier, refused
from specimens import save_sealed

from preimage.classifiers import Classifier, LossEstimator, TrainedModel, load_classifier, load_model, read_model
from preimage.classifiers.blocks import block_layers
from preimage.classifiers.fingerprint import model_fingerprint
from preimage.classifiers.model_file import Backbone, write_model

X = torch.rand(1, 3, 40, 50)


def test_torchvision_with_its_classes_and_normalization():
    classifier = load_classifier("torchvision:resnet18@none")
    assert (len(classifier.classes), classifier.classes[1], classifier.size) == (1000, "goldfish", (224, 224))
    assert classifier.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert classifier(X).shape == (1, 1000)
    assert classifier.features(X, "layer1").shape == (1, 64, 56, 56)


def test_timm_with_its_classes_and_normalization():
    classifier = load_classifier("timm:test_vit@none")
    assert (len(classifier.classes), classifier.size) == (1000, (160, 160))
    assert classifier.classes[1].startswith("goldfish")
    assert classifier(X).shape == (1, 1000)
    assert classifier.features(X, "blocks.0").ndim == 3


@pytest.fixture
def folder(tmp_path):
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    labels = {0: "benign", 1: "malignant"}
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=8,
        id2label=labels, label2id={name: i for i, name in labels.items()},
    )  # fmt: skip
    ViTForImageClassification(config).save_pretrained(tmp_path / "vit")
    ViTImageProcessor(size={"height": 32, "width": 32}, image_mean=[0.5] * 3, image_std=[0.25] * 3).save_pretrained(
        tmp_path / "vit"
    )
    return tmp_path / "vit"


def test_transformers_of_a_folder(folder):
    classifier = load_classifier(f"hf:{folder}")
    assert (classifier.classes, classifier.size) == (("benign", "malignant"), (32, 32))
    assert classifier.std.flatten().tolist() == [0.25] * 3
    assert classifier(X).shape == (1, 2)
    layer = next(name for name in classifier.layers() if name.endswith("layer.0") or name.endswith("layers.0"))
    assert classifier.features(X, layer).shape == (1, 17, 16)


def test_weights_of_a_file(tmp_path):
    from torchvision import models

    model = models.resnet18(weights=None)
    for name, held in (("plain", model.state_dict()), ("wrapped", {"state_dict": model.state_dict(), "epoch": 3})):
        path = tmp_path / f"{name}.pth"
        torch.save(held, path)
        classifier = load_classifier(f"torchvision:resnet18@{path}")
        assert torch.equal(classifier.model.fc.weight, model.fc.weight)


def test_the_global_generator_is_left_alone(tmp_path):
    path = write_model(
        tmp_path / "m.pt", TrainedModel(Classifier(Backbone("resnet18").build(2), 2), None, {}, Backbone("resnet18"))
    )
    before = torch.get_rng_state()
    for read in (load_classifier, load_model, read_model):
        read(path)
    for spec in ("torchvision:resnet18@none", "timm:test_resnet@none"):
        load_classifier(spec)
    assert torch.equal(torch.get_rng_state(), before)


def test_classes_of_one_name_get_their_number():
    names = load_classifier("timm:test_resnet@none").classes
    assert [name for name in names if name.startswith("crane")] == ["crane", "crane (517)"]


def test_a_function_of_one_s_own():
    assert load_classifier("classifiers.small:own_classifier").classes == ("round", "square", "star")


# ---------------------------------------------------------------------- model files


def test_a_model_file_is_read_as_it_was_written(tmp_path):
    classifier = Classifier(
        Backbone("resnet18", small=True).build(4), list("abcd"), (0.4,) * 3, (0.2,) * 3, size=(40, 48)
    )
    estimator = LossEstimator({"layer1": 64, "layer4": 512})
    estimator.settle(torch.rand(50))
    path = write_model(
        tmp_path / "m.pt", TrainedModel(classifier, estimator, {"epochs": 3}, Backbone("resnet18", small=True))
    )
    read = read_model(path)
    assert (read.classifier.classes, read.classifier.size, read.about) == (classifier.classes, (40, 48), {"epochs": 3})
    assert torch.equal(read.classifier(X), classifier(X))
    assert read.estimator is not None
    assert not any(p.requires_grad for p in read.estimator.parameters())
    _, features = classifier.logits_and_features(X, estimator.layers)
    assert torch.equal(read.estimator(features), estimator(features))
    assert torch.equal(read.estimator.quantiles, estimator.quantiles)
    assert torch.equal(load_classifier(path)(X), classifier(X))


def test_small_pictures_keep_their_pixels():
    small, large = (Classifier(Backbone("resnet18", small=which).build(3), 3) for which in (True, False))
    x = torch.rand(1, 3, 32, 32)
    assert small.features(x, "layer1").shape[-1] == 32
    assert large.features(x, "layer1").shape[-1] == 8


def test_a_model_file_holds_no_code(tmp_path):
    model = TrainedModel(Classifier(Backbone("resnet18").build(2), 2), origin=Backbone("resnet18"))
    path = write_model(tmp_path / "m.pt", model)
    assert torch.load(path, weights_only=True)["classes"] == ["0", "1"]
    refused("exists", write_model, path, model)
    refused("classifier", write_model, tmp_path / "other.pt", TrainedModel(model.classifier))


@pytest.mark.parametrize(
    "spec",
    ["classifiers.small:own_classifier", "timm:test_resnet@none", "hf:vit@none", "torchvision:resnet18@w.pth"],
)
def test_a_foreign_classifier_is_written_with_its_weights(folder, tmp_path, monkeypatch, spec):
    from torchvision import models

    monkeypatch.chdir(tmp_path)
    torch.save(models.resnet18(weights=None).state_dict(), "w.pth")
    given = load_model(spec)
    assert (given.estimator, given.about) == (None, {})
    with torch.no_grad():
        for parameter in given.classifier.model.parameters():
            parameter.add_(0.01)
    estimator = LossEstimator({"a": 4})
    path = write_model(tmp_path / "m.pt", replace(given, estimator=estimator, about={"target_quantile": 0.2}))
    (tmp_path / "w.pth").unlink()
    monkeypatch.chdir(folder)
    backbone = spec if spec.startswith("classifiers.small") else None
    read = load_model(path, backbone=backbone)
    assert read.classifier.classes == given.classifier.classes
    assert torch.equal(read.classifier(X), given.classifier(X))
    assert read.estimator is not None
    assert torch.equal(read.estimator.head.weight, estimator.head.weight)
    assert (read.about, read.origin) == ({"target_quantile": 0.2}, given.origin)


OWN = "classifiers.small:own_classifier"


def test_a_foreign_classifier_that_has_changed_does_not_fit(tmp_path):
    path = write_model(tmp_path / "m.pt", load_model(OWN))
    refused("classifier", load_model, path, backbone=lambda: Classifier(Backbone("resnet18").build(3), 3))


def test_a_model_file_never_imports_or_calls_what_it_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trap.py").write_text("open('sprung', 'w').close()\ndef f(): open('sprung', 'w').close()\n")
    path = write_model(tmp_path / "m.pt", replace(load_model(OWN), origin="trap:f"))
    for call in (load_model, load_classifier, read_model):
        assert "--classifier trap:f@" in refused("classifier", call, path)
    assert not (tmp_path / "sprung").exists()
    assert torch.equal(load_classifier(path, backbone=own_classifier)(X), own_classifier()(X))
    assert torch.equal(load_classifier(path, backbone=OWN)(X), own_classifier()(X))


@pytest.mark.parametrize(
    "changes", [{"spec": "m.pt"}, {"spec": None}, {"spec": "timm:"}, {"spec": 3}, {"backbone": 3, "spec": None}]
)
def test_a_model_file_that_names_itself_or_nothing_is_refused(tmp_path, monkeypatch, changes):
    monkeypatch.chdir(tmp_path)
    path = write_model(tmp_path / "m.pt", load_model(OWN))
    save_sealed(torch.load(path, weights_only=True) | changes, path)
    refused("classifier", load_model, "m.pt")


def test_a_model_file_with_keys_missing_or_of_another_format_is_refused(tmp_path):
    path = write_model(tmp_path / "m.pt", load_model(OWN))
    held = torch.load(path, weights_only=True)
    assert held["format"] == 2
    for changes in ({"format": 3}, {"format": None}, {"format": "preimage model", "version": 1}):
        save_sealed(held | changes, path)
        assert "anew" in refused("format", read_model, path)
    del held["weights"]
    save_sealed(held, path)
    refused("unreadable", read_model, path)


def test_a_backbone_is_for_model_files_of_functions_alone(tmp_path):
    path = write_model(
        tmp_path / "m.pt",
        TrainedModel(Classifier(Backbone("thin_resnet10").build(3), 3), origin=Backbone("thin_resnet10")),
    )
    refused("option", load_model, path, backbone=OWN)
    refused("option", load_model, "timm:test_resnet@none", backbone=OWN)


def test_architectures_of_a_hub_are_never_fetched_for_a_model_file():
    for name in ("timm:hf-hub:somebody/model", "timm:local-dir:folder"):
        refused("not-found", Backbone(name).build, 3)


def test_eight_threads_load_what_each_loads_alone():
    specs = ["timm:test_resnet@none", "torchvision:mobilenet_v3_small@none"] * 4
    alone = [model_fingerprint(load_classifier(spec)) for spec in specs]
    before = torch.get_rng_state()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda spec: model_fingerprint(load_classifier(spec)), specs)) == alone
    assert torch.equal(torch.get_rng_state(), before)


# ---------------------------------------------------------------------- errors


def offline(monkeypatch):
    def fails(*args, **options):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", fails)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fails)


def test_weights_that_cannot_be_downloaded_are_one_line_with_the_way_out(monkeypatch):
    offline(monkeypatch)
    message = refused("unreadable", load_classifier, "torchvision:resnet18")
    assert "https://download.pytorch.org/models/resnet18" in message
    assert "torchvision:resnet18@FILE" in message


@pytest.mark.parametrize(
    ("spec", "code", "found"),
    [
        ("nothing", "not-found", "'nothing'"),
        ("torchvision:", "not-found", "'torchvision:'"),
        ("torchvision:resnet99", "not-found", "'resnet99'"),
        ("torchvision:fcn_resnet50@none", "classifier", "fcn_resnet50"),
        ("timm:resnet99", "not-found", "'resnet99'"),
        ("hf:/no/such/folder", "unreadable", "hf:FOLDER"),
        ("no_such.module:function", "not-found", "no_such"),
        ("classifiers.small:nothing", "not-found", "nothing"),
        ("", "not-found", "torchvision:resnet18"),
        (Path(), "not-found", "torchvision:resnet18"),
        (pytest, "type", "module"),
        (Tiny(), "type", "Classifier(model, classes, mean, std, size)"),
        (Classifier(Tiny(), 3), "type", "Classifier"),
        ("os.path:join", "classifier", "TypeError"),
        ("classifiers.small:fails", "classifier", "boom, in two lines"),
        ("classifiers.small:of_one_class", "classifier", "of_one_class"),
        ("classifiers.small:no_classifier", "classifier", "str"),
        ("missing.pt", "not-found", "missing.pt"),
        ("torchvision:resnet18@missing.pth", "not-found", "missing.pth"),
    ],
)  # fmt: skip
def test_what_does_not_exist_is_one_line_that_names_it(spec, code, found):
    assert found in refused(code, load_classifier, spec)


@pytest.mark.parametrize("empty", ["", " "])
@pytest.mark.parametrize(
    "name", ["torchvision:resnet18", "timm:test_vit", "hf:vit", "classifiers.small:own_classifier"]
)
def test_nothing_behind_the_at_sign_is_not_the_pretrained_weights(monkeypatch, name, empty):
    monkeypatch.setattr("preimage.classifiers.load.from_library", None)
    for call in (load_classifier, load_model):
        message = refused("option", call, f"{name}@{empty}")
        assert f"{name}@FILE" in message
        assert f"or {name} for" in message


def test_a_module_that_fails_when_it_is_imported_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "broken_classifier.py").write_text("raise RuntimeError('boom')\n")
    monkeypatch.chdir(tmp_path)
    assert "boom" in refused("classifier", load_classifier, "broken_classifier:f")


def test_files_that_hold_something_else(tmp_path):
    noise, other = (tmp_path / name for name in ("noise.pt", "other.pt"))
    noise.write_bytes(b"not a model")
    torch.save(Tiny().state_dict(), other)
    for path in (noise, other):
        refused("unreadable", load_classifier, path)
    for path, code in ((noise, "unreadable"), (other, "classifier")):
        refused(code, load_classifier, f"torchvision:resnet18@{path}")


@pytest.mark.parametrize("name", ["resnet18", "vgg11_bn"])
def test_a_backbone_for_small_pictures_keeps_places_and_is_read_again(tmp_path, name):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Backbone(name, small=True).build(3).eval()
    assert model(torch.rand(2, 3, 28, 28)).shape == (2, 3)
    classifier = Classifier(model, 3)
    last = block_layers(classifier, torch.rand(1, 3, 28, 28))[-1]
    assert classifier.features(torch.rand(1, 3, 28, 28), last).shape[-1] > 1
    path = write_model(tmp_path / "m.pt", TrainedModel(classifier, None, {}, Backbone(name, small=True)))
    x = torch.rand(2, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    assert torch.equal(load_model(path).classifier(x), classifier(x))
