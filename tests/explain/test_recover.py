"""Recovery: the features come back, and with its term the estimated loss is nearer to what is asked for."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from classifiers.small import tiny
from explain.small import BRIEF, THIN, estimated, picture

from preimage.engine.checkpoint import load, save
from preimage.errors import InputError
from preimage.explain.forward import CachedForward
from preimage.explain.recover import recover
from preimage.explain.uncertainty import UncertaintyPenalty


def found(**settings):
    return recover(picture(), **{"classifier": estimated(), "recipe": THIN, "device": "cpu"} | settings).run()


def test_the_estimated_loss_is_nearer_to_what_is_asked_for_with_its_term():
    plain, sure = (found(loss_weight=weight, recipe=replace(THIN, steps=60)) for weight in (0.0, 10.0))
    penalty = UncertaintyPenalty(estimated(), "loss", target_loss=0.2)
    forward = CachedForward(tiny(), penalty.layers)
    missing = [float(penalty.estimated_loss(forward, one.image.clamp(0, 1))) for one in (plain, sure)]
    assert missing[1] < 0.7 * missing[0]
    assert "estimated_loss" in sure.history.names
    assert plain.history.names == ["squared"]


def test_it_says_how_sure_the_classifier_is_before_and_after():
    one, classifier = found(), tiny()
    said = classifier(picture()[None]).argmax(1)
    assert one.numbers["prediction"] == classifier.classes[int(said)]
    assert {"psnr", "prediction_after", "estimated_loss", "estimated_loss_after"} <= one.numbers.keys()
    assert one.numbers["layer"] == "block1"
    assert len(one.panels) == 4
    assert "20%" in one.remarks[0]


@pytest.mark.parametrize(
    ("uncertainty", "term"), [("entropy", "predictive_entropy"), ("energy", "energy"), ("none", None)]
)
def test_another_doubt_takes_another_term(uncertainty, term):
    one = found(uncertainty=uncertainty, recipe=BRIEF)
    assert one.history.names == ["squared", *([term] if term else [])]
    assert "estimated_loss" not in one.numbers


def test_without_an_estimator_entropy_stands_in():
    one = found(classifier=tiny(), recipe=BRIEF)
    assert one.numbers["uncertainty"] == "entropy"
    assert "no loss estimator" in one.remarks[0]


def test_gray_and_large_pictures():
    gray = recover(picture()[:1], classifier=estimated(), recipe=BRIEF, device="cpu").run()
    assert gray.image.shape == (1, 1, 32, 32)
    model = estimated()
    model.classifier.size = (32, 32)
    large = recover(picture(150, 220), classifier=model, recipe=BRIEF, device="cpu").run()
    assert large.image.shape == (1, 3, 28, 40)


def test_resuming_ends_bit_for_bit_as_if_it_had_never_stopped(tmp_path):
    make = partial(recover, picture(), classifier=estimated(), recipe=THIN, device="cpu")
    begun, resumed = make(), make()
    for step in begun:
        if step.index == 13:
            break
    save(begun, tmp_path / "a.checkpoint")
    load(resumed, tmp_path / "a.checkpoint")
    assert torch.equal(make().run().image, resumed.run().image)


def test_a_checkpoint_of_another_estimator_is_refused(tmp_path):
    begun = recover(picture(), classifier=estimated(), recipe=BRIEF, device="cpu")
    next(iter(begun))
    save(begun, tmp_path / "a.checkpoint")
    other = estimated()
    assert other.estimator is not None
    other.estimator.head.weight.data.add_(1)
    with pytest.raises(InputError, match="was made with model"):
        load(recover(picture(), classifier=other, recipe=BRIEF, device="cpu"), tmp_path / "a.checkpoint")


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"layer": "block7"}, "layer"),
        ({"uncertainty": "loss", "classifier": tiny()}, "option"),
        ({"uncertainty": "fear"}, "invalid-value"),
        ({"loss_weight": -0.1}, "invalid-value"),
        ({"loss_weight": float("nan")}, "invalid-value"),
        ({"loss_weight": float("inf")}, "invalid-value"),
        ({"target_loss": 1.5}, "invalid-value"),
        ({"classifier": tiny(output="detached"), "uncertainty": "none"}, "classifier"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(settings, code):
    with pytest.raises(InputError) as error:
        found(**settings)
    assert error.value.code == code
    assert "\n" not in str(error.value)
