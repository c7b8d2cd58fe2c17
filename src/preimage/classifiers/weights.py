"""Weights of a file, however they were saved: what wraps a network's names is found, and its number of classes read.

A file is flattened into one table of tensors, as "state_dict/model.conv1.weight". The prefix behind which most of the network's
own names stand (of `module.`, `_orig_mod.`, a checkpoint of Lightning, a whole pickled module, ...) is that of the network.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from preimage.classifiers.weight_files import Tensors, flattened, read_weights
from preimage.errors import InputError

ModuleT = TypeVar("ModuleT", bound=nn.Module)

_LOSSES = ("loss", "criterion", "metric")  # parts of a Lightning module that are none of its network
_AUXILIARY = ("aux1", "aux2", "AuxLogits")  # of torchvision's GoogLeNet and Inception
_NAMES = ("class_names", "classes", "class_to_idx", "idx_to_class", "id2label", "categories")
_FAILURES = (RuntimeError, TypeError, ValueError, AttributeError)


@dataclass(frozen=True)
class Taken:
    """A network with its weights.

    Args:
        module: the network.
        count: the number of its outputs.
        classes: the names of the classes that a file holds, if it does.
        remarks: what was chosen among what a file holds.
    """

    module: nn.Module
    count: int
    classes: tuple[str, ...] | None = None
    remarks: tuple[str, ...] = ()


@dataclass
class _Found:
    """The network's entries in a file by its own names, and what is too few or too many."""

    own: Tensors
    missing: list[str]
    others: Tensors
    remarks: list[str] = field(default_factory=list)


def module_of(make: Callable[[int | None], nn.Module], path: Path, name: str, own: int | Callable[[Any], int]) -> Taken:
    """A network with the weights of a file, with as many classes as its head has there.

    Example:
        >>> torch.save({"state_dict": {"model.weight": torch.ones(3, 4), "model.bias": torch.zeros(3)}}, "w.ckpt")
        >>> module_of(lambda count: nn.Linear(4, count or 10), Path("w.ckpt"), "a line", own=10).module.out_features
        3

    Args:
        make: makes the network for a number of classes; None: its own.
        name: of the network, for messages.
        own: the number of classes of make(None), or what tells it of the network.

    Raises:
        InputError: no file, one that cannot be read without running its code, several networks, or weights that do not fit.
    """
    held = read_weights(path, name)
    tensors = flattened(held)
    module = without_auxiliary(make(None), tensors)
    usual = own if isinstance(own, int) else own(module)
    found = _matched(module, tensors, path, usual)
    count = _number_of_classes(module, found.own, usual)
    if count is not None:
        module = without_auxiliary(make(count), tensors)
    _load(module, found, path, name)
    count = count or usual
    return Taken(module, count, _class_names(held, max(count, 2)), tuple(found.remarks))


def without_auxiliary(module: ModuleT, names: Iterable[str]) -> ModuleT:
    """A network of torchvision without those heads for training that none of the names is of."""
    parts = {part for name in names for part in re.split(r"[./]", name)}
    for head in _AUXILIARY:
        if type(module).__module__.startswith("torchvision.") and hasattr(module, head) and head not in parts:
            setattr(module, head, None)
            module.aux_logits = False  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
    return module


# ---------------------------------------------------------------------- names


def _matched(module: nn.Module, tensors: Tensors, path: Path, own: int) -> _Found:
    """The entries of a module, behind the prefix that most of its names have."""
    wanted = module.state_dict()
    scores: dict[str, tuple[int, int]] = {}
    for name, value in tensors.items():
        for place in (0, *(dot.end() for dot in re.finditer(r"[./]", name))):
            if name[place:] in wanted:
                alike, named = scores.get(name[:place], (0, 0))
                scores[name[:place]] = (alike + (value.shape == wanted[name[place:]].shape), named + 1)
    best = max(scores.values(), default=(0, 0))
    remarks: list[str] = []
    equal = [each for each, score in scores.items() if score == best] or [""]
    # Another network may have a few of the names, as 0.weight, in many places; two may be of other shapes: the head's.
    is_whole = 2 * min(best[0] + 2, best[1]) > sum(value.is_floating_point() for value in wanted.values())
    prefix = _one_of(equal, wanted, tensors, path, remarks) if is_whole else equal[0]
    within = prefix[: prefix.rfind("/") + 1]
    rivals = scores if is_whole else {}
    copies = tuple(each for each, (alike, _) in rivals.items() if each not in ("", prefix) and 2 * alike > best[0] > 1)
    inside = {name: tensors[prefix + name] for name in wanted if prefix + name in tensors}
    # Counters and indices are each network's own.
    missing = [name for name, value in wanted.items() if name not in inside and value.is_floating_point()]
    rest = {name: value for name, value in tensors.items() if value.is_floating_point()}
    for name in inside:
        rest.pop(prefix + name, None)
    others = {
        name.removeprefix(within): value
        for name, value in rest.items()
        if name.startswith(within) and "/" not in name[len(within) :]
        if not name.startswith(copies)
        if not any(word in name.removeprefix(within).lower() for word in _LOSSES)
    }
    found = _Found(inside, missing, others, remarks)
    apart = {name: value for name, value in rest.items() if name.endswith(("/weight", "/bias"))}  # {"head": state_dict}
    _take_head(found, others or apart, wanted, own)
    return found


