"""The memory limit of a process of the studio."""

from __future__ import annotations

import contextlib

try:
    import resource
except ImportError:  # Windows has none
    resource = None


def limit_memory(limit: int) -> None:
    """Let this process take so many bytes more than it has now; a computation that wants more fails, and ends alone.

    What is limited is the data of the process (RLIMIT_DATA): a GPU's driver reserves addresses without end.
    """
    if resource is None or limit <= 0 or not hasattr(resource, "RLIMIT_DATA"):
        return
    import psutil

    taken = getattr(psutil.Process().memory_info(), "data", 0)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = taken + limit
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_DATA, (most if hard < 0 else min(most, hard), hard))
