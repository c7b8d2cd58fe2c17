"""Where a fit runs: device, precision, and whether it fits into memory."""

from __future__ import annotations

import torch

from preimage import memory
from preimage.errors import InputError

# Below this many pixels a bf16 convolution on a CPU costs more in conversions than it saves (measured at 32 and 128 px).
SMALLEST_BF16_PIXELS = 96 * 96


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


def has_float64(device: torch.device) -> bool:
    """Whether a device computes in double precision: all but Apple's MPS."""
    return device.type != "mps"


def wide(x: torch.Tensor) -> torch.Tensor:
    """In double precision, or in single precision where the device has no other.

    Example:
        >>> wide(torch.zeros(2)).dtype
        torch.float64
    """
    return x.double() if has_float64(x.device) else x.float()


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be allocated on a device, by the container's limit where there is one; None if unknown."""
    if device.type == "cuda":
        # PyTorch keeps what tensors free; the driver counts that as taken.
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    if device.type != "cpu":
        return None
    return memory.free_memory()