def _one_of(prefixes: list[str], wanted: Mapping[str, Any], tensors: Tensors, path: Path, remarks: list[str]) -> str:
    """The one prefix among those that fit equally well: an average of the weights before what it averages."""
    averages = [each for each in prefixes if "ema" in re.split(r"[^a-z]+", each.lower())]
    if averages and len(prefixes) > len(averages):
        remarks.append(f"of {path.name} the averaged weights are taken ({averages[0].rstrip('./')})")
    left = averages or prefixes
    for other in left[1:]:
        for name in wanted:
            first, second = (tensors.get(prefix + name) for prefix in (left[0], other))
            if (first is None) != (second is None) or (
                first is not None and not torch.equal(first, _as(second, first))
            ):
                two = f"{left[0].rstrip('./') or 'its top'} and {other.rstrip('./')}"
                raise InputError(f"{path} holds two networks, {two}: save the one to explain alone", code="classifier")
    return left[0]


def _as(value: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor:
    return like.new_empty(0) if value is None else value.to(like.dtype)


def _take_head(found: _Found, others: Tensors, wanted: Tensors, own: int) -> None:
    """Where only the network's last layer is missing, the one layer of another name that has its inputs is its head."""
    weight = next((name for name in found.missing if name.endswith("weight")), "")
    bias = weight.removesuffix("weight") + "bias"
    if not weight or set(found.missing) - {weight, bias} or wanted[weight].ndim != 2 or len(wanted[weight]) != own:
        return
    kernel = next((name for name, value in others.items() if value.ndim == 2), "")
    names = {weight: kernel, bias: kernel.removesuffix("weight") + "bias"}
    names = {name: other for name, other in names.items() if name in wanted}
    if set(names.values()) != set(others) or others[kernel].shape[1:] != wanted[weight].shape[1:]:
        return
    if any(len(value) != len(others[kernel]) for value in others.values()):
        return
    last, other = (each.removesuffix("weight").rstrip("./") for each in (weight, kernel))
    found.remarks.append(f"the network's last layer, {last}, has the weights of {other} in the file")
    found.own |= {name: others[other] for name, other in names.items()}
    found.missing, found.others = [], {}


def _number_of_classes(module: nn.Module, held: Tensors, own: int) -> int | None:
    """The number of classes of weights that differ from the module's in that number alone; None: they do not."""
    pairs = [(value.shape, held[name].shape) for name, value in module.state_dict().items() if name in held]
    differ = [(ours, theirs) for ours, theirs in pairs if ours != theirs]
    heads = {theirs[0] for ours, theirs in differ if ours[:1] == (own,) and theirs[1:] == ours[1:] and theirs}
    is_head = len(heads) == 1 and all(ours[:1] == (own,) and theirs[1:] == ours[1:] for ours, theirs in differ)
    return int(heads.pop()) if is_head else None


def _load(module: nn.Module, found: _Found, path: Path, name: str) -> None:
    state = module.state_dict()
    way = f"name the network that it was saved from, or give a function that makes it: module.path:function@{path.name}"
    wrong = [
        f"it {does} {names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}"
        for does, names in (("lacks", found.missing), ("has", list(found.others)))
        if names
    ]
    for entry, value in found.own.items():
        if not wrong and value.shape != state[entry].shape:
            shapes = [" x ".join(map(str, shape)) or "one number" for shape in (value.shape, state[entry].shape)]
            wrong = [f"its {entry} is {shapes[0]}, and {shapes[1]} is expected"]
    if not wrong:
        try:
            module.load_state_dict(state | found.own)
            return
        except _FAILURES as error:
            wrong = [" ".join(str(error).split())[:120]]
    raise InputError(f"{path} does not hold the weights of {name}: {', '.join(wrong)}: {way}", code="classifier")


def _class_names(held: Any, count: int, depth: int = 2) -> tuple[str, ...] | None:
    """The names of so many classes that a checkpoint tells beside its weights."""
    if not isinstance(held, Mapping):
        return None
    for key, value in held.items():
        if str(key).lower() in _NAMES and (names := _in_order(value)) and len(names) == count == len(set(names)):
            return names
    deeper = (_class_names(value, count, depth - 1) for value in held.values() if depth)
    return next((names for names in deeper if names), None)


def _in_order(value: Any) -> tuple[str, ...]:
    """Names in a list, in a dictionary by their index, or in one of indices by their name."""
    if isinstance(value, Mapping):
        if all(isinstance(each, int) for each in value.values()):
            value = {index: name for name, index in value.items()}
        if Counter(str(key) for key in value) != Counter(map(str, range(len(value)))):
            return ()
        value = [value[key] for key in sorted(value, key=int)]
    fine = isinstance(value, list | tuple) and all(isinstance(name, str) and name for name in value)
    return tuple(value) if fine else ()
