"""What the commands' tests have: a folder with pictures and a thin recipe, the command line called in this process; and threads
that take turns."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from cli.conftest import here as here
from cli.conftest import run as run


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Threads take turns as often as they can, so that what they share is seen."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)
