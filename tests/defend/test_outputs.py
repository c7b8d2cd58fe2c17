"""What a classifier returns, in the tasks that defend: probabilities, one logit, independent labels."""

from __future__ import annotations

import pytest
import torch
from classifiers.small import refused
from defend.small import BRIEF, CLASSES, SIDE, Small, accuracy, pictures, trained
from torch import nn

from preimage.classifiers import Classifier
from preimage.classifiers.fingerprint import short_fingerprint
from preimage.defend.adaptive import bpda_eot, prior_perturbation
from preimage.defend.attacks import attack
from preimage.defend.attribution import saliency_map
from preimage.defend.defence import DefendedClassifier
from preimage.defend.evaluate import evaluate_defence
from preimage.defend.faithfulness import deletion, insertion
from preimage.defend.inspect import inspect
from preimage.defend.inspection import Inspecting, Inspection
from preimage.defend.migsg import MIGSG
from preimage.defend.saliency import SaliencyOptions, saliency
from preimage.figures.inspection import inspection_figure

IMAGES, LABELS = pictures(3, seed=5)
ONE = IMAGES[:1]
FINDINGS = ("effusion", "mass", "nodule")


class Ends(nn.Module):
    """The trained network with a last function."""

    def __init__(self, function) -> None:
        super().__init__()
        self.model, self.function = trained().model, function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self.model(x))


def classifier_of(function, names=CLASSES, **options) -> Classifier:
    return Classifier(Ends(function), names, mean=(0.5,) * 3, std=(0.25,) * 3, **options)


def softmax(z):
    return z.softmax(1)


def difference(z):
    """One logit of two classes."""
    return z[:, 1:2] - z[:, :1]


def as_they_are(z):
    return z


def map_of(classifier, method: str = "gradient", target=0, **options) -> torch.Tensor:
    given = {"n_steps": 4, "n_samples": 2, "device": "cpu"} | options
    return saliency_map(ONE, SaliencyOptions(classifier, target, method, **given)).attribution


METHODS = ["gradient", "mig-sg", "smoothgrad", "input-x-gradient", "integrated-gradients", "occlusion", "gradcam"]


# ---------------------------------------------------------------------- outputs that are no logits


@pytest.mark.parametrize("function", [softmax, torch.sigmoid, lambda z: difference(z).sigmoid()])
def test_every_task_refuses_probabilities_that_were_not_stated(function, tmp_path):
    names = CLASSES if function(torch.zeros(1, 3)).shape[1] == 3 else CLASSES[:2]
    wrong = classifier_of(function, names)
    for call in (
        lambda: wrong(IMAGES),
        lambda: saliency(ONE, wrong, device="cpu").run(),
        lambda: saliency(ONE, wrong, method="occlusion", device="cpu").run(),
        lambda: inspect(ONE, classifier=wrong, recipe=BRIEF, device="cpu").run(),
        lambda: attack("fgsm", wrong, IMAGES, LABELS % 2, 8),
    ):
        assert "--classifier-output" in refused("classifier", call)


@pytest.mark.parametrize("function", [softmax, torch.sigmoid])
@pytest.mark.parametrize("defended", [False, True])
def test_modules_of_ones_own_are_refused_as_well(function, defended, tmp_path):
    class Own(nn.Module):
        def forward(self, x):
            return function(trained()(x))

    model = DefendedClassifier(Own(), recipe=BRIEF, seed=0) if defended else Own()
    maps = torch.rand(3, 1, SIDE, SIDE)
    for call in (
        lambda: attack("fgsm", model, IMAGES, LABELS, 8),
        lambda: prior_perturbation(model, IMAGES, LABELS, 8, steps=1),
        lambda: insertion(model, IMAGES, maps, 0),
        lambda: deletion(model, IMAGES, maps, 0),
        lambda: Inspecting(IMAGES, model, recipe=BRIEF, seed=0),
        lambda: evaluate_defence(model, IMAGES, LABELS, [], {"none": None}, table=tmp_path / "t.csv"),
    ):
        assert "--classifier-output" in refused("classifier", call)


