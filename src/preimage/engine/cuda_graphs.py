"""A step of all members as one CUDA graph: recorded once, replayed every time, so that small kernels do not wait for Python.

What is recorded must be the same work at the same addresses each time: weights and optimizer states that are changed in place,
random numbers from generators that the graph knows. Members that are not computed in one call are parallel branches of it:
a network of a few channels leaves most of a GPU idle, and several beside each other fill it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from preimage.engine.descent import Descent, Groups, Outputs
from preimage.engine.replay import WARM_STEPS, Way, on_a_side_stream, record_on_cuda
from preimage.prior import Inputs

# A recorded step whose loss is further than this share from that of the same step computed plainly is not trusted.
TRUSTED = 0.05
Call = Callable[[], Outputs]
Recorder = Callable[[Sequence[Call], Sequence[torch.Generator], Way], Callable[[], list[Outputs]]]


class CudaGraphs:
    """`descent(groups)` replayed from a recording.

    Where a step cannot be recorded (an operator that reads a number from the device, say), or its first replay does not give the
    losses that are expected, it is undone, and the next way is tried: groups in parallel branches, in a row, and the plain step.

    Args:
        descent: what is done.
        record: records calls and returns what replays them; on CUDA as `record_on_cuda`.
    """

    def __init__(self, descent: Descent, record: Recorder | None = None) -> None:
        self._descent, self._record = descent, record or record_on_cuda
        self._aside = (lambda call: call()) if record else on_a_side_stream
        self.ways: list[Way] = ["branches", "in a row"]
        self.replays: int = 0
        self.forget()

    @property
    def plainly(self) -> bool:
        """Whether nothing can be recorded."""
        return not self.ways

    def forget(self) -> None:
        """Record anew: weights or optimizer states are at other addresses now."""
        self.seen: int = 0
        self.key: tuple[tuple[int, ...], ...] = ()
        self.recorded: _Recording | None = None

    def __call__(self, groups: Groups) -> list[Outputs]:
        weights = next(self._descent.prior.networks[0].parameters())
        with torch.cuda.device_of(weights):  # graphs and streams are of the current device
            return self._seen(groups)

    def _seen(self, groups: Groups) -> list[Outputs]:
        key = tuple(map(tuple, groups))
        if key != self.key:  # one recording at a time: each has memory of its own
            self.forget()
            self.key = key
        if self.plainly:
            return self._descent(groups)
        self.seen += 1
        if self.seen <= WARM_STEPS:
            return self._aside(lambda: self._descent(groups))
        if self.recorded is None:
            return self._first(groups)
        self.replays += 1
        return self.recorded.replayed()

    def _first(self, groups: Groups) -> list[Outputs]:
        """Record a step, and replay it for the first time; a plain step if no way of it can be trusted."""
        while self.ways:
            way = self.ways[0]
            if way == "branches" and len(groups) == 1:
                way = "in a row"
            try:
                recording = _Recording(self._descent, groups, self._record, way)
            except RuntimeError:  # PyTorch's for whatever a CUDA graph cannot hold, out of memory included
                self._no_longer(way)
                continue
            held, should = self._descent.held(groups), recording.expected()
            outputs = recording.replayed()
            found = torch.stack([terms.sum() for terms, _ in outputs])
            if bool(((found - should).abs() <= TRUSTED * should.abs()).all()):
                self.recorded = recording
                self.replays += 1
                return outputs
            self._descent.put_back(held)
            self._no_longer(way)
        return self._descent(groups)

    def _no_longer(self, way: Way) -> None:
        self.ways = self.ways[self.ways.index(way) + 1 :]


class _Recording:
    """One recorded step of some groups."""

    def __init__(self, descent: Descent, groups: Groups, record: Recorder, way: Way) -> None:
        self._descent, self._groups = descent, groups
        # Drawn within the recording where the device draws, else outside, and copied to where it was when it was recorded.
        within = descent.prior.jitter.on_device
        self._given: list[Inputs | None] = [None if within else self._held(group) for group in groups]
        generators = [each for group in groups for each in descent.generators(group)] if within else []
        calls = [self._call(group, given) for group, given in zip(groups, self._given, strict=True)]
        self._replay = record(calls, generators, way)

    def _held(self, group: Sequence[int]) -> Inputs:
        """Where what is drawn outside is copied to."""
        codes, mask = self._drawn_ahead(group)
        return Inputs([code.clone() for code in codes], None if mask is None else mask.clone())

    def _call(self, group: Sequence[int], given: Inputs | None) -> Call:
        descent = self._descent
        return lambda: descent.move(group, descent.draw(group) if given is None else given)

    def _drawn_ahead(self, group: Sequence[int]) -> Inputs:
        """What will be drawn next, without drawing it."""
        generators = self._descent.generators(group)
        states = [each.get_state() for each in generators]
        found = self._descent.draw(group)
        for each, state in zip(generators, states, strict=True):
            each.set_state(state)
        return found

    @torch.no_grad()
    def expected(self) -> torch.Tensor:
        """The loss of each group in the next step."""
        ahead = [(group, self._drawn_ahead(group)) for group in self._groups]
        return torch.stack([self._descent.expected(group, given)[0].sum() for group, given in ahead])

    def replayed(self) -> list[Outputs]:
        """One step; what it returns is never overwritten."""
        for group, held in zip(self._groups, self._given, strict=True):
            if held is not None:
                new = self._descent.draw(group)
                torch._foreach_copy_(_tensors(held), _tensors(new))  # pyright: ignore[reportPrivateImportUsage]
        return [(terms.clone(), x.clone()) for terms, x in self._replay()]


def _tensors(inputs: Inputs) -> list[torch.Tensor]:
    return [*inputs.codes, *([] if inputs.loss_mask is None else [inputs.loss_mask])]
