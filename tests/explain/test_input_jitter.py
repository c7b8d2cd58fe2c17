"""Moves of a picture before a classifier looks at it."""

from __future__ import annotations

import torch
from classifiers.small import tiny

from preimage.explain.forward import CachedForward, Features, InputJitter


def picture() -> torch.Tensor:
    return torch.rand(1, 3, 20, 24, generator=torch.Generator().manual_seed(0))


def test_each_turn_is_another_move_and_none_is_none():
    jitter, x = InputJitter((20, 24)), picture()
    jitter.set_step(None)
    assert torch.equal(jitter(x), x)
    moved = []
    for step in range(len(jitter)):
        jitter.set_step(step)
        moved.append(jitter(x))
    assert len({tuple(each.flatten()[:50].tolist()) for each in moved}) == len(jitter) == 16
    down, right = jitter.shifts[5]
    assert torch.equal(moved[5][..., : 20 - down, : 24 - right], x[..., down:, right:])
    jitter.set_step(5 + len(jitter))
    assert torch.equal(jitter(x), moved[5])


def test_the_places_stay_the_same_tensors():
    jitter = InputJitter((20, 24))
    before = (jitter.rows.data_ptr(), jitter.columns.data_ptr(), jitter.number.data_ptr())
    jitter.set_step(7)
    assert before == (jitter.rows.data_ptr(), jitter.columns.data_ptr(), jitter.number.data_ptr())


def test_the_given_picture_has_no_error_at_any_turn():
    view = CachedForward(tiny(), ["block1"], jitter=InputJitter((20, 24)))
    features = Features(view, "block1", picture())
    for step in (None, 0, 3, 30):
        view.set_step(step)
        found = (
            features(picture())
            if step is not None
            else view(picture()).features["block1"] / features.scale - features._of_image
        )
        assert float((found - (features.target if step is not None else 0)).abs().max()) < 1e-6
    assert features.error(picture()) < 1e-12
    assert features.error(picture().flip(-1)) > 0.01
