"""Averages: the outputs of each member and their exponential average, a running mean whose weights fall off by a factor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from preimage.engine.recipe import Recipe


class Averages:
    """The latest output and the average of each member, (1, c, h, w) each; tensors in it are never changed in place."""

    def __init__(self, recipe: Recipe, members: int) -> None:
        self._recipe, self._members = recipe, members
        self.counts: list[int] = [0] * members  # how many outputs each average has gathered
        self.images: list[torch.Tensor] = []
        self.averages: list[torch.Tensor] = []

    def gather(self, members: Sequence[int], images: Sequence[torch.Tensor]) -> None:
        """Add the outputs of some members."""
        if not self.images:
            self.images, self.averages = ([torch.zeros_like(images[0])] * self._members for _ in range(2))
        alike: dict[float, list[tuple[int, torch.Tensor]]] = {}
        for i, image in zip(members, images, strict=True):
            self.images[i] = image
            self.counts[i] += 1
            alike.setdefault(self._recipe.ema_weight(self.counts[i]), []).append((i, image))
        for weight, some in alike.items():
            own, new = zip(*((self.averages[i], image) for i, image in some), strict=True)
            mean = new if weight == 1 else torch._foreach_lerp(own, new, weight)  # pyright: ignore[reportPrivateImportUsage]
            for (i, _), average in zip(some, mean, strict=True):
                self.averages[i] = average

    def shown(self, stopped: Sequence[int], best: torch.Tensor | None) -> torch.Tensor:
        """(b, c, h, w): the averages of active members, and of stopped ones what they keep."""
        each = [
            average if best is None or not stop else best[i : i + 1]
            for i, (stop, average) in enumerate(zip(stopped, self.averages, strict=True))
        ]
        return torch.cat(each)

    def of(self, i: int) -> dict[str, Any]:
        """Count, average and image of one member; none before its first output."""
        begun = self.counts[i] > 0
        images = {"average": self.averages[i] if begun else None, "image": self.images[i] if begun else None}
        return {"count": self.counts[i], **images}

    def put_back(self, i: int, state: dict[str, Any]) -> None:
        """Set one member to an earlier state."""
        self.counts[i] = state["count"]
        nothing = torch.zeros_like(self.averages[i])
        self.averages[i], self.images[i] = (nothing if state[n] is None else state[n] for n in ("average", "image"))

    def state_dict(self) -> dict[str, Any]:
        return {"counts": list(self.counts), "images": list(self.images), "averages": list(self.averages)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.counts, self.images, self.averages = (list(state[name]) for name in ("counts", "images", "averages"))
