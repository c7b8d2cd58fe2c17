"""A user's module of any kind as one that can be explained: at rest, not compiled, in a precision whose gradients do not vanish.

Scripted and exported modules can be classified with and differentiated; what is inside of them is not called from Python, so that
no hook sees it: they have no layers.
"""

from __future__ import annotations

from copy import deepcopy
from itertools import chain
from typing import Any, TypeVar

import torch
from torch import nn

from preimage.classifiers.arguments import in_one_line
from preimage.errors import InputError

Model = TypeVar("Model", bound=nn.Module)

_HALF = (torch.float16, torch.bfloat16)
_GUARDS = "_guards_fn"  # what torch.export adds to a graph
_RAISED = (
    RuntimeError,
    ValueError,
    TypeError,
    AssertionError,
    LookupError,
    AttributeError,
)  # by somebody else's forward


def taken(model: Any, *, copy: bool = True) -> nn.Module:
    """The module of a classifier: a copy, or the module itself, in evaluation mode, its weights frozen.

    A compiled module is replaced by the one it was made of, an exported program by modules, and weights in half precision by the
    same in single precision.

    Raises:
        InputError: no module, or one that cannot be copied.
    """
    if type(model).__name__ == "ExportedProgram" and type(model).__module__.startswith("torch.export"):
        model, copy = _unflattened(model), False
    if not isinstance(model, nn.Module):
        raise InputError(
            f"model must be an nn.Module from images to logits, got {type(model).__name__}: make a function the forward of "
            "one; load_classifier takes a specification",
            code="type",
        )
    model = original(model)
    model = _uncompiled(_copied(model) if copy else model)
    if any(tensor.dtype in _HALF for tensor in chain(model.parameters(), model.buffers())):
        model.float()
    in_evaluation_mode(model)
    for parameter in model.parameters():  # a scripted module has no requires_grad_
        parameter.requires_grad_(False)
    return model


def original(model: nn.Module) -> nn.Module:
    """The module that a compiled one (torch.compile) was made of, whose layers have names and call their hooks."""
    while isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
        model = inner
    return model


def in_evaluation_mode(model: nn.Module) -> None:
    """Put a module into evaluation mode; an exported one has none, and is as it was exported."""
    try:
        model.train(False)
    except NotImplementedError:  # of the module, or of one in it
        model.training = False
        for part in model.children():
            in_evaluation_mode(part)


def precision_of(model: nn.Module) -> torch.dtype | None:
    """The type of a module's first weights with a fraction; None: it has none."""
    numbers = chain(model.parameters(), model.buffers())
    return next((tensor.dtype for tensor in numbers if tensor.is_floating_point()), None)


def called(model: nn.Module, x: torch.Tensor) -> Any:
    """What a module returns for its input (b, c, h, w).

    Raises:
        InputError: it fails, whatever it raises; memory that is used up and a broken device stay what they are.
    """
    precision = precision_of(model)
    x = x if precision is None else x.to(precision)
    try:
        return model(x)
    except InputError:
        raise
    except _RAISED as error:
        text = in_one_line(error, 160)
        if any(word in text for word in ("memory", "CUDA error", "cuDNN", "CUBLAS")):
            raise
        height, width = x.shape[-2:]
        reason = f"the classifier cannot process images of {width} x {height} ({type(error).__name__}: {text})"
        raise InputError(f"{reason}: {_way_out(text)}", code="classifier") from error


def same_weights(model: Model) -> Model:
    """A copy with modules and hooks of its own on the very same parameters and buffers, for methods that register hooks.

    A model that cannot be copied (it holds a lock or an open file) is returned itself.
    """
    shared: dict[int, Any] = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    try:
        return deepcopy(model, shared)
    except (TypeError, RuntimeError, ValueError):
        return model


def takes_unit_range(model: nn.Module) -> bool:
    """Whether a module, or a part of it, takes images in 0 to 1 alone, as one that purifies them: it has `takes_unit_range`."""
    return any(getattr(part, "takes_unit_range", False) is True for part in model.modules())


