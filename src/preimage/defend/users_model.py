"""A user's model is borrowed for one call: mode, gradient flags, gradients and device are restored, also after an error.

Several threads may borrow one model: the first borrower records its state, and the last one restores it.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import nn

from preimage.classifiers import Classifier

_CPU = torch.device("cpu")
_LOCK = threading.RLock()


class _Values:
    """The parameters and buffers of a model, and the memory that holds them: a move back needs no device that still works."""

    def __init__(self, model: nn.Module) -> None:
        self.held = [(each, dict(each._parameters), dict(each._buffers)) for each in model.modules()]
        self.memory = [(parameter, parameter.data) for parameter in model.parameters()]

    def restore(self) -> None:
        for module, parameters, buffers in self.held:
            module._parameters.update(parameters)
            module._buffers.update(buffers)
        for parameter, memory in self.memory:
            parameter.data = memory


@dataclass
class _Borrowed:
    """A module or parameter, its state when it was first borrowed, and by how many it is borrowed now."""

    owner: nn.Module | nn.Parameter
    state: tuple[Any, ...]
    borrowers: int = 0

    def restore(self) -> None:
        if isinstance(self.owner, nn.Module):
            (self.owner.training,) = self.state
        else:
            self.owner.requires_grad_(self.state[0])
            self.owner.grad = self.state[1]


_BORROWED: dict[int, _Borrowed] = {}
_MOVED: dict[int, tuple[_Values, int]] = {}  # by the id of a model: its values, and how many have moved it


@contextlib.contextmanager
def at_rest(model: nn.Module, device: torch.device | None = None) -> Iterator[None]:
    """A context in which a model is in evaluation mode, its weights need no gradient, and it is on a device (None: its own).

    Example:
        >>> model = nn.Dropout().train()
        >>> with at_rest(model):
        ...     model.training
        False
        >>> model.training
        True
    """
    parts = [*model.modules(), *model.parameters()]
    with _LOCK:
        for part in parts:
            state = (part.training,) if isinstance(part, nn.Module) else (part.requires_grad, part.grad)
            _BORROWED.setdefault(id(part), _Borrowed(part, state)).borrowers += 1
        if device is not None:
            values, movers = _MOVED.get(id(model), (_Values(model), 0))
            _MOVED[id(model)] = values, movers + 1
            model.to(device)
        model.eval()
        model.requires_grad_(False)
    try:
        yield
    finally:
        with _LOCK:
            if device is not None:
                values, movers = _MOVED.pop(id(model))
                if movers > 1:
                    _MOVED[id(model)] = values, movers - 1
                else:
                    values.restore()
            for part in parts:
                held = _BORROWED[id(part)]
                held.borrowers -= 1
                if not held.borrowers:
                    del _BORROWED[id(part)]
                    held.restore()


def device_of(model: nn.Module, otherwise: torch.device = _CPU) -> torch.device:
    """The device of a classifier, or `otherwise` if it has neither parameters nor buffers."""
    return next((tensor.device for tensor in (*model.parameters(), *model.buffers())), otherwise)


def same_weights(model: nn.Module) -> nn.Module:
    """A copy with modules and hooks of its own on the very same parameters and buffers, for methods that register hooks.

    A model that cannot be copied (it holds a lock or an open file) is returned itself.
    """
    shared: dict[int, Any] = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    try:
        return copy.deepcopy(model, shared)
    except (TypeError, RuntimeError, ValueError):
        return model


def fingerprint_of(model: nn.Module) -> str:
    """A hash of all parameters and buffers, and of how a Classifier prepares its images: 16 hexadecimal digits.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3, 2))
        >>> fingerprint_of(Classifier(model, 2)) == fingerprint_of(Classifier(model, 2, size=64))
        False
    """
    digest = hashlib.sha256(type(model).__name__.encode())
    if isinstance(model, Classifier):
        digest.update(repr((model.classes, model.size, type(model.model).__name__)).encode())
    held = model.state_dict()
    transient = {name: buffer for name, buffer in model.named_buffers() if name not in held}  # persistent=False
    for name, value in (*held.items(), *transient.items()):
        digest.update(name.encode())
        if isinstance(value, torch.Tensor):
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
