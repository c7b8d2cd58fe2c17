"""A kernel that was measured: from an array, a table of numbers or a picture of it, scaled to sum 1."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from preimage.errors import InputError
from preimage.images import read
from preimage.images.files import open_file, read_bytes, read_text
from preimage.images.formats import READ_BY_PILLOW

_TABLES = (".txt", ".csv")
_SMALLEST_PICTURE = 16
_MOST = 2**26  # bytes of a kernel


def read_kernel(source: torch.Tensor | NDArray[Any] | str | Path) -> torch.Tensor:
    """A kernel from an array or a file, (kh, kw) float32, divided by its sum.

    Example:
        >>> read_kernel(np.ones((3, 5))).shape
        torch.Size([3, 5])
        >>> read_kernel("kernel.png").sum()
        tensor(1.)

    Args:
        source: an array or tensor (kh, kw); or the path of a .npy file, of a .txt or .csv table of numbers (a line for
            each row, separated by spaces, commas, semicolons or tabs; # begins a remark), or of a picture, whose values
            (the mean of its channels) are proportional to the kernel's.

    Raises:
        InputError: a file that is missing or cannot be read, values that are not real, finite and (kh, kw), or whose
            sum is not above 0.
    """
    if isinstance(source, (str, Path)):
        values, name = _from_file(Path(source)), str(source)
    elif isinstance(source, torch.Tensor):
        tensor = source.detach().cpu()
        values, name = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy(), "the kernel"
    elif isinstance(source, np.ndarray):
        values, name = source, "the kernel"
    else:
        found = type(source).__name__
        raise InputError(f"a kernel must be a path, a numpy array or a tensor, got {found}", code="type")
    return _normalized(values, name)


def _normalized(values: NDArray[Any], name: str) -> torch.Tensor:
    if values.dtype.kind not in "biuf":
        raise InputError(f"{name} must be of real numbers, got {values.dtype}: take its real part", code="kernel")
    if values.ndim != 2 or not values.size:
        raise InputError(f"{name} must be (kh, kw), got shape {values.shape}: give one for all channels", code="kernel")
    values = values.astype(np.float64)
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise InputError(f"{name} has {bad} values that are not finite: replace them first", code="kernel")
    total = float(values.sum())
    if not total > 1e-9 * float(np.abs(values).sum()):
        raise InputError(
            f"{name} sums to {total:g}, expected above 0: a blur keeps the mean of a picture", code="kernel"
        )
    return torch.from_numpy((values / total).astype(np.float32))


def _from_file(path: Path) -> NDArray[Any]:
    suffix = path.suffix.lower()
    if suffix == ".npy" or suffix in _TABLES:
        try:
            return _array(path) if suffix == ".npy" else _table(read_text(path, most=_MOST))
        except InputError:
            raise
        except Exception as error:  # of a header that is nested, say
            reason = " ".join(str(error).split()) or type(error).__name__
            told = f"{path} cannot be read as a kernel ({reason[:200]}): check the file"
            raise InputError(told, code="unreadable") from error
    small = _small_picture(path)
    if small is not None:
        return small
    picture = read(path, salvage=None)  # half a kernel is none
    low, high = picture.units()
    return low + picture.tensor[0].mean(0).double().numpy() * (high - low)


def _array(path: Path) -> NDArray[Any]:
    return np.load(io.BytesIO(read_bytes(path, most=_MOST)), allow_pickle=False)


def _table(text: str) -> NDArray[Any]:
    lines = (line.split("#")[0].replace(",", " ").replace(";", " ").split() for line in text.splitlines())
    rows = [[float(word) for word in words] for words in lines if words]
    if len({len(row) for row in rows}) != 1:
        raise ValueError("its rows must have numbers, each as many")
    return np.array(rows)


def _small_picture(path: Path) -> NDArray[Any] | None:
    """A picture below the least size that `images.read` takes, as many a kernel is; None for any other file."""
    from PIL import Image

    try:
        with open_file(path) as file, Image.open(file, formats=(*READ_BY_PILLOW, "TIFF")) as image:
            pages = int(getattr(image, "n_frames", 1))
            if min(image.size) >= _SMALLEST_PICTURE or pages > 1:
                return None
            if image.mode not in ("1", "L", "I", "F", "I;16", "I;16B", "RGB"):
                image = image.convert("L" if image.mode in ("LA", "La") else "RGB")
            values = np.asarray(image, dtype=np.float64)
    except Exception:  # whatever is wrong with it, images.read says so
        return None
    return values if values.ndim == 2 else values.mean(2)
