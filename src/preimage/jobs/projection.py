"""How long a restoration will take, told by its first steps: their pace, times the steps that such a run usually takes.

    seconds left = (seconds of steps 2 to 4) / 3 x (usual steps - 4)

The first step of a fit also prepares memory, and is left out.
"""

from __future__ import annotations

import math
from typing import Any

from preimage.engine.run import Run
from preimage.engine.step import Step
from preimage.jobs.places import PREVIEW_SIDE

FIRST = 4  # steps after which the time is known
WORTH_SAYING = 60.0  # seconds


class Projection:
    """An observer that knows after four steps when a run will have ended.

    Example:
        >>> from preimage.observe import observe
        >>> projection = Projection()
        >>> for step in observe(denoise("noisy.png", steps=5), projection): pass
        >>> projection.seconds_left is None  # it was before the fourth step
        False

    Attributes:
        seconds_left: from the fourth step to the end; None before, and of a run that has fewer steps.
        at_most: whether that is for all steps that the run may take, for it is not known where its rule ends most fits.
        preview: seconds that `--preview` takes; infinity where it shows all of the image.
    """

    def __init__(self) -> None:
        self.seconds_left: float | None = None
        self.at_most: bool = False
        self.preview: float = math.inf
        self._first: Step | None = None
        self._count = 0

    def note(self, run: Run, step: Step) -> None:
        """Take the time of a step."""
        self._count += 1
        first = self._first = self._first or step
        if self._count != FIRST:
            return
        pace = (step.seconds - first.seconds) / (FIRST - 1)
        self.at_most = run.usual_steps is None
        self.seconds_left = pace * max(0, (run.usual_steps or step.total) - step.index)
        if max(run.size) > PREVIEW_SIDE:
            fit = run.current
            shown = math.prod(min(side, PREVIEW_SIDE) for side in run.size) / math.prod(fit.size)
            steps = fit.usual_steps or fit.recipe.steps
            self.preview = pace * shown * steps * step.restarts / len(step.active)

    def line(self, name: str) -> str | None:
        """What a person wants to know before the fit takes that long; None if it is short, or not known yet."""
        left = self.seconds_left
        if left is None or left < WORTH_SAYING:
            return None
        told = f"{name}: {'at most' if self.at_most else 'about'} {in_words(left)} on this machine"
        if self.preview > left / 4:
            return told
        part = f"{PREVIEW_SIDE} x {PREVIEW_SIDE} pixels in {in_words(self.preview)}"
        return f"{told}; --preview restores its middle {part}, and half the width and height take a quarter of the time"

    def state_dict(self) -> dict[str, Any]:
        """Nothing: a run that goes on may do so on another machine."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing is remembered."""


def in_words(seconds: float) -> str:
    """A time as precise as a projection is.

    Example:
        >>> in_words(44.2), in_words(1100), in_words(9000)
        ('45 s', '18 minutes', '2.5 hours')
    """
    if seconds < 120:
        return f"{5 * math.ceil(seconds / 5)} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 2 * 3600 else f"{seconds / 3600:.1f} hours"
