"""What a page sees of a run: the picture at hand now and then, the curves, and how long it will take. It changes nothing.

A preview costs what it costs: the next one comes after many times as long, so that watching takes a small share of the fit.
"""

from __future__ import annotations

import json
import math
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from preimage.figures.restoration import display_range
from preimage.studio import looks
from preimage.studio.curves import CURVE

TOLD_EVERY = 0.25  # seconds between two lines
SHARE = 0.03  # of the fit's time, that previews may take
SIDE = 768  # pixels of the longer side of a preview

PREVIEW = "preview.png"


class Watching:
    """Looks at the steps of a run, and says what a page wants to know.

    Args:
        running: the Running.
        folder: of the job.
        say: takes a line for the server.
    """

    def __init__(self, running: Any, folder: Path, say: Callable[[dict[str, Any]], None]) -> None:
        self.running = running
        self.folder = folder
        self.say = say
        self.number: int = 0  # of the newest preview
        self.at: float | None = None  # when its step was computed, in seconds since 1970
        self._told = self._due = 0.0
        self._points: list[list[Any]] = []
        self._begun = time.monotonic()
        self._first: Any = None
        self._pictures: queue.SimpleQueue[tuple[float, np.ndarray] | None] = queue.SimpleQueue()
        self._is_drawing = False
        self._window = self._window_of(running)
        self._thread = threading.Thread(target=self._draw, daemon=True)
        self._thread.start()
        self._last: dict[str, Any] = {}

    def note(self, step: Any) -> None:
        """Look at a step."""
        now = time.monotonic()
        self._first = self._first or (now, step.index)
        loss = _loss(step)
        self._points.append([step.index, loss, *self._scores(step)])
        is_last = self.running.finished
        if not is_last and now - self._told < TOLD_EVERY:
            return
        self._told = now
        if (now >= self._due or is_last) and not self._is_drawing and hasattr(step, "image"):
            self._take(step, now)
        self._last = self._line(step, loss, now)
        self.say(self._last)
        self._write_points()

    def end(self) -> None:
        """Finish what is being drawn, and write the rest of the curves."""
        self._pictures.put(None)
        self._thread.join(10)
        self._write_points()

    def _line(self, step: Any, loss: float | None, now: float) -> dict[str, Any]:
        total = max(step.total, step.index)
        run = self.running.run
        usual = getattr(run, "usual_steps", None)
        since, index = self._first
        done = step.index - index
        pace = (now - since) / done if done > 0 else None
        end = max(min(usual or total, total), step.index)
        return {
            "step": step.index,
            "of": total,
            "usual": usual,
            "seconds_left": None if pace is None else round(pace * (end - step.index), 1),
            "loss": loss,
            "why": getattr(step, "status", "") or None,
            "preview": self.number,
            "preview_at": self.at,
        }

    def _scores(self, step: Any) -> list[Any]:
        """The score of the stopping rule and the probability of a target, None where there is none at this step."""
        tracker = getattr(self.running.run.current, "tracker", None)
        if tracker is None or not hasattr(tracker, "score"):
            return [None, None]
        if tracker.rule.name == "reached" if hasattr(tracker, "rule") else False:
            known = getattr(tracker, "along", [])
            return [None, _finite(tracker.last_score[0]) if known and known[-1][0] == step.index else None]
        return [_finite(tracker.score(self.running.run.current.index)), None]

    def _take(self, step: Any, now: float) -> None:
        """Hand the picture at hand to the thread that draws it."""
        begun = time.perf_counter()
        page = getattr(self.running.run, "page", 0)
        picture = getattr(step, "picture", step.image).detach()
        image = picture[min(page, len(picture) - 1)].float().cpu().numpy()
        self._is_drawing = True
        self._pictures.put((time.time(), image))
        self._spent = time.perf_counter() - begun

    def _draw(self) -> None:
        while (taken := self._pictures.get()) is not None:
            begun = time.perf_counter()
            at, image = taken
            values = looks.shrunk(np.moveaxis(image, 0, 2), SIDE)
            data = looks.png(looks.colored(values, self._window, inks=self._inks))
            partial = self.folder / f"{PREVIEW}.partial"
            partial.write_bytes(data)
            partial.replace(self.folder / PREVIEW)
            self.at = round(at, 3)
            self.number += 1
            spent = self._spent + time.perf_counter() - begun
            self._due = time.monotonic() + spent / SHARE
            self._is_drawing = False
            self.say({"preview": self.number, "preview_at": self.at})

    def _window_of(self, running: Any) -> tuple[float, float]:
        self._spent = 0.0
        picture = running.picture
        self._inks = picture is not None and bool(picture.metadata.cmyk)
        return (0.0, 1.0) if picture is None else display_range(picture)

    def _write_points(self) -> None:
        if self._points:
            with (self.folder / CURVE).open("a", encoding="utf-8") as file:
                file.writelines(f"{json.dumps(point)}\n" for point in self._points)
            self._points = []


def _loss(step: Any) -> float | None:
    return _finite(step.loss.nanmean()) if hasattr(step, "loss") else None


def _finite(value: Any) -> float | None:
    if value is None:
        return None
    number = float(value)
    return number if math.isfinite(number) else None
