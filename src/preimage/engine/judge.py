"""Judge: which members of a fit have stopped, by its tracker, its guard and the maximum number of steps.

A number read from an accelerator waits for it, so what the tracker measures is read together, every so many steps.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from preimage.engine.divergence import DivergenceGuard
from preimage.engine.step import Step
from preimage.stopping import Tracker


class Judge:
    """Where the members of one fit stopped, and why."""

    def __init__(self, tracker: Tracker, guard: DivergenceGuard, members: int) -> None:
        self.tracker = tracker
        self._guard = guard
        self.stopped: list[int] = [0] * members  # the step at which each member stopped; 0: still active
        self.unread: list[tuple[Step, torch.Tensor]] = []  # steps on which the tracker has not decided yet

    def measure(self, step: Step) -> None:
        """Let the tracker measure a step."""
        self.unread.append((step, self.tracker.measure(step)))

    def decide(self) -> None:
        """Let the tracker decide on all steps that it has measured."""
        numbers = torch.stack([measured for _, measured in self.unread]).tolist() if self.unread else []
        unread, self.unread = self.unread, []
        for (step, _), of_step in zip(unread, numbers, strict=True):
            active = tuple(not stop for stop in self.stopped)
            for i, stop in enumerate(self.tracker.decide(replace(step, active=active), of_step)):
                if not self.stopped[i] and (stop or step.index >= step.total or self._guard.gave_up(i)):
                    self.stopped[i] = step.index

    def decided(self) -> Judge:
        """Itself if all steps are decided on, else a copy in which they are: looking at a result changes nothing."""
        if not self.unread:
            return self
        twin = Judge(self.tracker.copied(), self._guard, len(self.stopped))
        twin.stopped, twin.unread = list(self.stopped), self.unread
        twin.decide()
        return twin

    def reason(self, index: int) -> tuple[str, str]:
        """Reason code and reason after so many steps; members may have stopped for several."""
        kept = self.tracker.kept_step
        if not all(self.stopped):
            return "interrupted", f"interrupted at step {index}; kept the best so far, of step {kept[0] or index}"
        code = "diverged" if self._guard.gave_up(0) else self.tracker.reason_code(0)
        reasons = [self._guard.reason(i, step) or self.tracker.reason(i) for i, step in enumerate(kept)]
        if len(set(reasons)) == 1:
            return code, reasons[0]
        return code, f"{len(reasons)} fits, kept steps {', '.join(map(str, kept))}; the first: {reasons[0]}"

    def state_dict(self) -> dict[str, Any]:
        judge = self.decided()
        return {"tracker": judge.tracker.state_dict(), "stopped": list(judge.stopped)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.tracker.load_state_dict(state["tracker"])
        self.stopped[:], self.unread = state["stopped"], []
