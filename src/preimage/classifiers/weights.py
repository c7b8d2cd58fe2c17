"""Weights of a file, however they were saved: what wraps a network's names is found, and its number of classes read.

A file is flattened into one table of tensors, as "state_dict/model.conv1.weight". The prefix behind which most of the network's
own names stand (of `module.`, `_orig_mod.`, a checkpoint of Lightning, a whole pickled module, ...) is that of the network.
"""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from preimage.errors import InputError, MissingExtra
from preimage.extras import extra
from preimage.images.files import check_file

ModuleT = TypeVar("ModuleT", bound=nn.Module)
Tensors = dict[str, torch.Tensor]

_WRAPPERS = re.compile(r"\b(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")  # wherever they stand
_LOSSES = ("loss", "criterion", "metric")  # parts of a Lightning module that are none of its network
_DEEPEST, _MOST = 24, 50_000  # dictionaries and modules in one another, and in all
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
    module = make(None)
    usual = own if isinstance(own, int) else own(module)
    found = _matched(module, _flattened(held), path, usual)
    count = _number_of_classes(module, found.own, usual)
    if count is not None:
        module = make(count)
    _load(module, found, path, name)
    count = count or usual
    return Taken(module, count, _class_names(held, max(count, 2)), tuple(found.remarks))


def read_weights(path: Path, name: str) -> Any:
    """What a file of weights holds, read without importing or calling what it names: other objects become empty stand-ins."""
    if not path.exists():
        raise InputError(f"{path} does not exist: give the weights of {name} as {name}@FILE", code="not-found")
    check_file(path)
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


def _flattened(held: Any) -> Tensors:
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
    prefix = _one_of([each for each, score in scores.items() if score == best], wanted, tensors, path, remarks)
    within = prefix[: prefix.rfind("/") + 1]
    copies = tuple(each for each, (alike, _) in scores.items() if each not in ("", prefix) and 2 * alike > best[0] > 1)
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
    left = averages or prefixes or [""]
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
