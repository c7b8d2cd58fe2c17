"""Where a fit runs: device, precision, and whether it fits into memory."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from typing import Any

import torch

from preimage.errors import InputError
from preimage.images import memory as images

# Below this many pixels a bf16 convolution on a CPU costs more in conversions than it saves (measured at 32 and 128 px).
SMALLEST_BF16_PIXELS = 96 * 96

# glibc's names for them: M_TRIM_THRESHOLD -1, M_TOP_PAD -2, M_MMAP_MAX -4 (how many blocks may be mapped on their own).
_KEEPING = {-1: 2**31 - 1, -2: 64 * 2**20, -4: 0}
_lock, _users = threading.Lock(), 0
_kept: dict[int, bool] = {}  # what was set in this process


def choose_device(device: str | torch.device = "auto") -> torch.device:
    """ "auto": CUDA, else Apple's MPS, else the CPU; otherwise the specified device, if it exists.

    Example:
        >>> choose_device("cpu")
        device(type='cpu')

    Raises:
        InputError: a name that PyTorch does not know, or a device that this machine does not have.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0][:120]
        raise InputError(
            f"device {str(device)!r} cannot be used ({reason}): use 'auto' or 'cpu'", code="device"
        ) from error
    return chosen


def choose_precision(precision: str, device: torch.device, pixels: int) -> torch.dtype:
    """ "auto": bfloat16 where the processor multiplies it natively and the picture is large enough, else float32."""
    if precision == "auto":
        large = device.type == "cuda" or pixels >= SMALLEST_BF16_PIXELS
        return torch.bfloat16 if large and has_native_bfloat16(device) else torch.float32
    if precision not in ("float32", "bfloat16"):
        raise InputError(f"precision must be auto, float32 or bfloat16, got {precision!r}")
    return torch.float32 if precision == "float32" else torch.bfloat16


def has_native_bfloat16(device: torch.device) -> bool:
    """Whether bf16 products run faster than float32 here: CUDA from Ampere on, CPUs with AVX-512 BF16 or AMX."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be allocated on a device, by the container's limit where there is one; None if unknown."""
    if device.type == "cuda":
        # PyTorch keeps what tensors free; the driver counts that as taken.
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    if device.type != "cpu":
        return None
    return images.free_memory()


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


def _c_library() -> Any:
    """glibc, if it may be told how to keep memory."""
    own = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if own or not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
