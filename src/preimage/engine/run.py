"""Run: what a fit and a composition of fits have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch

from preimage.engine.fit import Fit
from preimage.engine.result import Result
from preimage.engine.step import Step


class Run(Protocol):
    """Anything that is an iterator of Steps and ends in a Result: a Fit, or a composition of Runs.

    `current` is the Fit at hand (of a Fit itself), `number` which of them it is, and `part` cuts out of an image of the result's
    size what that one makes.
    """

    task: str
    fingerprint: dict[str, Any]
    remarks: tuple[str, ...]

    @property
    def size(self) -> tuple[int, int]: ...
    @property
    def current(self) -> Fit: ...
    @property
    def number(self) -> int: ...
    @property
    def finished(self) -> bool: ...
    def part(self, whole: torch.Tensor) -> torch.Tensor: ...
    def __iter__(self) -> Iterator[Step]: ...
    def __next__(self) -> Step: ...
    def run(self) -> Result: ...
    def result(self) -> Result: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...
