"""Mask: what is hidden is hidden, in whatever shape the mask comes."""

from __future__ import annotations

import re

import pytest
import torch

from preimage.errors import InputError
from preimage.operators import Mask


@pytest.mark.parametrize("shape", [(1, 1, 16, 20), (1, 3, 16, 20), (2, 1, 16, 20), (2, 3, 16, 20)])
@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.float64])
def test_the_product(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    mask = (torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.5).to(dtype)
    x = torch.rand(2, 3, 16, 20) + 0.1
    seen = Mask(mask)(x)
    assert seen.dtype == torch.float32
    hidden = (mask == 0).expand_as(x)
    assert torch.equal(seen[~hidden], x[~hidden])
    assert not seen[hidden].any()


def test_a_share_may_be_seen() -> None:
    mask = torch.full((1, 1, 16, 16), 0.25)
    torch.testing.assert_close(Mask(mask)(torch.ones(1, 3, 16, 16)), torch.full((1, 3, 16, 16), 0.25))


def test_it_is_its_own_adjoint_and_nothing_is_learned_from_what_is_hidden() -> None:
    mask = Mask(torch.arange(256).view(1, 1, 16, 16) % 3 == 0)
    x, y = torch.rand(1, 2, 16, 16, requires_grad=True), torch.rand(1, 2, 16, 16)
    (mask(x) * y).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, mask(y))


def test_it_is_saved_and_moves_along() -> None:
    mask = Mask(torch.ones(1, 1, 16, 16, dtype=torch.bool))
    assert list(mask.state_dict()) == ["mask"]
    assert not list(mask.parameters())
    assert mask.to("meta").mask.device.type == "meta"


def test_the_given_mask_is_not_shared() -> None:
    given = torch.ones(1, 1, 16, 16)
    mask = Mask(given)
    given.zero_()
    assert bool(mask(torch.ones(1, 1, 16, 16)).all())


@pytest.mark.parametrize(
    ("mask", "shape"),
    [
        ((1, 1, 16, 20), (1, 3, 20, 16)),
        ((1, 2, 16, 16), (1, 3, 16, 16)),
        ((1, 3, 16, 16), (1, 1, 16, 16)),
        ((2, 1, 16, 16), (1, 3, 16, 16)),
        ((3, 1, 16, 16), (2, 3, 16, 16)),
        ((1, 1, 16, 16), (3, 16, 16)),
        ((1, 1, 1, 1), (1, 3, 16, 16)),
    ],
)
def test_sizes_that_do_not_fit_are_both_named(mask: tuple[int, ...], shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError) as raised:
        Mask(torch.ones(mask))(torch.ones(shape))
    assert raised.value.code == "mask"
    assert str(mask) in str(raised.value)
    assert str(shape) in str(raised.value)


@pytest.mark.parametrize(
    ("mask", "named"),
    [
        (torch.ones(16, 16), "(16, 16)"),
        (torch.ones(1, 1, 16, 16, dtype=torch.uint8), "torch.uint8"),
        (torch.full((1, 1, 16, 16), float("nan")), "NaN"),
    ],
)
def test_masks_that_are_refused(mask: torch.Tensor, named: str) -> None:
    with pytest.raises(InputError, match=re.escape(named)) as raised:
        Mask(mask)
    assert raised.value.code == "mask"
