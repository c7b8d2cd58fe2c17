"""DivergenceGuard: a fit that diverges goes back to its last good state at a lower rate, and gives up after a few tries."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from preimage.engine.averages import Averages
from preimage.engine.theta import Theta

JUMP = 10**0.5  # a loss this many times the recent one is a loss of 5 dB
SETTLED = 20  # steps before which the loss may jump: the first steps of a fit do
SNAPSHOT_EVERY = 25
TRIES = 4


class DivergenceGuard:
    """Watches the losses of every member of a fit and holds a snapshot of each: weights, optimizer and average.

    Args:
        theta, outputs: of the fit.
        steady: the numbers of the terms whose jumps say something; of the others, which draw at random at every step, only
            whether they are finite. None: all.
    """

    def __init__(self, theta: Theta, outputs: Averages, steady: Sequence[int] | None = None) -> None:
        self._theta, self._outputs = theta, outputs
        self._steady: list[int] | None = None if steady is None else list(steady)
        members = range(len(theta.prior))
        self._level = [math.inf for _ in members]  # the smoothed loss
        self._tries = [0 for _ in members]
        self.snapshots: list[dict[str, Any]] = [self._snapshot(i) for i in members]

    def watch(self, index: int, members: list[int], table: torch.Tensor) -> list[str]:
        """Check the losses of one step, (terms, b); roll back members that diverged, and return a sentence for each."""
        wholes = table.sum(0).tolist()
        every = self._steady is None or len(self._steady) == len(table)
        every = self._steady is None or len(self._steady) == len(table)
        losses = wholes if every else table[self._steady].sum(0).tolist()
        events: list[str] = []
        good: list[int] = []
        for i in members:
            if not math.isfinite(wholes[i]) or self._diverged(i, losses[i]):
                rate = self._roll_back(i)
                jump = f"step {index}, fit {i + 1}: the loss jumped to {wholes[i]:.3g}"
                events.append(f"{jump}; back to the last good state, rate {rate:.3g}")
                continue
            known = math.isfinite(self._level[i])
            self._level[i] = 0.9 * self._level[i] + 0.1 * losses[i] if known else losses[i]
            if self._outputs.counts[i] % SNAPSHOT_EVERY == 0:
                good.append(i)
        self._renew(good)
        return events

    def _diverged(self, i: int, loss: float) -> bool:
        if self._level[i] < 0:  # of what is made ever larger (an activation) no loss is a jump
            return False
        return self._outputs.counts[i] > SETTLED and loss > JUMP * max(self._level[i], 1e-12)

    def _roll_back(self, i: int) -> float:
        self._tries[i] += 1
        self._theta.put_back(i, self.snapshots[i])
        self._outputs.put_back(i, self.snapshots[i])
        return self._theta.slow_down(i, 0.5 ** self._tries[i])

    def gave_up(self, i: int) -> bool:
        return self._tries[i] > TRIES

    def reason(self, i: int, kept_step: int) -> str:
        """Advice if the member was given up, else nothing."""
        if not self.gave_up(i):
            return ""
        return f"the fit diverged {self._tries[i]} times, each time at a lower rate; kept step {kept_step}: try a lower rate"

    # ------------------------------------------------------------------ snapshots

    def _snapshot(self, i: int) -> dict[str, Any]:
        # Clones rather than a deep copy: a stacked member's weights are rows, and their storage is that of all members.
        return with_tensors(self._theta.of(i), lambda tensor: tensor.detach().clone()) | self._outputs.of(i)

    def _renew(self, members: list[int]) -> None:
        """The snapshots of some members as they are now, in the place of the former ones and all copied in one go."""
        places: list[torch.Tensor] = []
        values: list[torch.Tensor] = []
        for i in members:
            now, kept = self._theta.of(i), self.snapshots[i]
            new, old = (_tensors(each) for each in (now, {name: kept[name] for name in now}))
            if [(x.shape, x.device) for x in new] == [(x.shape, x.device) for x in old]:
                places += old
                values += new
                held = iter(old)
                self.snapshots[i] = with_tensors(now, lambda _, held=held: next(held)) | self._outputs.of(i)
            else:  # the first steps make what an optimizer remembers
                self.snapshots[i] = self._snapshot(i)
        if places:
            torch._foreach_copy_(places, values)  # pyright: ignore[reportPrivateImportUsage]

    def state_dict(self) -> dict[str, Any]:
        return {"level": self._level, "tries": self._tries, "snapshots": self.snapshots}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._level, self._tries, self.snapshots = state["level"], state["tries"], state["snapshots"]


def with_tensors(value: Any, change: Callable[[torch.Tensor], Any]) -> Any:
    """Plain containers with each of their tensors changed, in their order."""
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: with_tensors(each, change) for key, each in value.items()}
    return type(value)(with_tensors(each, change) for each in value) if isinstance(value, list | tuple) else value


def _tensors(value: Any) -> list[torch.Tensor]:
    """Those in plain containers."""
    found: list[torch.Tensor] = []
    with_tensors(value, lambda tensor: found.append(tensor.detach()))
    return found
