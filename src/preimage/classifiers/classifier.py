"""Classifier: one interface for any image classifier: images in 0 to 1 in, logits and the features of any layer out."""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from itertools import chain
from threading import get_ident
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from preimage.errors import InputError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_LUMA = (0.299, 0.587, 0.114)
_NEAR = 4


class Classifier(nn.Module):
    """A classifier that takes pictures (b, 1 or 3, h, w) in 0 to 1 and gives logits (b, classes), differentiably.

    It holds a frozen copy of the model, in evaluation mode: the model itself stays as it is, and what happens to it later has
    no effect here. Logits and features are on the device of the images. Several threads may use one classifier.

    Example:
        >>> classifier = Classifier(my_model, ["benign", "malignant"], mean=(0.5,) * 3, std=(0.25,) * 3, size=224)
        >>> classifier(torch.rand(2, 3, 480, 640)).shape
        torch.Size([2, 2])
        >>> classifier.features(torch.rand(1, 3, 480, 640), "layer2").shape
        torch.Size([1, 128, 28, 28])

    Args:
        model: a module that takes normalized images and returns logits, or a tuple that starts with them, a dict with "logits" or
            "out", or an object with `.logits` (transformers). A single logit is that of the second of two classes.
        classes: their names, or how many there are.
        mean, std: of the normalization, for images in 0 to 1: three numbers each, or one number each, as
            (0.5,), for a model of gray images.
        size: side, or (height, width), in pixels, to which pictures are resized first; None: as they are.
        copy: False: the classifier takes the module itself, which is frozen from then on (saves the memory of a copy, 98 MiB
            for a ResNet-50).

    Raises:
        InputError: no nn.Module or one that cannot be copied, fewer than two classes or two of one name, a mean and std that
            do not fit together, no size.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        model: nn.Module,
        classes: Sequence[str] | int,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        size: int | tuple[int, int] | None = None,
        *,
        copy: bool = True,
    ) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            raise InputError(
                f"a Classifier is made of an nn.Module from pictures to logits, got {type(model).__name__}: make a function the "
                "forward of one; load_classifier makes a Classifier of a word"
            )
        self.classes = _names(classes)
        means, stds = _of_channels("mean", mean), _of_channels("std", std)
        if len(means) != len(stds) or len(means) not in (1, 3) or min(stds) <= 0:
            raise InputError(f"mean and std must have 1 or 3 entries each, std above 0, got {means}, {stds}")
        self.size = _height_and_width(size)
        self.model = (_copied(model) if copy else model).eval().requires_grad_(False)
        model = self.model
        place = next(chain(model.parameters(), model.buffers()), torch.zeros(0)).device
        for name, values in (("mean", means), ("std", stds)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32, device=place).reshape(1, -1, 1, 1))

    def train(self, mode: bool = True) -> Classifier:
        """Stays in evaluation mode: a classifier that is explained must not change."""
        del mode
        return super().train(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(b, 1 or 3, h, w) in 0 to 1 -> logits (b, classes)."""
        return self._logits(self.model(self.prepared(x))).to(x.device)

    def probabilities(self, x: torch.Tensor) -> torch.Tensor:
        """The softmax of the logits, (b, classes)."""
        return self(x).softmax(1)

    def prepared(self, x: torch.Tensor) -> torch.Tensor:
        """The input of the model itself, on its device: resized, normalized, with its number of channels."""
        channels = self.mean.shape[1]
        if x.ndim != 4 or x.shape[1] not in (1, 3):
            raise InputError(f"a classifier takes pictures (b, 1 or 3, h, w), got {tuple(x.shape)}")
        x = x.to(self.mean)  # in its precision too: one of single precision is asked about pictures of any
        if x.shape[1] > channels:
            x = (x * luma(x)).sum(1, keepdim=True)
        elif x.shape[1] < channels:
            x = x.expand(-1, channels, -1, -1)
        if self.size is not None and tuple(x.shape[-2:]) != self.size:
            x = functional.interpolate(x, size=self.size, mode="bilinear", align_corners=False, antialias=True)
        return (x - self.mean) / self.std

    # ------------------------------------------------------------------ layers

    def layers(self) -> list[str]:
        """The names of all layers, in the order of the model's own listing."""
        return [name for name, _ in self.model.named_modules() if name]

    def features(self, x: torch.Tensor, layer: str) -> torch.Tensor:
        """What a layer gives for pictures (b, 1 or 3, h, w) in 0 to 1; nothing after the layer is computed.

        Raises:
            InputError: no such layer (the near ones are named), or one that is not used.
        """
        found: list[torch.Tensor] = []

        def stop(output: torch.Tensor) -> None:
            found.append(output)
            raise _FoundError

        try:
            self._watched({layer: stop}, x)
        except _FoundError:
            return found[0].to(x.device)
        raise self._unused(layer)

    def logits_and_features(
        self, x: torch.Tensor, layers: Sequence[str]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The logits (b, classes) and what each of some layers gives, in one pass."""
        found: dict[str, torch.Tensor] = {}
        logits = self._logits(self._watched({layer: _keeper(found, layer) for layer in layers}, x))
        for layer in layers:
            if layer not in found:
                raise self._unused(layer)
        return logits.to(x.device), {layer: found[layer].to(x.device) for layer in found}

    @torch.no_grad()
    def shapes(self, x: torch.Tensor) -> dict[str, tuple[int, ...]]:
        """Of each layer that pictures (b, 1 or 3, h, w) go through the shape of what it gives, in the order they do."""
        found: dict[str, tuple[int, ...]] = {}

        def noted(layer: str) -> Callable[[Any], None]:
            def note(output: Any) -> None:
                if isinstance(output, torch.Tensor):
                    found[layer] = tuple(output.shape)

            return note

        self._watched({layer: noted(layer) for layer in self.layers()}, x, strictly=False)
        return found

    def _watched(self, looks: dict[str, Callable[[Any], None]], x: torch.Tensor, *, strictly: bool = True) -> Any:
        modules = dict(self.model.named_modules())
        for layer in looks:
            if layer not in modules or not layer:
                raise InputError(f"the classifier has no layer {layer!r}{_near(layer, self.layers())}")
        handles = [modules[layer].register_forward_hook(_hook(look, strictly)) for layer, look in looks.items()]
        try:
            return self.model(self.prepared(x))
        finally:
            for handle in handles:
                handle.remove()

    @staticmethod
    def _unused(layer: str) -> InputError:
        return InputError(f"the classifier does not use its layer {layer!r} for a picture: take another")

    # ------------------------------------------------------------------ classes

    def class_index(self, name: str | int) -> int:
        """The index of a class by its name, in whatever case, or by its index.

        Raises:
            InputError: no such class; the near ones are named.
        """
        if isinstance(name, str):
            for names, wanted in ((self.classes, name), ([c.lower() for c in self.classes], name.lower())):
                if wanted in names:
                    return names.index(wanted)
        if str(name).isdecimal() and int(name) < len(self.classes):
            return int(name)
        near = _near(str(name), self.classes)
        raise InputError(f"the classifier has no class {name!r}{near} (0 to {len(self.classes) - 1} are its numbers)")

    def check_gradient(self, x: torch.Tensor) -> None:
        """That the logits are finite, and tell how to change a picture.

        Raises:
            InputError: a classifier without gradient, which cannot be explained by going along it, or whose answer is NaN.
        """
        with torch.enable_grad():
            asked = x[:1].detach().clone().requires_grad_()
            logits = self(asked)
            slope = torch.autograd.grad(logits.sum(), asked, allow_unused=True)[0] if logits.requires_grad else None
        if slope is None:
            raise InputError(
                "the classifier gives no gradient (torch.no_grad, a detach or numpy inside it): its logits must be "
                "differentiable in the picture"
            )
        answer = logits.detach()
        if not _is_answer(answer.softmax(1)) and bool(asked.min() == asked.max()):
            # One that divides by the picture's own spread is sound, and has no answer for a flat one.
            answer = self(torch.linspace(0, 1, x.shape[-1]).expand(1, *x.shape[1:]).to(x))
        check_answer(answer.softmax(1))

    def _logits(self, output: Any) -> torch.Tensor:
        logits = _tensor_in(output, "the classifier")
        if logits.ndim == 1:
            logits = logits[:, None]
        if logits.shape[1:] == (1,) and len(self.classes) == 2:
            logits = torch.cat([torch.zeros_like(logits), logits], 1)
        if logits.ndim != 2 or logits.shape[1] != len(self.classes):
            raise InputError(
                f"the classifier gives {tuple(logits.shape)} for {len(self.classes)} classes: it must give (b, "
                f"{len(self.classes)}) logits"
            )
        return logits


def luma(x: torch.Tensor) -> torch.Tensor:
    """(1, 3, 1, 1): the share of each channel of a picture in its gray.

    Filled in on the device, for what is copied to it waits, and cannot be part of a CUDA graph.
    """
    return torch.cat([x.new_full((1, 1, 1, 1), share) for share in _LUMA], 1)


def check_answer(chances: torch.Tensor) -> None:
    """Check that class probabilities (b, classes) are finite.

    Raises:
        InputError: any that is not finite.
    """
    if not _is_answer(chances):
        raise InputError("the classifier's answer is not finite for this picture: its weights may be broken")


def _is_answer(chances: torch.Tensor) -> bool:
    return bool(chances.isfinite().all())


def _names(classes: Any) -> tuple[str, ...]:
    """The names of the classes, known to be two or more, and each of one class."""
    if isinstance(classes, str) or not isinstance(classes, int | Iterable):
        raise InputError(f"classes must be a list of their names, or how many there are, got {classes!r}")
    names = tuple(map(str, range(classes) if isinstance(classes, int) else classes))
    if len(names) < 2:
        raise InputError(f"a classifier has at least 2 classes, got {len(names)}: name both of a binary one")
    first: dict[str, int] = {}
    for number, name in enumerate(names):
        if first.setdefault(name, number) != number:
            raise InputError(
                f"classes {first[name]} and {number} are both called {name!r}: give each a name of its own"
            )
    return names


def _of_channels(name: str, values: Any) -> tuple[float, ...]:
    """The mean or std of each channel; a single number is refused, for it may be meant for grey as well as for color."""
    try:
        numbers = tuple(map(float, values))
    except (TypeError, ValueError):
        numbers = ()
    if not numbers or not all(map(math.isfinite, numbers)):
        raise InputError(
            f"{name} must be 3 finite numbers in a tuple, or 1 for a model that sees grey, got {values!r}: (0.5,) * 3, or (0.5,)"
        )
    return numbers


def _height_and_width(size: Any) -> tuple[int, int] | None:
    if size is None:
        return None
    try:
        sides = tuple(map(operator.index, size if isinstance(size, Iterable) else (size, size)))
    except TypeError:  # a fraction, a word
        sides = ()
    if len(sides) != 2 or min(sides) < 1 or isinstance(size, bool):
        raise InputError(
            f"size must be the side in pixels, (height, width), or None for pictures as they are, got {size!r}: 224, say"
        )
    return sides[0], sides[1]


def _copied(model: nn.Module) -> nn.Module:
    try:
        return deepcopy(model)
    except Exception as error:  # whatever the parts of a module raise
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            f"{type(model).__name__} cannot be copied ({reason}): give copy=False to hand it over, frozen from then on",
            code="classifier",
        ) from error


class _FoundError(Exception):
    """Ends a pass once the layer that was asked for has been computed; never leaves `features`."""


def _hook(look: Callable[[Any], None], strictly: bool) -> Callable[[nn.Module, Any, Any], None]:
    thread = get_ident()

    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        del inputs
        if get_ident() != thread:  # another thread's forward pass through the same classifier
            return
        look(_tensor_in(output, f"a layer ({type(module).__name__})") if strictly else output)

    return hook


def _keeper(found: dict[str, torch.Tensor], layer: str) -> Callable[[torch.Tensor], None]:
    def keep(output: torch.Tensor) -> None:
        found[layer] = output

    return keep


def _tensor_in(output: Any, what: str) -> torch.Tensor:
    """The tensor that counts in what a model or a layer returns."""
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
        return _tensor_in(output[0], what)
    raise InputError(
        f"{what} returned {type(output).__name__}: a tensor, a tuple, a dict with 'logits' or an object with .logits"
    )


def _near(wanted: str, names: Sequence[str]) -> str:
    """ ": did you mean layer3, layer4?", or the first few where none is near."""
    near = difflib.get_close_matches(wanted, names, n=_NEAR, cutoff=0.4)
    if near:
        return f": did you mean {', '.join(near)}?"
    first = ", ".join(names[:_NEAR])
    return f": there are {first}{', ...' if len(names) > _NEAR else ''}"
