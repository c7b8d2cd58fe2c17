"""What is unusual: shifted pictures, also of kinds that were not trained on, get a higher score; usual ones keep their order."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from classifiers.small import auroc, discs, draw, tiny
from specimens import save_sealed

from preimage.classifiers import Classifier, LossEstimator, TrainedModel, read_model
from preimage.classifiers.loss_estimator import above_by_margin, pooled
from preimage.classifiers.model_file import Backbone, write_model
from preimage.classifiers.settings import Settings
from preimage.classifiers.shifts import shifted_pictures
from preimage.classifiers.train import Training
from preimage.classifiers.unusual import FeatureDensity, Unusualness, Usual, entropy, fit_terms
from preimage.explain.forward import CachedForward
from preimage.explain.uncertainty import UncertaintyPenalty

BRIEF = Settings(backbone="thin_resnet10", epochs=4, batch=16, mix=0.0, rate=3e-3)


# ---------------------------------------------------------------------- the terms


@pytest.mark.parametrize(("channels", "rank", "count"), [(8, 3, 200), (64, 32, 40), (4, 32, 100), (16, 4, 3)])
def test_the_density_is_low_where_features_were_and_high_elsewhere(channels, rank, count):
    mixing = torch.randn(channels, channels, generator=draw(1)) / channels**0.5
    density = FeatureDensity(channels, rank)
    density.fit(torch.randn(count, channels, generator=draw()) @ mixing)
    usual = density(torch.randn(100, channels, generator=draw(2)) @ mixing)
    far = density(4 + 4 * torch.randn(100, channels, generator=draw(3)))
    assert auroc(far, usual) > 0.95
    x = torch.randn(5, channels, generator=draw(4)).requires_grad_()
    density(x).sum().backward()
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())


def test_features_that_never_vary_are_no_division_by_zero():
    density = FeatureDensity(6, 3)
    density.fit(torch.ones(20, 6))
    assert bool(density(torch.ones(2, 6)).isfinite().all())
    assert float(density(torch.zeros(1, 6))) > float(density(torch.ones(1, 6)))


def test_what_is_usual_adds_nothing():
    terms = torch.randn(1000, 3, generator=draw()) * torch.tensor([1.0, 10, 0.1])
    usual = Usual(3)
    usual.fit(terms)
    assert (usual(terms) == 0).float().mean(0).tolist() == pytest.approx([0.9] * 3, abs=0.01)
    limit = 1.282  # deviations, of the quantile 0.9
    beyond = usual((limit + 2) * terms.new_tensor([[1.0, 10, 0.1]]))
    torch.testing.assert_close(beyond, torch.full((1, 3), 2.0), atol=0.2, rtol=0)


def test_usual_pictures_are_in_the_order_of_estimate_and_entropy_and_others_are_above():
    score = Unusualness(8, rank=4)
    estimates, shifted = (torch.randn(400, generator=draw(k)) for k in (6, 7))
    logits, features = torch.randn(400, 5, generator=draw(5)), torch.randn(400, 8, generator=draw(8))
    held_out = (estimates[200:], shifted[200:], logits[200:], features[200:])
    score.fit(features[:200], *held_out)
    usual = score(*held_out)
    own = (torch.stack([held_out[0], entropy(held_out[2])], 1) - score.means) / score.deviations
    same = (usual - own.sum(1)).abs() < 1e-5
    assert float(same.float().mean()) == pytest.approx(0.81, abs=0.06)
    assert auroc(score(estimates, shifted + 6, logits, features), usual) > 0.99
    assert auroc(score(estimates, shifted, logits, features + 6), usual) > 0.99
    assert auroc(score(estimates + 6, shifted, logits, features), usual) > 0.95


@pytest.mark.parametrize("classes", [2, 7])
def test_the_entropy_is_that_of_the_probabilities(classes):
    assert torch.allclose(entropy(torch.zeros(3, classes)), torch.full((3,), math.log(classes)))
    assert float(entropy(100 * torch.eye(classes)[:1])) == pytest.approx(0, abs=1e-6)


def test_without_terms_the_score_is_the_estimate():
    estimator = LossEstimator({"a": 4})
    features = {"a": torch.rand(3, 4, 5, 5)}
    assert torch.equal(estimator.score(features, torch.rand(3, 2)), estimator(features))


@pytest.mark.parametrize("shape", [(2, 4, 5, 6), (2, 5, 6, 4), (2, 7, 4), (2, 4)])
def test_two_moments_are_mean_and_deviation_over_places(shape):
    x = torch.randn(shape, generator=draw())
    dims = {(2, 4, 5, 6): (2, 3), (2, 5, 6, 4): (1, 2), (2, 7, 4): (1,), (2, 4): ()}[shape]
    mean, deviation = pooled(x, 4, moments=2).chunk(2, 1)
    assert torch.allclose(mean, pooled(x, 4))
    expected = x.std(dims, correction=0) if dims else torch.zeros(2, 4)
    assert torch.allclose(deviation, expected, atol=2e-3)


def test_shifted_pictures_are_above_all_others_by_the_margin():
    usual = torch.tensor([0.0, 0.5])
    assert float(above_by_margin(usual, torch.tensor([1.5, 2.5]))) == 0
    assert float(above_by_margin(usual, torch.tensor([2.5, 1.5]))) == 0
    too_little = torch.tensor([1.0, 2.5])  # above the second
    assert float(above_by_margin(usual, too_little)) == pytest.approx(0.5 / 4)


def test_low_precision_around_it_does_not_reach_the_density():
    density = FeatureDensity(64, 8)
    density.fit(torch.randn(300, 8, generator=draw()) @ torch.randn(8, 64, generator=draw(1)) + 5)
    x = torch.randn(20, 8, generator=draw(2)) @ torch.randn(8, 64, generator=draw(1)) + 5
    plain = density(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(density(x), plain)


# ---------------------------------------------------------------------- training


def shift(x: torch.Tensor, kind: str) -> torch.Tensor:
    return shifted_pictures(x, draw(9), [kind])


def foreign(x: torch.Tensor) -> torch.Tensor:
    """Stripes: pictures of something else."""
    phase = torch.rand(len(x), 3, 1, 1, generator=draw(3)) * 6
    return (0.5 + 0.5 * torch.sin(1.3 * torch.arange(x.shape[-1]) + phase)).expand(x.shape).contiguous()


def scores(model: TrainedModel, x: torch.Tensor) -> torch.Tensor:
    assert model.estimator is not None
    with torch.no_grad():
        logits, features = model.classifier.logits_and_features(x, model.estimator.layers)
        return model.estimator.relative(model.estimator.score(features, logits), 0.5)


@pytest.fixture(scope="module")
def trained() -> TrainedModel:
    """Trained without noise and without mixes."""
    settings = replace(BRIEF, epochs=8, shifts=("crop", "blur", "cutout", "color"))
    return Training(discs(), settings, device="cpu").run()


@pytest.mark.parametrize("kind", ["crop", "blur", "color", "noise", "foreign"])
def test_strange_pictures_are_above_usual_ones_also_of_kinds_that_were_not_trained_on(trained, kind):
    x = discs().part("test").pictures.float() / 255
    strange = foreign(x) if kind == "foreign" else shift(x, kind)
    assert auroc(scores(trained, strange), scores(trained, x)) >= 0.9


def test_its_scale_and_scores_are_those_of_held_out_pictures(trained):
    assert trained.estimator is not None
    assert trained.estimator.unusual is not None
    assert trained.estimator.moments == 2
    assert trained.about["settings"]["shifts"] == ("crop", "blur", "cutout", "color")
    assert float(trained.estimator.quantile(0.9)) > float(trained.estimator.quantile(0.1))
    assert trained.about["test"]["balanced_accuracy"] > 0.8


def test_a_model_file_keeps_the_terms_and_one_of_before_has_none(trained, tmp_path):
    path = write_model(tmp_path / "m.pt", trained)
    x = torch.rand(4, 3, 32, 32, generator=draw())
    again = read_model(path)
    assert again.estimator is not None
    assert trained.estimator is not None
    for name, value in trained.estimator.state_dict().items():
        assert torch.equal(again.estimator.state_dict()[name], value), name
    torch.testing.assert_close(scores(again, x), scores(trained, x))  # of kernels in another layout of memory
    plain = TrainedModel(
        Classifier(Backbone("thin_resnet10").build(3), 3), LossEstimator({"layer1": 16}), {}, Backbone("thin_resnet10")
    )
    held = torch.load(write_model(tmp_path / "n.pt", plain), weights_only=True)
    for name in ("moments", "rank", "shifts"):
        del held["estimator"][name]
    save_sealed(held, tmp_path / "old.pt")
    old = read_model(tmp_path / "old.pt").estimator
    assert old is not None
    assert (old.moments, old.unusual, old.shifted) == (1, None, None)


def test_m_leads_away_from_what_is_unusual(trained):
    penalty = UncertaintyPenalty(trained, "loss")
    forward = CachedForward(trained.classifier, penalty.layers)
    x = discs().part("test").pictures[:4].float() / 255
    noisy = shift(x, "noise").requires_grad_()
    strange = penalty.estimated_loss(forward, noisy)
    assert bool((strange > penalty.estimated_loss(forward, x)).all())
    (slope,) = torch.autograd.grad(strange.sum(), noisy)
    assert bool(slope.isfinite().all())
    less = penalty.estimated_loss(forward, (noisy - 2 * slope / slope.norm()).detach())
    assert float(less.sum()) < float(strange.detach().sum())


def test_a_finished_classifier_stays_as_it_is_with_shifts_too():
    given = tiny(3)
    before = {name: value.clone() for name, value in given.state_dict().items()}
    model = Training(discs(), replace(BRIEF, epochs=1, shifts=("all",)), classifier=given, device="cpu").run()
    assert all(torch.equal(value, before[name]) for name, value in model.classifier.state_dict().items())
    assert model.estimator is not None
    assert model.estimator.unusual is not None


def test_resumed_it_ends_as_if_it_had_never_stopped():
    settings = replace(BRIEF, epochs=2, shifts=("all",))
    straight, first, second = (Training(discs(), settings, device="cpu") for _ in range(3))
    whole = straight.run()
    next(iter(first))
    second.load_state_dict(first.state_dict())
    again = second.run()
    assert again.estimator is not None
    assert whole.estimator is not None
    for name, value in whole.estimator.state_dict().items():
        assert torch.equal(again.estimator.state_dict()[name], value), name
    assert straight.fingerprint != Training(discs(), replace(settings, shifts=()), device="cpu").fingerprint


def test_terms_are_fitted_to_a_classifier_at_hand():
    data, classifier = discs(), tiny(3)
    estimator = LossEstimator({"block1": 8, "block2": 12}, moments=2)  # without a head for shifted pictures
    learned, validation = data.learned_and_validation(0)
    device = torch.device("cpu")
    known = (classifier.logits_and_features(batch, estimator.layers)[1] for batch in learned.batches(device))
    fit_terms(classifier, estimator, torch.cat([estimator.first(each) for each in known]), validation, device)
    x = validation.pictures.float() / 255
    logits, features = classifier.logits_and_features(x, estimator.layers)
    assert estimator.unusual is not None
    own = torch.stack([estimator(features), entropy(logits)], 1)
    beyond = estimator.score(features, logits) - ((own - estimator.unusual.means) / estimator.unusual.deviations).sum(1)
    assert len(beyond) == 12
    assert float(beyond.detach().min()) > -1e-4
    assert int((beyond.detach() > 1e-4).sum()) == 2  # a tenth of them are beyond
