"""What Runs of the room have in common, and the progress of one whose steps are no iterations of a fit."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

StepT = TypeVar("StepT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class Progress:
    """How far a Run is: `index` of `total`, and what was done, in a few words."""

    index: int
    total: int
    status: str = ""


class StepwiseRun(Iterator[StepT], Generic[StepT, ResultT]):
    """An iterator of steps that ends in a result."""

    remarks: tuple[str, ...] = ()

    @property
    def current(self) -> Any:
        """The fit at hand; itself where nothing is fitted."""
        return self

    def run(self) -> ResultT:
        """Iterate to the end and return the result."""
        for _ in self:
            pass
        return self.result()

    @abstractmethod
    def result(self) -> ResultT:
        """The result; an InputError if it is too early for one."""