@pytest.mark.parametrize("method", METHODS)
def test_a_stated_softmax_is_explained_as_its_logits_up_to_their_normalization(method):
    stated = classifier_of(softmax, output="probabilities")
    normalized = classifier_of(lambda z: z.log_softmax(1))
    layer = {"layer": "model.first"} if method == "gradcam" else {}
    torch.testing.assert_close(
        map_of(stated, method, **layer), map_of(normalized, method, **layer), atol=1e-4, rtol=1e-3
    )
    assert accuracy(stated, *pictures(30, seed=9)) == accuracy(trained(), *pictures(30, seed=9)) > 0.9


@pytest.mark.parametrize(
    ("function", "output"), [(softmax, "probabilities"), (torch.sigmoid, "sigmoid"), (as_they_are, "logits")]
)
def test_the_option_of_a_task_states_it(function, output):
    plain = classifier_of(function)
    found = saliency(ONE, plain, classifier_output=output, method="gradient", device="cpu").run()
    wanted = classifier_of(function, output=output).probabilities(ONE)[0]
    assert found.report()["confidence"] == pytest.approx(float(wanted.max()), abs=1e-5)
    seen = inspect(ONE, classifier=plain, classifier_output=output, recipe=BRIEF, seed=0, device="cpu").run()
    torch.testing.assert_close(seen.inspection.given, wanted)


def test_a_small_network_that_is_not_trained_is_none_of_these():
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(1)
        model = Small()
    assert attack("fgsm", model, IMAGES, LABELS, 8).shape == IMAGES.shape


# ---------------------------------------------------------------------- one logit


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("output", [None, "sigmoid"])
def test_the_negative_class_of_one_logit_has_a_map(method, output):
    one = classifier_of((lambda z: difference(z).sigmoid()) if output else difference, CLASSES[:2], output=output)
    layer = {"layer": "model.first"} if method == "gradcam" else {}
    no, yes = (map_of(one, method, target=k, **layer) for k in (0, 1))
    assert bool(no.any() or yes.any())
    if method == "gradcam":  # which cuts off at 0
        assert not bool((no * yes).any())
    else:
        sign = 1 if method in ("gradient", "mig-sg") else -1
        torch.testing.assert_close(no, sign * yes, atol=1e-4, rtol=1e-3)
        assert bool(no.any())


