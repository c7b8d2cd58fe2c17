"""scikit-image in and out: its arrays are inputs, and `to_array` gives the same kind back.

python examples/scikit_image.py
"""

from __future__ import annotations

import numpy as np
from skimage import data, filters, metrics, util

from preimage import denoise


def main(side: int = 192, steps: int | None = None) -> None:
    coins = data.coins()[:side, :side]  # uint8, one channel
    noisy = util.img_as_ubyte(util.random_noise(coins, var=0.01, rng=0))

    restored = denoise(noisy, steps=steps).run().to_array()  # uint8, one channel
    assert (restored.dtype, restored.shape) == (coins.dtype, coins.shape)
    for name, image in (("noisy", noisy), ("restored", restored)):
        quality = metrics.peak_signal_noise_ratio(coins, image)
        found = image > filters.threshold_otsu(image)
        wrong = np.mean(found != (coins > filters.threshold_otsu(coins)))
        print(f"{name}: {quality:.2f} dB; {wrong:.1%} of the pixels on the wrong side of Otsu's threshold")


if __name__ == "__main__":
    main()
