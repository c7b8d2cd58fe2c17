"""A little of `make fuzz`: the same cases each time, and half a minute of others where there is time."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes are forked")


def test_a_case_is_known_by_its_seed_and_number() -> None:
    from tests.fuzz import case, seeds

    assert [case(3, i) for i in range(20)] == [case(3, i) for i in range(20)]
    assert len({case(3, i)[1] for i in range(200)}) > 190
    assert len({case(3, i)[0] for i in range(900)}) == len(seeds()) > 25


def test_damaged_files_are_pictures_or_one_line(tmp_path: Path) -> None:
    from tests.fuzz import fuzz

    counts, findings = fuzz(0, count=150, out=tmp_path)
    assert findings == []
    assert counts["refused"] > 50
    assert counts["read"] > 10


@pytest.mark.long
def test_half_a_minute_of_others(tmp_path: Path) -> None:
    from tests.fuzz import fuzz

    _, findings = fuzz(1, seconds=30, out=tmp_path)
    assert findings == []


def test_what_is_wrong_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that fails, ends its process, or takes too long is told of, and the next case is read."""
    import os
    import signal
    import time

    from tests import fuzz

    def read_all(path: Path) -> str:
        turn = len(path.read_bytes()) % 4
        if turn == 1:
            raise ZeroDivisionError("division by zero")
        if turn == 2:
            os.kill(os.getpid(), signal.SIGSEGV)
        if turn == 3:
            time.sleep(5)
        return "read"

    monkeypatch.setattr(fuzz, "_first", lambda folder: folder / "none")
    monkeypatch.setattr(fuzz, "SECONDS", 0.2)
    seeds = {f"{turn}.bin": bytes(4 + turn) for turn in range(4)}
    monkeypatch.setattr(fuzz, "seeds", lambda: seeds)
    monkeypatch.setattr(fuzz, "read_all", lambda path: read_all(path) if path.exists() else "read")
    monkeypatch.setattr(fuzz, "CHANGES", (fuzz.flip,))
    counts, findings = fuzz.fuzz(0, count=24, out=tmp_path)
    said = " ".join(findings)
    assert "ZeroDivisionError" in said
    assert "SIGSEGV" in said
    assert "seconds" in said
    assert counts["finding"] == len(findings) == len(list(tmp_path.iterdir()))
    assert counts["read"] > 0
