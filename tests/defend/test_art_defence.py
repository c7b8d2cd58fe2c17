"""The defence as a preprocessor of the adversarial-robustness-toolbox."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from art.attacks.evasion import FastGradientMethod
from art.estimators.classification import PyTorchClassifier
from defend.small import BRIEF, pictures, trained
from torch import nn

from preimage.defend.art_defence import DIPDefence
from preimage.defend.defence import DefendedClassifier, Purification
from preimage.errors import InputError

IMAGES, LABELS = pictures(3, seed=2)


def classifier(defence: DIPDefence | None, model: nn.Module | None = None, white: float = 1.0) -> PyTorchClassifier:
    return PyTorchClassifier(
        model=model or trained(),
        loss=nn.CrossEntropyLoss(),
        input_shape=(3, 16, 16),
        nb_classes=3,
        clip_values=(0.0, white),
        preprocessing_defences=defence,
        device_type="cpu",
    )


def defence(**options) -> DIPDefence:
    return DIPDefence(**{"recipe": BRIEF, "seed": 5, "device_type": "cpu"} | options)


def test_predictions_are_those_of_the_defended_classifier():
    found = classifier(defence()).predict(IMAGES.numpy())
    expected = DefendedClassifier(trained(), recipe=BRIEF, seed=5)(IMAGES).detach().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_it_is_called_at_prediction_and_not_at_training():
    assert (defence().apply_fit, defence().apply_predict, defence().is_fitted) == (False, True, True)


def test_gradients_are_those_of_the_defended_classifier():
    found = classifier(defence()).loss_gradient(IMAGES.numpy(), np.eye(3)[LABELS])
    own = classifier(None, DefendedClassifier(trained(), recipe=BRIEF, seed=5))
    np.testing.assert_allclose(found, own.loss_gradient(IMAGES.numpy(), np.eye(3)[LABELS]), atol=1e-5)
    given = np.ones((3, 3, 16, 16), np.float32)
    assert defence().estimate_gradient(IMAGES.numpy(), given) is given


def test_attacks_see_through_it():
    found = FastGradientMethod(classifier(defence()), eps=0.05).generate(IMAGES.numpy(), LABELS.numpy())
    assert np.abs(found - IMAGES.numpy()).max() == pytest.approx(0.05, abs=1e-6)


def test_arrays_in_arrays_out_and_labels_as_they_are():
    cleaned, labels = defence()(IMAGES.numpy(), LABELS.numpy())
    assert isinstance(cleaned, np.ndarray)
    np.testing.assert_allclose(cleaned, Purification(BRIEF)(IMAGES, 5).numpy(), atol=1e-3)
    assert (labels == LABELS.numpy()).all()


def test_pictures_that_count_to_255():
    cleaned, _ = defence(clip_values=(0, 255))((255 * IMAGES).numpy())
    np.testing.assert_allclose(cleaned / 255, Purification(BRIEF)(IMAGES, 5).numpy(), atol=1e-3)


@pytest.mark.parametrize(
    ("images", "code"),
    [
        (255 * IMAGES.numpy(), "range"),
        ((255 * IMAGES.numpy()).astype(np.uint8), "range"),
        (2 * IMAGES.numpy() - 1, "range"),
        (IMAGES.numpy() * np.nan, "range"),
        (IMAGES[0].numpy(), "shape"),
    ],
)
def test_pictures_that_are_not_within_the_clip_values_are_refused(images, code):
    with pytest.raises(InputError) as raised:
        defence()(images)
    assert (raised.value.code, "\n" in str(raised.value)) == (code, False)


def test_what_is_outside_by_rounding_alone_is_taken():
    images = IMAGES.numpy().copy()
    images[:, :, 0], images[:, :, 1] = 1 + 1e-6, -1e-6
    cleaned, _ = defence()(images)
    np.testing.assert_allclose(cleaned, defence()(images.clip(0, 1))[0])


def test_whole_numbers_come_back_rounded_and_not_cut_off():
    images = (255 * IMAGES.numpy()).round().astype(np.uint8)
    cleaned, _ = defence(clip_values=(0, 255))(images)
    assert cleaned.dtype == np.uint8
    expected, _ = defence(clip_values=(0, 255))(images.astype(np.float32))
    np.testing.assert_array_equal(cleaned, expected.round())


def test_settings_can_be_changed_and_are_checked():
    own = defence()
    own.set_params(steps=2, seed=None)
    assert (own.steps, own.seed) == (2, None)
    for wrong in ({"steps": 0}, {"seed": -1}, {"batch": 0}, {"clip_values": (1.0, 0.0)}):
        with pytest.raises(InputError):
            defence(**wrong)


def test_a_fresh_seed_each_time_unless_one_is_given():
    fresh = defence(seed=None)
    first, again = (fresh.forward(torch.as_tensor(IMAGES))[0] for _ in range(2))
    assert not torch.equal(first, again)
