"""PyTorch's modes within a fit, whatever the caller's are: gradients on, float32, factories on the CPU, no autocast."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import torch
from torch.overrides import TorchFunctionMode

P = ParamSpec("P")
T = TypeVar("T")


class _Float32(TorchFunctionMode):
    """What is float64 by the default alone is float32; setting the default itself would reach into other threads."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (torch.empty, torch.rand, torch.randn) and kwargs.get("dtype") is None:  # other values, else
            return func(*args, **{**kwargs, "dtype": torch.float32})
        made = func(*args, **kwargs)
        if not isinstance(made, torch.Tensor) or made.dtype != torch.float64 or func is torch.Tensor.double:
            return made
        return made if any(_is_double(value) for value in (*args, *kwargs.values())) else made.float()


def _is_double(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(_is_double(each) for each in value)
    return "float64" in str(value if isinstance(value, torch.dtype) else getattr(value, "dtype", ""))


@contextlib.contextmanager
def own_modes() -> Iterator[None]:
    """The modes of a fit within, in this thread alone.

    Example:
        >>> with torch.no_grad(), own_modes():
        ...     torch.is_grad_enabled()
        True
    """
    with contextlib.ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        if not torch.is_grad_enabled():
            stack.enter_context(torch.enable_grad())
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if torch.get_default_dtype() != torch.float32:
            stack.enter_context(_Float32())
        yield


def in_own_modes(function: Callable[P, T]) -> Callable[P, T]:
    """A function that is run in them.

    Example:
        >>> @in_own_modes
        ... def gradients() -> bool:
        ...     return torch.is_grad_enabled()
        >>> with torch.inference_mode():
        ...     gradients()
        True
    """

    @functools.wraps(function)
    def within(*args: P.args, **kwargs: P.kwargs) -> T:
        with own_modes():
            return function(*args, **kwargs)

    return within
