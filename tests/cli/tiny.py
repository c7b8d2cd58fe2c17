"""A recipe and pictures so small that a fit takes no time."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import preimage.cli

TINY = {
    "format": 2,
    "network": {"kind": "SkipNet", "down": [4, 4], "up": [4, 4], "skip": [2, 2]},
    "code": {"kind": "Noise", "channels": 4},
    "steps": 12,
    "restarts": 1,
}

# For commands in processes of their own: one thread, so that equal runs are equal, and this very library.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(preimage.cli.__file__).parents[2])}
# Of what has no disk to write to, or is interrupted before it begins: the coverage of these processes is not measured.
UNMEASURED = {name: value for name, value in ENVIRONMENT.items() if name != "COVERAGE_PROCESS_CONFIG"}


def pictures(height: int = 20, width: int = 24) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A smooth color picture, and the same with Gaussian noise of deviation 25."""
    rows, columns = np.mgrid[:height, :width]
    planes = (rows * 8 + 30, columns * 8 + 20, (rows + columns) * 4 + 40)
    clean = np.stack(planes, axis=-1).clip(0, 255).astype(np.uint8)
    noise = np.random.default_rng(0).normal(0, 25, clean.shape)
    return clean, np.clip(np.rint(clean + noise), 0, 255).astype(np.uint8)
