"""The head for shifted pictures: it is fitted to a finished classifier, which stays as it is, and ranks held-out ones right."""

from __future__ import annotations

import copy

import pytest
import torch
from classifiers.small import auroc, discs, draw, tiny

from preimage.classifiers import LossEstimator
from preimage.classifiers.shift_head import fit_shift_head
from preimage.classifiers.shifts import shifted_pictures

CPU = torch.device("cpu")


def untrained(moments: int = 2) -> LossEstimator:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LossEstimator({"block1": 8, "block2": 12}, units=16, moments=moments, shifts=True)


def fitted(kinds=("blur", "cutout", "color"), seed: int = 0, classifier=None, moments: int = 2) -> LossEstimator:
    estimator = untrained(moments)
    learned, _ = discs().learned_and_validation(0)
    fit_shift_head(classifier or tiny(3), estimator, learned, kinds, CPU, seed=seed)
    return estimator


def shift_scores(estimator: LossEstimator, x: torch.Tensor, classifier=None) -> torch.Tensor:
    with torch.no_grad():
        return estimator.shift_score((classifier or tiny(3)).logits_and_features(x, estimator.layers)[1])


@pytest.fixture(scope="module")
def estimator() -> LossEstimator:
    return fitted()


@pytest.mark.parametrize("kind", ["blur", "cutout", "color"])
def test_held_out_pictures_that_are_shifted_are_above_the_others(estimator, kind):
    """Of a network of eight and twelve channels that has learned nothing, from sixty pictures."""
    x = discs().part("test").pictures.float() / 255
    shifted = shifted_pictures(x, draw(9), [kind])
    before, after = (auroc(shift_scores(each, shifted), shift_scores(each, x)) for each in (untrained(), estimator))
    assert after >= 0.75
    assert after > before + 0.3


def test_nothing_but_the_head_changes(estimator):
    before, classifier = untrained(), tiny(3)
    held = copy.deepcopy(classifier.state_dict())
    fitted(classifier=classifier)
    assert all(torch.equal(value, held[name]) for name, value in classifier.state_dict().items())
    changed = {
        name for name, value in estimator.state_dict().items() if not torch.equal(value, before.state_dict()[name])
    }
    assert changed
    assert {name.split(".")[0] for name in changed} == {"shifted"}


def test_it_is_drawn_by_its_seed(estimator):
    again, other = fitted(), fitted(seed=1)
    weights = [each.state_dict()["shifted.head.weight"] for each in (estimator, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_units_of_features_do_not_count():
    """They are trained in their own deviations, which the weights then hold."""
    large = tiny(3)
    block, after = large.model.get_submodule("block1.0"), large.model.get_submodule("block2.0")
    assert isinstance(block, torch.nn.Conv2d)
    assert isinstance(after, torch.nn.Conv2d)
    with torch.no_grad():
        for value in (block.weight, block.bias):
            value.mul_(1000)
        after.weight.div_(1000)
    x = discs().part("test").pictures.float() / 255
    torch.testing.assert_close(
        shift_scores(fitted(classifier=large, moments=1), x, large),
        shift_scores(fitted(moments=1), x),
        rtol=0.05,
        atol=0.05,
    )
