"""What all tests share: one thread (equal runs, equal bits), the folder of golden files, real pictures where there are any."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
# Equal runs, equal examples; and a slow machine is no failure.
settings.register_profile("tests", deadline=None, derandomize=True, database=None)
settings.load_profile("tests")


@pytest.fixture(scope="session")
def golden() -> Path:
    """Exact results of the published implementation."""
    return Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real pictures; a test that asks for it is marked `data`."""
    folder = os.environ.get("PREIMAGE_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("PREIMAGE_DATA does not name a folder of real pictures")
    return Path(folder)
