"""InputJitter: the classifier looks at a picture moved by a pixel or two, another way at each step.

Strided convolutions see a lattice, and whoever asks them how to change a picture gets the lattice back. Where it lies elsewhere
at each step, what is left in the picture is what all of them ask for.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch

SIDE = 4  # so many places along each side: the stride of a ResNet's first block


class InputJitter:
    """The moves of pictures of (height, width) pixels, each in turn; `turn(None)` is none.

    Example:
        >>> shifts = InputJitter((20, 30))
        >>> shifts.turn(5)
        >>> shifts(torch.rand(1, 3, 20, 30)).shape
        torch.Size([1, 3, 20, 30])
    """

    def __init__(self, size: tuple[int, int], side: int = SIDE) -> None:
        moves = list(product(range(side), repeat=2))
        order = torch.randperm(len(moves), generator=torch.Generator().manual_seed(0)).tolist()
        self.moves = [moves[i] for i in order]
        # The places of every move, and last those of none: on the device at once, for a copy to it at each step would wait.
        down, right = zip(*self.moves, (0, 0), strict=True)
        self.of_rows, self.of_columns = (_places(count, by) for count, by in zip(size, (down, right), strict=True))
        # Changed in place: what was recorded of a step holds these very tensors.
        self.rows, self.columns = self.of_rows[-1].clone(), self.of_columns[-1].clone()
        self.number = torch.zeros(1, dtype=torch.long)
        self.turned: int | None = None

    def __len__(self) -> int:
        return len(self.moves)

    def to(self, device: torch.device) -> InputJitter:
        """On another device."""
        for name in ("of_rows", "of_columns", "rows", "columns", "number"):
            setattr(self, name, getattr(self, name).to(device))
        return self

    def turn(self, step: int | None) -> None:
        """Take the move of a step, or none."""
        number = None if step is None else step % len(self)
        if number == self.turned:
            return
        self.turned = number
        self.rows.copy_(self.of_rows[-1 if number is None else number])
        self.columns.copy_(self.of_columns[-1 if number is None else number])
        self.number.fill_(number or 0)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(b, c, h, w) moved up and to the left, the border reflected."""
        return x.index_select(-2, self.rows).index_select(-1, self.columns)


def _places(count: int, moves: Sequence[int]) -> torch.Tensor:
    """(moves, count): which places are seen after each move, those beyond the end reflected."""
    moved = torch.tensor(moves)[:, None] + torch.arange(count)
    return torch.where(moved < count, moved, 2 * count - 2 - moved)
