"""What the library computes itself, so that scipy need not be installed, is what scipy computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.fft import next_fast_len
from scipy.linalg import solveh_banded
from scipy.ndimage import binary_dilation, label, shift, uniform_filter
from scipy.spatial import KDTree
from scipy.stats import binomtest, rankdata

from preimage.classifiers.loss_estimator import _ranks
from preimage.defend.table import wilson
from preimage.noise.stripes import _solved
from preimage.operators.beads import _shifted
from preimage.operators.blur import fast_length
from preimage.restore import bilevel

RNG = np.random.default_rng(0)


def test_lengths_of_fast_transforms():
    assert [fast_length(n) for n in range(1, 3000)] == [next_fast_len(n, real=True) for n in range(1, 3000)]


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_of_a_proportion(counts):
    expected = binomtest(*counts).proportion_ci(method="wilson")
    assert wilson(*counts) == pytest.approx((expected.low, expected.high), abs=1e-12)


@given(st.lists(st.integers(-3, 3) | st.floats(-1e6, 1e6), min_size=1, max_size=40))
def test_ranks(numbers):
    assert _ranks(torch.tensor(numbers, dtype=torch.float64)).tolist() == rankdata(numbers).tolist()


def test_ranks_of_what_is_not_a_number():
    assert bool(_ranks(torch.tensor([1.0, torch.nan])).isnan().all())


@pytest.mark.parametrize("count", [2, 3, 400])
def test_a_tridiagonal_system(count):
    links, right = 5 * RNG.random(count - 1), RNG.random(count)
    diagonal = 1 + np.pad(links, (0, 1)) + np.pad(links, (1, 0))
    banded = np.stack([np.pad(-links, (1, 0)), diagonal])
    found = _solved(diagonal.tolist(), (-links).tolist(), right.tolist())
    np.testing.assert_allclose(found, solveh_banded(banded, right), atol=1e-12)


@pytest.mark.parametrize("off", [(0.3, -0.4), (-0.49, 0.5), (0.0, 0.2)])
def test_a_bead_is_moved_along_the_cubic_spline(off):
    bead = np.pad(RNG.random((9, 9)), 12)
    moved = _shifted(_shifted(bead, off[0]).T, off[1]).T
    np.testing.assert_allclose(moved, shift(bead, off, order=3), atol=1e-6)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6])
def test_spots_of_a_page(share):
    marks = RNG.random((60, 50)) < share
    parts, _ = label(marks, np.ones((3, 3)))
    small = np.bincount(parts.ravel()) <= 3
    small[0] = False
    small[parts[binary_dilation(marks & ~small[parts], np.ones((5, 5)))]] = False
    assert np.array_equal(bilevel._small(marks, 3), small[parts])
    for side in (9, 17):
        around = uniform_filter(marks.astype(float), side, mode="reflect")
        np.testing.assert_allclose(bilevel._mean_around(marks, side), around, atol=1e-12)


def test_nearest_spots():
    centers = RNG.random((300, 2)) * 100
    expected = KDTree(centers).query(centers, k=9)[0]
    np.testing.assert_allclose(bilevel._nearest(centers, 9), expected, atol=1e-9)
