"""How long a restoration will take, told by its first steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from specimens import THIN, fit_of, noisy

from preimage.engine.step import Step
from preimage.jobs.projection import FIRST, Projection, in_words


@dataclass
class Timed:
    """A run of so many pixels whose steps take 2 seconds, the first of them 10."""

    size: tuple[int, int] = (3000, 4000)
    usual_steps: int | None = 1000
    total: int = 6000
    tile: tuple[int, int] = (512, 512)
    begun: int = 0
    current: Any = field(init=False)

    def __post_init__(self) -> None:
        self.current = SimpleNamespace(size=self.tile, usual_steps=200, recipe=SimpleNamespace(steps=600))

    def step(self, index: int, members: int = 1, restarts: int = 1) -> Step:
        x = torch.zeros(members, 1, 16, 16)
        seconds = 8.0 + 2 * index
        return Step(index, self.total, seconds, x, x, {}, active=(True,) * members, restarts=restarts)

    def told(self, **given: int) -> Projection:
        projection = Projection()
        for index in range(self.begun + 1, self.begun + FIRST + 1):
            assert projection.seconds_left is None
            assert projection.line("a.png") is None
            projection.note(self, self.step(index, **given))  # pyright: ignore[reportArgumentType]
        return projection


def test_the_pace_of_the_first_steps_but_one_times_the_steps_that_are_usual():
    projection = Timed().told()
    assert projection.seconds_left == 2 * (1000 - FIRST)
    assert projection.preview == 2 * 200 / 4
    assert projection.line("a.png") == (
        "a.png: about 33 minutes on this machine; --preview restores its middle 256 x 256 pixels in 100 s, and half the width "
        "and height take a quarter of the time"
    )


def test_where_the_end_is_not_known_it_is_the_limit():
    projection = Timed(usual_steps=None).told()
    assert projection.seconds_left == 2 * (6000 - FIRST)
    assert str(projection.line("a.png")).startswith("a.png: at most 3.3 hours on this machine;")


def test_of_a_run_that_goes_on_what_is_left():
    assert Timed(begun=500).told().seconds_left == 2 * (500 - FIRST)
    assert Timed(begun=1200).told().seconds_left == 0


def test_a_preview_is_of_one_page_and_all_its_members():
    one = Timed().told().preview
    assert Timed().told(members=6, restarts=3).preview == one / 2
    assert Timed(size=(128, 4000), tile=(128, 512)).told().preview == 2 * 200 / 2


def test_an_image_that_a_preview_shows_whole_needs_none():
    projection = Timed(size=(256, 256), tile=(256, 256)).told()
    assert projection.line("a.png") == "a.png: about 33 minutes on this machine"
    assert "preview" not in str(Timed(size=(300, 300), tile=(300, 300), usual_steps=300).told().line("a.png"))


def test_what_is_short_is_not_worth_a_line():
    assert Timed(usual_steps=30).told().line("a.png") is None


def test_a_fit_is_timed_and_nothing_of_it_changes():
    alone, seen, projection = fit_of(noisy(32), THIN), fit_of(noisy(32), THIN), Projection()
    for step in seen:
        projection.note(seen, step)
        if step.index == FIRST:
            assert projection.seconds_left is not None
            assert 0 < projection.seconds_left < 1000
            assert projection.at_most
    assert torch.equal(alone.run().image, seen.result().image)
    assert projection.state_dict() == {}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.1, "5 s"), (61, "65 s"), (119, "120 s"), (120, "2 minutes"), (7199, "120 minutes"), (7200, "2.0 hours")],
)
def test_times_in_words(seconds, words):
    assert in_words(seconds) == words
