"""Augmentation: where images are cropped, and that equal draws give equal images."""

from __future__ import annotations

import pytest
import torch

from preimage.classifiers import augmentation
from preimage.classifiers.augmentation import augmented, shifted


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def still(monkeypatch):
    """No turning, scaling and recoloring."""
    for name in ("LEANING", "SCALE", "COLOR", "TINT"):
        monkeypatch.setattr(augmentation, name, 0.0)


def test_equal_draws_give_equal_pictures_each_for_itself():
    x = torch.rand(1, 3, 40, 48).expand(6, -1, -1, -1)
    one, same, other = (augmented(x, (36, 44), generator(seed), upright=False) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert (one.shape, float(one.min()) >= 0, float(one.max()) <= 1) == ((6, 3, 36, 44), True, True)
    assert len({float(each.mean()) for each in one}) == 6


def test_whole_and_still_it_is_the_picture_or_its_mirror_image(still):
    x = torch.rand(1, 3, 24, 32)
    seen = augmented(x.expand(16, -1, -1, -1), (24, 32), generator())
    mirrored = [bool((each - x[0].flip(2)).abs().max() < 1e-4) for each in seen]
    straight = [bool((each - x[0]).abs().max() < 1e-4) for each in seen]
    assert all(a != b for a, b in zip(mirrored, straight, strict=True))
    assert any(mirrored)
    assert any(straight)


def test_what_is_cut_out_lies_within_the_picture(still):
    rows = torch.linspace(0, 1, 41)[:, None].expand(3, 41, 33)
    seen = augmented(rows.expand(32, -1, -1, -1), (21, 21), generator())
    steps = seen.diff(dim=2)
    assert torch.allclose(steps, torch.full_like(steps, 1 / 40), atol=1e-4)
    starts = seen[:, 0, 0, 0]
    assert 0 <= float(starts.min()) < 0.15
    assert 0.35 < float(starts.max()) <= 0.5


@pytest.mark.parametrize("upright", [True, False])
def test_a_disk_stays_a_disk_and_is_turned_without_an_upright_only(monkeypatch, upright):
    for name in ("SCALE", "COLOR", "TINT"):
        monkeypatch.setattr(augmentation, name, 0.0)
    y, x = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1.25, 1.25, 80), indexing="ij")
    # So small that its mirror images beyond the edges are nowhere seen.
    disk = ((x**2 + y**2) < 0.35**2).float() * (0.5 + 0.5 * (y < 0))
    seen = augmented(disk.expand(24, 3, -1, -1), (64, 80), generator(), upright=upright)[:, 0]
    there = seen > 0.25
    spans = torch.stack([there.any(2).sum(1), there.any(1).sum(1)], 1)
    assert int((spans[:, 0] - spans[:, 1]).abs().max()) <= 2
    brighter_above = seen[:, :32].sum((1, 2)) > seen[:, 32:].sum((1, 2))
    assert bool(brighter_above.all()) is upright


def test_shifted_pictures_are_the_given_ones_moved_or_mirrored_by_whole_pixels():
    x = torch.rand(1, 3, 20, 24) + 0.5
    seen = shifted(x.expand(64, -1, -1, -1), (3, 4), generator())
    assert seen.shape == (64, 3, 20, 24)
    padded = torch.nn.functional.pad(x[0], (4, 4, 3, 3))
    places = set()
    for each in seen:
        found = [
            (top, left, mirrored)
            for top in range(7) for left in range(9) for mirrored in (False, True)
            if torch.equal(each.flip(2) if mirrored else each, padded[:, top : top + 20, left : left + 24])
        ]  # fmt: skip
        assert len(found) == 1
        places.add(found[0])
    assert {top for top, _, _ in places} == set(range(7))
    assert {left for _, left, _ in places} == set(range(9))
    assert {mirrored for *_, mirrored in places} == {False, True}


def test_shifted_pictures_without_an_upright_are_flipped_both_ways():
    x = torch.rand(1, 3, 16, 16).expand(40, -1, -1, -1)
    seen = shifted(x, (0, 0), generator(), upright=False)
    kinds = [x[0].flip(axes) for axes in ((), (1,), (2,), (1, 2))]
    assert {next(k for k, kind in enumerate(kinds) if torch.equal(each, kind)) for each in seen} == {0, 1, 2, 3}
    assert torch.equal(shifted(x, (2, 2), generator(5)), shifted(x, (2, 2), generator(5)))
