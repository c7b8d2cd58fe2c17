"""What the modules of a model return: the tensor that matters, and hooks that last for one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import get_ident
from typing import Any

import torch
from torch import nn

from preimage.errors import InputError


def tensor_in(output: Any, what: str) -> torch.Tensor:
    """The tensor that matters in what a model or a layer returns: itself, the first of a tuple, "logits" or "out" of a dict.

    Example:
        >>> tensor_in({"logits": torch.zeros(1, 2)}, "the classifier").shape
        torch.Size([1, 2])

    Raises:
        InputError: there is none.
    """
    if isinstance(output, torch.Tensor):
        return output
    named = getattr(output, "logits", None)  # transformers, GoogLeNet
    if isinstance(named, torch.Tensor):
        return named
    if isinstance(output, dict):
        for name in ("logits", "out", "last_hidden_state"):
            if isinstance(output.get(name), torch.Tensor):
                return output[name]
    if isinstance(output, tuple | list) and output:
        return tensor_in(output[0], what)
    raise InputError(
        f"{what} returned {type(output).__name__}: return a tensor, a tuple, a dict with 'logits' or an object with .logits",
        code="classifier",
    )


@contextmanager
def hooked(modules: Mapping[str, nn.Module], receivers: Mapping[str, Callable[[Any], None]]) -> Iterator[None]:
    """A context in which each named module passes what it returns to its receiver, in forward passes of this thread alone.

    Example:
        >>> model, shapes = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)), []
        >>> with hooked(dict(model.named_modules()), {"0": lambda output: shapes.append(output.shape)}):
        ...     _ = model(torch.rand(5, 4))
        >>> shapes
        [torch.Size([5, 3])]
    """
    handles = [modules[name].register_forward_hook(_hook(receive)) for name, receive in receivers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(receive: Callable[[Any], None]) -> Callable[[nn.Module, Any, Any], None]:
    thread = get_ident()

    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        del module, inputs
        if get_ident() == thread:  # else another thread's forward pass through the same classifier
            receive(output)

    return hook
