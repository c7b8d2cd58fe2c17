"""What is recorded as a CUDA graph and replayed: calls beside each other or in a row, and a function of tensors.

A step of gradient descent is recorded by cuda_graphs.py; what a stopping rule measures at it is a Replay, in one launch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import torch

# Calls that are made as they are, aside, before one is recorded: libraries and optimizers allocate in their first ones.
WARM_STEPS = 3
BRANCHES = 8  # at most this many beside each other; further members follow one of these
TRUSTED = 1e-3  # a Replay that is further than this share from what was computed plainly is not trusted

_CAPTURING = threading.Lock()

Tensors = tuple[torch.Tensor, ...]
Way = Literal["branches", "in a row"]
_T = TypeVar("_T")
_Tensors = TypeVar("_Tensors", bound=tuple[torch.Tensor, ...])


def recordable(x: torch.Tensor) -> bool:
    """Whether what is computed from a tensor can be recorded: on CUDA alone."""
    return x.is_cuda


class Replay:
    """A function of tensors, recorded at its fourth call and replayed from then on; called as it is anywhere but on CUDA.

    The function is the same at every call, and is not kept: as a method it would keep the object that has its Replay. It changes
    nothing, and what it reads besides its arguments stays where it is; what it returns here is never overwritten. Where it cannot
    be recorded, or the first replay gives other numbers, it is called as it is.

    Example:
        >>> Replay()(lambda x: (2 * x, x.sum()), torch.ones(2))
        (tensor([2., 2.]), tensor(2.))
    """

    def __init__(self) -> None:
        self.plainly: bool = False  # whether it cannot be recorded
        self._forget()

    def _forget(self) -> None:
        self.calls: int = 0
        self._shapes: list[tuple[int, ...]] = []
        self._given: list[torch.Tensor] = []
        self._replay: Callable[[], list[Tensors]] | None = None

    @torch.no_grad()
    def __call__(self, function: Callable[..., Tensors], *given: torch.Tensor) -> Tensors:
        if self.plainly or not recordable(given[0]):
            return function(*given)
        with torch.cuda.device_of(given[0]):  # graphs and streams are of the current device
            return self._seen(function, given)

    def _seen(self, function: Callable[..., Tensors], given: Tensors) -> Tensors:
        shapes = [tuple(x.shape) for x in given]
        if shapes != self._shapes:
            self._forget()
            self._shapes = shapes
        self.calls += 1
        if self.calls <= WARM_STEPS:
            return on_a_side_stream(lambda: [function(*given)])[0]
        if self._replay is None:
            return self._first(function, given)
        return self._replayed(given)

    def _first(self, function: Callable[..., Tensors], given: Tensors) -> Tensors:
        """Record, and replay for the first time."""
        expected = function(*given)
        self._given = [x.clone() for x in given]
        try:
            self._replay = record_on_cuda([lambda: function(*self._given)], [], "in a row")
        except RuntimeError:  # PyTorch's for whatever a CUDA graph cannot hold
            self.plainly = True
            return expected
        found = self._replayed(given)
        near = [
            torch.allclose(a.float(), b.float(), TRUSTED, TRUSTED**2, equal_nan=True)
            for a, b in zip(found, expected, strict=True)
        ]
        self.plainly = not all(near)
        return expected

    def _replayed(self, given: Tensors) -> Tensors:
        assert self._replay is not None
        torch._foreach_copy_(self._given, list(given))  # pyright: ignore[reportPrivateImportUsage]
        return tuple(x.clone() for x in self._replay()[0])


def record_on_cuda(
    calls: Sequence[Callable[[], _T]], generators: Sequence[torch.Generator], way: Way
) -> Callable[[], list[_T]]:
    """Calls as a CUDA graph: nothing is computed while it is recorded; its outputs are overwritten by each replay."""
    torch.cuda.empty_cache()  # the graph has memory of its own
    graph = torch.cuda.CUDAGraph()
    for each in generators:
        graph.register_generator_state(each)
    # One capture at a time in the process, and other threads' work on the device is none of it.
    with _CAPTURING, torch.cuda.graph(graph, capture_error_mode="thread_local"):
        outputs = branched(calls) if way == "branches" else [call() for call in calls]

    def replay() -> list[_T]:
        graph.replay()
        return outputs

    return replay


def branched(calls: Sequence[Callable[[], _T]]) -> list[_T]:
    """Calls on streams beside the current one, which waits for all of them."""
    trunk = torch.cuda.current_stream()
    branches = [torch.cuda.Stream() for _ in calls[:BRANCHES]]
    for branch in branches:
        branch.wait_stream(trunk)
    outputs: list[_T] = []
    for number, call in enumerate(calls):
        with torch.cuda.stream(branches[number % len(branches)]):
            outputs.append(call())
    for branch in branches:
        trunk.wait_stream(branch)
    return outputs


def on_a_side_stream(call: Callable[[], list[_Tensors]]) -> list[_Tensors]:
    """A call on a stream of its own, as PyTorch wants it before a graph is recorded."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        outputs = call()
    torch.cuda.current_stream().wait_stream(stream)
    for each in outputs:
        for output in each:
            output.record_stream(torch.cuda.current_stream())
    return outputs
