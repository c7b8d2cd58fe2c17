"""How many worker processes there are, with which share of the machine, and the folder that they write to."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from preimage.errors import InputError
from preimage.images.formats import is_image_name


@dataclass(frozen=True)
class Workers:
    """Worker processes.

    Args:
        count: how many.
        threads: processor threads of each; None: PyTorch's choice.
        gpus: of each the GPU, in turn; empty: as they find it.
    """

    count: int = 1
    threads: int | None = None
    gpus: tuple[str, ...] = ()

    @classmethod
    def chosen(cls, asked: int | str | None, gpus: Sequence[str] = (), threads: int | None = None) -> Workers:
        """As asked for: a number, or "auto": one for each GPU, or for every two cores; None: one.

        Raises:
            InputError: no such number.
        """
        cores = os.cpu_count() or 1
        count = asked
        if asked == "auto":
            count = len(gpus) or max(1, cores // 2)
        if count is None:
            count = len(gpus) or 1
        if not isinstance(count, int) or count < 1:
            raise InputError(f"--workers must be auto, or a number from 1, got {asked!r}", code="option")
        own = threads if threads is not None or count == 1 else max(1, cores // count)
        return cls(count, own, tuple(gpus))

    def wait_for_each_other(self) -> bool:
        """Whether several of them have one GPU, and none is computed beside another: NVIDIA's multi-process service is off.

        Its daemon has a pipe, where CUDA_MPS_PIPE_DIRECTORY says or at /tmp/nvidia-mps (NVIDIA, Multi-Process Service).
        """
        if sys.platform == "win32":  # which has no such service
            return False
        pipe = Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps"), "control")
        return bool(self.gpus) and self.count > len(set(self.gpus)) and not pipe.exists()


def out_folder(path: Path, option: str = "--output") -> Path:
    """An output folder, made if it is not there; `option` names it in messages.

    Raises:
        InputError: a file of that name, or a folder that cannot be made.
    """
    if path.exists() and not path.is_dir():
        raise InputError(
            f"{option} {path} must be a folder for several inputs, and is a file: give another name", code="option"
        )
    if is_image_name(path.name) and not path.exists():
        raise InputError(
            f"{option} {path} must be a folder for several inputs, and has the name of a file: leave {path.suffix} out",
            code="option",
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{option} {path} cannot be made ({reason}): give another name", code="unwritable") from error
    return path
