"""Memory of this process: how much is free, asked before anything is allocated; and what the C library keeps of it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from preimage.errors import InputError

_NO_LIMIT = 2**60  # cgroup v1 writes a number of this size where v2 writes "max"
_CGROUPS = "/sys/fs/cgroup"

# glibc's names for them: M_TRIM_THRESHOLD -1, M_TOP_PAD -2, M_MMAP_MAX -4 (how many blocks may be mapped on their own).
_KEEPING = {-1: 2**31 - 1, -2: 64 * 2**20, -4: 0}
_lock, _users = threading.Lock(), 0
_kept: dict[int, bool] = {}  # what was set in this process


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
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
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
        limit = Path(f"{folder}/{most}").read_text(encoding="utf-8").strip()
        if limit == "max" or int(limit) > _NO_LIMIT:
            return None
        taken = int(Path(f"{folder}/{used}").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return max(0, int(limit) - taken + _reclaimable(folder))


def _reclaimable(folder: str) -> int:
    """Cached pages of files, which count as used and go when memory is needed."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"{folder}/memory.stat").read_text(encoding="utf-8").splitlines():
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


def keep_freed_memory() -> None:
    """Let the C library keep what tensors free, for the next step needs as much: page faults were a fifth of a fast step.

    Of the whole process, on Linux with glibc, set once; where MALLOC_... or GLIBC_TUNABLES settings of the user exist, nothing.
    """
    global _users
    with _lock:
        _users += 1
        library = _c_library()
        if library is not None and not _kept:
            _kept.update({setting: bool(library.mallopt(setting, value)) for setting, value in _KEEPING.items()})


def give_back_memory() -> None:
    """The end of a `keep_freed_memory`: after the last of them freed memory goes back to the system."""
    global _users
    with _lock:
        _users -= 1
        library = _c_library()
        if _users == 0 and library is not None:
            library.malloc_trim(0)


@contextlib.contextmanager
def keeping_freed_memory(*, wanted: bool = True) -> Iterator[None]:
    """Both, before and after what is within."""
    if wanted:
        keep_freed_memory()
    try:
        yield
    finally:
        if wanted:
            give_back_memory()


def _c_library() -> Any:
    """glibc, if it may be told how to keep memory."""
    own = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if own or not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
