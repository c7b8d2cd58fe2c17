"""Explaining a classifier that purifies its images: noise that leaves 0 to 1 is clipped, and that is said."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from classifiers.small import refused
from defend.small import BRIEF, CLASSES, Shifted, pictures, trained
from explain.small import THIN
from torch import nn

from preimage.classifiers import Classifier
from preimage.defend.attribution import saliency_map
from preimage.defend.defence import DefendedClassifier
from preimage.defend.faithfulness import insertion
from preimage.defend.inspect import inspect
from preimage.defend.migsg import MIGSG
from preimage.defend.saliency import SaliencyOptions, saliency
from preimage.explain.counterfactual import counterfactual
from preimage.explain.invert import invert
from preimage.explain.maximize import maximize
from preimage.explain.recover import recover

IMAGES, _ = pictures(2, seed=5)
CONTRAST = (IMAGES[:1] - IMAGES[0].amin()) / (IMAGES[0].amax() - IMAGES[0].amin())  # it touches 0 and 1
IDENTITY = {"mean": (0.0,) * 3, "std": (1.0,) * 3}


class Refuses(nn.Module):
    """A user's own classifier of images in 0 to 1, which says so."""

    takes_unit_range = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert 0 <= float(x.detach().min()) <= float(x.detach().max()) <= 1
        return trained()(x)


MAKERS = {
    "purified": lambda: DefendedClassifier(trained(), recipe=replace(BRIEF, steps=1), seed=0),
    "averaged": lambda: DefendedClassifier(trained(), defence=Shifted(), seed=0, samples=2),
    "of ones own": Refuses,
}


def defended(kind: str) -> Classifier:
    return Classifier(MAKERS[kind](), CLASSES, **IDENTITY)


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("method", ["mig-sg", "smoothgrad"])
@pytest.mark.parametrize("image", [IMAGES[:1], CONTRAST, torch.ones(1, 3, 16, 16)])
def test_noise_is_clipped_and_it_is_said(kind, method, image):
    options = {"method": method, "n_steps": 2, "n_samples": 2, "sigma": 0.5, "device": "cpu"}
    result = saliency(image, defended(kind), **options)
    assert any("clipped" in remark for remark in result.remarks)
    found = result.run()
    assert found.maps[0].found.settings["clipped"] is True
    assert found.map.shape == (1, 1, 16, 16)
    assert bool(found.map.isfinite().all())


@pytest.mark.parametrize("method", ["mig-sg", "smoothgrad"])
def test_nothing_is_clipped_for_any_other_classifier(method):
    run = saliency(CONTRAST, trained(), method=method, n_steps=2, n_samples=2, sigma=0.5, device="cpu")
    assert run.remarks == ()
    assert "clipped" not in run.run().maps[0].found.settings


def test_a_clipped_map_is_the_mean_over_clipped_copies():
    inside = Classifier(Refuses(), CLASSES, **IDENTITY)
    clips = Classifier(Clips(), CLASSES, **IDENTITY)
    options = {"n_steps": 3, "n_samples": 2, "sigma": 0.3, "device": "cpu"}
    one, other = (
        saliency_map(IMAGES[:1], SaliencyOptions(each, 0, "mig-sg", **options)).attribution for each in (inside, clips)
    )
    # The gradient of a clipped value is that of the classifier there; within the classifier it would be cut off.
    assert float((one - other).abs().mean() / one.mean()) < 0.6
    assert bool((one >= other - 1e-6).all())


class Clips(nn.Module):
    """The classifier with a clipping of its own, whose gradient is 0 beyond."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return trained()(x.clamp(0, 1))


@pytest.mark.parametrize("kind", MAKERS)
def test_mig_sg_of_captum_clips_as_well(kind):
    model = MAKERS[kind]()
    found = MIGSG(model).attribute(CONTRAST, target=0, n_steps=2, n_samples=2, stdevs=0.5)
    assert bool(found.isfinite().all())


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("method", ["integrated-gradients", "occlusion", "gradient", "input-x-gradient"])
@pytest.mark.parametrize("baseline", ["blur", "white"])
def test_methods_without_noise_stay_within_0_and_1(kind, method, baseline):
    options = {"method": method, "n_steps": 3, "baseline": baseline, "device": "cpu"}
    run = saliency(CONTRAST, defended(kind), **options)
    assert run.remarks == ()
    assert bool(run.run().map.isfinite().all())


@pytest.mark.parametrize("beyond", [1e-7, 1e-6, 5e-5])
def test_rounding_is_no_reason_to_refuse_an_image(beyond):
    model = DefendedClassifier(trained(), defence=Shifted(), seed=0)
    exact = torch.cat([torch.zeros(1, 3, 16, 8), torch.ones(1, 3, 16, 8)], 3)
    torch.testing.assert_close(model(exact * (1 + 2 * beyond) - beyond), model(exact), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("scale", [1.01, 2.0, 255.0])
def test_images_of_another_range_are_refused_as_before(scale):
    model = DefendedClassifier(trained(), defence=Shifted(), seed=0)
    assert "from 0 to 1" in refused("range", model, CONTRAST * scale)
    normalized = Classifier(model, CLASSES, mean=(0.5,) * 3, std=(0.25,) * 3)
    assert "from 0 to 1" in refused("range", normalized, CONTRAST)


SETTINGS = {"recipe": replace(THIN, steps=4), "device": "cpu"}


@pytest.mark.parametrize("kind", ["averaged", "of ones own"])
@pytest.mark.parametrize("prior", ["deep", "tv", "none"])
def test_pixels_that_leave_0_and_1_are_clipped_for_it_and_it_is_said(kind, prior):
    classifier = defended(kind)
    fit = {"steps": 40, "device": "cpu"} if prior != "deep" else SETTINGS
    for run in (
        (
            maximize(classifier=classifier, target=0, prior=prior, size=(16, 16), **fit),
            counterfactual(CONTRAST, classifier=classifier, layer=classifier.layers()[-1], prior=prior, **fit),
            invert(CONTRAST, classifier=classifier, layers=classifier.layers()[-1], prior=prior, **fit),
        )
        if kind == "averaged"
        else (maximize(classifier=classifier, target=0, prior=prior, size=(16, 16), **fit),)
    ):
        assert any("clipped" in remark for remark in run.remarks) == (prior != "deep")
        assert run.run().image.shape == (1, 3, 16, 16)


@pytest.mark.parametrize("kind", MAKERS)
def test_every_other_task_takes_a_defended_classifier(kind):
    classifier = defended(kind)
    seen = inspect(CONTRAST, classifier=classifier, recipe=BRIEF, seed=0, device="cpu").run()
    assert 0 <= seen.inspection.score <= 1
    curve = insertion(classifier, CONTRAST, torch.rand(1, 1, 16, 16), 0, steps=4)
    assert bool(curve.probabilities.isfinite().all())
    if kind == "averaged":
        layer = classifier.layers()[-1]
        assert (
            recover(CONTRAST, classifier=classifier, layer=layer, uncertainty="none", **SETTINGS).run().image.shape[1]
            == 3
        )
