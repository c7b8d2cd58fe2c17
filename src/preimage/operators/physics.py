"""deepinv's physics as Phi.

Calling a deepinv Physics gives y = noise(A(x)), a new draw every time; E compares with A(x), the view without noise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch

Operator = Callable[[torch.Tensor], torch.Tensor]


def noiseless(operator: Operator) -> Operator:
    """The A of a deepinv Physics, and any other operator as it is.

    Example:
        >>> physics = deepinv.physics.Blur(filter, noise_model=deepinv.physics.PoissonNoise(0.02))  # doctest: +SKIP
        >>> torch.equal(noiseless(physics)(x), physics.A(x))                                       # doctest: +SKIP
        True

    Args:
        operator: any callable on (b, c, h, w). A Physics is known by its method `A` and its attribute `noise_model`;
            deepinv itself is not needed.

    Source: deepinv, deepinv.physics.Physics.forward: sensor(noise(A(x))).
    """
    physics = cast("Any", operator)
    return physics.A if hasattr(physics, "noise_model") and callable(getattr(physics, "A", None)) else operator
