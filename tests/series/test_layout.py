"""Where tiles lie, and what they count: every pixel is covered, and the weights sum to one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from specimens import noisy

from preimage.errors import InputError
from preimage.images import as_picture
from preimage.series.layout import Axis, checked, cut_out, spans, tile_seed


@st.composite
def layouts(draw) -> tuple[int, int, int]:
    """(length, side, overlap) of one axis."""
    side = draw(st.integers(16, 256))
    return draw(st.integers(16, 800)), side, draw(st.integers(0, (side - 1) // 2))


@given(layouts(), st.integers(1, 4))
def test_weights_are_positive_and_sum_to_one_at_every_pixel(layout, scale):
    length, side, overlap = layout
    axis = Axis(length, spans(length, side, overlap), overlap)
    total = torch.zeros(length * scale)
    for number, (start, stop) in enumerate(axis.spans):
        weights = axis.weights(number, scale)
        assert bool((weights > 0).all())
        total[start * scale : stop * scale] += weights
    assert torch.allclose(total, torch.ones(()), atol=1e-6)


@given(layouts(), st.sampled_from([1, 8, 16]), st.booleans())
def test_tiles_are_of_one_size_share_the_overlap_and_begin_on_the_grid(layout, grid, from_end):
    length, side, overlap = layout
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
    with pytest.raises(InputError) as caught:
        checked(side)
    assert caught.value.code == "invalid-value"
    assert repr(side) in str(caught.value)


@pytest.mark.parametrize("overlap", [32, 64, -1, 4.0, True])
def test_an_overlap_that_cannot_be_is_told(overlap):
    with pytest.raises(InputError) as caught:
        checked(64, overlap)
    assert caught.value.code == "invalid-value"
    assert repr(overlap) in str(caught.value)


@given(st.integers(16, 4096).flatmap(lambda side: st.tuples(st.just(side), st.integers(0, (side - 1) // 2))))
def test_any_side_and_overlap_below_half_of_it_can_be(layout):
    side, overlap = layout
    assert checked(side, overlap) == checked(np.int64(side), np.int32(overlap)) == layout
    assert checked(side) == (side, side // 8)


@given(st.lists(st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 10_000)), min_size=2, max_size=200, unique=True))
def test_seeds_of_tiles_are_told_by_seed_and_number(places):
    seeds = [tile_seed(seed, number) for seed, number in places]
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert seeds == [tile_seed(seed, number) for seed, number in places]
    assert len(set(seeds[:2])) == 2  # of more, two may meet by chance: a birthday


@given(st.integers(0, 1), st.integers(0, 15), st.integers(0, 15))
def test_a_part_has_what_the_picture_has_there(page, top, left):
    pages = torch.cat([noisy(), 1 - noisy()])
    pages[1, :, 3:5, 3:5] = float("nan")
    picture = as_picture(pages, missing=True)
    region = (slice(page, page + 1), slice(top, top + 16), slice(left, left + 16))
    part = cut_out(picture, region)
    assert torch.equal(part.tensor, picture.tensor[page : page + 1, :, top : top + 16, left : left + 16])
    assert part.units() == picture.units()
    assert (part.missing is not None) == (page == 1 and top < 5 and left < 5)
