"""What a classifier returns: noticed, handled by an option, or refused in one line."""

from __future__ import annotations

import copy
import pickle
from typing import get_args

import pytest
import torch
from classifiers.small import Tiny, refused, tiny
from classifiers.test_classifier import hooks_of
from torch import nn

from preimage.classifiers import Classifier, load_classifier
from preimage.classifiers.fingerprint import model_fingerprint
from preimage.classifiers.outputs import NoLogitsError, OutputKind, logits_from
from preimage.explain.options import ClassifierOutput

HALVES = {"mean": (0.5,) * 3, "std": (0.25,) * 3}
PICTURES = torch.rand(4, 3, 24, 24, generator=torch.Generator().manual_seed(3))


class Ends(nn.Module):
    """A model whose outputs are a function of the logits, of which there is more contrast than of an untrained one."""

    def __init__(self, function, classes: int = 3, contrast: float = 30.0) -> None:
        super().__init__()
        self.model = Tiny(classes)
        self.contrast = contrast
        self.function = function

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        return self.contrast * (self.model(x) - self.model(torch.zeros_like(x)))

    def forward(self, x: torch.Tensor):
        return self.function(self.logits(x))


def softmax(z):
    return z.softmax(1)


def written_out(z):
    return z.exp() / z.exp().sum(1, keepdim=True)


def in_a_tuple(z):
    return z.softmax(1), None


def in_an_answer(z):
    return {"logits": torch.exp(z.log_softmax(1))}


def sigmoid(z):
    return z.sigmoid()


def fraction(z):
    return 1 / (1 + torch.exp(-z))


def half_of_tanh(z):
    return 0.5 * (1 + torch.tanh(z / 2))


SOFTMAXES = [softmax, written_out, in_a_tuple, in_an_answer, nn.Softmax(1)]
SIGMOIDS = [sigmoid, fraction, half_of_tanh, nn.Sigmoid()]


@pytest.mark.parametrize("function", SOFTMAXES)
def test_a_softmax_as_the_last_layer_is_noticed_and_handled(function):
    classifier = Classifier(Ends(function), 3, **HALVES)
    assert "'probabilities'" in refused("classifier", classifier, PICTURES)
    handled = Classifier(Ends(function), 3, **HALVES, output="probabilities")
    logits = Ends(softmax).logits(handled.prepared(PICTURES))
    torch.testing.assert_close(handled.probabilities(PICTURES), logits.softmax(1))
    torch.testing.assert_close(handled(PICTURES), logits.log_softmax(1))


@pytest.mark.parametrize("function", SIGMOIDS)
@pytest.mark.parametrize("classes", [1, 3])
def test_a_sigmoid_as_the_last_layer_is_noticed_and_handled(function, classes):
    names = ["no", "yes"] if classes == 1 else 3
    message = refused("classifier", Classifier(Ends(function, classes), names, **HALVES), PICTURES)
    assert "'sigmoid'" in message
    assert "--classifier-output" in message
    handled = Classifier(Ends(function, classes), names, **HALVES, output="sigmoid")
    logits = Ends(sigmoid, classes).logits(handled.prepared(PICTURES))
    wanted = torch.cat([-logits, logits], 1).sigmoid() if classes == 1 else logits.softmax(1)
    torch.testing.assert_close(handled.probabilities(PICTURES), wanted, atol=1e-4, rtol=1e-3)


def test_the_confident_sigmoid_of_the_report_is_what_it_says():
    answer = Classifier(Ends(lambda z: torch.full((len(z), 1), 0.99996) + 0 * z, 1), ["no", "yes"], output="sigmoid")
    assert float(answer.probabilities(PICTURES)[0, 1]) == pytest.approx(0.99996, abs=1e-6)


