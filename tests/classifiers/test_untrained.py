"""A warning where a network looks untrained, and none where it was trained."""

from __future__ import annotations

import pytest
import torch
from classifiers.small import Tiny, tiny
from defend.small import pictures, trained
from torch import nn
from unchanged.calls import model as gratings
from unchanged.pictures import picture

from preimage.classifiers import Classifier, load_classifier
from preimage.classifiers.untrained import looks_untrained
from preimage.defend.inspect import inspect
from preimage.defend.saliency import saliency
from preimage.explain.invert import invert
from preimage.explain.maximize import maximize
from preimage.explain.recover import recover

PICTURE = torch.from_numpy(picture(48, 3))
X = PICTURE if PICTURE.ndim == 4 else PICTURE[None]


@pytest.mark.parametrize(
    "spec",
    [
        *(
            f"torchvision:{name}@none"
            for name in ("resnet18", "alexnet", "vgg11", "squeezenet1_1", "mobilenet_v3_small")
        ),
        *(f"timm:{name}@none" for name in ("test_resnet", "test_vit", "test_convnext", "test_efficientnet")),
    ],
)
def test_untrained_networks_of_libraries_look_untrained(spec):
    x = torch.nn.functional.interpolate(X, size=(96, 96), mode="bilinear")
    assert "looks untrained" in looks_untrained(load_classifier(spec), x)


@pytest.mark.parametrize(
    ("make", "images"),
    [
        (trained, pictures(6)[0]),
        (lambda: gratings(3).classifier, X),
        (lambda: gratings(3).classifier, torch.rand(1, 3, 40, 40)),
        (lambda: trained().with_output("labels"), pictures(6)[0]),
    ],
)
def test_trained_networks_do_not(make, images):
    for image in images.split(1):
        assert looks_untrained(make(), image) == ""


def test_one_changed_normalization_is_a_training():
    classifier = load_classifier("torchvision:resnet18@none")
    with torch.no_grad():
        classifier.model.get_submodule("layer3.0.bn1").running_mean += 0.1  # pyright: ignore[reportArgumentType]
        for parameter in classifier.model.get_submodule("fc").parameters():
            parameter.mul_(20)
    assert looks_untrained(classifier, X) == ""


@pytest.mark.parametrize("output", ["logits", "labels"])
def test_a_network_without_normalizations_is_known_by_its_answers(output):
    assert "noise" in looks_untrained(tiny().with_output(output), X)
    certain = Tiny()
    with torch.no_grad():
        certain.head.weight.mul_(100)
    assert looks_untrained(Classifier(certain, 3, output=output), X) == ""


def of_colors(steep: float = 60.0) -> Classifier:
    """Which of red, green and blue exceeds the other two."""
    contrast, head = nn.Conv2d(3, 3, 1), nn.Linear(3, 3)
    with torch.no_grad():
        contrast.weight[:] = (1.5 * torch.eye(3) - 0.5)[..., None, None]
        contrast.bias = nn.Parameter(torch.full((3,), -0.5))
        head.weight[:] = steep * torch.eye(3)
        head.bias[:] = torch.tensor([0.01, 0.0, -0.01])
    model = nn.Sequential(contrast, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    return Classifier(model, ["red", "green", "blue"], (0.5,) * 3, (0.25,) * 3)


GRAY = X.mean(1, keepdim=True).expand_as(X)
SHADES = {"gray": GRAY, "dark": 0.2 * GRAY, "bright": 1 - 0.2 * GRAY, "black": 0 * GRAY, "white": 0 * GRAY + 1}


@pytest.mark.parametrize("shade", SHADES)
def test_one_that_tells_colors_apart_is_not_suspected_for_an_image_without_any(shade):
    for classifier in (of_colors(), of_colors().with_output("labels")):
        assert looks_untrained(classifier, SHADES[shade]) == ""


@pytest.mark.parametrize("shade", SHADES)
def test_an_untrained_network_is_noticed_by_gray_images_as_well(shade):
    for classifier in (tiny(), tiny(5), of_colors(0.01)):
        assert "noise" in looks_untrained(classifier, SHADES[shade])


def test_one_that_fails_for_other_images_is_not_suspected():
    class Fails(nn.Module):
        def forward(self, x):
            if float(x.mean()) != 0.25:
                raise RuntimeError("no")
            return x.mean((2, 3))

    classifier = Classifier(Fails(), 3, (0.0,) * 3, (1.0,) * 3, output="logits")
    assert looks_untrained(classifier, torch.full((1, 3, 16, 16), 0.25)) == ""


BRIEF = {"device": "cpu", "steps": 2}


@pytest.mark.parametrize(
    "start",
    [
        lambda classifier: maximize(classifier=classifier, target=0, size=(32, 32), **BRIEF),
        lambda classifier: invert(X, classifier=classifier, layers="block1", **BRIEF),
        lambda classifier: invert(X, classifier=classifier, layers="block1,block2", **BRIEF),
        lambda classifier: recover(X, classifier=classifier, **BRIEF),
        lambda classifier: saliency(X, classifier, device="cpu"),
        lambda classifier: inspect(X, classifier=classifier, **BRIEF),
    ],
)
def test_every_task_says_it_once(start):
    assert sum("looks untrained" in remark for remark in start(tiny()).remarks) == 1
    certain = Tiny()
    with torch.no_grad():
        certain.head.weight.mul_(100)
    sure = Classifier(certain, 3, (0.5,) * 3, (0.25,) * 3)
    assert not any("looks untrained" in remark for remark in start(sure).remarks)


@pytest.mark.parametrize(
    ("name", "index"),
    [("tench", 0), ("Tinca tinca", 0), ("TENCH, tinca tinca", 0), ("great white shark", 2), (1, 1), ("2", 2)],
)
def test_a_class_of_several_names_is_known_by_any_of_them(name, index):
    names = ["tench, Tinca tinca", "goldfish, Carassius auratus", "great white shark, white shark, man-eater"]
    assert Classifier(Tiny(), names).class_index(name) == index


def test_a_name_of_two_classes_is_none():
    from classifiers.small import refused

    classifier = Classifier(Tiny(), ["crane, bird", "crane, machine", "tench"])
    assert "crane, bird" in refused("class", classifier.class_index, "crane")
