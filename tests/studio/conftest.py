"""What the tests of the studio share: one studio for those of a module, and small pictures as bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from studio.browsing import Studio, Tab, chromium, noisy, running
from studio.served import Page, served


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("studio")


@pytest.fixture(scope="module")
def page(folder: Path) -> Iterator[Page]:
    with served(folder) as (page, _):
        yield page


@pytest.fixture(scope="session")
def photo(sample_files: Path) -> bytes:
    return (sample_files / "noisy.png").read_bytes()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def studio(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    with running(tmp_path_factory.mktemp("studio")) as found:
        yield found


@pytest.fixture
def tab(browser: Any, studio: Studio) -> Iterator[Tab]:
    found = Tab(browser, studio)
    yield found
    found.close()


@pytest.fixture
def noisy_png(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(noisy().astype(np.uint8)).save(path)
    return path