def constants_of(model: nn.Module) -> list[tuple[str, torch.Tensor]]:
    """The weights of frozen scripted parts (torch.jit.freeze), which are neither parameters nor buffers, by name."""
    found: list[tuple[str, torch.Tensor]] = []
    for name, part in model.named_modules():
        if isinstance(part, torch.jit.ScriptModule) and not part.state_dict() and hasattr(part, "forward"):
            held: Any = part.code_with_constants[1].const_mapping
            found += [(f"{name}.{key}", each) for key, each in held.items() if isinstance(each, torch.Tensor)]
    return found


def layers_of(model: nn.Module) -> list[str]:
    """The names of the modules whose outputs can be seen, in the order of the model's own listing."""
    hidden = tuple(f"{name}." if name else "" for name, part in model.named_modules() if _kind_of_closed(part))
    scripted = {name for name, part in model.named_modules() if isinstance(part, torch.jit.ScriptModule)}
    names = [name for name, _ in model.named_modules() if name and name not in scripted]
    return [name for name in names if not name.startswith(hidden)] if hidden else names


def check_layers(model: nn.Module) -> None:
    """Raise InputError for a model whose layers cannot be seen at all."""
    if kind := _kind_of_closed(model):
        raise InputError(
            f"the layers of {kind} module cannot be seen: give the module it was made of"
            + (" or its ExportedProgram" if kind.startswith("an") else "")
            + "; maximize of a class, inspect, and saliency by gradients need no layers",
            code="layer",
        )


def _kind_of_closed(part: nn.Module) -> str:
    """What a module is whose parts are not called from Python; an empty text for any other."""
    if isinstance(part, torch.jit.ScriptModule):
        return "a scripted"
    if isinstance(part, torch.fx.GraphModule) and len(list(part.children())):
        calls = (node.target for node in part.graph.nodes if node.op == "call_module")
        return "" if any(target != _GUARDS for target in calls) else "an exported"
    return ""


def _copied(model: nn.Module) -> nn.Module:
    try:
        # The weights of a copied scripted module would be no leaves, those made in inference mode would have no gradient.
        with torch.inference_mode(False), torch.no_grad():
            return deepcopy(model)
    except Exception as error:  # whatever the parts of a module raise
        reason = f"{type(model).__name__} cannot be copied ({in_one_line(error, 120)})"
        way = "give copy=False to hand it over, frozen from then on"
        raise InputError(f"{reason}: {way}", code="classifier") from error


def _uncompiled(model: nn.Module) -> nn.Module:
    """The module, in which every compiled part is replaced by what it was made of."""
    for part in list(model.modules()):
        for name, child in part.named_children():
            if original(child) is not child:
                setattr(part, name, original(child))
    for part in model.modules():
        if getattr(part, "_compiled_call_impl", None) is not None:  # of nn.Module.compile, which calls no new hooks
            part._compiled_call_impl = None
    return model


def _unflattened(program: Any) -> nn.Module:
    """The modules of an exported program, with weights of their own."""
    model = torch.export.unflatten(program)
    for part in model.modules():
        graph = getattr(part, "graph", None)
        for node in graph.nodes if isinstance(graph, torch.fx.Graph) else ():
            node.meta = _Shared(node.meta)  # its tensors have no data, and cannot be copied
    return model


class _Shared(dict[str, Any]):
    """What is known of a node of a graph, by which it checks the shape of its inputs; copies of the graph share it."""

    def __deepcopy__(self, memo: Any) -> _Shared:
        return self


def _way_out(text: str) -> str:
    if any(words in text for words in ("should be the same", "same dtype", "expected scalar type", "expected m")):
        return "give it in one precision, model.float() for example"
    if "Expected input at" in text or "Guard failed" in text:
        return "export it with dynamic_shapes for the batch, and give the size it was exported for"
    return "give another size, or correct it"
