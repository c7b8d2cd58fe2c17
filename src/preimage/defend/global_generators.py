"""The adversarial-robustness-toolbox draws from NumPy's and PyTorch's global generators: they are seeded, and then restored.

One call at a time, by a lock: threads of this library get what each gets alone. A thread of yours that draws from NumPy's
global generator meanwhile takes part in the same stream; one with a generator of its own (np.random.default_rng) does not.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

_LOCK = threading.RLock()


@contextlib.contextmanager
def global_generators(seed: int, *, numpy_seed: Any = None) -> Iterator[None]:
    """A context in which the global generators start at a seed; afterwards they are where they were.

    Example:
        >>> with global_generators(3):
        ...     first = np.random.rand()
        >>> with global_generators(3):
        ...     np.random.rand() == first
        True

    Args:
        seed: 0 to 2147483647.
        numpy_seed: what np.random.seed takes, if NumPy's differs.
    """
    with _LOCK, torch.random.fork_rng(devices=[]):
        before = np.random.get_state()
        torch.default_generator.manual_seed(seed)
        np.random.seed(seed if numpy_seed is None else numpy_seed)
        try:
            yield
        finally:
            np.random.set_state(before)
