"""InputJitter: the classifier's input is shifted by 0 to 3 pixels, differently at each step.

The gradient of strided convolutions has checkerboard artifacts at fixed places. With the input shifted at each step they fall on
other pixels each time and average out.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch

SIDE = 4  # shifts along each axis: the stride of a ResNet's first block


class InputJitter:
    """The shifts of images of (height, width) pixels, one a step in a fixed random order; `set_step(None)` shifts nothing.

    Example:
        >>> jitter = InputJitter((20, 30))
        >>> jitter.set_step(5)
        >>> jitter(torch.rand(1, 3, 20, 30)).shape
        torch.Size([1, 3, 20, 30])
    """

    def __init__(self, size: tuple[int, int], side: int = SIDE) -> None:
        shifts = list(product(range(side), repeat=2))
        order = torch.randperm(len(shifts), generator=torch.Generator().manual_seed(0)).tolist()
        self.shifts = [shifts[i] for i in order]
        # The indices of every shift, and last those of none: on the device at once, for a copy to it at each step would wait.
        down, right = zip(*self.shifts, (0, 0), strict=True)
        self.of_rows, self.of_columns = (_indices(count, by) for count, by in zip(size, (down, right), strict=True))
        # Changed in place: what was recorded of a step holds these very tensors.
        self.rows, self.columns = self.of_rows[-1].clone(), self.of_columns[-1].clone()
        self.number = torch.zeros(1, dtype=torch.long)
        self.current: int | None = None

    def __len__(self) -> int:
        return len(self.shifts)

    def to(self, device: torch.device) -> InputJitter:
        """On another device."""
        for name in ("of_rows", "of_columns", "rows", "columns", "number"):
            setattr(self, name, getattr(self, name).to(device))
        return self

    def set_step(self, step: int | None) -> None:
        """Take the shift of a step, counted from 0; None: no shift."""
        number = None if step is None else step % len(self)
        if number == self.current:
            return
        self.current = number
        self.rows.copy_(self.of_rows[-1 if number is None else number])
        self.columns.copy_(self.of_columns[-1 if number is None else number])
        self.number.fill_(number or 0)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(b, c, h, w) shifted up and to the left, the border reflected."""
        return x.index_select(-2, self.rows).index_select(-1, self.columns)


def _indices(count: int, shifts: Sequence[int]) -> torch.Tensor:
    """(shifts, count): the source index of each pixel after each shift, those beyond the end reflected."""
    shifted = torch.tensor(shifts)[:, None] + torch.arange(count)
    return torch.where(shifted < count, shifted, 2 * count - 2 - shifted)
