"""A user's model is borrowed for one call: mode, gradient flags and gradients are restored, also after an error.

Several threads may borrow one model: the first borrower records its state, and the last one restores it.
"""

from __future__ import annotations

import contextlib
import copy
import threading
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import nn

_CPU = torch.device("cpu")
_LOCK = threading.RLock()

# By the id of a module or parameter: how to restore it, and by how many it is borrowed now.
_BORROWED: dict[int, tuple[Callable[[], None], int]] = {}


@contextlib.contextmanager
def at_rest(model: nn.Module) -> Iterator[None]:
    """A context in which a model is in evaluation mode, and its weights need no gradient.

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
            restore, borrowers = _BORROWED.get(id(part), (_restoring(part), 0))
            _BORROWED[id(part)] = restore, borrowers + 1
        model.eval()
        model.requires_grad_(False)
    try:
        yield
    finally:
        with _LOCK:
            for part in parts:
                restore, borrowers = _BORROWED.pop(id(part))
                if borrowers > 1:
                    _BORROWED[id(part)] = restore, borrowers - 1
                else:
                    restore()


def _restoring(part: nn.Module | nn.Parameter) -> Callable[[], None]:
    if isinstance(part, nn.Module):
        return partial(setattr, part, "training", part.training)
    return partial(_restore_gradient, part, part.requires_grad, part.grad)


def _restore_gradient(parameter: nn.Parameter, required: bool, gradient: torch.Tensor | None) -> None:
    parameter.requires_grad_(required)
    parameter.grad = gradient


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
