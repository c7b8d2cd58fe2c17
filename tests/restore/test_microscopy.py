"""A 16-bit microscope picture that uses 235 of its 65,536 values is restored as well as its 8-bit copy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tifffile
import torch
from scipy.ndimage import gaussian_filter
from specimens import THIN

from preimage.metrics import psnr
from preimage.restore.denoise import denoise
from preimage.stopping import risk

pytestmark = pytest.mark.data


def test_sixteen_bits_are_as_good_as_eight_and_keep_the_mean(data, tmp_path):
    whole = tifffile.imread(data / "microscopy" / "stardist_img2d.tif")
    assert (whole.dtype, int(whole.max())) == (np.uint16, 235)
    clean = gaussian_filter(whole.astype(np.float64), 2)[
        200:264, 200:264
    ]  # its own noise taken away: a truth to compare with
    noise = np.random.default_rng(0).normal(0, 6, clean.shape)
    noisy = np.clip(np.rint(clean + noise), 0, 255)
    truth = torch.tensor(clean)[None, None].float() / 255
    scores = {}
    for dtype in (np.uint16, np.uint8):
        path = tmp_path / f"{np.dtype(dtype).name}.tif"
        tifffile.imwrite(path, noisy.astype(dtype))
        recipe = replace(THIN, steps=200, averaging=0.95)
        result = denoise(path, noise="gaussian", recipe=recipe, stop=risk(), device="cpu").run()
        written = result.to_array()
        assert written.dtype == dtype
        assert written.mean() == pytest.approx(noisy.mean(), rel=0.01)
        scores[dtype] = float(psnr(torch.tensor(written.astype(np.float32))[None, None] / 255, truth))
    before = float(psnr(torch.tensor(noisy)[None, None].float() / 255, truth))
    assert scores[np.uint16] > before + 2
    assert scores[np.uint16] > scores[np.uint8] - 0.2
