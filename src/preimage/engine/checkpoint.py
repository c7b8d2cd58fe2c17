"""Checkpoints: save and load a Run so that a crash loses only the steps since the last save, and resuming loses nothing.

A checkpoint holds tensors and plain options, never code: it is read with weights_only. It is written beside its place,
flushed to the disk and renamed, so that there is always either the old one or the new one, whole; its seal is checked first.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from preimage.differences import first_difference
from preimage.engine.run import Run
from preimage.errors import InputError
from preimage.images import write_bytes_atomically
from preimage.images.files import read_bytes
from preimage.images.sealed import sealed, unsealed

FORMAT = 2
REMEDY = "remove it, or start anew without resuming"


class Remembers(Protocol):
    """What can be saved beside a run: an observer."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def save(run: Run, path: str | Path, observers: Mapping[str, Remembers] | None = None) -> None:
    """Write a checkpoint of a run, and of observers by name, atomically; an old one is replaced only by a whole new one."""
    saved = {"format": FORMAT, "task": run.task, "fingerprint": _plain(run.fingerprint), "state": run.state_dict()}
    saved["observers"] = {name: observer.state_dict() for name, observer in (observers or {}).items()}
    write_bytes_atomically(path, sealed(lambda file: torch.save(saved, file)), overwrite=True)


def load(run: Run, path: str | Path, observers: Mapping[str, Remembers] | None = None) -> None:
    """Put a run, made by the same call as then, and observers that were saved with it into the state of a checkpoint.

    Raises:
        InputError: not a checkpoint, of another format, or of another task, other options or another input.
    """
    saved = read(path)
    then = {"task": saved["task"], **saved["fingerprint"]}
    if different := first_difference({"task": run.task, **_plain(run.fingerprint)}, then):
        raise InputError(
            f"{path} was made with {different}: repeat that call, or start anew without resuming", code="checkpoint"
        )
    try:
        _check(saved["state"])
        run.load_state_dict(saved["state"])
        recipe = getattr(run.current, "recipe", None)
        if recipe is not None and not 0 <= run.current.index <= recipe.steps:
            raise ValueError("a step that the recipe does not have")
        for name, observer in (observers or {}).items():
            if name in saved["observers"]:
                observer.load_state_dict(saved["observers"][name])
    except Exception as error:  # what was edited, and sealed anew, is wrong in any way
        raise InputError(f"{path} holds no state of this job: {REMEDY}", code="checkpoint") from error


def _check(state: Any, *, weights: bool = False) -> None:
    """Raise ValueError for weights, or numbers of their optimizers, that no fit can have, wherever they are in a state."""
    if isinstance(state, dict):
        if {"state", "param_groups"} <= state.keys():  # of an optimizer
            known = {number for group in state["param_groups"] for number in group["params"]}
            if not state["state"].keys() <= known:
                raise ValueError("an optimizer of other parameters")
        for name, value in state.items():
            _check(value, weights=weights or name == "theta")
    elif isinstance(state, list | tuple):
        for value in state:
            _check(value, weights=weights)
    elif weights and isinstance(state, float | torch.Tensor) and not torch.as_tensor(state).isfinite().all():
        raise ValueError("weights that are not finite")


def read(path: str | Path) -> dict[str, Any]:
    """The contents of a checkpoint: format, task, fingerprint, state and observers.

    Raises:
        InputError: nothing there ("not-found"), no right to read it ("unreadable"), too large for the memory ("memory"), or
            not a checkpoint of this format ("checkpoint").
    """
    if Path(path).is_dir():
        raise InputError(f"{path} is a folder, not a checkpoint: name the file", code="checkpoint")
    try:
        content = unsealed(read_bytes(path, "checkpoint"))
        if content is None:
            raise InputError(f"{path} is damaged, or no checkpoint of this version: {REMEDY}", code="checkpoint")
        saved = torch.load(content, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"checkpoint {path} cannot be read ({error.strerror})", code="unreadable") from error
    except Exception as error:  # what is no checkpoint makes the reader fail in any way
        if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "memory" in str(error)):
            raise InputError(f"checkpoint {path} does not fit into memory: free some", code="memory") from error
        raise InputError(f"{path} is not a readable checkpoint: {REMEDY}", code="checkpoint") from error
    if not isinstance(saved, dict) or "format" not in saved:
        raise InputError(f"{path} is not a checkpoint of format {FORMAT}: {REMEDY}", code="checkpoint")
    if saved["format"] != FORMAT:
        raise InputError(
            f"{path} is a checkpoint of format {saved['format']}, this version reads {FORMAT}: make it anew without resuming",
            code="format",
        )
    parts = [saved.get(name) for name in ("fingerprint", "state", "observers")]
    if "task" not in saved or not all(isinstance(part, dict) for part in parts):
        raise InputError(f"{path} is not a whole checkpoint: {REMEDY}", code="checkpoint")
    return saved


def fingerprint(tensor: torch.Tensor) -> str:
    """A hash of an input's values and shape, by which a checkpoint knows what it belongs to."""
    digest = hashlib.sha256(str(tuple(tensor.shape)).encode())
    digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    """Options as plain data, whatever they were given as: a numpy number is no different from Python's."""
    return json.loads(json.dumps(options, default=lambda value: value.item() if hasattr(value, "item") else str(value)))
