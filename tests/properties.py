"""How many examples property tests draw: few and always the same ones in `make test`.

In `make properties` it is PREIMAGE_EXAMPLES of them, and others each time.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings

MANY = int(os.environ.get("PREIMAGE_EXAMPLES", "0"))


def examples(few: int) -> Callable[[Any], Any]:
    """A decorator of a property: so many examples, or as many as PREIMAGE_EXAMPLES says, if that is more."""
    slow = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
    return settings(
        max_examples=max(few, MANY),
        derandomize=not MANY,
        deadline=None,
        suppress_health_check=slow,
        print_blob=bool(MANY),
    )
