"""Modules of any kind: in-place layers, half and double precision, compiled."""

from __future__ import annotations

import copy

import pytest
import torch
from classifiers.small import Tiny, refused, tiny
from torch import nn

from preimage.classifiers import Classifier
from preimage.classifiers.fingerprint import model_fingerprint
from preimage.defend.attribution import saliency_map
from preimage.defend.saliency import SaliencyOptions
from preimage.explain.inputs import as_model
from preimage.explain.maximize import maximize

HALVES = {"mean": (0.5,) * 3, "std": (0.25,) * 3}
PICTURES = torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(3))
ONE = PICTURES[:1]
NAMES = ["round", "square", "star"]


def classifier_of(model, **options) -> Classifier:
    return Classifier(model, NAMES, **HALVES | options)


def saliency_of(classifier: Classifier, method: str = "gradient", **options) -> torch.Tensor:
    return saliency_map(ONE, SaliencyOptions(classifier, 1, method, device="cpu", **options)).map


# ---------------------------------------------------------------------- what follows a layer changes it in place


def of_modules(inplace: bool) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(inplace=inplace))


class Functional(nn.Module):
    """A convolution whose result the next function overwrites."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.first, self.inplace = nn.Conv2d(3, 8, 3, 2, 1), inplace

    def forward(self, x):
        features = self.first(x)
        return torch.relu_(features) if self.inplace else features.relu()


class Residual(nn.Module):
    """As the blocks of torchvision: what was normalized is added to in place."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.first, self.norm, self.inplace = nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), inplace

    def forward(self, x):
        features = self.first(x)
        out = self.norm(features)
        if not self.inplace:
            return (out + features).clamp(min=0)
        out += features
        return out.clamp_(min=0)


class Tuple(nn.Conv2d):
    """A layer that returns a tuple."""

    def forward(self, x):
        return super().forward(x), None


