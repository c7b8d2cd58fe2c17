"""DivergenceGuard: a fit that diverges goes back to its last good state at a lower rate, and gives up after a few tries."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import nn

from preimage.engine.optimizers import Optimizer
from preimage.engine.recipe import Recipe
from preimage.prior import Prior

JUMP = 10**0.5  # a loss this many times the recent one is a loss of 5 dB
SETTLED = 20  # steps before which the loss may jump: the first steps of a fit do
SNAPSHOT_EVERY = 25
TRIES = 4


class Guarded(Protocol):
    """What a guard checks and puts back: a Fit."""

    index: int
    prior: Prior
    recipe: Recipe
    operators: list[nn.Module]
    optimizers: list[list[Optimizer]]
    counts: list[int]
    images: list[torch.Tensor]
    averages: list[torch.Tensor]


class DivergenceGuard:
    """Watches the losses of every member of a fit and holds a snapshot of each: weights, optimizer and average."""

    def __init__(self, fit: Guarded) -> None:
        members = range(len(fit.prior))
        self.level = [math.inf for _ in members]  # the smoothed loss
        self.tries = [0 for _ in members]
        self.snapshots = [_snapshot(fit, i) for i in members]

    def watch(self, fit: Guarded, members: list[int], table: torch.Tensor) -> list[str]:
        """Check the losses of one step, (terms, b); roll back what diverged and say so."""
        losses = table.sum(0).tolist()
        events: list[str] = []
        good: list[int] = []
        for i in members:
            if self._diverged(i, losses[i], fit.counts[i]):
                events.append(self._roll_back(fit, i, losses[i]))
                continue
            known = math.isfinite(self.level[i])
            self.level[i] = 0.9 * self.level[i] + 0.1 * losses[i] if known else losses[i]
            if fit.counts[i] % SNAPSHOT_EVERY == 0:
                good.append(i)
        self._renew(fit, good)
        return events

    def _diverged(self, i: int, loss: float, count: int) -> bool:
        if not math.isfinite(loss):
            return True
        if self.level[i] < 0:  # of what is made ever larger (an activation) no loss is a jump
            return False
        return count > SETTLED and loss > JUMP * max(self.level[i], 1e-12)

    def gave_up(self, i: int) -> bool:
        return self.tries[i] > TRIES

    def reason(self, i: int, kept_step: int) -> str:
        """Advice if the member was given up, else nothing."""
        if not self.gave_up(i):
            return ""
        tries = self.tries[i]
        return f"the fit diverged {tries} times, each time at a lower rate; kept step {kept_step}: try a lower rate"

    def _roll_back(self, fit: Guarded, i: int, loss: float) -> str:
        snapshot = self.snapshots[i]
        fit.prior.networks[i].load_state_dict(snapshot["network"])
        fit.operators[i].load_state_dict(snapshot["operator"])
        self.tries[i] += 1
        slower = 0.5 ** self.tries[i]
        rate = float(fit.recipe.rate) * slower
        of_operator = set(fit.operators[i].parameters())
        for optimizer, state in zip(fit.optimizers[i], snapshot["optimizers"], strict=True):
            optimizer.load_state_dict(copy.deepcopy(state))
            for group in optimizer.param_groups:
                own = of_operator.issuperset(group["params"])
                group["lr"] = float(fit.recipe.operator_rate) * slower if own else rate
        fit.counts[i] = snapshot["count"]
        if snapshot["average"] is not None:
            fit.averages[i], fit.images[i] = snapshot["average"], snapshot["image"]
        else:
            fit.averages[i] = fit.images[i] = torch.zeros_like(fit.averages[i])
        return f"step {fit.index}, fit {i + 1}: the loss jumped to {loss:.3g}; back to the last good state, rate {rate:.3g}"

    def _renew(self, fit: Guarded, members: list[int]) -> None:
        """The snapshots of some members as they are now, in the place of the former ones and all copied in one go."""
        places: list[torch.Tensor] = []
        values: list[torch.Tensor] = []
        for i in members:
            now, kept = _now(fit, i), self.snapshots[i]
            new, old = (_tensors(each) for each in (now, {name: kept[name] for name in now}))
            if [(x.shape, x.device) for x in new] == [(x.shape, x.device) for x in old]:
                places += old
                values += new
                held = iter(old)
                self.snapshots[i] = with_tensors(now, lambda _, held=held: next(held)) | _images(fit, i)
            else:  # the first steps make what an optimizer remembers, and a checkpoint is read on the CPU
                self.snapshots[i] = _snapshot(fit, i)
        if places:
            torch._foreach_copy_(places, values)  # pyright: ignore[reportPrivateImportUsage]

    def state_dict(self) -> dict[str, Any]:
        return {"level": self.level, "tries": self.tries, "snapshots": self.snapshots}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        self.level, self.tries, self.snapshots = state["level"], state["tries"], state["snapshots"]
        for snapshot in self.snapshots:
            for name in ("average", "image"):
                if snapshot[name] is not None:  # networks and optimizers take in tensors of any device
                    snapshot[name] = snapshot[name].to(device)


def _snapshot(fit: Guarded, i: int) -> dict[str, Any]:
    # Clones rather than a deep copy: a stacked member's weights are rows, and their storage is that of all members.
    return with_tensors(_now(fit, i), lambda tensor: tensor.detach().clone()) | _images(fit, i)


def _now(fit: Guarded, i: int) -> dict[str, Any]:
    """What moves, itself and no copy of it."""
    return {
        "network": dict(fit.prior.networks[i].state_dict()),
        "operator": dict(fit.operators[i].state_dict()),
        "optimizers": [optimizer.state_dict() for optimizer in fit.optimizers[i]],
    }


def _images(fit: Guarded, i: int) -> dict[str, Any]:
    begun = fit.counts[i] > 0
    images = {"average": fit.averages[i] if begun else None, "image": fit.images[i] if begun else None}
    return {"count": fit.counts[i], **images}


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
