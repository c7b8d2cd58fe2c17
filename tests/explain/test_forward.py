"""What a classifier sees: one pass for all terms, doubts of known value, the size a picture is explained in."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from classifiers.small import tiny
from explain.small import THIN, estimated, picture
from torch import nn

from preimage.classifiers import Classifier, TrainedModel
from preimage.errors import InputError
from preimage.explain.forward import CachedForward, Features, at_working_size, first_block, model_mark, one_picture
from preimage.explain.recover import recover


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
    view = CachedForward(model, ["block1"], uncertainty="loss")
    features = Features(view, "block1", picture()[None])
    x = torch.rand(2, 3, 32, 32, requires_grad=True)
    count[0] = 0
    total = features(x).square().sum() + view.estimated_loss(x).sum() + view.predictive_entropy(x).sum()
    (total + view.energy(x).sum() + view.seen(x).logits.sum()).backward()
    assert count == [1]
    assert x.grad is not None
    view.seen(x.clone())
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
    view = CachedForward(TrainedModel(tiny()))
    first = view.seen(picture()[None]).logits
    assert not torch.allclose(first, view.seen(1 - picture()[None]).logits)
    assert torch.equal(first, view.seen(picture()[None]).logits)


def test_entropy_is_one_where_nothing_is_known_and_nothing_where_all_is():
    view = CachedForward(given(), uncertainty="entropy")
    sure = torch.zeros(1, 3, 16, 16)
    sure[:, 0] = 60
    assert float(view.predictive_entropy(torch.zeros(1, 3, 16, 16))) == pytest.approx(1)
    assert float(view.predictive_entropy(sure)) == pytest.approx(0, abs=1e-9)


def test_energy_counts_only_above_the_given_picture():
    view = CachedForward(given(), uncertainty="energy")
    x = torch.full((1, 3, 16, 16), 0.5)
    view.rest = float(-view.seen(x).logits.logsumexp(1))
    assert view.rest == pytest.approx(-0.5 - math.log(3))
    assert float(view.energy(x.clone())) == pytest.approx(0, abs=1e-12)
    assert float(view.energy(x + 0.4)) == 0
    assert float(view.energy(x - 0.4)) == pytest.approx((0.4 / (abs(view.rest) + 1)) ** 2, rel=1e-4)


def test_an_estimated_loss_at_its_quantile_is_none():
    view = CachedForward(estimated(), uncertainty="loss", quantile=0.5)
    assert view.estimator is not None
    x = picture()[None]
    seen = view.seen(x)
    view.estimator.quantiles.fill_(float(view.estimator(seen.features)))
    assert float(view.estimated_loss(x)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("uncertainty", "strength", "terms"), [("auto", 0.5, 1), ("none", 0.5, 0), ("entropy", 0.0, 0)]
)
def test_no_doubt_is_no_term(uncertainty, strength, terms):
    assert len(CachedForward(estimated(), uncertainty=uncertainty).regularizers(strength)) == terms


def test_outside_its_region_it_sees_what_was_given():
    region = torch.zeros(1, 1, 32, 32)
    region[..., :16] = 1
    view = CachedForward(TrainedModel(tiny()), given=picture()[None], region=region)
    x = torch.rand(1, 3, 32, 32)
    mixed = view.composed(x)
    assert torch.equal(mixed[..., :16], x[..., :16])
    assert torch.equal(mixed[..., 16:], picture()[None][..., 16:])
    assert torch.equal(view.seen(x).logits, CachedForward(TrainedModel(tiny())).seen(mixed).logits)


def test_features_are_relative_to_those_of_the_picture():
    features = Features(CachedForward(TrainedModel(tiny()), ["block1"]), "block1", picture()[None])
    assert float(features.target.square().mean()) == pytest.approx(1, rel=1e-5)
    assert torch.allclose(features(picture()[None]), features.target)


def test_a_layer_that_gives_nothing_is_said():
    model = tiny()
    model.model.block2[0].bias.data.fill_(-1e3)
    with pytest.raises(InputError, match="nothing but zeros"):
        Features(CachedForward(TrainedModel(model), ["block2"]), "block2", picture()[None])


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
    for shape, said in (((2, 3, 32, 32), "2 pages"), ((2, 32, 32), "2 channels")):
        with pytest.raises(InputError, match=said):
            one_picture(torch.zeros(shape))


def test_the_first_block_is_the_estimator_s_or_found():
    x = picture()[None]
    assert first_block(estimated(), x) == first_block(TrainedModel(tiny()), x) == "block1"


def test_a_classifier_is_known_by_its_weights():
    plain, other, model = tiny(), tiny(), estimated()
    other.model.head.bias.data.add_(1e-3)
    marks = {model_mark(plain), model_mark(other), model_mark(plain, model.estimator)}
    assert len(marks) == 3
    assert model_mark(tiny()) == model_mark(plain)
