"""MRI with deepinv: a complex image as two real channels, from a third of its frequencies.

pip install 'preimage[physics]'
python examples/deepinv_physics.py [out]
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import deepinv
import numpy as np
import torch
from skimage import data, transform

from preimage import Fit, Problem, SkipNet
from preimage.restore.super_resolve import recipes


def main(out: str = "out", *, side: int = 128, steps: int = 600) -> None:
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    phantom = np.asarray(
        transform.resize(data.shepp_logan_phantom(), (side, side), anti_aliasing=True), dtype=np.float32
    )
    magnitude = torch.from_numpy(phantom).clamp(0, 1)
    image = torch.stack([magnitude, torch.zeros_like(magnitude)])[None]  # (1, 2, h, w): real and imaginary part
    mask = torch.zeros(1, 2, side, side)
    mask[..., ::4] = 1  # every fourth column of the frequencies
    mask[..., side // 2 - side // 16 : side // 2 + side // 16] = 1  # and the lowest
    physics = deepinv.physics.MRI(mask=mask, img_size=(2, side, side))
    y = physics(image)

    fast = recipes()["fast"]  # of a task with exact measurements
    assert isinstance(fast.network, SkipNet.Config)
    settings = replace(fast, network=replace(fast.network, output="linear"), steps=steps)  # parts may be negative
    fit = Fit(Problem(y, operator=physics), settings.prior(2, (side, side)), recipe=settings)
    found = fit.run().image
    for name, x in (("zero-filled", physics.A_adjoint(y)), ("deep image prior", found)):
        print(f"{name}: {-10 * float((x.norm(dim=1) - image.norm(dim=1)).square().mean().log10()):.2f} dB")
    torch.save(found, folder / "mri.pt")


if __name__ == "__main__":
    main(*sys.argv[1:2])
