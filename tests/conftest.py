"""What all tests share: one thread (equal runs, equal bits), the folder of golden files, real pictures where there are any."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

from preimage.engine import memory
from tests.slow import slow_tests, without_parameters

torch.set_num_threads(1)
# Equal runs, equal examples; and a slow machine is no failure.
settings.register_profile("tests", deadline=None, derandomize=True, database=None)
settings.load_profile("tests")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What tests/slow.txt names is marked slow, before it is chosen by marks."""
    slow = slow_tests()
    for item in items:
        if without_parameters(item.nodeid) in slow:
            item.add_marker("slow")


@pytest.fixture(autouse=True, scope="module")
def imported_modules_are_no_garbage() -> None:
    """What is there stays: a collection of garbage (each page and each tile asks for one) need not look at it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def memory_is_estimated_once() -> Iterator[None]:
    """Equal networks need equal memory: to work that out anew takes longer than most fits of the tests."""
    estimated, known = memory.saved_bytes, {}

    def saved_bytes(prior: Any) -> int | None:
        network = prior.networks[0]
        key = (str(network), str([*map(type, network.modules())]), prior.input_shape, prior.dtype)
        if key not in known:
            known[key] = estimated(prior)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "saved_bytes", saved_bytes)
        yield


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
