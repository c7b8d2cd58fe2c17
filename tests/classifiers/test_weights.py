"""Weights of a file: what wraps them is found, their number of classes read, and nothing that they name is run."""

from __future__ import annotations

import argparse
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from classifiers.small import Tiny, own_classifier, refused
from torch import nn

from preimage.classifiers import load_classifier, load_model
from preimage.classifiers.model_file import TrainedModel, write_model
from preimage.classifiers.thin_resnet import BLOCKS, ThinResNet
from preimage.classifiers.weights import module_of

X = torch.rand(2, 3, 40, 48, generator=torch.Generator().manual_seed(0))
LESIONS = ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]


def network(classes: int = 7, name: str = "mobilenet_v3_small") -> nn.Module:
    from torchvision import models

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return models.get_model(name, weights=None, num_classes=classes).eval()


def state(prefix: str = "", classes: int = 7) -> dict[str, torch.Tensor]:
    return {prefix + name: value for name, value in network(classes).state_dict().items()}


def noise(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: torch.randn_like(v) if v.is_floating_point() else v for name, v in state.items()}


def saved(path: Path, held: object) -> str:
    torch.save(held, path)
    return f"torchvision:mobilenet_v3_small@{path}"


class Settings:
    """What a checkpoint may hold beside its weights: an object of a class of one's own."""

    def __init__(self) -> None:
        self.rate = 0.1


class AttributeDict(dict[str, object]):
    """As Lightning's AttributeDict."""


