"""The cached forward pass, uncertainty penalties of known value, and what a task is given."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from classifiers.small import tiny
from explain.small import THIN, estimated, picture
from torch import nn

from preimage.classifiers import Classifier, TrainedModel
from preimage.classifiers.fingerprint import model_fingerprint
from preimage.errors import InputError
from preimage.explain.forward import CachedForward, Features
from preimage.explain.inputs import at_working_size, model_on, one_picture
from preimage.explain.psi import psi_of
from preimage.explain.recover import recover
from preimage.explain.uncertainty import UncertaintyPenalty


class Given(nn.Module):
    """Logits that are the means of the channels."""

    def forward(self, x):
        return x.mean((2, 3))


def given(**settings) -> TrainedModel:
    return TrainedModel(Classifier(Given(), 3, (0.0,) * 3, (1.0,) * 3, **settings))


@pytest.fixture
def passes():
    """A model, and how often its classifier was asked."""
    model, count = estimated(), [0]

    def counted(module: nn.Module, inputs: object) -> None:
        count[0] += 1

    model.classifier.model.register_forward_pre_hook(counted)
    return model, count


def test_one_pass_serves_all_terms(passes):
    model, count = passes
    penalty = UncertaintyPenalty(model, "loss")
    forward = CachedForward(model.classifier, ["block1", *penalty.layers])
    features = Features(forward, "block1", picture()[None])
    x = torch.rand(2, 3, 32, 32, requires_grad=True)
    count[0] = 0
    total = (
        features(x).square().sum()
        + penalty.estimated_loss(forward, x).sum()
        + penalty.predictive_entropy(forward, x).sum()
    )
    (total + penalty.energy(forward, x).sum() + forward(x).logits.sum()).backward()
    assert count == [1]
    assert x.grad is not None
    forward(x.clone())
    assert count == [2]


def test_a_step_of_a_fit_is_one_pass(passes):
    model, count = passes
    run = recover(picture(), classifier=model, uncertainty="loss", recipe=THIN, device="cpu")
    steps = iter(run)
    next(steps)
    before = count[0]
    next(steps)
    assert count[0] - before == 1


def test_another_picture_is_never_taken_for_the_last():
    forward = CachedForward(tiny())
    first = forward(picture()[None]).logits
    assert not torch.allclose(first, forward(1 - picture()[None]).logits)
    assert torch.equal(first, forward(picture()[None]).logits)


def test_entropy_is_one_for_equal_probabilities_and_zero_for_a_certain_one():
    penalty, forward = UncertaintyPenalty(given(), "entropy"), CachedForward(given().classifier)
    certain = torch.zeros(1, 3, 16, 16)
    certain[:, 0] = 60
    assert float(penalty.predictive_entropy(forward, torch.zeros(1, 3, 16, 16))) == pytest.approx(1)
    assert float(penalty.predictive_entropy(forward, certain)) == pytest.approx(0, abs=1e-9)


def test_energy_counts_only_above_the_given_picture():
    penalty, forward = UncertaintyPenalty(given(), "energy"), CachedForward(given().classifier)
    x = torch.full((1, 3, 16, 16), 0.5)
    penalty.set_reference(forward, x)
    assert penalty.reference_energy == pytest.approx(-0.5 - math.log(3))
    assert float(penalty.energy(forward, x.clone())) == pytest.approx(0, abs=1e-12)
    assert float(penalty.energy(forward, x + 0.4)) == 0
    expected = (0.4 / (abs(penalty.reference_energy) + 1)) ** 2
    assert float(penalty.energy(forward, x - 0.4)) == pytest.approx(expected, rel=1e-4)


def test_an_estimated_loss_at_its_quantile_is_none():
    penalty = UncertaintyPenalty(estimated(), "loss", target_loss=0.5)
    assert penalty.estimator is not None
    forward, x = CachedForward(tiny(), penalty.layers), picture()[None]
    penalty.estimator.quantiles.fill_(float(penalty.estimator(forward(x).features)))
    assert float(penalty.estimated_loss(forward, x)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("kind", "weight", "terms"), [("auto", 0.5, 1), ("none", 0.5, 0), ("entropy", 0.0, 0)])
def test_no_penalty_is_no_term(kind, weight, terms):
    penalty = UncertaintyPenalty(estimated(), kind)
    assert len(penalty.regularizers(CachedForward(tiny(), penalty.layers), weight)) == terms


def test_outside_its_region_it_sees_what_was_given():
    region = torch.zeros(1, 1, 32, 32)
    region[..., :16] = 1
    forward = CachedForward(tiny(), image=picture()[None], region=region)
    x = torch.rand(1, 3, 32, 32)
    mixed = forward.composed(x)
    assert torch.equal(mixed[..., :16], x[..., :16])
    assert torch.equal(mixed[..., 16:], picture()[None][..., 16:])
    assert torch.equal(forward(x).logits, CachedForward(tiny())(mixed).logits)


def test_features_are_relative_to_those_of_the_picture():
    features = Features(CachedForward(tiny(), ["block1"]), "block1", picture()[None])
    assert float(features.target.square().mean()) == pytest.approx(1, rel=1e-5)
    assert torch.allclose(features(picture()[None]), features.target)


def test_a_layer_that_gives_nothing_is_said():
    model = tiny()
    model.model.block2[0].bias.data.fill_(-1e3)
    with pytest.raises(InputError) as error:
        Features(CachedForward(model, ["block2"]), "block2", picture()[None])
    assert error.value.code == "layer"


@pytest.mark.parametrize(
    ("shape", "size", "wanted"),
    [
        ((32, 32), None, (32, 32)),
        ((200, 300), None, (200, 300)),
        ((40, 48), (32, 32), (40, 48)),
        ((320, 320), (32, 32), (32, 32)),
        ((160, 640), (32, 32), (16, 64)),
        ((24, 6400), (32, 32), (16, 524)),
    ],
)
def test_a_picture_much_larger_than_what_is_looked_at_is_reduced(shape, size, wanted):
    x = torch.rand(1, 3, *shape)
    found = at_working_size(x, tiny(size=size))
    assert found.shape[-2:] == wanted
    assert float(found.mean()) == pytest.approx(float(x.mean()), abs=0.02)


def test_pictures_of_every_kind():
    assert one_picture(np.zeros((32, 40), np.uint8)).tensor.shape == (1, 1, 32, 40)
    deep = one_picture((picture().permute(1, 2, 0).numpy() * 65535).astype(np.uint16))
    assert torch.allclose(deep.tensor[0], picture(), atol=0.01)
    for shape in ((2, 3, 32, 32), (2, 32, 32)):
        with pytest.raises(InputError) as error:
            one_picture(torch.zeros(shape))
        assert error.value.code == "shape"


def test_the_first_block_is_the_estimator_s_or_found():
    x = picture()[None]
    assert psi_of(estimated(), x).layer == psi_of(TrainedModel(tiny()), x).layer == "block1"


def test_a_fingerprint_is_of_all_weights_and_buffers():
    one, plain, other, buffers = estimated(), TrainedModel(tiny()), TrainedModel(tiny()), TrainedModel(tiny())
    other.classifier.model.block2[0].weight.data[-1, -1, -1, -1].add_(1e-3)  # far behind the first entries
    buffers.classifier.mean.add_(0.1)
    of = [model_fingerprint(each.classifier, each.estimator) for each in (one, plain, other, buffers)]
    assert len(set(of)) == 4
    assert model_fingerprint(tiny(), None) == of[1]


def test_a_model_stays_on_its_device():
    one = estimated()
    same = model_on(one, torch.device("cpu"))
    assert (same.classifier, same.estimator) == (one.classifier, one.estimator)  # modules are equal to themselves alone
    moved = model_on(one, torch.device("meta"))
    assert {each.device.type for each in moved.classifier.parameters()} == {"meta"}
    assert {each.device.type for each in (*one.classifier.parameters(), *one.estimator.parameters())} == {"cpu"}
