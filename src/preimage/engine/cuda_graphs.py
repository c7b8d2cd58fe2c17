"""A step of a fit as a CUDA graph: recorded once, replayed at every step, so that small kernels do not wait for Python.

What is recorded must be the same work at the same addresses each time: one group of members, weights and optimizer states
that are changed in place. What is random (jitter, masks) is drawn outside and copied in.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import torch

# Steps of a group that run as they are, aside, before it is recorded: libraries and optimizers allocate in their first ones.
WARM_STEPS = 3
# A recorded step whose loss is further than this share from that of the same step computed plainly is not trusted.
TRUSTED = 0.05

_CAPTURING = threading.Lock()

Outputs = tuple[torch.Tensor, torch.Tensor]
Move = Callable[[Sequence[int], Sequence[torch.Tensor], torch.Tensor | None], Outputs]
Recorder = Callable[[Callable[[], Outputs]], Callable[[], Outputs]]


class CudaGraphs:
    """`move(members, inputs, loss_mask)` replayed from a recording of each group of members.

    Where it cannot be recorded (an operator that reads a number from the device, say), or the first replay does not give
    the loss that `expected` computes plainly, the plain `move` is used from then on.

    Args:
        move: a step of some members from their inputs (1, channels, h, w): their terms and outputs before it.
        expected: the same without moving anything.
        record: records a call and returns what replays it.
    """

    def __init__(self, move: Move, expected: Move, record: Recorder | None = None) -> None:
        self._move, self._expected, self._record = move, expected, record or record_on_cuda
        self._aside = (lambda call: call()) if record else on_a_side_stream
        self.plainly: bool = False
        self.forget()

    def forget(self) -> None:
        """Record anew: weights or optimizer states are at other addresses now."""
        self.seen: dict[tuple[int, ...], int] = {}
        self.recorded: dict[tuple[int, ...], tuple[list[torch.Tensor], Callable[[], Outputs]]] = {}

    def __call__(
        self, members: Sequence[int], inputs: Sequence[torch.Tensor], loss_mask: torch.Tensor | None = None
    ) -> Outputs:
        key = tuple(members)
        if self.plainly:
            return self._move(members, inputs, loss_mask)
        self.seen[key] = self.seen.get(key, 0) + 1
        if self.seen[key] <= WARM_STEPS:
            return self._aside(lambda: self._move(members, inputs, loss_mask))
        given = [*inputs, *([] if loss_mask is None else [loss_mask])]
        first = key not in self.recorded
        if first and not self._recorded(key, given, loss_mask is not None):
            return self._move(members, inputs, loss_mask)
        held, replay = self.recorded[key]
        torch._foreach_copy_(held, given)  # pyright: ignore[reportPrivateImportUsage]
        should = None
        if first:
            with torch.no_grad():
                should = self._expected(members, inputs, loss_mask)[0].sum()
        terms, x = (output.clone() for output in replay())
        if should is not None and not bool((terms.sum() - should).abs() <= TRUSTED * should.abs()):
            self.plainly = True
            self.forget()
        return terms, x

    def _recorded(self, key: tuple[int, ...], given: list[torch.Tensor], masked: bool) -> bool:
        """Whether a group could be recorded; groups that share members with it are dropped, with what they hold."""
        self.recorded = {other: kept for other, kept in self.recorded.items() if not set(other) & set(key)}
        held = [value.clone() for value in given]
        inputs, loss_mask = (held[:-1], held[-1]) if masked else (held, None)
        try:
            self.recorded[key] = held, self._record(lambda: self._move(key, inputs, loss_mask))
        except RuntimeError:  # PyTorch's for whatever a CUDA graph cannot hold, out of memory included
            self.plainly = True
            self.forget()
            return False
        return True


def record_on_cuda(call: Callable[[], Outputs]) -> Callable[[], Outputs]:
    """A call as a CUDA graph: nothing is computed while it is recorded; its outputs are overwritten by each replay."""
    torch.cuda.empty_cache()  # the graph has memory of its own
    graph = torch.cuda.CUDAGraph()
    # One capture at a time in the process, and other threads' work on the device is none of it.
    with _CAPTURING, torch.cuda.graph(graph, capture_error_mode="thread_local"):
        outputs = call()

    def replay() -> Outputs:
        graph.replay()
        return outputs

    return replay


def on_a_side_stream(call: Callable[[], Outputs]) -> Outputs:
    """A call on a stream of its own, as PyTorch wants it before a graph is recorded."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        outputs = call()
    torch.cuda.current_stream().wait_stream(stream)
    for output in outputs:
        output.record_stream(torch.cuda.current_stream())
    return outputs
