"""What a file of weights holds, read without running its code, as one table of tensors."""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from preimage.errors import InputError, MissingExtra
from preimage.extras import extra
from preimage.images.files import check_file

Tensors = dict[str, torch.Tensor]

_WRAPPERS = re.compile(r"\b(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")  # wherever they stand
_DEEPEST, _MOST = 24, 50_000  # dictionaries and modules in one another, and in all


def read_weights(path: Path, name: str) -> Any:
    """What a file of weights holds, read without importing or calling what it names: other objects become empty stand-ins."""
    if not path.exists():
        raise InputError(f"{path} does not exist: give the weights of {name} as {name}@FILE", code="not-found")
    check_file(path)
    if _is_scripted(path):
        way = "save its state_dict() by torch.save"
        raise InputError(f"{path} holds a program of TorchScript, which is not run: {way}", code="unreadable")
    try:
        if path.suffix == ".safetensors":
            with extra("explain", subject=f"{path} is a safetensors file"):
                from safetensors.torch import load_file  # pyright: ignore[reportMissingImports]

            return load_file(path)
        return _unpickled(path)
    except MissingExtra:
        raise
    except Exception as error:  # pickle, zip and safetensors each raise their own
        way = "save model.state_dict() by torch.save, or safetensors"
        raise InputError(
            f"{path} holds no weights that can be read without running code: {way}", code="unreadable"
        ) from error


def _is_scripted(path: Path) -> bool:
    """Whether it is a file of torch.jit.save; PyTorch's reader would warn of it, with its own source, before it refuses."""
    try:
        with zipfile.ZipFile(path) as file:
            return any(name.rpartition("/")[2] == "constants.pkl" for name in file.namelist())
    except (OSError, ValueError, zipfile.BadZipFile):  # a damaged one as well: the reader says so
        return False


class _StandIn:
    """Stands for an object of a class that is not imported: it keeps the state, and does nothing."""

    def __new__(cls, *_: Any) -> _StandIn:
        return object.__new__(cls)

    def __init__(self, *_: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _DictStandIn:
    """Stands for a subclass of dict: a plain one."""

    def __new__(cls, *_: Any) -> Any:
        return {}


def _unpickled(path: Path) -> Any:
    """By PyTorch's own reader, which calls nothing of a file; settings and histories beside the weights must not prevent it."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception:
        if not zipfile.is_zipfile(path):
            raise
    foreign = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    of_dicts = [(_DictStandIn if each.lower().endswith("dict") else _StandIn, each) for each in foreign]
    with torch.serialization.safe_globals(list[Any](of_dicts)):
        return torch.load(path, map_location="cpu", weights_only=True)


def flattened(held: Any) -> Tensors:
    """All tensors by their keys, those of dictionaries joined by "/", those of modules by "."."""
    return {_WRAPPERS.sub("", name): value for name, value in _entries(held, "", 0, Counter())}


def _entries(held: Any, before: str, depth: int, seen: Counter[str]) -> Iterator[tuple[str, torch.Tensor]]:
    seen["parts"] += 1
    if isinstance(held, _StandIn) and isinstance(held.state, dict):  # a pickled module, or an object that has one
        parts = [held.state.get(kind) for kind in ("_parameters", "_buffers", "_modules")]
        held = {name: value for part in parts if isinstance(part, dict) for name, value in part.items()} or held.state
        before = before.removesuffix("/") + "." if before else ""
    if not isinstance(held, Mapping) or depth > _DEEPEST or seen["parts"] > _MOST:
        return
    for key, value in held.items():
        if isinstance(value, torch.Tensor) and _is_plain(value):
            yield f"{before}{key}", value.detach()
        elif isinstance(value, _StandIn | Mapping):
            after = "" if isinstance(value, _StandIn) else "/"
            yield from _entries(value, f"{before}{key}{after}", depth + 1, seen)


def _is_plain(value: torch.Tensor) -> bool:
    """Whether its numbers are all in the file; an expanded tensor could claim to be of any size."""
    if (value.layout, value.device.type) != (torch.strided, "cpu") or value.is_quantized:
        return False
    return value.nbytes <= value.untyped_storage().nbytes()
