"""The tasks of a cluster of Ray: what they are told, and many pictures in trouble."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from preimage.folders import cluster
from preimage.folders.cluster import Board, Teller
from tests.robustness.crowd import undergo


def test_tasks_read_on_the_board_whether_to_stop():
    board = Board()
    assert not board.tell("a", 1, 5)
    assert not board.tell("b", 2, 5)
    assert board.doing() == {"a": (1, 5), "b": (2, 5)}
    board.leave("a")
    board.leave("never there")
    assert board.doing() == {"b": (2, 5)}
    board.stop()
    assert board.tell("b", 3, 5)


class Told:
    """A board that is asked from afar: its answers come when they are given."""

    def __init__(self) -> None:
        self.tell = self
        self.asked: list[tuple[str, int, int]] = []
        self.answers: list[Future[bool]] = []

    def remote(self, *told) -> Told:
        self.asked.append(told)
        self.answers.append(Future())
        return self

    def future(self) -> Future[bool]:
        return self.answers[-1]


def test_a_task_waits_for_no_answer_of_the_board(monkeypatch):
    """One that waits by ray.get gives back its cores, and another task is begun on them: 21 % slower on two cores."""
    monkeypatch.setattr(cluster, "TOLD_EVERY", 0.0)
    board = Told()
    teller = Teller(board, "a")
    assert not teller.stops(wait=0.01)
    teller.shows(None, SimpleNamespace(index=3, total=9))
    assert not teller.stops()
    assert board.asked == [("a", 0, 0)]  # no second question before the first is answered
    board.answers[0].set_result(False)
    assert not teller.stops()
    assert not teller.stops()
    assert board.asked[1:] == [("a", 3, 9)]
    board.answers[1].set_exception(RuntimeError("the board is gone"))
    assert not teller.stops()
    assert not teller.stops()
    board.answers[2].set_result(True)
    assert teller.stops()
    assert teller.stops()
    assert len(board.asked) == 3


@pytest.mark.long
@pytest.mark.parametrize("way", ["ray", "workers", "shards"])
def test_of_sixty_pictures_in_trouble_none_is_lost_torn_or_done_twice(tmp_path, way):
    found = undergo(tmp_path, way, 60, kills=6, drivers=1)
    assert found.withstood, found
    assert found.kills == 6
    assert found.drivers == 1
    assert found.full == 1
