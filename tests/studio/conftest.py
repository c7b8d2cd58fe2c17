"""What the tests of the studio share: one studio for those of a module, and small pictures as bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
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
