"""Labelled: what it holds, thinned and in batches."""

from __future__ import annotations

import pytest
import torch
from classifiers.small import discs

CPU = torch.device("cpu")


@pytest.mark.parametrize(("count", "left"), [(100, 90), (90, 90), (46, 90), (45, 45), (31, 45), (30, 30), (1, 1)])
def test_thinned_every_nth_picture_is_left_with_all_that_belongs_to_it(count, left):
    data = discs()
    some = data.thinned(count)
    step = len(data) // left
    assert len(some) == left
    assert torch.equal(some.pictures, data.pictures[::step])
    assert torch.equal(some.labels, data.labels[::step])
    assert some.groups == data.groups[::step]
    assert some.parts == data.parts[::step]


@pytest.mark.parametrize("size", [1, 7, 90, 128])
def test_batches_are_all_pictures_in_their_order(size):
    data = discs()
    batches = list(data.batches(CPU, size))
    assert [len(batch) for batch in batches[:-1]] == [size] * (-(-len(data) // size) - 1)
    together = torch.cat(batches)
    assert together.dtype == torch.float32
    assert torch.equal(together, data.pictures.float() / 255)
    assert all(batch.is_contiguous(memory_format=torch.channels_last) for batch in batches)
