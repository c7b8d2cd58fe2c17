"""Run: what a fit and a composition of fits have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, Self

import torch

from preimage.engine.result import Result
from preimage.engine.step import Step


class Run(Iterator[Step], Protocol):
    """An iterator of Steps that ends in a Result: a Fit, or a composition of Runs. Looking at `.result()` changes nothing.

    `current` is the Fit at hand (of a Fit itself), `number` which of them it is, and `part` cuts out of an image (b, c, h, w) of
    the result's size what that one makes. `usual_steps` is where most such runs end; None: not known, `Step.total` is the limit.
    """

    task: str
    fingerprint: dict[str, Any]
    remarks: tuple[str, ...]
    usual_steps: int | None = None

    @property
    def size(self) -> tuple[int, int]: ...
    @property
    def current(self) -> Any: ...
    @property
    def finished(self) -> bool: ...
    @property
    def number(self) -> int:
        return 0

    def part(self, whole: torch.Tensor) -> torch.Tensor:
        return whole

    def __iter__(self) -> Self:
        return self

    def run(self) -> Any:
        """Iterate to the end and return the Result."""
        for _ in self:
            pass
        return self.result()

    def result(self) -> Result: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...
