"""A user's model is borrowed for one call: mode, gradient flags, gradients and device are restored, also after an error.

Several threads may borrow one model: the first borrower records its state, and the last one restores it.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import threading
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import nn

from preimage.classifiers import Classifier

_CPU = torch.device("cpu")
_LOCK = threading.RLock()


# By the id of a module or parameter, or of a model that is moved: how to restore it, and by how many it is borrowed now.
_BORROWED: dict[int | tuple[str, int], tuple[Callable[[], None], int]] = {}


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
    with _LOCK:
        borrowed: dict[int | tuple[str, int], Callable[[], None]] = {}
        for module in model.modules():
            borrowed[id(module)] = partial(setattr, module, "training", module.training)
        for parameter in model.parameters():
            borrowed[id(parameter)] = partial(_restore_flags, parameter, parameter.requires_grad, parameter.grad)
        if device is not None:
            borrowed["moved", id(model)] = _memory_of(model)
        for key, restore in borrowed.items():
            first, borrowers = _BORROWED.get(key, (restore, 0))
            _BORROWED[key] = first, borrowers + 1
    try:
        with _LOCK:
            if device is not None:
                model.to(device)
            model.eval()
            model.requires_grad_(False)
        yield
    finally:
        with _LOCK:
            for key in reversed(borrowed):  # gradients last, once their parameters are back on their device
                restore, borrowers = _BORROWED.pop(key)
                if borrowers > 1:
                    _BORROWED[key] = restore, borrowers - 1
                else:
                    restore()


def _restore_flags(parameter: nn.Parameter, requires_grad: bool, grad: torch.Tensor | None) -> None:
    parameter.requires_grad_(requires_grad)
    parameter.grad = grad


def _memory_of(model: nn.Module) -> Callable[[], None]:
    """A function that gives parameters and buffers the memory that holds them now: it needs no device that still works."""
    held = [(each, dict(each._parameters), dict(each._buffers)) for each in model.modules()]
    memory = [(parameter, parameter.data) for parameter in model.parameters()]

    def restore() -> None:
        for module, parameters, buffers in held:
            module._parameters.update(parameters)
            module._buffers.update(buffers)
        for parameter, data in memory:
            parameter.data = data

    return restore


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
