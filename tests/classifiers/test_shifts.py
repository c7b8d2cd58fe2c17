"""Shifted pictures: each kind does what it says, by the generator that it is given."""

from __future__ import annotations

import pytest
import torch
from classifiers.small import refused

from preimage.classifiers.settings import Settings
from preimage.classifiers.shifts import AREA, KINDS, checked_kinds, shifted_pictures


def pictures(count: int = 24, height: int = 40, width: int = 48) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1))


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def detail(x: torch.Tensor) -> torch.Tensor:
    """Mean difference of neighbors, of each picture."""
    return (x[..., 1:] - x[..., :-1]).abs().mean((1, 2, 3))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_changes_every_picture_within_the_range(kind):
    x = pictures()
    found = shifted_pictures(x, drawn(), [kind])
    assert found.shape == x.shape
    assert found.isfinite().all()
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    assert bool(((found - x).abs().mean((1, 2, 3)) > 0.005).all())
    assert torch.equal(found, shifted_pictures(x, drawn(), [kind]))
    assert not torch.equal(found, shifted_pictures(x, drawn(1), [kind]))
    assert torch.equal(x, pictures())


def test_a_crop_keeps_at_most_two_fifths_of_the_area():
    x = pictures(64)
    kept = (shifted_pictures(x, drawn(), ["crop"]) == x).all(1).float().mean((1, 2))
    enlarged = kept < 0.02
    assert 0 < int(enlarged.sum()) < 40
    assert float(kept.max()) <= AREA[1]
    assert float(kept[~enlarged].min()) >= AREA[0] - 0.03


def test_blur_takes_detail_and_noise_adds_it():
    x = pictures()
    assert bool((detail(shifted_pictures(x, drawn(), ["blur"])) < 0.8 * detail(x)).all())
    smooth = torch.full_like(x, 0.5)
    assert bool((detail(shifted_pictures(smooth, drawn(), ["noise"])) > 0.03).all())


def test_a_mix_is_between_two_pictures_and_cutout_shows_gray_or_another():
    x = torch.stack([torch.zeros(3, 32, 32), torch.ones(3, 32, 32)])
    mixed = shifted_pictures(x, drawn(), ["mix"])
    assert 0.35 <= float(mixed[0].mean()) <= 0.65
    assert float(mixed[0].std()) < 1e-6
    assert set(shifted_pictures(x, drawn(), ["cutout"])[0].unique().tolist()) <= {0.0, 0.5, 1.0}


def test_other_colors_keep_the_structure():
    x = pictures().mean(1, keepdim=True).expand(-1, 3, -1, -1)
    for own, found in zip(x, shifted_pictures(x, drawn(), ["color"]), strict=True):
        order = torch.corrcoef(torch.stack([own[0].flatten(), *(channel.flatten() for channel in found)]))[0, 1:]
        assert bool((order.abs() > 0.95).all())
        assert float(order.min()) < 0  # one channel at least is inverted


@pytest.mark.parametrize("side", [16, 17, 96])
def test_all_kinds_at_any_size(side):
    x = pictures(32, side, 2 * side)
    assert shifted_pictures(x, drawn()).shape == x.shape


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    shifted_pictures(pictures(), drawn())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kinds", [("fog",), ("crop", "fog"), ("all", "crop"), ("",)])
def test_kinds_that_do_not_exist_are_one_line(kinds):
    assert "crop, blur, noise, cutout, mix, color" in refused("invalid-value", checked_kinds, kinds)
    refused("invalid-value", Settings, shifts=kinds)


def test_kinds_are_named_once():
    assert checked_kinds(("blur", "crop", "blur")) == ("blur", "crop")
    assert Settings(shifts=("all",)).shifts == tuple(KINDS)