@pytest.mark.parametrize("output", ["probabilities", "sigmoid", "label-probabilities"])
def test_no_probability_of_0_or_1_is_an_infinite_logit_or_a_gradient_that_is_none(output):
    values = torch.tensor([[0.0, 1.0, 0.0], [1e-40, 1 - 1e-7, 1e-7]], requires_grad=True)
    logits = logits_from(values, output)
    assert bool(logits.isfinite().all())
    assert bool(torch.autograd.grad(logits.sum(), values)[0].isfinite().all())
    assert logits.argmax(1).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("function", "output"),
    [(nn.Softmax(1), "probabilities"), (nn.Sigmoid(), "sigmoid"), (nn.Sigmoid(), "label-probabilities")],
)
@pytest.mark.parametrize("classes", [1, 3])
def test_probabilities_that_are_rounded_to_1_by_a_last_module_have_the_gradient_of_their_logits(
    function, output, classes
):
    if classes == 1 and output != "sigmoid":
        output, function = "probabilities", nn.Sigmoid()
    names = 2 if classes == 1 else 3
    model = Ends(function, classes, contrast=-3000.0)
    classifier = Classifier(model, names, **HALVES, output=output)
    with torch.no_grad():
        assert float(function(model.logits(classifier.prepared(PICTURES))).amax()) == 1
    x = PICTURES.clone().requires_grad_()
    z = model.logits(classifier.prepared(x))
    found = classifier(x)
    wanted = torch.cat([-z / 2, z / 2], 1) if classes == 1 else z.log_softmax(1) if output == "probabilities" else z
    torch.testing.assert_close(found, wanted, atol=1e-2, rtol=1e-4)
    slopes = [torch.autograd.grad(each[:, 0].sum(), x, retain_graph=True)[0] for each in (found, wanted)]
    torch.testing.assert_close(slopes[0], slopes[1], atol=1e-3, rtol=1e-3)
    assert hooks_of(classifier) == 0


# ---------------------------------------------------------------------- logits that look like probabilities


def small_logits(z):
    """Within 0 to 1 for any picture, by chance."""
    return 0.4 + 0.0005 * z


