"""Step: one iterate of a fit, and what was known about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch


@dataclass(frozen=True, eq=False)
class Step:
    """One iterate of b members. Its tensors are never changed after it was handed out.

    Args:
        index: 1 for the first.
        total: the step at which the fit ends at the latest.
        seconds: time spent on the fit so far.
        image: (b, c, h, w), the outputs g(z + jitter).
        average: (b, c, h, w), what would be returned if the fit stopped here: the exponential average of the outputs, or
            the output itself where the recipe has no averaging.
        terms: the loss of each member, part by part: {name: (b,)}.
        active: which members go on (the others have stopped: their averages are what they keep).
        restarts: members that share an image lie side by side, this many each.
        status: of the stopping rule, in a few words.
        events: what happened at this step (a divergence), a sentence each.
        finish: what is returned of an image (Problem.finish).
    """

    index: int
    total: int
    seconds: float
    image: torch.Tensor
    average: torch.Tensor
    terms: dict[str, torch.Tensor]
    active: tuple[bool, ...] = (True,)
    restarts: int = 1
    status: str = ""
    events: tuple[str, ...] = field(default=())
    finish: Callable[[torch.Tensor], torch.Tensor] | None = None

    @property
    def loss(self) -> torch.Tensor:
        """The sum of the terms of each member, (b,)."""
        return torch.stack(list(self.terms.values())).sum(0)

    @property
    def mean(self) -> torch.Tensor:
        """The averages, averaged over the restarts of each image: (b, c, h, w) -> (b / restarts, c, h, w)."""
        return self.average.unflatten(0, (-1, self.restarts)).mean(1)

    @property
    def picture(self) -> torch.Tensor:
        """What would be returned if the fit stopped here: the finished mean, (b / restarts, c, h', w')."""
        return self.mean if self.finish is None else self.finish(self.mean)
