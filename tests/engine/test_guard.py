"""The guard against divergence by itself, without a network: when a loss is a jump, what is put back, and when it gives up."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch

from preimage.engine.divergence import JUMP, SETTLED, SNAPSHOT_EVERY, TRIES, DivergenceGuard


class Theta:
    """Weights that a test sets."""

    def __init__(self, members: int) -> None:
        self.prior = [None] * members
        self.weights = [torch.zeros(3) for _ in range(members)]
        self.slowed: list[tuple[int, float]] = []

    def of(self, i: int) -> dict[str, Any]:
        return {"theta": [self.weights[i]]}

    def put_back(self, i: int, state: dict[str, Any]) -> None:
        self.weights[i] = state["theta"][0].clone()

    def slow_down(self, i: int, factor: float) -> float:
        self.slowed.append((i, factor))
        return 0.02 * factor


class Outputs:
    """How many outputs there were."""

    def __init__(self, members: int) -> None:
        self.counts = [0] * members

    def of(self, i: int) -> dict[str, Any]:
        return {"count": self.counts[i]}

    def put_back(self, i: int, state: dict[str, Any]) -> None:
        self.counts[i] = state["count"]


class Fitted:
    """A guard and what it guards; each loss is a step."""

    def __init__(self, members: int = 1) -> None:
        self.theta, self.outputs = Theta(members), Outputs(members)
        self.guard = DivergenceGuard(self.theta, self.outputs)  # type: ignore[arg-type]
        self.members = list(range(members))
        self.index = 0

    def step(self, *losses: float) -> list[str]:
        self.index += 1
        for i in self.members:
            self.outputs.counts[i] += 1
            self.theta.weights[i] = self.theta.weights[i] + 1
        table = torch.tensor([[0.25 * loss for loss in losses], [0.75 * loss for loss in losses]], dtype=torch.float64)
        return self.guard.watch(self.index, self.members, table)

    def settled(self, *losses: float) -> Fitted:
        for _ in range(SETTLED + 1):
            assert self.step(*losses) == []
        return self


def test_a_loss_of_so_many_times_the_usual_is_no_jump_and_a_larger_one_is() -> None:
    assert Fitted().settled(1.0).step(JUMP * 1.0) == []
    (event,) = Fitted().settled(1.0).step(JUMP * 1.01)
    assert f"step {SETTLED + 2}, fit 1: the loss jumped to {JUMP * 1.01:.3g}" in event
    assert "rate 0.01" in event


def test_before_it_has_settled_no_finite_loss_is_a_jump() -> None:
    fitted = Fitted()
    for _ in range(SETTLED - 1):
        assert fitted.step(1.0) == []
    assert fitted.step(1000.0) == []
    assert len(Fitted().step(math.nan)) == len(Fitted().step(math.inf)) == 1


def test_the_usual_loss_is_a_mean_of_the_latest() -> None:
    """Of which each new one is a tenth: 1, then 0.9 + 0.1 * 2."""
    fitted = Fitted().settled(1.0)
    fitted.step(2.0)
    level = 0.9 + 0.1 * 2.0
    assert fitted.step(JUMP * level * 0.999) == []
    level = 0.9 * level + 0.1 * JUMP * level * 0.999
    assert len(fitted.step(JUMP * level * 1.001)) == 1


def test_terms_that_are_not_steady_may_jump_and_must_be_finite() -> None:
    fitted = Fitted()
    fitted.guard = DivergenceGuard(fitted.theta, fitted.outputs, steady=[0])  # type: ignore[arg-type]
    fitted.settled(1.0)
    assert fitted.guard.watch(99, [0], torch.tensor([[0.25], [1000.0]])) == []
    assert len(fitted.guard.watch(99, [0], torch.tensor([[0.25], [math.inf]]))) == 1
    fitted.settled(1.0)
    assert len(fitted.guard.watch(99, [0], torch.tensor([[25.0], [0.75]]))) == 1


def test_a_first_loss_that_is_finite_counts_whole() -> None:
    fitted = Fitted()
    fitted.step(math.nan)
    fitted.settled(4.0)
    assert fitted.step(JUMP * 3.99) == []


def test_what_is_made_ever_larger_does_not_jump() -> None:
    """An activation is maximized as a negative loss."""
    fitted = Fitted().settled(-1.0)
    assert fitted.step(1000.0) == []
    assert len(fitted.step(math.nan)) == 1


def test_a_loss_of_nothing_is_not_divided_by() -> None:
    fitted = Fitted().settled(0.0)
    assert fitted.step(JUMP * 0.9e-12) == []
    assert len(fitted.step(1e-6)) == 1


def test_the_state_goes_back_to_the_last_snapshot_and_the_rate_is_halved_each_time() -> None:
    fitted = Fitted()
    for _ in range(SNAPSHOT_EVERY + 3):
        fitted.step(1.0)
    assert float(fitted.theta.weights[0][0]) == SNAPSHOT_EVERY + 3
    fitted.step(math.nan)
    assert float(fitted.theta.weights[0][0]) == SNAPSHOT_EVERY
    assert fitted.outputs.counts == [SNAPSHOT_EVERY]
    fitted.step(math.nan)
    assert float(fitted.theta.weights[0][0]) == SNAPSHOT_EVERY
    assert fitted.theta.slowed == [(0, 0.5), (0, 0.25)]


def test_a_snapshot_shares_nothing_with_what_goes_on() -> None:
    fitted = Fitted()
    for _ in range(2 * SNAPSHOT_EVERY):
        fitted.step(1.0)
        fitted.theta.weights[0] += 0  # in place, as an optimizer moves them
    before = fitted.guard.snapshots[0]["theta"][0].clone()
    fitted.theta.weights[0] += 100
    assert torch.equal(fitted.guard.snapshots[0]["theta"][0], before)


def test_weights_that_changed_their_shape_are_kept_anew() -> None:
    """What an optimizer remembers is made in the first steps."""
    fitted = Fitted()
    fitted.theta.weights[0] = torch.zeros(5)
    for _ in range(SNAPSHOT_EVERY):
        fitted.step(1.0)
    assert fitted.guard.snapshots[0]["theta"][0].tolist() == [SNAPSHOT_EVERY] * 5


def test_it_gives_up_after_so_many_tries_and_says_so() -> None:
    fitted = Fitted()
    for _ in range(TRIES):
        fitted.step(math.nan)
        assert not fitted.guard.gave_up(0)
        assert fitted.guard.reason(0, 7) == ""
    fitted.step(math.nan)
    assert fitted.guard.gave_up(0)
    assert f"diverged {TRIES + 1} times" in fitted.guard.reason(0, 7)
    assert "kept step 7" in fitted.guard.reason(0, 7)


def test_members_are_apart_and_those_left_out_are_left_alone() -> None:
    fitted = Fitted(3).settled(1.0, 2.0, 3.0)
    assert [event.split(":")[0] for event in fitted.step(1.0, math.nan, 3.0)] == [f"step {SETTLED + 2}, fit 2"]
    assert fitted.theta.slowed == [(1, 0.5)]
    assert fitted.outputs.counts == [SETTLED + 2, 0, SETTLED + 2]
    fitted.members = [0]
    assert fitted.step(1.0, math.nan, math.nan) == []


@pytest.mark.parametrize("tries", [0, 2])
def test_a_state_goes_on_the_same(tries: int) -> None:
    one, other = Fitted(), Fitted()
    for _ in range(SNAPSHOT_EVERY + 5):
        one.step(1.0)
    for _ in range(tries):
        one.step(math.nan)
    other.guard.load_state_dict(copy.deepcopy(one.guard.state_dict()))
    other.outputs.counts, other.index = list(one.outputs.counts), one.index
    assert one.step(JUMP * 2) == other.step(JUMP * 2) != []
    assert one.theta.slowed[-1] == other.theta.slowed[-1] == (0, 0.5 ** (tries + 1))
    assert torch.equal(one.theta.weights[0], other.theta.weights[0])