class Wrapped(nn.Module):
    """As a module of Lightning."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.loss = nn.CrossEntropyLoss(torch.rand(7))


def compiled(model: nn.Module) -> nn.Module:
    held = nn.Module()
    held.add_module("_orig_mod", model)
    return held


STATE = state()
MATRICES = {"optimizer": {"state": {0: {"exp_avg": torch.rand(4, 4)}}, "param_groups": [{"lr": 0.1}]}}
WRAPPED = {
    "plain": STATE,
    "module.": state("module."),
    "_orig_mod.": state("_orig_mod."),
    "module._orig_mod.": state("module._orig_mod."),
    "of compiled blocks": {name.replace("features.", "features._orig_mod.", 1): v for name, v in STATE.items()},
    "state_dict": {"state_dict": STATE, "epoch": 3},
    "model_state_dict": {"model_state_dict": STATE, "loss": torch.tensor(0.3), **MATRICES},
    "net": {"net": state("module."), "acc": 91.0},
    "model": {"model": STATE, "args": argparse.Namespace(rate=0.1), **MATRICES},
    "ema": {"model": noise(STATE), "ema": STATE, "updates": 4},
    "model_ema of torchvision": {"model": noise(STATE), "model_ema": {"n_averaged": torch.tensor(9), **state("module.")}},
    "state_dict_ema of timm": {"arch": "mobilenet", "state_dict": noise(STATE), "state_dict_ema": STATE},
    "weights of preimage": {"weights": STATE, "estimator": {"weights": {"head.weight": torch.rand(1, 512)}}},
    "Lightning, model.": {
        "state_dict": state("model.") | {"criterion.weight": torch.rand(7), "val_metric.total": torch.rand(())},
        "hyper_parameters": AttributeDict(rate=0.1),
        "pytorch-lightning_version": "2.4.0",
        "optimizer_states": [MATRICES["optimizer"]],
    },
    "Lightning, net.": {"state_dict": state("net."), "hyper_parameters": {"settings": Settings()}},
    "Lightning, backbone.": {"state_dict": state("backbone.") | {"loss_fn.weight": torch.rand(7)}},
    "Lightning, compiled and averaged": {"state_dict": noise(state("net._orig_mod.")) | state("ema_net._orig_mod.module.")},
    "a head beside the backbone": {
        "state_dict": {
            f"head.{name[-1]}" if (name := each.rsplit(".", 2))[0] == "classifier" and name[1] == "3" else f"backbone.{each}": v
            for each, v in STATE.items()
        }
    },
    "two state dicts": {
        "backbone": {name: v for name, v in STATE.items() if not name.startswith("classifier.3")},
        "head": {name.removeprefix("classifier.3."): v for name, v in STATE.items() if name.startswith("classifier.3")},
    },
    "dropout before the last layer": {name.replace("classifier.3.", "classifier.3.1."): v for name, v in STATE.items()},
    "without the counters": {name: v for name, v in STATE.items() if "num_batches" not in name},
    "half precision": {name: v.bfloat16() if v.is_floating_point() else v for name, v in STATE.items()},
}  # fmt: skip


AVERAGED = ("ema", "model_ema of torchvision", "state_dict_ema of timm", "Lightning, compiled and averaged")
OTHER_HEAD = ("a head beside the backbone", "two state dicts", "dropout before the last layer")


@pytest.mark.parametrize("how", WRAPPED)
def test_what_wraps_the_weights_is_taken_away(tmp_path, how):
    model = load_model(saved(tmp_path / "w.pth", WRAPPED[how]))
    found = model.classifier
    assert found.classes == tuple("0123456")
    kept = {"half precision": 1e-2}.get(how, 0)
    torch.testing.assert_close(found.model(X), network()(X), atol=kept, rtol=kept)
    about = " ".join(model.remarks)
    assert ("averaged" in about) is (how in AVERAGED)
    assert ("last layer" in about) is (how in OTHER_HEAD)
    assert "--classes" in about


@pytest.mark.parametrize(
    "wrap", [lambda m: m, Wrapped, compiled, nn.DataParallel], ids=["itself", "Lightning", "compiled", "parallel"]
)
@pytest.mark.parametrize("key", [None, "model"])
def test_a_whole_module_is_read_without_its_code(tmp_path, wrap, key):
    module = wrap(network())
    spec = saved(tmp_path / "whole.pt", module if key is None else {key: module})
    torch.testing.assert_close(load_classifier(spec).model(X), network()(X))


@pytest.mark.parametrize(
    ("spec", "make"),
    [
        ("torchvision:resnet18", lambda: network(5, "resnet18")),
        ("torchvision:squeezenet1_1", lambda: network(5, "squeezenet1_1")),
        ("timm:test_vit", lambda: __import__("timm").create_model("test_vit", num_classes=5)),
        ("timm:test_efficientnet", lambda: __import__("timm").create_model("test_efficientnet", num_classes=5)),
    ],
)
def test_the_number_of_classes_is_that_of_the_head(tmp_path, spec, make):
    module = make().eval()
    torch.save({"state_dict": {f"model.{name}": v for name, v in module.state_dict().items()}}, tmp_path / "w.ckpt")
    found = load_model(f"{spec}@{tmp_path / 'w.ckpt'}", classes="a,b,c,d,e")
    assert found.classifier.classes == tuple("abcde")
    x = torch.rand(1, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(found.classifier.model(x), module(x))
    path = write_model(tmp_path / "m.pt", found)  # and a model file of it is read again
    assert torch.equal(load_classifier(path).model(x), found.classifier.model(x))


def test_transformers_with_another_number_of_classes(tmp_path):
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    small: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }

    def settings(count):
        return ViTConfig(**small, image_size=32, patch_size=8, id2label={i: str(i) for i in range(count)})

    ViTForImageClassification(settings(10)).save_pretrained(tmp_path / "vit")
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "vit")
    tuned = ViTForImageClassification(settings(4)).eval()
    torch.save({"state_dict": {f"vit.{name}": v for name, v in tuned.state_dict().items()}}, tmp_path / "w.ckpt")
    found = load_classifier(f"hf:{tmp_path / 'vit'}@{tmp_path / 'w.ckpt'}", classes=["n", "e", "s", "w"])
    x = torch.rand(1, 3, 32, 32)
    assert found.classes == ("n", "e", "s", "w")
    torch.testing.assert_close(found(x), tuned(found.prepared(x)).logits)


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt", ".bin", ".pth.tar"])
def test_whatever_the_file_is_called(tmp_path, suffix):
    from safetensors.torch import save_file

    path = tmp_path / f"w{suffix}"
    save = save_file if suffix == ".safetensors" else torch.save
    save({name: value.contiguous() for name, value in state("module.").items()}, path)
    assert torch.equal(load_classifier(f"torchvision:mobilenet_v3_small@{path}").model(X), network()(X))


def test_one_logit_is_that_of_the_second_of_two_classes(tmp_path):
    spec = saved(tmp_path / "w.pth", state(classes=1))
    found = load_model(spec, classes="benign,malignant")
    assert found.classifier.classes == ("benign", "malignant")
    logit = found.classifier.model(found.classifier.prepared(X))[:, 0]
    torch.testing.assert_close(found.classifier.probabilities(X)[:, 1], logit.sigmoid())
    path = write_model(tmp_path / "m.pt", found)
    assert torch.equal(load_classifier(path)(X), found.classifier(X))


@pytest.mark.parametrize(
    "names",
    [
        {"classes": LESIONS},
        {"class_names": tuple(LESIONS)},
        {"class_to_idx": {name: i for i, name in enumerate(LESIONS)}},
        {"idx_to_class": dict(enumerate(LESIONS))},
        {"meta": {"CLASSES": tuple(LESIONS), "epoch": 3}},
        {"hyper_parameters": {"id2label": {str(i): name for i, name in enumerate(LESIONS)}}},
    ],
    ids=lambda held: next(iter(held)),
)
def test_names_of_classes_that_the_file_holds_are_theirs(tmp_path, names):
    model = load_model(saved(tmp_path / "w.pth", {"state_dict": STATE, **names}))
    assert (model.classifier.classes, model.remarks) == (tuple(LESIONS), ())
    own = load_classifier(saved(tmp_path / "w.pth", {"state_dict": STATE, **names}), classes="a,b,c,d,e,f,g")
    assert own.classes == tuple("abcdefg")  # those that are given come first


@pytest.mark.parametrize("classes", ["a, b ,c", ["a", "b", "c"], ("a", "b", "c"), "names.txt"])
def test_classes_by_name_of_any_classifier(tmp_path, monkeypatch, classes):
    monkeypatch.chdir(tmp_path)
    Path("names.txt").write_text("a\nb\n\nc\n")
    spec = "classifiers.small:own_classifier"
    write_model(Path("m.pt"), TrainedModel(own_classifier(), origin=spec))
    for each in (spec, "torchvision:resnet18@none", f"{spec}@m.pt"):
        assert load_classifier(each, classes=classes).classes == ("a", "b", "c")
    assert load_classifier("torchvision:resnet18@none", classes="3").classes == ("0", "1", "2")


@pytest.mark.parametrize(
    ("classes", "code", "found"),
    [
        ("a,b", "class", "has 7 classes, not 2"),
        (8, "class", "has 7 classes, not 8"),
        ("a,b,c,d,e,f,a", "class", "0 and 6"),
        ("1", "class", "2 or more"),
        (10**9, "class", "at most"),
        (True, "class", "2 or more"),
        (2.5, "type", "2.5"),
        ("no.txt", "not-found", "no.txt"),
    ],
)
def test_classes_that_cannot_be_are_one_line(tmp_path, classes, code, found):
    assert found in refused(code, load_classifier, saved(tmp_path / "w.pth", STATE), classes=classes)


def test_weights_for_the_classifier_of_a_function(tmp_path):
    with torch.no_grad():
        tuned = Tiny()
        for value in tuned.parameters():
            value.mul_(1.1)
    spec = "classifiers.small:own_classifier"
    for prefix in ("", "module.", "net."):
        path = tmp_path / "w.pt"
        torch.save({"state_dict": {prefix + name: v for name, v in tuned.state_dict().items()}}, path)
        found = load_classifier(f"{spec}@{path}")
        assert torch.equal(found.model(X), tuned(X))
        assert found.classes == own_classifier().classes
    assert torch.equal(own_classifier().model(X), Tiny()(X))
    torch.save(Tiny(4).state_dict(), path)
    assert "head.weight is 4 x 12, and 3 x 12 is expected" in refused("classifier", load_classifier, f"{spec}@{path}")


# ---------------------------------------------------------------------- what does not fit


def without(state: dict[str, torch.Tensor], *names: str) -> dict[str, torch.Tensor]:
    return {name: value for name, value in state.items() if not name.startswith(names)}


TWO_LAYERS = {"classifier.3.0.weight": torch.rand(64, 1024), "classifier.3.0.bias": torch.rand(64)} | {
    "classifier.3.2.weight": torch.rand(7, 64), "classifier.3.2.bias": torch.rand(7)
}  # fmt: skip


@pytest.mark.parametrize(
    ("held", "found"),
    [
        (network(7, "resnet18").state_dict(), ["lacks features.0.0.weight and", "has conv1.weight and"]),
        ({"state_dict": without(state("model."), "model.features.0.0")}, ["lacks features.0.0.weight: name"]),
        (STATE | {"extra.weight": torch.rand(4, 4)}, ["it has extra.weight: name"]),
        (without(STATE, "classifier.3") | TWO_LAYERS, ["lacks classifier.3.weight and 1 more", "has classifier.3.0.weight"]),
        ({"state_dict": state("model.") | {"fc.weight": torch.rand(2, 7), "fc.bias": torch.rand(2)}}, ["has fc.weight"]),
        (
            without(STATE, "classifier.3") | {"head.weight": torch.rand(7, 99), "head.bias": torch.rand(7)},
            ["lacks classifier.3.weight and 1 more, it has head.weight and 1 more"],
        ),
        (STATE | {"features.0.0.weight": torch.rand(16, 1, 3, 3)}, ["features.0.0.weight is 16 x 1 x 3 x 3, and 16 x 3 x 3 x 3"]),
        ({"student": noise(STATE), "teacher": STATE}, ["two networks, student and teacher"]),
        ({"state_dict": noise(state("a.")) | state("b.")}, ["two networks, state_dict/a and state_dict/b"]),
        ({}, ["lacks features.0.0.weight and"]),
        ([1, 2], ["lacks features.0.0.weight and"]),
        ({"epoch": 3, "state_dict": {}}, ["lacks features.0.0.weight and"]),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line_with_the_first_names_and_the_way_out(tmp_path, held, found):
    message = refused("classifier", load_classifier, saved(tmp_path / "w.pth", held))
    assert all(words in message for words in found), message
    assert "w.pth" in message
    assert ("module.path:function@w.pth" in message) is ("two networks" not in message)


def stage(*names: str) -> nn.Sequential:
    """Layers with names that a ResNet has as well, in each of its shortcuts: 0.weight, 1.bias."""
    parts = {"convolution": nn.Conv2d(3, 8, 3), "norm": nn.BatchNorm2d(8), "line": nn.Linear(8, 3)}
    return nn.Sequential(*(parts[name] for name in names))


@pytest.mark.parametrize(
    ("names", "lacks"),
    [
        (("convolution", "norm", "line"), "lacks 0.weight and"),
        (("convolution", "convolution", "line"), "lacks 0.weight and"),
        (("convolution", "line"), "lacks 0.weight and"),
        (("line",), "lacks 0.weight and"),
    ],
)
@pytest.mark.parametrize("key", ["", "model."])
def test_parts_of_one_network_that_share_a_few_names_with_another_are_not_two_networks(tmp_path, names, lacks, key):
    thin = ThinResNet(BLOCKS["thin_resnet10"], 5)
    torch.save({f"{key}{name}": value for name, value in thin.state_dict().items()}, tmp_path / "w.pth")
    message = refused("classifier", module_of, lambda _: stage(*names), tmp_path / "w.pth", "mine:f", 3)
    assert "it lacks" in message, message
    assert "it has" in message, message


@pytest.mark.parametrize("names", [("convolution", "norm", "line"), ("convolution", "line"), ("line",)])
@pytest.mark.parametrize("classes", [3, 5])
def test_two_networks_of_few_layers_are_still_two(tmp_path, names, classes):
    def held() -> dict[str, torch.Tensor]:
        made = stage(*names)
        made[-1] = nn.Linear(8, classes)
        return made.state_dict()

    torch.save({"student": held(), "teacher": held()}, tmp_path / "w.pth")
    message = refused("classifier", module_of, lambda _: stage(*names), tmp_path / "w.pth", "mine:f", 3)
    assert "two networks, student and teacher" in message


# ---------------------------------------------------------------------- safety


class Trap:
    """Whose reading would make a folder."""

    def __init__(self, call: object = os.mkdir) -> None:
        self.call = call

    def __reduce__(self):
        return self.call, ("sprung",)


@pytest.mark.parametrize("call", [os.mkdir, os.system, Path.touch, eval, exec, __import__])
def test_nothing_that_a_file_names_is_imported_or_called(tmp_path, monkeypatch, call):
    monkeypatch.chdir(tmp_path)
    allowed = set(torch.serialization.get_safe_globals())
    spec = saved(tmp_path / "w.pth", {"state_dict": STATE, "trap": Trap(call)})
    if call in (os.mkdir, os.system, Path.touch):  # of a module that PyTorch blocks altogether, or by two calls
        refused("unreadable", load_classifier, spec)
    else:
        assert torch.equal(load_classifier(spec).model(X), network()(X))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["w.pth"]
    assert set(torch.serialization.get_safe_globals()) == allowed


def test_a_file_that_claims_more_than_it_holds_is_refused(tmp_path):
    huge = torch.ones(1).expand(2**40, 1024)
    held = STATE | {"classifier.3.weight": huge, "classifier.3.bias": torch.ones(1).expand(2**40)}
    assert "lacks classifier.3.weight" in refused("classifier", load_classifier, saved(tmp_path / "w.pth", held))


def test_dictionaries_in_dictionaries_without_end_are_not_walked(tmp_path):
    loop: dict[str, object] = {}
    for name in "abcdef":
        loop[name] = loop
    many: dict[str, object] = {"weight": torch.rand(1)}
    for _ in range(40):
        many = dict.fromkeys("abcdef", many)
    for held in (loop, many):
        refused("classifier", load_classifier, saved(tmp_path / "w.pth", held))
        found = load_classifier(saved(tmp_path / "w.pth", {"state_dict": STATE, "more": held}))
        assert torch.equal(found.model(X), network()(X))


def test_files_of_pytorch_that_are_no_zip_and_what_is_no_file(tmp_path):
    path = tmp_path / "old.pth"
    torch.save(OrderedDict(state("module.")), path, _use_new_zipfile_serialization=False)
    found = module_of(lambda count: network(count or 1000), path, "it", 1000)
    assert (found.count, found.remarks) == (7, ())
    path.write_bytes(path.read_bytes()[:200])
    assert "state_dict()" in refused("unreadable", module_of, lambda _: network(), path, "it", 7)
    refused("not-found", module_of, lambda _: network(), tmp_path / "none.pth", "it", 7)
    refused("unreadable", module_of, lambda _: network(), tmp_path, "it", 7)
