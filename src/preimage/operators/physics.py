"""deepinv's physics as Phi.

Calling a deepinv Physics gives y = noise(A(x)), a new draw every time; the distance E is computed with A(x), without noise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch

Operator = Callable[[torch.Tensor], torch.Tensor]


def noiseless(operator: Operator) -> Operator:
    """The A of a deepinv Physics, and any other operator as it is.

    Example:
        >>> from deepinv.physics import Denoising, GaussianNoise
        >>> physics = Denoising(GaussianNoise(0.1))
        >>> x = torch.rand(1, 3, 16, 16)
        >>> torch.equal(physics(x), x), torch.equal(noiseless(physics)(x), x)
        (False, True)

    Args:
        operator: any callable on (b, c, h, w). A Physics is known by its method `A` and its attribute `noise_model`;
            deepinv itself is not needed.

    Source: deepinv, deepinv.physics.Physics.forward: sensor(noise(A(x))).
    """
    physics = cast("Any", operator)
    return physics.A if hasattr(physics, "noise_model") and callable(getattr(physics, "A", None)) else operator
