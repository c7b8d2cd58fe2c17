"""Checkpoints: save and load a Run so that a crash loses only the steps since the last save, and resuming loses nothing.

A checkpoint holds tensors and plain options, never code: it is read with weights_only. It is written beside its place,
flushed to the disk and renamed, so that there is always either the old one or the new one, whole.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from preimage.engine.fit import Run
from preimage.engine.step import Step
from preimage.errors import InputError
from preimage.images import write_bytes_atomically

VERSION = 1
_MOST_SAID, _LONGEST = 4, 80  # differences, and characters of each
_ANOTHER = {"input": "of another picture", "model": "of another classifier"}
_FINGERPRINT = re.compile("[0-9a-f]{64}")


def save(run: Run, path: str | Path) -> None:
    """Write a checkpoint of a run, atomically; an old one is replaced only by a whole new one."""
    buffer = io.BytesIO()
    state = {"version": VERSION, "task": run.task, "identity": _plain(run.identity), "state": run.state_dict()}
    torch.save(state, buffer)
    write_bytes_atomically(path, buffer.getvalue(), overwrite=True)


def load(run: Run, path: str | Path) -> None:
    """Put a run, made by the same call as then, into the state of a checkpoint.

    Raises:
        InputError: not a checkpoint, of another version, or of another task, other options or another input.
    """
    saved = read(path)
    for key, now, then in _differences(run, saved):
        raise InputError(
            f"{path} was made with {_in_words(key, now, then)}: repeat that call, or start afresh without resuming"
        )
    run.load_state_dict(saved["state"])


def read(path: str | Path) -> dict[str, Any]:
    """The contents of a checkpoint: version, task, identity and state."""
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what is no checkpoint makes the reader fail in any way
        raise InputError(f"{path} is not a readable checkpoint: remove it, or start afresh without resuming") from error
    if not isinstance(saved, dict) or not {"version", "task", "identity", "state"} <= saved.keys():
        raise InputError(f"{path} is not a checkpoint: remove it, or start afresh without resuming")
    if (version := saved["version"]) != VERSION:
        raise InputError(f"{path} is a checkpoint of version {version}, this program reads {VERSION}: start afresh")
    return saved


def autosave(run: Run, path: str | Path, every: int) -> Iterator[Step]:
    """Pass the Steps of a run through, saving a checkpoint every so many of them.

    Example:
        >>> for step in autosave(fit, "photo.checkpoint", every=50): ...
    """
    if every < 1:
        raise InputError(f"autosave must be every 1 step or more, got {every}")
    for step in run:
        if step.index % every == 0:
            save(run, path)
        yield step


def fingerprint(tensor: torch.Tensor) -> str:
    """A hash of an input's values and shape, by which a checkpoint knows what it belongs to."""
    digest = hashlib.sha256(str(tuple(tensor.shape)).encode())
    digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()


def _differences(run: Run, saved: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    now = {"task": run.task, **_plain(run.identity)}
    then = {"task": saved["task"], **saved["identity"]}
    for key in sorted(now.keys() | then.keys()):
        if now.get(key) != then.get(key):
            yield key, now.get(key), then.get(key)


def _in_words(key: str, now: Any, then: Any) -> str:
    apart = list(_apart(key, now, then))
    more = [f"and {len(apart) - _MOST_SAID} more"] if len(apart) > _MOST_SAID else []
    return "; ".join(apart[:_MOST_SAID] + more)


def _apart(name: str, now: Any, then: Any) -> Iterator[str]:
    """Of settings by name only those that differ, of things of two kinds the kinds, of fingerprints no digits."""
    if isinstance(now, dict) and isinstance(then, dict):
        keys = now.keys() | then.keys() if now.get("kind") == then.get("kind") else {"kind"}
        for key in sorted(keys):
            if now.get(key) != then.get(key):
                yield from _apart(f"{name} {key}", now.get(key), then.get(key))
    elif now is not None and then is not None and _FINGERPRINT.search(f"{then} {now}"):
        yield f"{name} {_ANOTHER.get(name, 'of another content')}"
    else:
        yield f"{name} {_brief(then)}, not {_brief(now)}"


def _brief(value: Any) -> str:
    text = "none" if value is None else _FINGERPRINT.sub("one", str(value))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _plain(identity: dict[str, Any]) -> dict[str, Any]:
    """Options as plain data, whatever they were given as: a numpy number is no different from Python's."""
    return json.loads(
        json.dumps(identity, default=lambda value: value.item() if hasattr(value, "item") else str(value))
    )
