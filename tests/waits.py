"""What a step would wait for on an accelerator, counted without one."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from preimage.codes import Jitter


class Waits(TorchDispatchMode):
    """Counts what would wait for an accelerator: a number read from a tensor, or numbers that are made into one."""

    NAMES = ("aten._local_scalar_dense.default", "aten.lift_fresh.default", "aten.nonzero.default")

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.on_host = False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if str(func) in self.NAMES:
            self.count(str(func))
        return func(*args, **(kwargs or {}))

    def count(self, name: str) -> None:
        if not self.on_host:
            self.counts[name] += 1


@contextmanager
def counted(monkeypatch):
    """Waits of the block, jitter's few numbers apart: they are drawn and read on the host, on any device."""
    waits = Waits()
    for name in ("tolist", "cpu", "numpy"):
        own = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda self, *a, own=own, name=name: waits.count(name) or own(self, *a))
    own_noise = Jitter.added_to

    def drawn(self, code, member):
        waits.on_host = True
        try:
            return own_noise(self, code, member)
        finally:
            waits.on_host = False

    monkeypatch.setattr(Jitter, "added_to", drawn)
    with waits:
        yield waits
    monkeypatch.undo()
