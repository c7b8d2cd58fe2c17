"""Independent labels, and one logit of two classes, in every task that explains."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from classifiers.small import Tiny, refused
from explain.small import THIN, picture
from torch import nn

from preimage.classifiers import Classifier, LossEstimator, TrainedModel
from preimage.explain.class_schedule import ClassReached
from preimage.explain.class_term import label_loss
from preimage.explain.counterfactual import counterfactual
from preimage.explain.forward import CachedForward
from preimage.explain.invert import invert
from preimage.explain.maximize import maximize
from preimage.explain.quality import judge, transfer
from preimage.explain.recover import recover
from preimage.explain.uncertainty import UncertaintyPenalty
from preimage.figures.explanation import explanation_figure, strip_figure
from preimage.figures.page import explanation_page

NAMES = ["red", "green", "blue", "bright"]
SETTINGS = {"recipe": replace(THIN, steps=60), "device": "cpu", "uncertainty": "none"}


class Colors(nn.Module):
    """Labels that occur together: whether red, green, blue and all of them are bright, in the middle of a picture."""

    def __init__(self, function=lambda z: z, steepness: float = 12.0) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(3, 4, 1), nn.LeakyReLU(0.9))
        with torch.no_grad():
            self.block[0].weight.zero_()
            for row, channels in enumerate(([0], [1], [2], [0, 1, 2])):
                self.block[0].weight[row, channels, 0, 0] = steepness / len(channels)
            self.block[0].bias.fill_(-0.5 * steepness)
        self.function = function

    def forward(self, x):
        return self.function(self.block(x)[..., 8:24, 8:24].mean((2, 3)))


def labels(output: str = "labels", **options) -> Classifier:
    function = torch.sigmoid if output == "label-probabilities" else (lambda z: z)
    return Classifier(Colors(function, **options), NAMES, (0.0,) * 3, (1.0,) * 3, output=output)


def painted(red: float, green: float, blue: float) -> torch.Tensor:
    return torch.tensor([red, green, blue])[:, None, None].expand(3, 32, 32).clone()


OUTPUTS = ["labels", "label-probabilities"]


# ---------------------------------------------------------------------- counterfactual


@pytest.mark.long
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize(
    ("colors", "target", "is_to_be"),
    [((0.8, 0.3, 0.3), "green", "present"), ((0.8, 0.8, 0.3), "red", "absent"), ((0.3, 0.3, 0.8), 0, "present")],
)
def test_the_target_alone_makes_it_valid_and_all_others_stay_as_they_were(output, colors, target, is_to_be):
    classifier = labels(output)
    one = counterfactual(
        painted(*colors), classifier=classifier, target=target, class_weight=2.0, layer="block.0", **SETTINGS
    ).run()
    index = classifier.class_index(target)
    given, changed = (classifier.probabilities(x)[0] for x in (one.given, one.changed))
    assert one.numbers["target_is_to_be"] == is_to_be
    assert one.valid
    assert bool(changed[index] > 0.5) == (is_to_be == "present")
    assert one.confidence == pytest.approx(
        float(changed[index] if is_to_be == "present" else 1 - changed[index]), abs=1e-4
    )
    assert one.numbers["target_probability"] == pytest.approx(float(changed[index]), abs=1e-4)
    others = [k for k in range(4) if k not in (index, 3)]  # the last depends on the target itself
    assert [bool(changed[k] > 0.5) for k in others] == [bool(given[k] > 0.5) for k in others]
    torch.testing.assert_close(one.probabilities["counterfactual"], changed, atol=1e-4, rtol=0)


def test_a_label_of_095_is_said_to_be_095():
    classifier = labels()
    x = painted(0.5 + float(torch.tensor(0.95).logit()) / 12, 0.7, 0.0)
    one = counterfactual(
        x, classifier=classifier, target="blue", **{**SETTINGS, "recipe": replace(THIN, steps=2)}
    ).run()
    assert one.numbers["probabilities"]["given"]["red"] == pytest.approx(0.95, abs=0.01)
    assert "red 0.95" in next(title for title in one.panels if title.startswith("input"))
    assert one.numbers["prediction"] == "red, green"


def test_to_lower_another_label_does_not_make_it_valid():
    """The target comes to lead only because all others fall, while it is absent."""
    classifier = labels()
    before, after = painted(0.8, 0.4, 0.3)[None], painted(0.2, 0.4, 0.3)[None]
    assert int(classifier.probabilities(after).argmax()) == 1
    assert not bool(transfer(classifier, before, after, "green").reached)
    assert bool(transfer(classifier, before, after, "red", absent=True).reached)
    assert judge(before, after, classifier=classifier, target="green")[0]["valid"] is False
    assert judge(before, after, classifier=classifier, target="red", absent=True)[0]["valid"] is True


@pytest.mark.parametrize(
    ("colors", "default"), [((0.9, 0.3, 0.2), "red"), ((0.3, 0.45, 0.2), "green"), ((0.1, 0.2, 0.9), "blue")]
)
def test_the_most_probable_label_is_the_default_target(colors, default):
    run = counterfactual(painted(*colors), classifier=labels(), **SETTINGS)
    is_present = max(colors) > 0.5
    assert f"label {default}" in run.remarks[0]
    assert ("present -> absent" if is_present else "absent -> present") in run.remarks[0]


def test_the_reports_and_figures_of_labels():
    run = counterfactual(painted(0.8, 0.3, 0.3), classifier=labels(), target="red", count=2, **SETTINGS)
    one = run.run()
    assert any(title.startswith("counterfactual 2: no red") for title in one.panels)
    assert set(one.numbers) >= {"other_labels_flipped", "largest_change_of_another_label", "other_label_changed_most"}
    assert explanation_figure(one).axes
    assert strip_figure(one).axes
    assert "target is to be" in explanation_page(one)


def test_a_flipped_label_is_named():
    """The target and the label of all channels depend on the same pixels: one cannot change without the other."""
    one = counterfactual(
        painted(0.9, 0.45, 0.45), classifier=labels(), target="red", class_weight=5.0, layer="block.0", **SETTINGS
    ).run()
    flipped = [
        name
        for name, p, q in zip(NAMES, one.probabilities["given"], one.probabilities["counterfactual"], strict=True)
        if (p >= 0.5) != (q >= 0.5) and name != "red"
    ]
    assert one.numbers["other_labels_flipped"] == flipped
    change = (one.probabilities["given"] - one.probabilities["counterfactual"]).abs()
    change[0] = 0
    assert one.numbers["largest_change_of_another_label"] == pytest.approx(float(change.max()))


@pytest.mark.parametrize("absent", [False, True])
@pytest.mark.parametrize("target", [0, 1, 3])
def test_the_loss_of_a_label_is_its_cross_entropy_and_the_divergence_of_the_others(target, absent):
    classifier = labels()
    x0, x = painted(0.6, 0.4, 0.5)[None], painted(0.45, 0.52, 0.55)[None]
    p0, p = classifier.probabilities(x0)[0], classifier.probabilities(x)[0]
    others = [k for k in range(4) if k != target]
    divergence = p0 * (p0 / p).log() + (1 - p0) * ((1 - p0) / (1 - p)).log()
    wanted = -(1 - p[target] if absent else p[target]).log() + divergence[others].sum()
    found = label_loss(target, absent, p0, classifier(x))
    torch.testing.assert_close(found[0], wanted, atol=1e-5, rtol=1e-4)
    same = label_loss(target, absent, p0, classifier(x0))
    torch.testing.assert_close(same[0], -(1 - p0[target] if absent else p0[target]).log(), atol=1e-5, rtol=1e-4)


def test_a_second_classifier_of_labels_or_of_classes_follows_by_its_own_rule():
    exclusive = Classifier(Colors(), NAMES, (0.0,) * 3, (1.0,) * 3)
    for second, output in ((labels(), None), (exclusive, "labels"), (exclusive, None)):
        one = counterfactual(
            painted(0.8, 0.3, 0.3), classifier=labels(), target="red", class_weight=2.0, layer="block.0",
            second_classifier=second, second_classifier_output=output, **SETTINGS,
        ).run()  # fmt: skip
        assert one.numbers["transfer_reached"] is True


def test_the_target_of_classes_that_exclude_one_another_is_still_another_than_the_predicted():
    exclusive = Classifier(Colors(), NAMES, (0.0,) * 3, (1.0,) * 3)
    refused("class", counterfactual, painted(0.8, 0.3, 0.3), classifier=exclusive, target="red", **SETTINGS)
    assert (
        "target_is_to_be" not in counterfactual(painted(0.8, 0.3, 0.3), classifier=exclusive, **SETTINGS).run().numbers
    )


def test_an_option_states_labels_for_any_classifier():
    exclusive = Classifier(Colors(), NAMES, (0.0,) * 3, (1.0,) * 3)
    run = counterfactual(
        painted(0.8, 0.3, 0.3), classifier=exclusive, classifier_output="labels", target="red", **SETTINGS
    )
    assert "present -> absent" in run.remarks[0]
    assert exclusive.output is None


@pytest.mark.long
def test_a_checkpoint_of_labels_goes_on_as_if_it_had_not_ended():
    def started():
        return counterfactual(painted(0.8, 0.3, 0.3), classifier=labels(), target="red", class_weight=2.0, **SETTINGS)

    whole = started().run()
    half = started()
    for _ in range(25):
        next(half)
    again = started()
    again.load_state_dict(half.state_dict())
    assert torch.equal(again.run().image, whole.image)


def test_the_rule_waits_for_the_absence_of_a_label():
    classifier = labels()
    rule = ClassReached(classifier.probabilities, 0, absent=True, confidence=0.9)
    assert rule.absent
    run = counterfactual(
        painted(0.8, 0.3, 0.3), classifier=classifier, target="red", class_weight=10.0, confidence=0.8,
        **{**SETTINGS, "recipe": replace(THIN, steps=120)},
    )  # fmt: skip
    one = run.run()
    assert one.confidence > 0.8
    assert one.reason_code == "class-reached"


# ---------------------------------------------------------------------- the other tasks


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("target", ["red", 1, "bright"])
def test_a_label_is_maximized_and_its_sigmoid_said(output, target):
    classifier = labels(output, steepness=4.0)
    one = maximize(classifier=classifier, target=target, prior="none", steps=40, size=(32, 32), device="cpu").run()
    found = classifier.probabilities(one.image.clamp(0, 1))[0]
    index = classifier.class_index(target)
    assert one.numbers["confidence"] == pytest.approx(float(found[index]), abs=1e-4)
    assert float(found[index]) > 0.8
    assert NAMES[index] in one.numbers["prediction"].split(", ")


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("uncertainty", ["entropy", "energy"])
def test_a_recovery_says_all_labels(output, uncertainty):
    options = {"recipe": replace(THIN, steps=40), "device": "cpu", "uncertainty": uncertainty}
    one = recover(painted(0.9, 0.9, 0.1), classifier=labels(output), layer="block.0", **options).run()
    assert one.numbers["prediction"] == "red, green, bright"
    assert "red 0.99" in next(iter(one.panels))


def test_an_inversion_needs_no_classes():
    one = invert(picture(), classifier=labels(), layers="block.0", recipe=replace(THIN, steps=3), device="cpu").run()
    assert one.numbers["feature_error"] > 0


@pytest.mark.parametrize("colors", [(0.5, 0.5, 0.5), (0.9, 0.1, 0.6), (0.2, 0.3, 0.4)])
def test_the_uncertainty_of_labels_is_that_of_each_by_itself(colors):
    classifier = labels()
    forward, x = CachedForward(classifier), painted(*colors)[None]
    p = classifier.probabilities(x)[0]
    entropy = -(p * p.log() + (1 - p) * (1 - p).log()).mean() / torch.tensor(2.0).log()
    penalty = UncertaintyPenalty(TrainedModel(classifier), "entropy")
    torch.testing.assert_close(penalty.predictive_entropy(forward, x)[0], entropy.square(), atol=1e-5, rtol=1e-4)
    energy = UncertaintyPenalty(TrainedModel(classifier), "energy")
    energy.set_reference(forward, x)
    assert energy.reference_energy == pytest.approx(float((1 - p).log().sum()), abs=1e-4)
    assert float(energy.energy(forward, x)) == 0


def test_a_loss_estimator_of_labels_is_used_as_of_classes():
    estimator = LossEstimator({"block.0": 4}, units=4)
    estimator.settle(torch.linspace(-1, 1, 50))
    model = TrainedModel(labels(), estimator.eval().requires_grad_(False), {"target_quantile": 0.2})
    one = recover(painted(0.9, 0.9, 0.1), classifier=model, recipe=replace(THIN, steps=3), device="cpu").run()
    assert "estimated_loss" in one.numbers


# ---------------------------------------------------------------------- one logit


def of_one_logit(output: str | None = None) -> Classifier:
    class Red(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.Conv2d(3, 1, 1)
            with torch.no_grad():
                self.block.weight.copy_(torch.tensor([3.0, -1.0, 0.0])[None, :, None, None])
                self.block.bias.fill_(-1.0)

        def forward(self, x):
            z = self.block(x).mean((2, 3))
            return z.sigmoid() if output == "sigmoid" else z

    return Classifier(Red(), ["other", "red"], (0.0,) * 3, (1.0,) * 3, output=output)


@pytest.mark.parametrize("output", [None, "logits", "sigmoid"])
@pytest.mark.parametrize("target", ["other", 0, "red"])
def test_either_class_of_one_logit_is_maximized(output, target):
    classifier = of_one_logit(output)
    index = classifier.class_index(target)
    one = maximize(classifier=classifier, target=target, prior="none", steps=40, size=(32, 32), device="cpu").run()
    gray = float(classifier.probabilities(torch.full((1, 3, 32, 32), 0.5))[0, index])
    assert one.numbers["confidence"] > gray + 0.15
    red, green = (float(one.image[0, k].clamp(0, 1).mean()) for k in (0, 1))
    assert (red > green) == (index == 1)


@pytest.mark.parametrize("colors", [(0.9, 0.2, 0.2), (0.2, 0.9, 0.2), (0.5, 0.4, 0.6)])
def test_a_counterfactual_of_one_logit_goes_either_way(colors):
    one = counterfactual(
        painted(*colors), classifier=of_one_logit(), class_weight=20.0, confidence=0.6, layer="block",
        **{**SETTINGS, "recipe": replace(THIN, steps=90)},
    ).run()  # fmt: skip
    assert one.valid
    assert one.target != one.prediction


def test_one_label_of_several_is_explained_as_two_classes():
    one = counterfactual(
        painted(0.8, 0.3, 0.3), classifier=labels().of_label("red"), class_weight=2.0, layer="block.0", **SETTINGS
    ).run()
    assert one.classes == ("no red", "red")
    assert one.valid
    assert one.target == 0


def test_tiny_of_one_logit_has_two_classes_that_differ_in_sign_alone():
    classifier = Classifier(Tiny(1), ["no", "yes"])
    logits = classifier(torch.rand(3, 3, 20, 20))
    torch.testing.assert_close(logits[:, 0], -logits[:, 1])
