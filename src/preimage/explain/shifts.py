"""Shifts: the classifier looks at a picture moved by a pixel or two, another way at each step.

Strided convolutions see a lattice, and whoever asks them how to change a picture gets the lattice back. Where it lies elsewhere
at each step, what is left in the picture is what all of them ask for.
"""

from __future__ import annotations

from itertools import product

import torch

SIDE = 4  # so many places along each side: the stride of a ResNet's first block


class Shifts:
    """The moves of pictures of (height, width) pixels, each in turn; `turn(None)` is none.

    Example:
        >>> shifts = Shifts((20, 30))
        >>> shifts.turn(5)
        >>> shifts(torch.rand(1, 3, 20, 30)).shape
        torch.Size([1, 3, 20, 30])
    """

    def __init__(self, size: tuple[int, int], side: int = SIDE) -> None:
        moves = list(product(range(side), repeat=2))
        order = torch.randperm(len(moves), generator=torch.Generator().manual_seed(0)).tolist()
        self.moves = [moves[i] for i in order]
        # Changed in place: what was recorded of a step holds these very tensors.
        self.rows, self.columns = (torch.arange(side) for side in size)
        self.number = torch.zeros(1, dtype=torch.long)

    def __len__(self) -> int:
        return len(self.moves)

    def to(self, device: torch.device) -> Shifts:
        """On another device."""
        self.rows, self.columns, self.number = (x.to(device) for x in (self.rows, self.columns, self.number))
        return self

    def turn(self, step: int | None) -> None:
        """Take the move of a step, or none."""
        number = 0 if step is None else step % len(self)
        down, right = (0, 0) if step is None else self.moves[number]
        for places, by in ((self.rows, down), (self.columns, right)):
            count = len(places)
            moved = torch.arange(by, by + count)
            places.copy_(torch.where(moved < count, moved, 2 * count - 2 - moved))  # reflected at the end
        self.number.fill_(number)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(b, c, h, w) moved up and to the left, the border reflected."""
        return x.index_select(-2, self.rows).index_select(-1, self.columns)
