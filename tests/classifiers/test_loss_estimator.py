"""LossEstimator: it learns the order of losses, and its own scale."""

from __future__ import annotations

import pytest
import torch
from classifiers.small import refused

from preimage.classifiers import LossEstimator
from preimage.classifiers.loss_estimator import pooled, rank_correlation, ranking_loss


def test_the_loss_counts_ordered_pairs_alone():
    """Eq. 2: two of three pairs are in order by more than the margin; the third by 0.5 costs the other half."""
    losses = torch.tensor([3.0, 2.0, 1.0])
    estimates = torch.tensor([5.0, 2.5, 2.0])
    assert float(ranking_loss(estimates, losses)) == pytest.approx(0.5 / 3)
    assert float(ranking_loss(estimates, losses.flip(0))) == pytest.approx((1.5 + 4 + 3.5) / 3)
    assert float(ranking_loss(estimates, torch.ones(3))) == 0


def test_the_loss_does_not_depend_on_the_batch_size():
    losses, estimates = torch.rand(16), torch.rand(16)
    assert float(ranking_loss(estimates.repeat(2), losses.repeat(2))) == pytest.approx(
        float(ranking_loss(estimates, losses)), rel=1e-5
    )


def test_true_losses_are_not_trained():
    losses = torch.rand(4, requires_grad=True)
    estimates = torch.rand(4, requires_grad=True)
    ranking_loss(estimates, losses).backward()
    assert losses.grad is None
    assert estimates.grad is not None


def test_it_learns_an_order():
    torch.manual_seed(0)
    features = {"a": torch.randn(200, 6, 4, 4) + torch.randn(200, 6, 1, 1), "b": torch.randn(200, 3)}
    losses = (features["a"].mean((2, 3))[:, 0] + features["b"][:, 1]).exp()
    estimator = LossEstimator({"a": 6, "b": 3}, units=16)
    optimizer = torch.optim.Adam(estimator.parameters(), lr=0.01)
    for _ in range(150):
        optimizer.zero_grad()
        ranking_loss(estimator(features), losses).backward()
        optimizer.step()
    assert rank_correlation(estimator(features).detach(), losses) > 0.9


def test_its_scale_is_that_of_held_out_estimates():
    estimator = LossEstimator({"a": 4})
    values = torch.linspace(-3, 5, 401)
    estimator.settle(values)
    assert float(estimator.quantile(0.1)) == pytest.approx(-2.2, abs=0.03)
    assert float(estimator.relative(estimator.quantile(0.5)[None], 0.5)) == 0
    assert float(estimator.relative(estimator.quantile(0.5)[None] + values.std(), 0.5)) == pytest.approx(1)
    again = LossEstimator({"a": 4})
    again.load_state_dict(estimator.state_dict())
    assert float(again.quantile(0.9)) == float(estimator.quantile(0.9))


@pytest.mark.parametrize("shape", [(2, 4, 5, 6), (2, 5, 6, 4), (2, 7, 4), (2, 4)])
def test_features_of_any_kind_are_averaged_over_places(shape):
    assert pooled(torch.rand(shape), 4).shape == (2, 4)
    assert torch.allclose(pooled(torch.ones(shape), 4), torch.ones(2, 4))


@pytest.mark.parametrize(
    ("act", "code"),
    [
        (lambda: LossEstimator({}), "layer"),
        (lambda: LossEstimator({"a": 4}).quantile(0.1), "classifier"),
        (lambda: LossEstimator({"a": 4}).quantile(1.5), "invalid-value"),
        (lambda: LossEstimator({"a": 4}).settle(torch.ones(10)), "classifier"),
        (lambda: LossEstimator({"a": 4})({"a": torch.rand(2, 5, 3, 3)}), "shape"),
    ],
)
def test_what_cannot_be_is_one_line(act, code):
    refused(code, act)


def test_the_rank_correlation_is_that_of_scipy_with_ties_too():
    from scipy.stats import spearmanr

    draw = torch.Generator().manual_seed(0)
    a, b = torch.rand(70_000, generator=draw), torch.rand(70_000, generator=draw)
    a[:60_000] = 0  # a heat map that is zero at most places
    b[:30_000] = 0
    assert rank_correlation(a, b) == pytest.approx(float(spearmanr(a, b).statistic), abs=1e-9)
    assert rank_correlation([1, 2, 3], [9, 5, 1]) == pytest.approx(-1)
    assert rank_correlation([1, 1, 1], [9, 5, 1]) != rank_correlation([1, 1, 1], [9, 5, 1])  # nan: it does not vary
