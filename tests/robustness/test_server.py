"""The fork server sees what it is there to see: each kind of misbehavior has its verdict, and a sound command has none."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.robustness import server
from tests.robustness.server import CANARY, Arena


def say(text: str, code: int) -> int:
    os.write(2, f"{text}\n".encode())
    return code


def raises() -> int:
    raise KeyError("x")


def takes_much() -> int:
    np.ones(4 * 10**7)
    return say("preimage: no", 2)


def leaves(name: str) -> Callable[[], int]:
    def call() -> int:
        Path(name).touch()
        return 0

    return call


@pytest.mark.parametrize(
    ("call", "verdict"),
    [
        (lambda: 0, "fine"),
        (lambda: say("preimage: no.png does not exist: name another", 2), "fine"),
        (raises, "defect"),
        (lambda: say("preimage: unexpected KeyError: 'x' (a defect; report it)", 2), "defect"),
        (lambda: 1, "defect"),
        (os.abort, "defect"),
        (lambda: say("libpng warning: iCCP", 0), "words"),
        (lambda: 2, "words"),
        (takes_much, "memory"),
        (leaves(CANARY), "code"),
        (leaves(".preimage-1.partial"), "leftover"),
        (lambda: time.sleep(30), "hang"),
    ],
)
def test_what_a_command_does_has_its_verdict(tmp_path, monkeypatch, call, verdict):
    monkeypatch.setattr(server, "MUCH", 3 * 10**8)
    monkeypatch.setattr(server, "LONGEST", 0.3 if verdict == "hang" else 60.0)
    arena = Arena(tmp_path, tmp_path)
    arena.run(call=call)
    assert arena.verdict(None)[0] == verdict, arena.faults
