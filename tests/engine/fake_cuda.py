"""A CUDA graph without CUDA: what is computed while one is captured is undone, and done again at the same addresses by a replay.

So whatever a graph would hold on to (a number of Python's, a tensor that is replaced) is held on to here as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

log: list[tuple[Any, ...]] = []  # of streams that wait, in order
captured: list[FakeGraph] = []


class Stream:
    """A stream that does everything at once."""

    current: Stream

    def __init__(self) -> None:
        self.name = len(log)
        log.append(("new", self))

    def wait_stream(self, other: Stream) -> None:
        log.append(("wait", self, other))


@contextmanager
def on(stream: Stream) -> Iterator[None]:
    before, Stream.current = Stream.current, stream
    log.append(("on", stream))
    try:
        yield
    finally:
        Stream.current = before


class FakeGraph(TorchDispatchMode):
    """torch.cuda.CUDAGraph."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, ...]] = []
        self.known: list[torch.Generator] = []
        self.before: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self.states: dict[int, tuple[torch.Generator, torch.Tensor]] = {}
        self.replays = 0
        captured.append(self)

    def register_generator_state(self, generator: torch.Generator) -> None:
        self.known.append(generator)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.lift_fresh.default):
            raise RuntimeError("operation not permitted when stream is capturing")
        given = [each for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Generator)]
        for generator in given:
            if not any(generator._cdata == each._cdata for each in self.known):  # type: ignore[attr-defined]
                raise RuntimeError("a generator must be registered with the graph that draws from it")
            self.states.setdefault(generator._cdata, (generator, generator.get_state()))
        for spec, value in zip(func._schema.arguments, args, strict=False):
            if spec.alias_info is not None and spec.alias_info.is_write:
                self._keep(value)
        if "out" in kwargs:
            self._keep(kwargs["out"])
        result = func(*args, **kwargs)
        self.calls.append((func, args, kwargs, result))
        return result

    def _keep(self, written: Any) -> None:
        for each in tree_leaves(written):
            if isinstance(each, torch.Tensor):
                whole = each.untyped_storage()
                self.before.setdefault(whole.data_ptr(), (each, whole.clone()))

    def undo(self) -> None:
        for tensor, content in self.before.values():
            tensor.untyped_storage().copy_(content)
        for generator, state in self.states.values():
            generator.set_state(state)

    @torch.no_grad()
    def replay(self) -> None:
        self.replays += 1
        for func, args, kwargs, result in self.calls:
            again = func(*args, **kwargs)
            if all(spec.alias_info is None for spec in func._schema.returns) and "out" not in kwargs:
                for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                    if isinstance(old, torch.Tensor):
                        old.copy_(new)


@contextmanager
def graph(made: FakeGraph, **options: Any) -> Iterator[None]:
    with made:
        yield
    made.undo()


@contextmanager
def fake_cuda() -> Iterator[None]:
    """torch.cuda's graphs and streams replaced, for as long as it is entered."""
    log.clear()
    captured.clear()
    Stream.current = Stream()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "CUDAGraph", FakeGraph)
        patch.setattr(torch.cuda, "graph", graph)
        patch.setattr(torch.cuda, "Stream", Stream)
        patch.setattr(torch.cuda, "stream", on)
        patch.setattr(torch.cuda, "current_stream", lambda: Stream.current)
        patch.setattr(torch.cuda, "empty_cache", lambda: None)
        patch.setattr(torch.Tensor, "record_stream", lambda self, stream: None)
        yield
