"""PSNR and SSIM against their definitions."""

from __future__ import annotations

import pytest
import torch
from skimage.metrics import structural_similarity

from preimage.errors import InputError
from preimage.metrics import psnr, ssim


def two_pictures() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, 24, 20, generator=generator), torch.rand(2, 3, 24, 20, generator=generator)


def test_psnr_is_its_formula_for_each_picture():
    image, reference = two_pictures()
    expected = 10 * torch.log10(1 / (image - reference).square().flatten(1).mean(1))
    assert torch.allclose(psnr(image, reference), expected, atol=1e-4)
    assert torch.allclose(psnr(255 * image, 255 * reference, data_range=255), expected, atol=1e-4)


def test_equal_pictures():
    image, _ = two_pictures()
    assert psnr(image, image).isinf().all()
    assert torch.allclose(ssim(image, image), torch.ones(2))


def test_ssim_is_that_of_another_library():
    noise, other_noise = two_pictures()
    reference = torch.linspace(0, 1, 20).expand(2, 3, 24, 20) * 0.8 + 0.1 * noise
    image = reference + 0.1 * other_noise
    options = {"data_range": 1.0, "gaussian_weights": True, "use_sample_covariance": False, "channel_axis": 0}
    for i in range(2):
        # That library leaves the border out.
        other = structural_similarity(image[i].numpy(), reference[i].numpy(), **options)
        assert float(ssim(image, reference)[i]) == pytest.approx(other, abs=0.02)


def test_what_cannot_be_compared():
    image, reference = two_pictures()
    for metric in (psnr, ssim):
        with pytest.raises(InputError, match=r"\(2, 3, 24, 20\) and \(1, 3, 24, 20\)") as caught:
            metric(image, reference[:1])
        assert caught.value.code == "shape"
    with pytest.raises(InputError, match="11 pixels a side, got 8 x 24") as caught:
        ssim(image[..., :8], reference[..., :8])
    assert caught.value.code == "size"