class InATuple(nn.Module):
    """A layer whose output is a tuple, overwritten by the next."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.first, self.inplace = Tuple(3, 8, 3, 2, 1), inplace

    def forward(self, x):
        found = self.first(x)[0]
        return found.mul_(0.5).sigmoid_() if self.inplace else (0.5 * found).sigmoid()


IN_PLACE = {
    "a module": (of_modules, "0"),
    "a function": (Functional, "first"),
    "a sum": (Residual, "norm"),
    "in a tuple": (InATuple, "first"),
}


def in_place(kind: str, inplace: bool = True) -> tuple[Classifier, str]:
    make, layer = IN_PLACE[kind]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(make(inplace), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    return classifier_of(model), f"0.{layer}"


@pytest.mark.parametrize("kind", IN_PLACE)
def test_features_have_one_meaning_however_they_are_read(kind):
    classifier, layer = in_place(kind)
    alone = classifier.features(PICTURES, layer)
    logits, together = classifier.logits_and_features(PICTURES, [layer])
    torch.testing.assert_close(together[layer], alone, rtol=0, atol=0)
    torch.testing.assert_close(logits, classifier(PICTURES), rtol=0, atol=0)
    assert bool((alone < 0).any())  # which what follows would have removed


@pytest.mark.parametrize("kind", IN_PLACE)
def test_a_channel_that_what_follows_would_cut_off_has_a_gradient(kind):
    classifier, layer = in_place(kind)
    x = PICTURES.clone().requires_grad_()
    _, features = classifier.logits_and_features(x, [layer])
    lowest = int(features[layer].mean((0, 2, 3)).argmin())
    slope = torch.autograd.grad(features[layer][:, lowest].sum(), x)[0]
    alone = torch.autograd.grad(classifier.features(x, layer)[:, lowest].sum(), x)[0]
    assert bool(slope.any())
    torch.testing.assert_close(slope, alone)


@pytest.mark.parametrize("kind", ["a module", "a function", "a sum"])
def test_gradcam_of_a_layer_that_is_overwritten_is_that_of_one_that_is_not(kind):
    (classifier, layer), (same, _) = in_place(kind), in_place(kind, inplace=False)
    found = saliency_of(classifier, "gradcam", layer=layer)
    torch.testing.assert_close(found, saliency_of(same, "gradcam", layer=layer))
    assert bool(found.any())


def test_gradcam_of_a_layer_that_returns_a_tuple_is_one_line():
    classifier, layer = in_place("in a tuple")
    assert "one tensor" in refused("layer", saliency_of, classifier, "gradcam", layer=layer)


@pytest.mark.parametrize("kind", IN_PLACE)
def test_a_channel_that_what_follows_cuts_off_is_maximized_as_if_it_did_not(kind):
    runs = []
    for inplace in (True, False):
        classifier, layer = in_place(kind, inplace)
        unit = {"layer": layer, "channel": int(classifier.features(ONE, layer).mean((0, 2, 3)).argmin())}
        made = maximize(classifier=classifier, **unit, prior="none", steps=20, size=(24, 24), device="cpu").run()
        runs.append(made.numbers["excitation"])
    assert runs[0] == pytest.approx(runs[1], rel=1e-4)
    assert runs[0] > float(classifier.features(torch.full((1, 3, 24, 24), 0.5), layer)[:, unit["channel"]].mean())


@pytest.mark.parametrize("method", ["guided-backprop", "mig-sg", "occlusion"])
def test_methods_that_have_hooks_of_their_own_take_layers_in_place(method):
    classifier, _ = in_place("a module")
    changed = copy.deepcopy(classifier)
    changed.model[0][1].inplace = False
    torch.testing.assert_close(saliency_of(classifier, method), saliency_of(changed, method))


# ---------------------------------------------------------------------- precision


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("size", [None, 16])
def test_a_model_of_any_precision_is_classified_with_and_differentiated(dtype, size):
    model = Tiny().to(dtype)
    classifier = classifier_of(model, size=size)
    same = classifier_of(copy.deepcopy(model).float(), size=size)
    torch.testing.assert_close(classifier(PICTURES).float(), same(PICTURES), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(saliency_of(classifier), saliency_of(same), atol=1e-5, rtol=1e-4)
    assert classifier.features(PICTURES, "block1").dtype in (torch.float32, torch.float64)
    assert all(parameter.dtype == dtype for parameter in model.parameters())  # the user's model stays as it is


def test_a_model_of_several_precisions_is_one_in_single_precision():
    model = Tiny()
    model.block1.half()
    classifier = classifier_of(model)
    assert {parameter.dtype for parameter in classifier.parameters()} == {torch.float32}
    torch.testing.assert_close(classifier(PICTURES), classifier_of(copy.deepcopy(model).float())(PICTURES))


def test_precisions_that_no_cast_reconciles_are_one_line_with_the_way_out():
    model = Tiny()
    model.head.double()
    message = refused("classifier", classifier_of(model), PICTURES)
    assert "model.float()" in message


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_classifier_that_is_cast_later_gives_logits_that_can_be_computed_with(dtype):
    classifier = tiny().to(dtype)
    assert classifier(PICTURES).dtype in (torch.float32, torch.float64)
    torch.testing.assert_close(classifier(PICTURES).float(), tiny()(PICTURES), atol=0.02, rtol=0.02)


# ---------------------------------------------------------------------- compiled


def compiled() -> nn.Module:
    return torch.compile(Tiny(), backend="eager")  # pyright: ignore[reportReturnType]


def partly_compiled() -> nn.Module:
    model = Tiny()
    model.block1 = torch.compile(model.block1, backend="eager")  # pyright: ignore[reportAttributeAccessIssue]
    return model


def compiled_twice() -> nn.Module:
    return torch.compile(partly_compiled(), backend="eager")  # pyright: ignore[reportReturnType]


def compiled_in_place() -> nn.Module:
    model = Tiny()
    model.compile(backend="eager")
    model.block2.compile(backend="eager")
    return model


@pytest.mark.parametrize("make", [compiled, partly_compiled, compiled_twice, compiled_in_place])
@pytest.mark.parametrize("handed_over", [False, True])
def test_a_compiled_model_has_the_layers_of_what_it_was_made_of(make, handed_over):
    classifier, plain = classifier_of(make(), copy=not handed_over), classifier_of(Tiny())
    assert classifier.layers() == plain.layers()
    assert classifier.shapes(PICTURES) == plain.shapes(PICTURES)
    torch.testing.assert_close(classifier.features(PICTURES, "block1.0"), plain.features(PICTURES, "block1.0"))
    torch.testing.assert_close(classifier(PICTURES), plain(PICTURES))
    assert model_fingerprint(classifier) == model_fingerprint(plain)


@pytest.mark.parametrize("make", [partly_compiled, compiled_twice])
def test_the_users_model_stays_compiled(make):
    model = make()
    classifier_of(model)
    assert hasattr(getattr(model, "_orig_mod", model).block1, "_orig_mod")


def test_a_compiled_classifier_is_the_classifier():
    classifier = tiny()
    assert as_model(torch.compile(classifier, backend="eager")).classifier is classifier  # pyright: ignore[reportArgumentType]


# ---------------------------------------------------------------------- scripted and exported


@pytest.mark.parametrize(
    "error", [RuntimeError("boom,\nin two lines"), KeyError("x"), AssertionError(), TypeError("no")]
)
def test_a_forward_that_fails_is_one_line_whatever_it_raises(error):
    class Fails(nn.Module):
        def forward(self, x):
            raise error

    message = refused("classifier", classifier_of(Fails()), PICTURES)
    assert type(error).__name__ in message
    assert "24 x 24" in message


@pytest.mark.parametrize("error", [MemoryError("full"), KeyboardInterrupt(), torch.OutOfMemoryError("out of memory")])
def test_what_is_no_fault_of_the_classifier_stays_what_it_is(error):
    class Fails(nn.Module):
        def forward(self, x):
            raise error

    with pytest.raises(type(error)):
        classifier_of(Fails())(PICTURES)


def test_what_is_no_module_is_refused():
    assert "function" in refused("type", lambda: Classifier(lambda x: x, 3))
    assert "function" in refused("type", lambda: Classifier(torch.compile(lambda x: x), 3))  # pyright: ignore[reportArgumentType]
