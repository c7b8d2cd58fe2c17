"""Moves of a picture before a classifier looks at it."""

from __future__ import annotations

import torch
from classifiers.small import tiny

from preimage.classifiers.model_file import TrainedModel
from preimage.explain.forward import CachedForward, Features
from preimage.explain.input_jitter import InputJitter


def picture() -> torch.Tensor:
    return torch.rand(1, 3, 20, 24, generator=torch.Generator().manual_seed(0))


def test_each_turn_is_another_move_and_none_is_none():
    shifts, x = InputJitter((20, 24)), picture()
    shifts.turn(None)
    assert torch.equal(shifts(x), x)
    moved = []
    for step in range(len(shifts)):
        shifts.turn(step)
        moved.append(shifts(x))
    assert len({tuple(each.flatten()[:50].tolist()) for each in moved}) == len(shifts) == 16
    down, right = shifts.moves[5]
    assert torch.equal(moved[5][..., : 20 - down, : 24 - right], x[..., down:, right:])
    shifts.turn(5 + len(shifts))
    assert torch.equal(shifts(x), moved[5])


def test_the_places_stay_the_same_tensors():
    shifts = InputJitter((20, 24))
    before = (shifts.rows.data_ptr(), shifts.columns.data_ptr(), shifts.number.data_ptr())
    shifts.turn(7)
    assert before == (shifts.rows.data_ptr(), shifts.columns.data_ptr(), shifts.number.data_ptr())


def test_the_given_picture_has_no_error_at_any_turn():
    view = CachedForward(TrainedModel(tiny()), ["block1"], shifts=InputJitter((20, 24)))
    features = Features(view, "block1", picture())
    for step in (None, 0, 3, 30):
        view.turn(step)
        found = features(picture()) if step is not None else features._of(picture()) / features.scale - features.target
        assert float((found - features.wanted).abs().max()) < 1e-6
    assert features.error(picture()) < 1e-12
    assert features.error(picture().flip(-1)) > 0.01
