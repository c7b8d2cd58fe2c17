"""Step: what would be handed out if the fit stopped here."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
import torch

from preimage.engine.step import Step


def step_of(average: torch.Tensor, **options) -> Step:
    terms = {"squared": torch.tensor([1.0, 2.0, 3.0, 4.0])[: len(average)], "prior": torch.ones(len(average))}
    return Step(index=1, total=2, seconds=0.0, image=average, average=average, terms=terms, **options)


def averages() -> torch.Tensor:
    return torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_every_member_is_active_unless_it_is_said():
    assert step_of(averages()[:1]).active == (True,)


def test_the_loss_is_the_sum_of_the_terms():
    assert step_of(averages()).loss.tolist() == [2, 3, 4, 5]


def test_the_mean_is_over_the_restarts_of_each_picture():
    found = step_of(averages(), restarts=2).mean
    assert torch.allclose(found[0], averages()[:2].mean(0))
    assert torch.allclose(found[1], averages()[2:].mean(0))
    assert torch.equal(step_of(averages()).mean, averages())


def test_the_picture_is_the_mean_where_there_is_nothing_to_finish():
    step = step_of(averages(), restarts=4)
    assert torch.equal(step.picture, step.mean)
    assert step.picture.shape == (1, 3, 8, 8)


def test_the_picture_is_the_finished_mean():
    """Cut to another size, and not the mean of finished pictures, which a bend in `finish` would tell apart."""
    step = step_of(averages(), restarts=2, finish=lambda x: x[..., 1:6, 2:].clamp_min(0.5))
    assert step.picture.shape == (2, 3, 5, 6)
    assert torch.equal(step.picture, step.mean[..., 1:6, 2:].clamp_min(0.5))
    assert step.average.shape == (4, 3, 8, 8)


def test_a_step_is_a_value():
    with pytest.raises(FrozenInstanceError):
        step_of(averages()).index = 5  # type: ignore[misc]
