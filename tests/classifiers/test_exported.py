"""Scripted, traced and exported modules: the classifier is the same, and what cannot be seen inside is one line."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from classifiers.small import refused
from classifiers.test_modules import ONE, PICTURES, classifier_of, compiled, saliency_of
from torch import nn

from preimage.classifiers.fingerprint import model_fingerprint
from preimage.defend.faithfulness import insertion
from preimage.defend.migsg import MIGSG
from preimage.explain.inputs import given_by


def quietly(make, *arguments, **options):
    """TorchScript says that it is deprecated, tracing that a shape is a number."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make(*arguments, **options)


def scripted() -> nn.Module:
    return quietly(torch.jit.script, Plain().eval())


def traced() -> nn.Module:
    return quietly(torch.jit.trace, Plain().eval(), ONE)


def frozen() -> nn.Module:
    return quietly(lambda: torch.jit.freeze(torch.jit.script(Plain().eval())))


def program(batch: bool = True):
    shapes = ({0: torch.export.Dim("b", min=1, max=512)},) if batch else None
    return quietly(torch.export.export, Plain().eval(), (PICTURES,), dynamic_shapes=shapes)


def exported() -> nn.Module:
    return program().module()


def unflattened() -> nn.Module:
    return torch.export.unflatten(program())


class Plain(nn.Module):
    """Tiny without what TorchScript does not know."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.block1 = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
            self.block2 = nn.Sequential(nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU())
            self.head = nn.Linear(12, 3)

    def forward(self, x):
        return self.head(self.block2(self.block1(x)).mean((2, 3)))


CLOSED = [scripted, traced, frozen, exported]
PLAIN = classifier_of(Plain())


@pytest.mark.parametrize("make", [*CLOSED, program])
def test_a_scripted_or_exported_model_is_classified_with_and_differentiated(make):
    classifier = classifier_of(make())
    torch.testing.assert_close(classifier(PICTURES), PLAIN(PICTURES))
    torch.testing.assert_close(saliency_of(classifier), saliency_of(PLAIN))
    torch.testing.assert_close(saliency_of(classifier, "occlusion"), saliency_of(PLAIN, "occlusion"))
    assert given_by(ONE, classifier, "cpu").size == (24, 24)


@pytest.mark.parametrize("make", CLOSED)
def test_layers_that_cannot_be_seen_are_one_line_with_the_way_out(make):
    classifier = classifier_of(make())
    assert classifier.layers() == []
    for call in (
        lambda: classifier.features(PICTURES, "block1"),
        lambda: classifier.logits_and_features(PICTURES, ["block1"]),
        lambda: classifier.shapes(PICTURES),
        lambda: saliency_of(classifier, "gradcam"),
        lambda: saliency_of(classifier, "gradcam", layer="block1"),
    ):
        assert "give the module it was made of" in refused("layer", call)


def test_an_exported_program_has_its_layers():
    classifier = classifier_of(program())
    for layer in ("block1", "block1.0", "block2"):
        torch.testing.assert_close(classifier.features(PICTURES, layer), PLAIN.features(PICTURES, layer))
    torch.testing.assert_close(saliency_of(classifier, "gradcam"), saliency_of(PLAIN, "gradcam"))
    torch.testing.assert_close(copy.deepcopy(classifier)(PICTURES), PLAIN(PICTURES))


def test_unflattened_modules_are_taken_as_they_are_or_the_way_out_is_named():
    assert "copy=False" in refused("classifier", classifier_of, unflattened())
    classifier = classifier_of(unflattened(), copy=False)
    torch.testing.assert_close(classifier.features(PICTURES, "block1"), PLAIN.features(PICTURES, "block1"))


@pytest.mark.parametrize("make", [scripted, traced, exported])
def test_a_part_that_is_scripted_or_exported_hides_its_own_layers_alone(make):
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Sequential(make(), nn.Tanh()), nn.Linear(3, 3))
    classifier = classifier_of(model)
    names = classifier.layers()
    assert {"0", "1", "1.1", "2"} <= set(names)
    assert not [name for name in names if name.startswith("1.0.")]
    assert set(classifier.shapes(PICTURES)) == set(names)
    refused("layer", classifier.features, PICTURES, "1.0.block1")


@pytest.mark.parametrize("make", [lambda: program(batch=False), exported, program])
def test_a_shape_that_was_not_exported_is_one_line_with_the_way_out(make):
    classifier = classifier_of(make())
    images = torch.rand(3, 3, 32, 32)
    assert "dynamic_shapes" in refused("classifier", classifier, images)
    assert "32 x 32" in refused("classifier", classifier.probabilities, images)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
@pytest.mark.parametrize("make", [scripted, traced])
def test_a_scripted_model_of_another_precision_works(make, dtype):
    classifier = classifier_of(make().to(dtype))
    torch.testing.assert_close(classifier(PICTURES).float(), PLAIN(PICTURES), atol=2e-3, rtol=1e-2)
    assert bool(saliency_of(classifier).any())


@pytest.mark.parametrize("make", [compiled, scripted, exported])
def test_evaluation_mode_is_kept_by_a_module_of_any_kind(make):
    classifier = classifier_of(make())
    assert classifier.train() is classifier
    assert not classifier.training
    assert not any(parameter.requires_grad for parameter in classifier.parameters())


def test_the_fingerprint_of_a_frozen_module_covers_its_weights():
    def fingerprint(bias: float) -> str:
        model = Plain().eval()
        with torch.no_grad():
            model.head.bias[0] = bias
        return model_fingerprint(classifier_of(quietly(lambda: torch.jit.freeze(torch.jit.script(model)))))

    assert fingerprint(0.5) == fingerprint(0.5)
    assert len({fingerprint(bias) for bias in (0.5, 0.25, 0.125)}) == 3


def test_what_follows_an_exported_part_is_in_evaluation_mode_as_well():
    model = nn.Sequential(nn.Sequential(exported(), nn.Dropout()), nn.Linear(3, 3), nn.Dropout())
    classifier = classifier_of(model)
    assert not any(part.training for part in classifier.model.modules())
    torch.testing.assert_close(classifier(PICTURES), classifier(PICTURES), rtol=0, atol=0)
    assert model.training


@pytest.mark.parametrize("make", [scripted, traced, exported])
def test_attacks_and_curves_take_a_module_of_any_kind_and_leave_its_mode(make):
    model = make()
    kept = [parameter.requires_grad for parameter in model.parameters()]
    maps = torch.rand(2, 1, 24, 24)
    torch.testing.assert_close(
        insertion(model, PICTURES, maps, 1, steps=3).probabilities,
        insertion(Plain().eval(), PICTURES, maps, 1, steps=3).probabilities,
    )
    found = MIGSG(model).attribute(PICTURES, target=1, n_steps=2, n_samples=1)
    torch.testing.assert_close(found, MIGSG(Plain()).attribute(PICTURES, target=1, n_steps=2, n_samples=1))
    assert [parameter.requires_grad for parameter in model.parameters()] == kept
