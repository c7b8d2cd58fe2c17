"""The judge by itself: members stop by the tracker, by the guard or at the last step, once, and looking changes nothing."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from sequences import step_of

from preimage.engine.judge import Judge


class Tracker:
    """Stops each member at a step that is given, and remembers which steps it has decided on."""

    best = None

    def __init__(self, *stops: int) -> None:
        self.stops = stops
        self.kept_step = [0 for _ in stops]
        self.seen: list[tuple[int, tuple[bool, ...]]] = []

    def measure(self, step: Any) -> torch.Tensor:
        return torch.full((1, len(self.stops)), float(step.index))

    def decide(self, step: Any, numbers: list[list[float]]) -> list[bool]:
        assert numbers == [[float(step.index)] * len(self.stops)]
        self.seen.append((step.index, step.active))
        self.kept_step = [step.index - 1 for _ in self.stops]
        return [step.index >= stop for stop in self.stops]

    def reason(self, member: int) -> str:
        return f"kept {self.kept_step[member]} of member {member % 2}"

    def reason_code(self, member: int) -> str:
        return "patience"

    def copied(self) -> Tracker:
        return copy.deepcopy(self)

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen = list(state["seen"])


class Guard:
    """Gives up the members that are named."""

    def __init__(self, *given_up: int) -> None:
        self.given_up = given_up

    def gave_up(self, i: int) -> bool:
        return i in self.given_up

    def reason(self, i: int, kept_step: int) -> str:
        return f"diverged; kept {kept_step}" if i in self.given_up else ""


def judge(*stops: int, given_up: tuple[int, ...] = ()) -> Any:
    return Judge(Tracker(*stops), Guard(*given_up), len(stops))  # type: ignore[arg-type]


def measured(judged: Any, first: int, last: int, *, total: int = 9) -> Any:
    for index in range(first, last + 1):
        judged.measure(step_of(index, torch.zeros(len(judged.stopped), 1, 2, 2), total=total))
    return judged


@pytest.mark.parametrize("every", [1, 3, 9])
def test_members_stop_once_however_many_steps_are_read_together(every: int) -> None:
    judged = judge(3, 5, 99)
    for first in range(1, 10, every):
        measured(judged, first, first + every - 1).decide()
    assert judged.stopped == [3, 5, 9]  # the last one at the last step
    assert [active for _, active in judged.tracker.seen] == [(index <= 3, index <= 5, True) for index in range(1, 10)]


def test_a_member_that_the_guard_gives_up_stops() -> None:
    judged = judge(99, 99, given_up=(1,))
    measured(judged, 1, 2).decide()
    assert judged.stopped == [0, 1]


def test_what_is_decided_already_is_itself_and_else_a_copy() -> None:
    judged = measured(judge(2), 1, 3)
    assert judged.stopped == [0]
    twin = judged.decided()
    assert twin is not judged
    assert twin.stopped == [2]
    assert judged.stopped == [0]
    assert judged.tracker.seen == []
    assert len(judged.unread) == 3
    judged.decide()
    assert judged.stopped == [2]
    assert judged.decided() is judged
    judged.decide()  # nothing is left
    assert len(judged.tracker.seen) == 3


def test_a_state_holds_what_was_not_read_yet() -> None:
    judged = measured(judge(2, 99), 1, 3)
    other = measured(judge(2, 99), 1, 1)
    stopped = other.stopped
    other.load_state_dict(judged.state_dict())
    assert other.stopped == [2, 0]
    assert other.stopped is stopped  # whoever holds it sees it
    assert other.unread == []
    assert [index for index, _ in other.tracker.seen] == [1, 2, 3]


def test_reasons() -> None:
    judged = judge(2, 2)
    assert judged.reason(7) == ("interrupted", "interrupted at step 7; kept the best so far, of step 7")
    measured(judged, 1, 1).decide()
    judged.tracker.kept_step = [4, 4]
    assert judged.reason(7)[1].endswith("of step 4")
    measured(judged, 2, 2).decide()
    assert judged.reason(2) == ("patience", "2 fits, kept steps 1, 1; the first: kept 1 of member 0")
    judged.tracker.reason = lambda member: "the same"
    assert judged.reason(2) == ("patience", "the same")
    lost = judge(2, 2, given_up=(0,))
    measured(lost, 1, 2).decide()
    assert lost.reason(2)[0] == "diverged"
    assert lost.reason(2)[1].endswith("the first: diverged; kept 1")
