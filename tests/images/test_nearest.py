"""Nearest pixels outside of a mask: those that scipy finds, ties included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.ndimage import distance_transform_edt

from preimage.images.nearest import distances, nearest_outside


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=24)), st.integers(0, 2**20))
def test_they_are_those_of_scipy(mask, place):
    mask.flat[place % mask.size] = False
    expected = distance_transform_edt(mask, return_indices=True)
    assert np.array_equal(nearest_outside(mask), expected[1])
    np.testing.assert_allclose(distances(mask), expected[0], rtol=1e-5)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98, 0.999])
def test_of_a_large_mask_as_well(share):
    mask = np.random.default_rng(0).random((150, 200)) < share
    mask[70, 90] = False
    assert np.array_equal(nearest_outside(mask), distance_transform_edt(mask, return_indices=True)[1])


def test_what_is_not_masked_is_its_own_nearest():
    assert np.array_equal(nearest_outside(np.zeros((5, 7), bool)), np.indices((5, 7)))
