"""How much memory is free, and whether what is about to be read fits into it; asked before anything is allocated."""

from __future__ import annotations

import contextlib
from pathlib import Path

from preimage.errors import InputError

_NO_LIMIT = 2**60  # cgroup v1 writes a number of this size where v2 writes "max"
_CGROUPS = "/sys/fs/cgroup"


def free_memory() -> int:
    """Bytes that this process can still allocate: of the machine, its container, and its own limits (ulimit -v, -d).

    Example:
        >>> free_memory() > 0
        True
    """
    import psutil

    return min([psutil.virtual_memory().available, *_left_in_containers(), *_left_of_limits()])


def check_free(needed: float, subject: str, way_out: str) -> None:
    """Raise InputError ("memory") if so many bytes are not free.

    Example:
        >>> check_free(1e15, "scan.tif", "read one page")
        Traceback (most recent call last):
        ...
        preimage.errors.InputError: scan.tif needs about 1000000.0 GB of memory and ... GB is free: read one page
    """
    if needed < 2**20:
        return  # asking costs more
    free = free_memory()
    if needed > free:
        need = f"{subject} needs about {needed / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB is free"
        raise InputError(f"{need}: {way_out}", code="memory")


def _left_in_containers() -> list[int]:
    """Of every control group, of version 1 or 2, that this process is in, and of those around it."""
    found = [_left(_CGROUPS, "memory.max", "memory.current")]
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, own = line.split(":", 2)
            if controllers == "":
                names, root = ("memory.max", "memory.current"), _CGROUPS
            elif "memory" in controllers.split(","):
                names, root = ("memory.limit_in_bytes", "memory.usage_in_bytes"), f"{_CGROUPS}/memory"
                found.append(_left(root, *names))
            else:
                continue
            parts = [part for part in own.split("/") if part and part != ".."]
            found += [_left("/".join([root, *parts[:end]]), *names) for end in range(1, len(parts) + 1)]
    return [left for left in found if left is not None]


def _left(folder: str, most: str, used: str) -> int | None:
    try:
        limit = Path(f"{folder}/{most}").read_text().strip()
        if limit == "max" or int(limit) > _NO_LIMIT:
            return None
        taken = int(Path(f"{folder}/{used}").read_text())
    except (OSError, ValueError):
        return None
    return max(0, int(limit) - taken + _reclaimable(folder))


def _reclaimable(folder: str) -> int:
    """Cached pages of files, which count as used and go when memory is needed."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"{folder}/memory.stat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name in ("inactive_file", "total_inactive_file"):
                return int(value)
    return 0


def _left_of_limits() -> list[int]:
    """Of the limits on address space and data of this process."""
    try:
        import resource

        import psutil

        used = psutil.Process().memory_info()
    except ImportError:  # Windows has none
        return []
    kinds = (("RLIMIT_AS", used.vms), ("RLIMIT_DATA", getattr(used, "data", used.vms)))
    found = []
    for name, taken in kinds:
        soft = resource.getrlimit(getattr(resource, name))[0] if hasattr(resource, name) else resource.RLIM_INFINITY
        if soft != resource.RLIM_INFINITY:
            found.append(max(0, soft - taken))
    return found