class Normalized(nn.Module):
    """An untrained head of a normalized layer: logits within 0 to 1 for whatever input, and never near a bound."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.head = nn.Conv2d(3, 8, 8, 8), nn.LayerNorm(8), nn.Linear(8, 2)
        with torch.no_grad():
            self.head.weight.mul_(0.1 / self.head.weight.abs().max())
            self.head.bias.fill_(0.5)

    def forward(self, x):
        return self.head(self.norm(self.first(x).mean((2, 3))))


class Colors(nn.Module):
    """The mean of each channel, which is one logit of a picture as it is."""

    def forward(self, x):
        return x.mean((2, 3))


PLAIN = {"mean": (0.0,) * 3, "std": (1.0,) * 3}


@pytest.mark.parametrize(
    "make",
    [
        lambda: Classifier(Ends(small_logits), 3, **HALVES),
        lambda: Classifier(Ends(small_logits, 1), 2, **HALVES),
        lambda: Classifier(Normalized(), 2, **HALVES),
        lambda: Classifier(Colors(), 3, **PLAIN),
        lambda: Classifier(Ends(lambda z: torch.full_like(z, 0.5)), 3, **HALVES),
        lambda: Classifier(Ends(lambda z: torch.full_like(z, 1 / 3)), 3, **HALVES),
        lambda: Classifier(Ends(lambda z: z.log_softmax(1)), 3, **HALVES),
        lambda: Classifier(Ends(lambda z: (z - 0.5).relu()), 3, **HALVES),
        lambda: Classifier(Ends(lambda z: z, contrast=0.001), 3, **HALVES),
    ],
)
def test_logits_that_happen_to_lie_within_0_and_1_are_no_probabilities(make):
    classifier = make()
    logits = classifier(PICTURES)
    torch.testing.assert_close(classifier.probabilities(PICTURES), logits.softmax(1))


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v3_small", "shufflenet_v2_x0_5"])
def test_untrained_networks_of_torchvision_return_logits(name):
    classifier = load_classifier(f"torchvision:{name}@none")
    assert classifier(torch.rand(1, 3, 64, 64)).shape == (1, 1000)


def test_what_is_stated_to_be_logits_is_taken_as_such():
    classifier = Classifier(Ends(sigmoid), 3, **HALVES, output="logits")
    values = Ends(sigmoid)(classifier.prepared(PICTURES))
    torch.testing.assert_close(classifier(PICTURES), values)


@pytest.mark.parametrize("output", ["probabilities", "sigmoid", "label-probabilities"])
def test_logits_that_are_stated_to_be_probabilities_are_refused(output):
    message = refused("classifier", Classifier(Ends(lambda z: z), 3, **HALVES, output=output), PICTURES)
    assert repr(output) in message
    assert "logits" in message


def test_the_error_of_a_classifier_names_the_option_that_states_it_and_survives_another_process():
    error = NoLogitsError("it returns no logits", "'sigmoid'", "--second-classifier-output")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert (str(again).count("output="), again.option, again.code) == (1, "--second-classifier-output", "classifier")


def test_sigmoids_that_are_stated_to_be_probabilities_of_sum_1_name_their_sums():
    message = refused("classifier", Classifier(Ends(sigmoid), 3, **HALVES, output="probabilities"), PICTURES)
    assert "sums" in message


@pytest.mark.parametrize("output", ["softmax", "", 3, ["logits"]])
def test_another_word_is_refused_and_the_words_are_listed(output):
    message = refused("invalid-value", lambda: Classifier(Tiny(), 3, output=output))
    assert all(each in message for each in (*get_args(OutputKind), repr(output)))
    refused("invalid-value", tiny().with_output, output)


def test_the_words_of_the_command_line_are_those_of_a_classifier():
    assert get_args(ClassifierOutput) == get_args(OutputKind)


# ---------------------------------------------------------------------- one logit


@pytest.mark.parametrize("shape", ["tensor", "flat"])
@pytest.mark.parametrize("images", [1, 2, 5])
def test_one_logit_is_that_of_the_second_class_and_its_negative_of_the_first(shape, images):
    classifier = Classifier(Tiny(1, output=shape), ["no", "yes"], **HALVES)
    x = PICTURES[:1].repeat(images, 1, 1, 1)
    z = Tiny(1)(classifier.prepared(x))
    torch.testing.assert_close(classifier(x), torch.cat([-z / 2, z / 2], 1))
    torch.testing.assert_close(classifier.probabilities(x), torch.cat([1 - z.sigmoid(), z.sigmoid()], 1))


@pytest.mark.parametrize("output", [None, "logits", "sigmoid"])
def test_the_gradient_of_the_negative_class_is_that_of_minus_z(output):
    model = Ends((lambda z: z) if output != "sigmoid" else sigmoid, 1, contrast=1.0)
    classifier = Classifier(model, ["no", "yes"], **HALVES, output=output)
    x = PICTURES.clone().requires_grad_()
    no, yes = (torch.autograd.grad(classifier(x)[:, k].sum(), x)[0] for k in (0, 1))
    assert bool(no.any())
    torch.testing.assert_close(no, -yes)


# ---------------------------------------------------------------------- another number of answers than of images


class Answers(nn.Module):
    """A model whose outputs have a shape of their own."""

    def __init__(self, shape, classes: int = 3) -> None:
        super().__init__()
        self.model, self.shape = Tiny(classes), shape

    def forward(self, x):
        return self.shape(self.model(x))


@pytest.mark.parametrize("images", [1, 2, 3])
@pytest.mark.parametrize(
    ("shape", "classes"),
    [
        (lambda z: z.mean(0, keepdim=True).repeat(len(z) + 1, 1), 2),
        (lambda z: z.repeat(2, 1), 3),
        (lambda z: z.flatten(), 3),
        (lambda z: z[0], 2),
        (lambda z: z[:0], 3),
        (lambda z: z.sum(), 3),
        (lambda z: z[..., None, None], 3),
        (lambda z: z[:, :2], 3),
    ],
)
def test_answers_that_are_not_one_row_for_each_image_are_refused(shape, classes, images):
    if images == 2 and classes == 2 and shape(torch.zeros(2, 2)).shape == (2,):
        shape = torch.sum  # two numbers for two images are a logit for each
    message = refused("classifier", Classifier(Answers(shape, classes), classes, **HALVES), PICTURES[:images])
    assert f"({images}, {classes})" in message


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_a_squeezed_answer_is_not_read_as_several_pictures(classes):
    classifier = Classifier(Answers(torch.squeeze, classes), classes, **HALVES)
    assert classifier(PICTURES).shape == (4, classes)
    message = refused("classifier", classifier, PICTURES[:1])
    assert f"got ({classes},)" in message
    assert "squeeze()" in message


def test_a_squeezed_single_logit_works_for_a_batch_and_is_one_line_for_one_image():
    classifier = Classifier(Answers(torch.squeeze, 1), 2, **HALVES)
    assert classifier(PICTURES).shape == (4, 2)
    assert "squeeze()" in refused("classifier", classifier, PICTURES[:1])
    assert Classifier(Answers(lambda z: z.squeeze(-1), 1), 2, **HALVES)(PICTURES[:1]).shape == (1, 2)


def test_labels_are_never_one_logit_of_two():
    classifier = Classifier(Answers(lambda z: z, 1), 2, **HALVES, output="labels")
    assert "(4, 2) for" in refused("classifier", classifier, PICTURES)


# ---------------------------------------------------------------------- independent labels


@pytest.mark.parametrize("output", ["labels", "label-probabilities"])
@pytest.mark.parametrize("classes", [2, 3, 14])
def test_the_probabilities_of_independent_labels_are_sigmoids(output, classes):
    model = Ends(sigmoid if output == "label-probabilities" else lambda z: z, classes, contrast=8.0)
    classifier = Classifier(model, classes, **HALVES, output=output)
    wanted = model.logits(classifier.prepared(PICTURES)).sigmoid()
    torch.testing.assert_close(classifier.probabilities(PICTURES), wanted, atol=1e-5, rtol=1e-4)
    assert classifier.independent
    assert not classifier.with_output("sigmoid" if output != "labels" else "logits").independent


@pytest.mark.parametrize("function", [sigmoid, fraction, nn.Sigmoid()])
def test_sigmoids_that_are_stated_to_be_logits_of_labels_are_noticed(function):
    classifier = Classifier(Ends(function), 3, **HALVES, output="labels")
    assert "'label-probabilities'" in refused("classifier", classifier, PICTURES)


def test_several_labels_are_present_at_once_or_none():
    classifier = Classifier(Tiny(), ["effusion", "mass", "nodule"], **HALVES, output="labels")
    rows = torch.tensor([[0.95, 0.7, 0.1], [0.2, 0.3, 0.1]])
    assert [classifier.predicted(row) for row in rows] == ["effusion, mass", "none"]
    assert [classifier.in_words(row) for row in rows] == ["effusion 0.95, mass 0.70", "none, mass 0.30"]
    assert classifier.predicts(rows, 1).tolist() == [True, False]
    exclusive = classifier.with_output("logits")
    assert exclusive.predicted(rows[0]) == "effusion"
    assert exclusive.predicts(rows, 1).tolist() == [False, True]


@pytest.mark.parametrize("name", ["mass", 1, "MASS"])
@pytest.mark.parametrize("output", ["labels", "label-probabilities"])
def test_one_label_is_a_classifier_of_two_classes(name, output):
    model = Ends(sigmoid if output == "label-probabilities" else lambda z: z, contrast=8.0)
    whole = Classifier(model, ["effusion", "mass", "nodule"], **HALVES, output=output)
    one = whole.of_label(name)
    assert one.classes == ("no mass", "mass")
    assert not one.independent
    torch.testing.assert_close(one.probabilities(PICTURES)[:, 1], whole.probabilities(PICTURES)[:, 1])
    assert model_fingerprint(one) != model_fingerprint(whole)
    assert whole.classes == ("effusion", "mass", "nodule")


def test_there_is_no_one_label_of_classes_that_exclude_one_another():
    assert "output='labels'" in refused("class", tiny().of_label, 0)


# ---------------------------------------------------------------------- loading, files, copies


def test_with_output_shares_the_weights_and_leaves_the_classifier_as_it_was():
    classifier = tiny()
    other = classifier.with_output("labels")
    assert classifier.output is None
    assert other.model is classifier.model
    assert classifier.with_output(None) is classifier
    assert copy.deepcopy(other).output == "labels"
    torch.testing.assert_close(other(PICTURES), classifier(PICTURES))


def test_it_is_noticed_once_and_classifying_costs_no_further_pass():
    calls = []
    model = Tiny()
    model.register_forward_pre_hook(lambda module, inputs: calls.append(len(inputs[0])))
    classifier = Classifier(model, 3, **HALVES)
    for _ in range(3):
        classifier(PICTURES)
    assert calls == [4, 4, 4]


@pytest.mark.parametrize("modes", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_it_is_noticed_in_any_mode_of_gradients_and_draws_from_no_global_generator(modes):
    state = torch.random.get_rng_state()
    with modes():
        assert "'sigmoid'" in refused("classifier", Classifier(Ends(sigmoid), 3, **HALVES), PICTURES)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("output", [None, "labels", "probabilities", "sigmoid", "label-probabilities"])
def test_a_wrong_statement_is_refused_where_the_picture_has_a_gradient_as_well(output):
    right = softmax if output != "probabilities" else sigmoid
    function = (lambda z: z) if output in ("sigmoid", "label-probabilities") else right
    refused("classifier", Classifier(Ends(function), 3, **HALVES, output=output), PICTURES.clone().requires_grad_())
