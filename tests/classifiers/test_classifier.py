"""Classifier: any classifier behind one interface."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from classifiers.small import Tiny, refused, tiny
from torch import nn

from preimage.classifiers import Classifier
from preimage.classifiers.fingerprint import model_fingerprint
from preimage.errors import InputError


@pytest.mark.parametrize("output", ["tensor", "tuple", "dict", "object"])
def test_whatever_a_model_returns_its_logits_are_found(output):
    x = torch.rand(2, 3, 20, 30)
    assert torch.equal(tiny(output=output)(x), tiny()(x))
    assert tiny()(x).shape == (2, 3)


def test_pictures_are_resized_and_normalized_inside():
    seen = []
    model = Tiny()
    model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    classifier = Classifier(model, 3, mean=(0.5,) * 3, std=(0.25,) * 3, size=(24, 32))
    classifier(torch.full((1, 3, 48, 50), 0.75))
    assert seen[0].shape == (1, 3, 24, 32)
    assert torch.allclose(seen[0], torch.ones(()))


def test_grey_pictures_and_grey_models():
    grey = torch.rand(1, 1, 20, 20)
    assert torch.equal(tiny()(grey), tiny()(grey.expand(-1, 3, -1, -1)))
    model = Classifier(Tiny(channels=1), 3, mean=(0.5,), std=(0.5,))
    assert torch.allclose(model(grey), model(grey.expand(-1, 3, -1, -1)), atol=1e-5)


def test_a_binary_classifier_of_one_logit():
    for output in ("tensor", "flat"):
        classifier = Classifier(Tiny(1, output=output), ["no", "yes"])
        x = torch.rand(4, 3, 20, 20)
        logit = Tiny(1)((x - classifier.mean) / classifier.std)
        assert torch.allclose(classifier.probabilities(x)[:, 1:], logit.sigmoid(), atol=1e-6)


def test_it_is_frozen_and_stays_so():
    classifier = tiny()
    classifier.train()
    assert not classifier.training
    assert not classifier.model.training
    assert not any(p.requires_grad for p in classifier.parameters())


def test_logits_are_differentiable_in_the_picture():
    x = torch.rand(1, 3, 20, 20, dtype=torch.float64)
    classifier = tiny(size=16).double()
    assert torch.autograd.gradcheck(classifier, x.requires_grad_(), eps=1e-6, atol=1e-6)


# ---------------------------------------------------------------------- layers


def hooks_of(module: nn.Module) -> int:
    """How many forward hooks the module and its parts have; there is no public way to count them."""
    return sum(len(part._forward_hooks) for part in module.modules())


def test_features_of_every_layer_and_no_hook_stays():
    classifier = tiny()
    x = torch.rand(2, 3, 20, 20)
    assert classifier.layers()[:2] == ["block1", "block1.0"]
    first = classifier.model.get_submodule("block1")(classifier.prepared(x))
    assert torch.equal(classifier.features(x, "block1"), first)
    logits, features = classifier.logits_and_features(x, ["block1", "block2.0"])
    assert torch.equal(logits, classifier(x))
    assert torch.equal(features["block1"], first)
    assert features["block2.0"].shape == (2, 12, 5, 5)
    assert hooks_of(classifier) == 0


def test_no_hook_stays_where_a_pass_fails():
    classifier = tiny()
    with pytest.raises(InputError):
        classifier.features(torch.rand(1, 5, 20, 20), "block1")
    refused("layer", classifier.features, torch.rand(1, 3, 20, 20), "unused")
    assert hooks_of(classifier) == 0


def test_nothing_after_the_layer_is_computed():
    classifier = tiny()
    classifier.model.get_submodule("block2").register_forward_pre_hook(lambda module, inputs: pytest.fail("computed"))
    classifier.features(torch.rand(1, 3, 20, 20), "block1")


def test_features_are_differentiable():
    x = torch.rand(1, 3, 20, 20, requires_grad=True)
    tiny().features(x, "block2").sum().backward()
    assert x.grad is not None
    assert bool(x.grad.any())


def test_a_wrong_layer_lists_the_near_ones():
    message = refused("layer", tiny().features, torch.rand(1, 3, 20, 20), "block3")
    assert all(name in message for name in ("block3", "block2", "block1"))


# ---------------------------------------------------------------------- classes, errors


@pytest.mark.parametrize(("name", "index"), [("square", 1), ("SQUARE", 1), (2, 2), ("2", 2)])
def test_a_class_by_name_or_number(name, index):
    assert tiny().class_index(name) == index


@pytest.mark.parametrize(("name", "index"), [("2", 1), ("4", 2), ("1", 1), (1, 1), ("0", 0)])
def test_a_class_that_is_called_by_a_number_is_found_by_its_name_first(name, index):
    assert Classifier(Tiny(), ["0", "2", "4"]).class_index(name) == index


def test_the_name_of_a_class_is_no_index():
    said = refused("class", Classifier(Tiny(), ["0", "2", "4"]).class_index, 4)
    assert "no class of index 4" in said
    assert "did you mean" not in said


@pytest.mark.parametrize("name", ["squares", 3, "-1", "", 1.5])
def test_an_unknown_class_is_one_line(name):
    assert repr(name) in refused("class", tiny().class_index, name)


def test_an_unknown_class_lists_the_near_ones():
    assert "square" in refused("class", tiny().class_index, "squared").replace("squared", "")


def test_classes_may_be_counted():
    assert Classifier(Tiny(), 3).classes == ("0", "1", "2")


@pytest.mark.parametrize(
    ("make", "code", "found"),
    [
        (lambda: Classifier(Tiny(), 1), "class", "1"),
        (lambda: Classifier(Tiny(), 2.0), "type", "2.0"),
        (lambda: Classifier(Tiny(), "cat"), "type", "'cat'"),
        (lambda: Classifier(Tiny(), ["a", "b", "a"]), "class", "'a'"),
        (lambda: Classifier(lambda x: x, 3), "type", "function"),
        (lambda: Classifier("torchvision:resnet18", 3), "type", "load_classifier"),
        (lambda: Classifier(Tiny(), 3, mean=0.5, std=0.5), "invalid-value", "(0.5,)"),
        (lambda: Classifier(Tiny(), 3, std=(0.5, None, 0.5)), "invalid-value", "None"),
        (lambda: Classifier(Tiny(), 3, mean=(float("nan"),) * 3), "invalid-value", "nan"),
        (lambda: Classifier(Tiny(), 3, std=(0.5, 0.0, 0.5)), "invalid-value", "0.0"),
        (lambda: Classifier(Tiny(), 3, size=0), "invalid-value", "0"),
        (lambda: Classifier(Tiny(), 3, size="224"), "invalid-value", "'224'"),
        (lambda: Classifier(Tiny(), 3, size=(224,)), "invalid-value", "(224,)"),
        (lambda: Classifier(Tiny(), 3, size=2.5), "invalid-value", "2.5"),
        (lambda: Classifier(Tiny(), 3, mean=(0.5,)), "invalid-value", "(0.5,)"),
        (lambda: Classifier(Tiny(), 4)(torch.rand(1, 3, 20, 20)), "classifier", "(1, 3)"),
        (lambda: tiny(output="text")(torch.rand(1, 3, 20, 20)), "classifier", "str"),
        (lambda: tiny()(torch.rand(3, 20, 20)), "shape", "(3, 20, 20)"),
        (lambda: tiny(output="detached").check_gradient(torch.rand(1, 3, 20, 20)), "classifier", "gradient"),
        (lambda: tiny(output="nan").check_gradient(torch.rand(1, 3, 20, 20)), "classifier", "finite"),
        (lambda: tiny(output="nan").check_gradient(torch.full((1, 3, 20, 20), 0.5)), "classifier", "finite"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_one_line_that_names_it(make, code, found):
    assert found in refused(code, make)


def test_a_classifier_with_a_gradient_passes():
    with torch.no_grad():
        tiny().check_gradient(torch.rand(1, 3, 20, 20))


def test_a_classifier_that_divides_by_the_deviation_of_an_image_is_undefined_for_a_constant_one_and_passes():
    class Spreads(nn.Module):
        def forward(self, x):
            return ((x - x.mean((1, 2, 3), keepdim=True)) / x.std((1, 2, 3), keepdim=True)).amax((2, 3))

    flat = torch.full((1, 3, 20, 20), 0.5)
    classifier = Classifier(Spreads(), 3, mean=(0.5,) * 3, std=(0.25,) * 3)
    assert not bool(classifier(flat).isfinite().any())
    classifier.check_gradient(flat)


def test_numbers_of_any_kind_are_settings_and_pictures_of_any_precision_are_taken():
    x = torch.rand(1, 3, 20, 20)
    classifier = Classifier(Tiny(), 3, mean=torch.full((3,), 0.5), std=np.full(3, 0.25), size=[np.int64(16), 16])
    assert classifier.size == (16, 16)
    for dtype in (torch.float16, torch.float64):
        torch.testing.assert_close(classifier(x.to(dtype)), tiny(size=16)(x), atol=1e-2, rtol=0)


def test_a_rounding_classifier_has_a_gradient_of_zero_and_passes_as_differentiable():
    class Rounds(nn.Module):
        def forward(self, x):
            return x.mean((2, 3)).round()

    Classifier(Rounds(), 3).check_gradient(torch.rand(1, 3, 20, 20))


# ---------------------------------------------------------------------- the user's model


def test_the_users_model_is_left_as_it_was_and_shares_nothing():
    model = Tiny().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    classifier = Classifier(model, 3).double()
    with pytest.raises(InputError):
        classifier.features(torch.rand(1, 5, 20, 20), "block1")
    classifier.features(torch.rand(1, 3, 20, 20), "block1")
    assert all(module.training for module in model.modules())
    assert all(p.requires_grad and p.grad is None and p.dtype == torch.float32 for p in model.parameters())
    assert hooks_of(model) == 0
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    x = torch.rand(1, 3, 20, 20)
    first = classifier(x)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(classifier(x), first)
    handed = Classifier(model, 3, copy=False)
    assert handed.model is model


def test_a_model_that_cannot_be_copied_names_the_way_out():
    model = Tiny()
    model.generator = (each for each in ())
    assert "copy=False" in refused("classifier", Classifier, model, 3)


def test_threads_that_share_a_classifier_get_their_own_features():
    classifier = tiny()
    inputs = [torch.full((1, 3, 24, 24), k / 20) for k in range(20)]
    alone = [classifier.features(x, "block2") for x in inputs]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            found = list(pool.map(lambda x: classifier.features(x, "block2"), inputs))
            assert all(torch.equal(a, b) for a, b in zip(found, alone, strict=True))


def test_the_fingerprint_covers_every_parameter_and_buffer():
    classifier = tiny()
    seen = {model_fingerprint(classifier)}
    for value in (*classifier.parameters(), *classifier.buffers()):
        with torch.no_grad():
            value.view(-1)[-1] += 1
        seen.add(model_fingerprint(classifier))
    assert len(seen) == 1 + len([*classifier.parameters(), *classifier.buffers()])
