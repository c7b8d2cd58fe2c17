"""The kernel of an operator: fixed, or fitted along with the image.

    k = softmax(logits)

A fitted kernel is non-negative and sums to 1 whatever the optimizer does, so that no brightness can move between the
picture and its blur.
"""

from __future__ import annotations

import torch
from torch import nn

LEAK = 1e-3
"""Sum of what is added to a fitted kernel at the start: the gradient of an entry that is exactly 0 would vanish."""


class Kernel(nn.Module):
    """() -> (kh, kw), the current kernel.

    Example:
        >>> Kernel(box(2), trainable=True)()
        tensor([[0.2500, 0.2500],
                [0.2500, 0.2500]], grad_fn=<ViewBackward0>)

    Args:
        kernel: (kh, kw) of sum 1, checked by the caller.
        trainable: whether it is a parameter, started at the given kernel to within 0.1 % of its sum; negative values
            (the lobes of a Lanczos kernel) start at 0. Else it is a buffer.
    """

    def __init__(self, kernel: torch.Tensor, *, trainable: bool) -> None:
        super().__init__()
        self.trainable: bool = trainable
        kernel = kernel.detach().float()
        if trainable:
            self.logits: nn.Parameter = nn.Parameter((kernel.clamp_min(0) + LEAK / kernel.numel()).log())
        else:
            self.register_buffer("values", kernel.clone())

    def forward(self) -> torch.Tensor:
        if self.trainable:
            return self.logits.flatten().softmax(0).view_as(self.logits)
        return self.get_buffer("values")
