"""Averages of outputs: what is shown, and what is put back."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from specimens import THIN

from preimage.engine.averages import Averages


def gathered(*values: float) -> Averages:
    """Of two members; the outputs of the second are ten times those of the first."""
    averages = Averages(THIN, 2)
    for value in values:
        averages.gather([0, 1], [torch.full((1, 1, 2, 2), value), torch.full((1, 1, 2, 2), 10 * value)])
    return averages


def test_what_is_put_back_of_a_member_is_as_it_was():
    averages, earlier = gathered(1.0, 2.0), gathered(1.0).of(0)
    other = averages.of(1)
    averages.put_back(0, earlier)
    assert averages.of(0)["count"] == 1
    assert float(averages.images[0].mean()) == float(averages.averages[0].mean()) == 1.0
    assert averages.of(1) == other


def test_a_member_that_is_put_back_to_its_beginning_has_nothing():
    averages = gathered(1.0, 2.0)
    averages.put_back(1, Averages(THIN, 2).of(1))
    assert averages.of(1) == {"count": 0, "average": None, "image": None}
    assert not averages.images[1].any()
    assert not averages.averages[1].any()
    averages.gather([1], [torch.full((1, 1, 2, 2), 5.0)])
    assert float(averages.averages[1].mean()) == 5.0  # it begins anew


def test_what_has_stopped_is_shown_as_it_is_kept():
    averages, best = gathered(1.0), torch.full((2, 1, 2, 2), 7.0)
    assert averages.shown([0, 3], best).mean((1, 2, 3)).tolist() == [1.0, 7.0]
    assert averages.shown([0, 3], None).mean((1, 2, 3)).tolist() == [1.0, 10.0]


def test_the_weight_of_the_latest_output():
    recipe = replace(THIN, averaging=0.9)
    assert recipe.ema_weight(1) == 1
    assert recipe.ema_weight(2) == pytest.approx(0.1 / (1 - 0.9**2))
    recipe = replace(recipe, debiased=False)
    assert [recipe.ema_weight(count) for count in (1, 2, 9)] == pytest.approx([1, 0.1, 0.1])