@pytest.mark.parametrize("method", METHODS)
def test_the_positive_class_has_the_map_it_had_but_for_the_scale(method):
    one = classifier_of(difference, CLASSES[:2])
    before = classifier_of(lambda z: torch.cat([torch.zeros_like(difference(z)), difference(z)], 1), CLASSES[:2])
    layer = {"layer": "model.first"} if method == "gradcam" else {}
    found, wanted = (map_of(each, method, target=1, **layer) for each in (one, before))
    torch.testing.assert_close(2 * found, wanted, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(one.probabilities(IMAGES), before.probabilities(IMAGES))


@pytest.mark.parametrize("target", [0, 1])
def test_the_score_of_either_class_of_one_logit(target):
    one = classifier_of(difference, CLASSES[:2])
    found = saliency(ONE, one, target, method="gradient,mig-sg", n_steps=4, device="cpu").run().report()
    assert not any(each["is_zero"] for each in found["methods"])
    assert found["confidence"] == pytest.approx(float(one.probabilities(ONE)[0, target]), abs=1e-5)


# ---------------------------------------------------------------------- independent labels


def labels(output: str = "labels") -> Classifier:
    return classifier_of(torch.sigmoid if output == "label-probabilities" else as_they_are, FINDINGS, output=output)


OUTPUTS = ["labels", "label-probabilities"]


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("target", ["effusion", "mass", 2])
def test_saliency_says_the_sigmoid_of_a_label(output, target):
    classifier = labels(output)
    p = trained()(ONE)[0].sigmoid()
    result = saliency(ONE, classifier, target, method="gradient,mig-sg", n_steps=4, device="cpu").run()
    report, index = result.report(), classifier.class_index(target)
    assert report["confidence"] == pytest.approx(float(p[index]), abs=1e-4)
    assert report["prediction"] == (", ".join(FINDINGS[k] for k in range(3) if p[k] >= 0.5) or "none")
    assert f"confidence {float(p[index]):.3f}" in result.summary_lines()[0]
    assert report["methods"][0]["insertion_curve"][-1] == pytest.approx(float(p[index]), abs=1e-4)
    torch.testing.assert_close(map_of(classifier, target=target), map_of(trained(), target=index), atol=1e-4, rtol=2e-3)


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("defended", [False, True])
def test_curves_of_a_label_are_of_its_sigmoid(output, defended):
    classifier = labels(output)
    maps = torch.rand(3, 1, SIDE, SIDE)
    model = DefendedClassifier(classifier, defence=Same(), seed=0) if defended else classifier
    curve = insertion(model, IMAGES, maps, "mass" if not defended else 1, steps=4)
    torch.testing.assert_close(curve.probabilities[:, -1], trained()(IMAGES)[:, 1].sigmoid(), atol=1e-4, rtol=1e-3)


class Same:
    """A defense that changes nothing."""

    def __call__(self, images, seed=None, streams=None):
        return images

    def describe(self):
        return {"kind": "Same"}


@pytest.mark.parametrize("output", OUTPUTS)
def test_an_inspection_is_of_each_label_by_itself(output):
    classifier = labels(output)
    result = inspect(ONE, classifier=classifier, recipe=BRIEF, seed=0, device="cpu").run()
    p = trained()(ONE)[0].sigmoid()
    found, report = result.inspection, result.report()
    torch.testing.assert_close(found.given, p, atol=1e-4, rtol=1e-3)
    assert report["labels"] == dict(zip(FINDINGS, found.given.tolist(), strict=True))
    assert report["score"] == pytest.approx(float((found.given - found.mean).abs().max()))
    moved = int((found.given - found.mean).abs().argmax())  # the label that the score is of
    assert (report["class"], report["early_class"]) == (FINDINGS[moved], FINDINGS[moved])
    assert report["confidence"] == pytest.approx(float(p[moved]), abs=1e-4)
    assert inspection_figure(ONE[0], found, FINDINGS).axes


@pytest.mark.parametrize(
    ("given", "early", "score"),
    [
        ([0.9, 0.8, 0.1], [0.9, 0.8, 0.1], 0.0),
        ([0.9, 0.8, 0.1], [0.2, 0.8, 0.1], 0.7),
        ([0.9, 0.9, 0.9], [0.5, 0.4, 0.7], 0.5),
    ],
)
def test_the_score_of_labels_is_the_largest_distance_of_one(given, early, score):
    found = Inspection(torch.tensor(given), (2,), torch.tensor([early]), torch.zeros(1, 3, 16, 16), 1, independent=True)
    assert found.score == pytest.approx(score)


def test_a_threshold_of_classes_is_none_of_labels():
    assert short_fingerprint(labels()) != short_fingerprint(labels().with_output("logits"))


@pytest.mark.parametrize("make", [labels, lambda: DefendedClassifier(labels(), recipe=BRIEF)])
def test_attacks_take_one_label_and_say_so(make, tmp_path):
    model = make()
    defended = model if isinstance(model, DefendedClassifier) else DefendedClassifier(model, recipe=BRIEF)
    for call in (
        lambda: attack("fgsm", model, IMAGES, LABELS, 8),
        lambda: prior_perturbation(model, IMAGES, LABELS, 8, steps=1),
        lambda: bpda_eot(defended, IMAGES, LABELS, 8, steps=1),
        lambda: evaluate_defence(model, IMAGES, LABELS, [], {"none": None}, table=tmp_path / "t.csv"),
    ):
        assert "of_label" in refused("class", call)
    present = (trained()(IMAGES)[:, 1] > 0).long()
    one = labels().of_label("mass")
    attacked = attack("fgsm", one, IMAGES, present, 32)
    assert accuracy(one, IMAGES, present) == 1
    assert accuracy(one, attacked, present) < 1


def test_a_loss_estimator_is_not_fitted_to_labels(tmp_path):
    from preimage.defend.train import TrainOptions
    from preimage.defend.training_run import TrainingRun

    options = TrainOptions(classifier=labels(), freeze=True)
    assert "labels" in refused("class", TrainingRun, tmp_path, options)
    stated = TrainOptions(classifier=trained(), classifier_output="labels", freeze=True)
    assert "labels" in refused("class", TrainingRun, tmp_path, stated)


@pytest.mark.parametrize("output", OUTPUTS)
def test_mig_sg_of_a_label_by_name(output):
    found = MIGSG(labels(output)).attribute(IMAGES, target="nodule", n_steps=3, n_samples=1)
    wanted = MIGSG(trained()).attribute(IMAGES, target=2, n_steps=3, n_samples=1)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=5e-3)
