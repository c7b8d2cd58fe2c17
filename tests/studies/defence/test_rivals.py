"""Rivals: one face, values from 0 to 1, layouts and ranges as they should be."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from defend.small import pictures, trained
from PIL import Image
from scipy.ndimage import median_filter

from preimage.defend.defence import DefendedClassifier
from preimage.errors import InputError
from studies.defence.rivals import JPEG, MedianSmoothing, RandomResizing, TotalVariance

IMAGES, LABELS = pictures(3, seed=2)
# 8 bits, as files hold them; red, green and blue unlike each other, and no square.
FILED = (torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0)) * 255).round() / 255
EVERY = [RandomResizing(0.9, 1.0), RandomResizing(), JPEG(), MedianSmoothing(), TotalVariance(steps=2)]
NAMES = [f"{type(rival).__name__}{k}" for k, rival in enumerate(EVERY)]


@pytest.mark.parametrize("rival", EVERY, ids=NAMES)
def test_pictures_in_pictures_out(rival):
    found = rival(FILED, 1)
    assert found.shape[:2] == FILED.shape[:2]
    assert found.dtype == FILED.dtype
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    assert not torch.equal(found[..., :16, :16], FILED[..., :16, :16])
    assert torch.equal(found, rival(FILED, 1))
    torch.testing.assert_close(found[1:], rival(FILED[1:], 1))


def test_settings_tell_one_from_another():
    described = [rival.describe() for rival in (*EVERY, JPEG(50), MedianSmoothing(2))]
    assert [each["kind"] for each in described[:5]] == [type(rival).__name__ for rival in EVERY]
    assert len({str(each) for each in described}) == 7


@pytest.mark.parametrize("rival", [RandomResizing(), TotalVariance(steps=2)], ids=["resizing", "variance"])
def test_streams_of_random_numbers(rival):
    same = FILED[:1].expand(2, -1, -1, -1)
    apart = rival(same, 1, [3, 4])
    assert not torch.equal(apart[0], apart[1])
    assert torch.equal(rival(same, 1, [4, 3]), apart.flip(0))
    assert not torch.equal(rival(same), rival(same))
    before = np.random.get_state()[1].copy()
    rival(same, 1)
    assert (np.random.get_state()[1] == before).all()


def test_random_resizing_puts_an_enlarged_picture_on_a_gray_canvas():
    white = torch.ones(12, 3, 299, 299)
    found = RandomResizing()(white, 0, list(range(12)))
    assert found.shape[-2:] == (331, 331)
    gray = found == 0.5
    assert bool((gray | (found > 0.999)).all())
    heights = [int((~one[0].all(1)).sum()) for one in gray]
    widths = [int((~one[0].all(0)).sum()) for one in gray]
    assert heights == widths
    assert all(299 <= side <= 330 for side in heights)
    assert len(set(heights)) > 6
    tops = {int((~one[0].all(1)).nonzero()[0]) for one in gray}
    assert len(tops) > 3


def test_random_resizing_has_a_gradient_of_its_own():
    model = DefendedClassifier(trained(), defence=RandomResizing(), seed=0)
    asked = IMAGES.clone().requires_grad_()
    torch.nn.functional.cross_entropy(model(asked), LABELS).backward()
    assert asked.grad is not None
    assert float(asked.grad.abs().max()) > 0


def test_jpeg_is_that_of_pillow():
    found = JPEG(60)(FILED)
    for given, one in zip(FILED, found, strict=True):
        buffer = io.BytesIO()
        Image.fromarray((given * 255).round().byte().movedim(0, -1).numpy()).save(buffer, "JPEG", quality=60)
        expected = np.asarray(Image.open(buffer))
        assert ((one * 255).round().byte().movedim(0, -1).numpy() == expected).all()


def test_the_median_is_that_of_scipy_channel_by_channel():
    expected = np.stack([[median_filter(plane, 3, mode="reflect") for plane in one] for one in FILED.numpy()])
    np.testing.assert_array_equal(MedianSmoothing(3)(FILED).numpy(), expected)


def test_total_variance_falls():
    def variation(x: torch.Tensor) -> float:
        return float(x.diff(dim=-1).abs().mean() + x.diff(dim=-2).abs().mean())

    assert variation(TotalVariance()(FILED, 0)) < 0.9 * variation(FILED)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: RandomResizing(1.2, 1.0), "smallest=1.2, canvas=1.0"),
        (lambda: RandomResizing(0.0), "above 0"),
        (lambda: JPEG(0), "quality must be from 1 to 100, got 0"),
    ],
)
def test_bad_settings_are_one_line(make, words):
    with pytest.raises(InputError, match=words):
        make()
