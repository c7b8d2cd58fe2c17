"""Counterfactuals on small classifiers: what they promise of target, region, twins and resuming."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial

import pytest
import torch
from classifiers.small import tiny

from preimage.classifiers import LossEstimator
from preimage.classifiers.model_file import TrainedModel
from preimage.engine.checkpoint import load, save
from preimage.errors import InputError
from preimage.explain.class_term import cross_entropy
from preimage.explain.counterfactual import counterfactual
from preimage.explain.explanation import Counterfactual
from preimage.explain.forward import CachedForward, Features
from preimage.explain.inputs import as_model
from preimage.explain.recipes import FAST_RECOVERY as FAST
from preimage.explain.uncertainty import UncertaintyPenalty
from preimage.networks import SkipNet
from preimage.recipes import recipe
from preimage.regularizers import total_variation

THIN = replace(FAST, network=SkipNet.Config(down=(8, 8), up=(8, 8), skip=(2, 2), padding="zeros"), steps=30)


def picture(side: int = 32) -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.linspace(0, 1, side), torch.linspace(0, 1, side), indexing="ij")
    return torch.stack([rows, columns, 0.5 + 0.3 * torch.sin(6 * rows * columns)])


def estimated() -> TrainedModel:
    classifier = tiny()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        estimator = LossEstimator({"block1": 8, "block2": 12}, units=4)
    estimator.settle(torch.linspace(-1, 1, 50))
    return TrainedModel(classifier, estimator.eval().requires_grad_(False), {"target_quantile": 0.2})


LOOKS_AT_16 = tiny(size=(16, 16))
DOT = torch.zeros(1, 32, 32)
DOT[0, 9, 9] = 1


def found(**settings) -> Counterfactual:
    given = {"classifier": tiny(), "recipe": THIN, "device": "cpu"} | settings
    return counterfactual(picture(), **given).run()


@cache
def plain() -> Counterfactual:
    """The one that nothing else is asked of, fitted once."""
    return found()


def test_it_asks_for_the_runner_up_and_raises_its_probability():
    one = plain()
    order = one.probabilities["given"].argsort(descending=True)
    assert (one.prediction, one.target) == (int(order[0]), int(order[1]))
    after, before = (one.probabilities[name][one.target] for name in ("counterfactual", "reconstruction"))
    assert after > before
    assert one.confidence == pytest.approx(float(after))
    assert one.valid == (int(one.probabilities["counterfactual"].argmax()) == one.target)
    assert one.numbers["valid"] is one.valid


def test_the_reconstruction_is_a_twin_that_the_class_does_not_touch():
    first, second = found(class_weight=0.0), found(class_weight=0.3)
    assert torch.equal(first.changed, first.reconstruction)
    assert torch.equal(first.history["squared"][:, 1], second.history["squared"][:, 1])
    assert not torch.allclose(second.changed, second.reconstruction, atol=1e-3)


def test_nothing_changes_outside_the_region():
    region = torch.zeros(1, 32, 32)
    region[:, 8:20, 8:24] = 1
    one = found(region=region)
    outside = region[0] == 0
    assert torch.equal(one.changed[0][:, outside], picture()[:, outside])
    assert not torch.allclose(one.changed[0][:, ~outside], picture()[:, ~outside], atol=1e-3)


def test_a_target_by_name_or_number():
    classifier = tiny()
    other = classifier.classes[(plain().target + 1) % 3]
    asked = other if other != classifier.classes[plain().prediction] else classifier.classes[plain().target]
    run = counterfactual(picture(), classifier=classifier, target=asked, recipe=THIN, device="cpu")
    assert run.run().target == classifier.class_index(asked)


def test_the_estimated_loss_is_lower_with_its_term():
    model = estimated()
    plain, doubted = (
        found(classifier=model, uncertainty=uncertainty, loss_weight=1.0) for uncertainty in ("none", "loss")
    )
    assert doubted.history["estimated_loss"][-1, 0] < doubted.history["estimated_loss"][0, 0] or (
        doubted.numbers["loss_after"] < plain.numbers["loss_after"]
    )
    assert "estimated_loss" not in plain.history.names
    assert "20%" in doubted.remarks[0]


@pytest.mark.parametrize("uncertainty", ["auto", "entropy", "energy"])
def test_without_an_estimator_another_doubt_is_named(uncertainty):
    one = found(uncertainty=uncertainty)
    name = {"auto": "predictive_entropy", "entropy": "predictive_entropy", "energy": "energy"}[uncertainty]
    assert name in one.history.names
    assert "no loss estimator" in one.remarks[0]


def test_several_seeds_say_how_stable_they_are():
    one = found(count=2)
    assert len(one.others) == 1
    assert -1 <= one.numbers["stability"] <= 1
    assert not torch.allclose(one.changed, one.others[0].changed, atol=1e-3)
    # Of the first steps: kernels for other numbers of images round otherwise, and each step makes more of that.
    alone, beside = (each.history["squared"][:3, :2] for each in (plain(), one))
    assert torch.allclose(alone, beside, rtol=1e-3)  # the first is fitted as one alone is


def test_pixels_start_as_the_picture():
    """Without the class they stay, or become smoother where total variation is asked for."""
    plain, spectrum, smooth = (
        found(prior=prior, uncertainty="none", recipe=recipe("fast", steps=30)) for prior in ("none", "spectrum", "tv")
    )
    for one in (plain, spectrum, smooth):
        assert one.probabilities["counterfactual"][one.target] > one.probabilities["given"][one.target]
    assert (plain.reconstruction - plain.given).std() < 0.01
    assert (spectrum.reconstruction - spectrum.given).std() < 0.01
    assert total_variation(smooth.reconstruction, beta=2.0) < total_variation(plain.reconstruction, beta=2.0)


def test_the_terms_have_the_gradient_that_differences_give():
    model = estimated()
    x0 = picture()[None].double()
    model.classifier.double(), model.estimator.double()
    penalty = UncertaintyPenalty(model, "loss", target_loss=0.2)
    forward = CachedForward(model.classifier, ["block1", *penalty.layers])
    features = Features(forward, "block1", x0)
    target = features.target.double()
    generator = torch.Generator().manual_seed(3)
    x = (x0 + 0.1 * torch.randn(x0.shape, generator=generator)).requires_grad_()
    direction = torch.randn(x0.shape, generator=generator).double()

    def data(x):
        seen = forward(x).features["block1"] / features.scale
        return (seen - target).square().mean()

    for term in (
        data,
        lambda x: penalty.estimated_loss(forward, x).sum(),
        lambda x: cross_entropy(1, forward(x).logits).sum(),
    ):
        slope = float((torch.autograd.grad(term(x), x)[0] * direction).sum())
        step = 1e-6
        with torch.no_grad():
            rise = float(term(x + step * direction) - term(x - step * direction)) / (2 * step)
        assert slope == pytest.approx(rise, rel=1e-3, abs=1e-8)


def test_a_large_picture_keeps_the_detail_that_the_classifier_never_sees():
    large = torch.nn.functional.interpolate(picture()[None], size=(96, 96), mode="bilinear")
    large = (large + 0.05 * torch.randn(large.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    one = counterfactual(large, classifier=tiny(size=(32, 32)), recipe=THIN, device="cpu").run()
    assert one.image.shape == (1, 3, 96, 96)
    assert one.changed.shape == (1, 3, 32, 32)
    assert (one.image - large).std() < (one.changed - one.given).std() + 0.5 * one.difference.std()


def test_resuming_ends_bit_for_bit_as_if_it_had_never_stopped(tmp_path):
    make = partial(counterfactual, picture(), classifier=tiny(), recipe=THIN, device="cpu")
    whole = make().run()
    begun = make()
    for step in begun:
        if step.index == 17:
            break
    save(begun, tmp_path / "a.checkpoint")
    resumed = make()
    load(resumed, tmp_path / "a.checkpoint")
    again = resumed.run()
    assert torch.equal(whole.image, again.image)
    assert whole.curves == again.curves


def test_a_checkpoint_of_another_classifier_is_refused(tmp_path):
    begun = counterfactual(picture(), classifier=tiny(), recipe=THIN, device="cpu")
    next(iter(begun))
    save(begun, tmp_path / "a.checkpoint")
    other = tiny()
    other.model.head.weight.data.add_(0.5)
    with pytest.raises(InputError, match="was made with"):
        load(
            counterfactual(picture(), classifier=other, target=begun.fingerprint["target"], recipe=THIN),
            tmp_path / "a.checkpoint",
        )


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"target": "hexagon"}, "class"),
        ({"layer": "block3"}, "layer"),
        ({"region": torch.zeros(1, 32, 32)}, "mask"),
        ({"region": torch.ones(1, 16, 32)}, "shape"),
        ({"lesion_mask": torch.ones(1, 16, 32)}, "shape"),
        ({"confidence": 1.0}, "invalid-value"),
        ({"region": DOT, "classifier": LOOKS_AT_16}, "mask"),
        ({"lesion_mask": DOT, "classifier": LOOKS_AT_16}, "mask"),
        ({"lesion_mask": 1 - DOT, "classifier": LOOKS_AT_16}, "mask"),
        ({"lesion_mask": torch.ones(1, 32, 32)}, "mask"),
        ({"confidence": "high"}, "invalid-value"),
        ({"count": 0}, "invalid-value"),
        ({"count": 1.5}, "invalid-value"),
        ({"class_weight": -1.0}, "invalid-value"),
        ({"class_weight": float("inf")}, "invalid-value"),
        ({"class_weight_growth": float("inf")}, "invalid-value"),
        ({"second_classifier": tiny(output="nan")}, "classifier"),
        ({"second_classifier": tiny(output="text")}, "classifier"),
        ({"further_classifiers": [tiny(output="nan")]}, "classifier"),
        ({"loss_weight": float("inf")}, "invalid-value"),
        ({"loss_weight": "much"}, "invalid-value"),
        ({"target_loss": "low"}, "invalid-value"),
        ({"layer": ["block1"]}, "layer"),
        ({"seed": 1.5}, "invalid-value"),
        ({"uncertainty": "loss"}, "option"),
        ({"uncertainty": "fear"}, "invalid-value"),
        ({"target_loss": 2.0, "uncertainty": "none"}, "invalid-value"),
        ({"classifier": tiny(output="detached")}, "classifier"),
        ({"classifier": torch.nn.Identity()}, "classifier"),
    ],
)
def test_what_cannot_be_is_said_in_one_line_before_the_first_step(settings, code, monkeypatch):
    monkeypatch.setattr("preimage.engine.fit.Fit.__next__", lambda fit: pytest.fail("a fit was begun"))
    with pytest.raises(InputError) as error:
        found(**settings)
    assert error.value.code == code
    assert "\n" not in str(error.value)


def test_the_prediction_is_no_target():
    with pytest.raises(InputError) as error:
        found(target=as_model(tiny()).classifier.classes[plain().prediction])
    assert error.value.code == "class"


def test_only_one_picture_of_one_or_three_channels():
    for shape in ((2, 3, 32, 32), (2, 32, 32)):
        with pytest.raises(InputError) as error:
            counterfactual(torch.rand(shape), classifier=tiny(), recipe=THIN, device="cpu")
        assert error.value.code == "shape"
