"""Batch normalization folded into convolutions: equal answers, features and gradients, wherever it may be folded."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from preimage.classifiers import Classifier, load_classifier
from preimage.classifiers.folding import folded
from preimage.classifiers.modules import same_weights
from preimage.defend.attribution import saliency_map
from preimage.defend.defence import DefendedClassifier
from preimage.defend.saliency import SaliencyOptions
from preimage.explain.copies import Alteration, Copies
from preimage.explain.forward import CachedForward

X = torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(1))


def learned(model: nn.Module) -> Classifier:
    """A classifier whose normalizations have statistics and weights unlike those they begin with."""
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, nn.BatchNorm2d) and part.running_mean is not None:
                for held, least in (
                    (part.running_mean, -0.5),
                    (part.running_var, 0.5),
                    (part.weight, 0.5),
                    (part.bias, -0.5),
                ):
                    if held is not None:
                        held.copy_(least + torch.rand(held.shape, generator=random))
    return Classifier(model, 2, (0.5,) * 3, (0.25,) * 3)


def plain(norm: nn.Module | None = None, conv: nn.Module | None = None) -> Classifier:
    torch.manual_seed(0)
    body = nn.Sequential(
        conv or nn.Conv2d(3, 6, 3, padding=1, bias=False), norm or nn.BatchNorm2d(6), nn.ReLU(inplace=True)
    )
    return learned(
        nn.Sequential(
            body,
            nn.Conv2d(6, 6, 3, groups=6),
            nn.BatchNorm2d(6),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(6, 2),
        )
    )


def norms(classifier: Classifier) -> list[str]:
    return [name for name, part in classifier.model.named_modules() if isinstance(part, nn.BatchNorm2d)]


def gradient(classifier: Classifier, x: torch.Tensor) -> torch.Tensor:
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(classifier(leaf)[:, 0].sum(), leaf)[0]


def test_answers_and_gradients_are_equal_and_the_classifier_is_what_it_was():
    classifier = plain()
    classifier(X)
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    found = folded(classifier, X)
    assert norms(found) == []
    assert norms(classifier) == ["0.1", "2"]
    assert torch.allclose(found(X), classifier(X), atol=1e-5)
    assert torch.allclose(gradient(found, X), gradient(classifier, X), atol=1e-5)
    assert classifier.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())
    assert found.model[5].weight is classifier.model[5].weight
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in found.modules())


def test_a_named_convolution_stays_what_it_is():
    classifier = plain()
    found = folded(classifier, X, ["0.0"])
    assert norms(found) == ["0.1"]
    assert torch.equal(found.features(X, "0.0"), classifier.features(X, "0.0"))
    for layer in ("0.1", "0", "2"):
        found = folded(classifier, X, [layer])
        assert norms(found) == []
        assert torch.allclose(found.features(X, layer), classifier.features(X, layer), atol=1e-5)


class Twice(nn.Module):
    """What the convolution returns is used beside the normalization, with its gradient or without."""

    def __init__(self, attached: bool = True) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Linear(6, 2)
        self.attached = attached

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.conv(x)
        return self.head((self.norm(found) + (found if self.attached else found.detach())).mean((2, 3)))


class Shared(nn.Module):
    """A convolution that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.conv(self.norm(self.conv(x))).mean((2, 3)))


class Asking(nn.Module):
    """It reads what the normalization has learned."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.conv(x)).mean((2, 3))) + self.norm.running_mean.sum()


class Scaled(nn.BatchNorm2d):
    """A normalization that does more."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    "classifier",
    [
        lambda: learned(Twice()),
        lambda: learned(Twice(attached=False)),
        lambda: learned(Shared()),
        lambda: learned(Asking()),
        lambda: Classifier(
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)), 2
        ),
        lambda: Classifier(torch.jit.script(plain().model), 2),
        lambda: Classifier(DefendedClassifier(plain(), steps=1), 2, (0,) * 3, (1,) * 3),
    ],
    ids=["used twice", "used without gradient", "called twice", "asked for", "none", "scripted", "purified"],
)
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_what_may_not_be_folded_is_returned_itself(classifier):
    whole = classifier()
    whole(X)
    assert folded(whole, X) is whole


@pytest.mark.parametrize(
    ("norm", "conv"),
    [
        (Scaled(6), None),
        (nn.BatchNorm2d(6, track_running_stats=False), None),
        (None, parametrizations.weight_norm(nn.Conv2d(3, 6, 3, padding=1))),
    ],
    ids=["does more", "no statistics", "weight norm"],
)
def test_only_what_is_plain_is_folded(norm, conv):
    classifier = plain(norm, conv)
    classifier(X)
    found = folded(classifier, X)
    assert norms(found) == ["0.1"]
    assert torch.allclose(found(X), classifier(X), atol=1e-5)


@pytest.mark.parametrize("name", ["torchvision:resnet18", "timm:test_resnet", "timm:mobilenetv3_small_050"])
def test_networks_of_libraries(name):
    classifier = load_classifier(f"{name}@none")
    x = torch.rand(1, 3, 64, 64)
    found = folded(classifier, x)
    assert norms(classifier)
    assert norms(found) == []
    assert set(found.layers()) == set(classifier.layers())
    assert torch.allclose(found(x), classifier(x), rtol=1e-4, atol=1e-5)


def test_fits_and_maps_ask_the_folded_one(monkeypatch: pytest.MonkeyPatch):
    classifier = plain()
    forward = CachedForward(classifier, ["0"], copies=Copies(Alteration(2), 3, (24, 24), torch.device("cpu")))
    x = X[:1]
    forward.set_step(0)
    logits, features = classifier.logits_and_features(x, ["0"])
    assert torch.allclose(forward(x).logits, logits, atol=1e-5)
    assert torch.allclose(forward(x).features["0"], features["0"], atol=1e-5)
    assert forward.of_copies(x).logits.shape == (2, 2)
    assert forward._folded is not None
    assert norms(forward._folded) == []
    assert forward.classifier is classifier
    options = SaliencyOptions(classifier, 1, "mig-sg", n_steps=3, n_samples=2, device="cpu")
    found = saliency_map(x, options).map
    monkeypatch.setattr("preimage.defend.attribution.folded", lambda model, _: model)
    assert torch.allclose(found, saliency_map(x, options).map, atol=1e-5 * float(found.max()))


def test_a_copy_shares_the_weights_and_no_hook():
    model = plain()
    copied = same_weights(model)
    assert all(a is b for a, b in zip(copied.parameters(), model.parameters(), strict=True))
    next(copied.children()).register_forward_hook(lambda *_: None)
    assert not any(module._forward_hooks for module in model.modules())
