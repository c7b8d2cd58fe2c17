"""Where tiles lie, and what they count: every pixel is covered, and the weights sum to one."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
import torch
from specimens import noisy

from preimage.errors import InputError
from preimage.images import as_picture
from preimage.series.layout import Axis, checked, cut_out, spans, tile_seed

CASES = [
    (length, side, overlap)
    for length, side in itertools.product((16, 17, 63, 64, 65, 100, 131, 768), (16, 33, 64, 256))
    for overlap in (0, 1, side // 8, (side - 1) // 2)
]


@pytest.mark.parametrize(("length", "side", "overlap"), CASES)
@pytest.mark.parametrize("scale", [1, 3])
def test_weights_sum_to_one_at_every_pixel(length, side, overlap, scale):
    axis = Axis(length, spans(length, side, overlap), overlap)
    total = torch.zeros(length * scale)
    for number, (start, stop) in enumerate(axis.spans):
        weights = axis.weights(number, scale)
        assert bool((weights > 0).all())
        total[start * scale : stop * scale] += weights
    assert torch.allclose(total, torch.ones(()), atol=1e-6)


@pytest.mark.parametrize(("length", "side", "overlap"), CASES)
@pytest.mark.parametrize(("grid", "from_end"), [(1, False), (8, False), (16, True)])
def test_tiles_are_of_one_size_and_share_the_overlap(length, side, overlap, grid, from_end):
    side = max(grid, side // grid * grid)
    overlap = min(overlap, (side - 1) // 2)
    found = spans(length, side, overlap, grid=grid, from_end=from_end)
    assert found[0][0] == 0
    assert found[-1][1] == length
    for start, stop in found:
        assert min(side, length) <= stop - start < side + grid
    for (_, stop), (start, _) in itertools.pairwise(found):
        assert stop - start > overlap - grid
        assert stop >= start
    origins = [length - stop for _, stop in found] if from_end else [start for start, _ in found]
    assert all(origin % grid == 0 for origin in origins)


def test_there_are_no_more_tiles_than_are_needed():
    assert spans(64, 64, 8) == [(0, 64)]
    assert spans(65, 64, 8) == [(0, 64), (1, 65)]
    assert spans(120, 64, 8) == [(0, 64), (56, 120)]
    assert len(spans(6000, 512, 64)) == 14
    assert len(spans(4000, 512, 64)) == 9


def test_weights_rise_smoothly_over_the_overlap():
    axis = Axis(120, spans(120, 64, 8), 8)
    first, second = axis.weights(0), axis.weights(1)
    assert torch.equal(first[:56], torch.ones(56))
    assert torch.allclose(first[56:], second[:8].flip(0))
    assert bool((second[:8].diff() > 0).all())
    assert float(second[:8].diff().max()) < 0.2


@pytest.mark.parametrize("side", [15, 8, 0, -1, 64.0, True, "64", None, (64, 8)])
def test_a_side_that_cannot_be_is_told(side):
    with pytest.raises(InputError, match="tile must be a side of at least 16 pixels, auto or none, got"):
        checked(side)


@pytest.mark.parametrize("overlap", [32, 64, -1, 4.0, True])
def test_an_overlap_that_cannot_be_is_told(overlap):
    with pytest.raises(InputError, match=r"overlap of tiles of 64 pixels must be .* from 0 to 31, got"):
        checked(64, overlap)
    assert checked(np.int64(64), np.int32(31)) == (64, 31)
    assert checked(64) == (64, 8)


def test_seeds_of_tiles_are_told_by_seed_and_number():
    seeds = {tile_seed(seed, number) for seed in range(5) for number in range(200)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert tile_seed(3, 4) == tile_seed(3, 4)


def test_a_part_has_what_the_picture_has_there():
    rng = random.Random(0)
    pages = torch.cat([noisy(), 1 - noisy()])
    pages[1, :, 3:5, 3:5] = float("nan")
    picture = as_picture(pages, missing=True)
    for _ in range(20):
        page, top, left = rng.randrange(2), rng.randrange(16), rng.randrange(16)
        region = (slice(page, page + 1), slice(top, top + 16), slice(left, left + 16))
        part = cut_out(picture, region)
        assert torch.equal(part.tensor, picture.tensor[page : page + 1, :, top : top + 16, left : left + 16])
        assert part.units() == picture.units()
        assert (part.missing is not None) == (page == 1 and top < 5 and left < 5)
