"""The tasks of a cluster of Ray: what they are told, and many pictures in trouble."""

from __future__ import annotations

import pytest

from preimage.folders.cluster import Board
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


@pytest.mark.long
@pytest.mark.parametrize("way", ["ray", "workers", "shards"])
def test_of_sixty_pictures_in_trouble_none_is_lost_torn_or_done_twice(tmp_path, way):
    found = undergo(tmp_path, way, 60, kills=6, drivers=1)
    assert found.withstood, found
    assert found.kills == 6
    assert found.drivers == 1
    assert found.full == 1
