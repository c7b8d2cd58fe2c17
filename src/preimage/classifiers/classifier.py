"""Classifier: any image classifier behind one interface: images in 0 to 1 in, logits and the features of any layer out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import copy as shallow_copy
from copy import deepcopy
from functools import partial
from itertools import chain
from threading import get_ident
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import nn

from preimage.classifiers.arguments import class_names, height_and_width, in_one_line, mean_and_std, suggestion
from preimage.classifiers.resizing import Mode, Resizing, as_resizing
from preimage.errors import InputError
from preimage.images.ranges import ValueRange

ChannelOrder = Literal["rgb", "bgr"]
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_LUMA = (0.299, 0.587, 0.114)

Model = TypeVar("Model", bound=nn.Module)


class Classifier(nn.Module):
    """A classifier of images (b, 1 or 3, h, w) in 0 to 1 that returns logits (b, classes), differentiably.

    It holds a frozen copy of the model, in evaluation mode: the model itself stays as it is, and what happens to it later has
    no effect here. Logits and features are on the device of the images. Several threads may use one classifier.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Flatten(), nn.Linear(8 * 16 * 16, 2))
        >>> classifier = Classifier(model, ["benign", "malignant"], mean=(0.5,) * 3, std=(0.25,) * 3, size=32)
        >>> classifier(torch.rand(2, 3, 48, 64)).shape
        torch.Size([2, 2])
        >>> classifier.features(torch.rand(1, 3, 48, 64), "0").shape
        torch.Size([1, 8, 16, 16])

    Args:
        model: a module that takes normalized images and returns logits, or a tuple that starts with them, a dict with
            "logits" or "out", or an object with `.logits` (transformers). A single logit is that of the second of two classes.
        classes: their names, or their number.
        mean, std: of the normalization, for images in 0 to 1: three numbers each, or one number each, as (0.5,), for a model of
            gray images.
        size: side, or (height, width), in pixels, to which images are resized first; None: as they are.
        resizing: how, where the proportions differ: squeeze, crop (the middle), letterbox (all of it, with margins), or a
            Resizing, which also says the filter and the size before a crop. Libraries' classifiers have that of their preset.
        channel_order: "bgr" for a model that takes blue first; mean and std are in that order, too.
        values: the file values that were black and white in training, for files of their dtype; None: those of the dtype.
        copy: False: the classifier takes the module itself, which is frozen from then on (saves the memory of a copy, 98 MiB
            for a ResNet-50).

    Raises:
        InputError: no nn.Module or one that cannot be copied, fewer than two classes or two of one name, any invalid value.
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
        resizing: Mode | Resizing = "squeeze",
        channel_order: ChannelOrder = "rgb",
        copy: bool = True,
        values: ValueRange | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            raise InputError(
                f"model must be an nn.Module from images to logits, got {type(model).__name__}: make a function the forward of "
                "one; load_classifier takes a specification",
                code="type",
            )
        self.classes: tuple[str, ...] = class_names(classes)
        statistics = mean_and_std(mean, std)
        self.size: tuple[int, int] | None = height_and_width(size)
        self.resizing: Resizing = as_resizing(resizing)
        if channel_order not in get_args(ChannelOrder):
            raise InputError(f"channel_order must be rgb or bgr, got {channel_order!r}")
        self.channel_order: ChannelOrder = channel_order
        self.values: ValueRange | None = values
        self.measured: dict[str, Any] = {}  # what was found out about it once, by name
        self.model: nn.Module = (_copied(model) if copy else model).eval().requires_grad_(False)
        place = next(chain(self.model.parameters(), self.model.buffers()), torch.zeros(0)).device
        for name, numbers in zip(("mean", "std"), statistics, strict=True):
            self.register_buffer(name, torch.tensor(numbers, dtype=torch.float32, device=place).reshape(1, -1, 1, 1))

    def train(self, mode: bool = True) -> Classifier:
        """Stay in evaluation mode: a classifier that is explained must not change."""
        del mode
        return super().train(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(b, 1 or 3, h, w) in 0 to 1 -> logits (b, classes)."""
        return self._logits(self.model(self.prepared(x))).to(x.device)

    def probabilities(self, x: torch.Tensor) -> torch.Tensor:
        """The softmax of the logits, (b, classes)."""
        return self(x).softmax(1)

    def prepared(self, x: torch.Tensor) -> torch.Tensor:
        """The input of the model itself, on its device: resized and normalized, in its number of channels."""
        channels = self.mean.shape[1]
        if x.ndim != 4 or x.shape[1] not in (1, 3):
            got = tuple(x.shape)
            raise InputError(f"images must be (b, 1 or 3, h, w), got {got}: x[None] makes a batch of one", code="shape")
        x = x.to(self.mean)  # in its precision, too: a model of single precision classifies images of any
        if x.shape[1] > channels:
            x = (x * luma(x)).sum(1, keepdim=True)
        elif x.shape[1] < channels:
            x = x.expand(-1, channels, -1, -1)
        if self.channel_order == "bgr":
            x = x.flip(1)
        if self.size is not None:
            x = self.resizing.frame((x.shape[-2], x.shape[-1]), self.size)(x, self.mean)
        return (x - self.mean) / self.std

    def resized_by(self, resizing: Resizing) -> Classifier:
        """The same classifier, with the same weights, whose images are resized otherwise."""
        other = shallow_copy(self)
        other.resizing = resizing
        return other

    def layers(self) -> list[str]:
        """The names of all layers, in the order of the model's own listing."""
        return [name for name, _ in self.model.named_modules() if name]

    def features(self, x: torch.Tensor, layer: str) -> torch.Tensor:
        """The output of a layer for images (b, 1 or 3, h, w) in 0 to 1; nothing after the layer is computed.

        Raises:
            InputError: no such layer, or one that is not used.
        """
        found: dict[str, torch.Tensor] = {}

        def stop(name: str, inputs: Any, output: Any) -> None:
            del inputs
            found[name] = tensor_in(output, f"layer {name}")
            raise _FoundError

        with suppress(_FoundError):
            self._forward(x, [layer], stop)
        return _outputs(found, [layer], x.device)[layer]

    def logits_and_features(
        self, x: torch.Tensor, layers: Sequence[str]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The logits (b, classes) and the outputs of some layers, as by `features`, in one forward pass."""
        found: dict[str, torch.Tensor] = {}

        def keep(layer: str, inputs: Any, output: Any) -> None:
            del inputs
            found[layer] = tensor_in(output, f"layer {layer}")

        logits = self._logits(self._forward(x, layers, keep))
        return logits.to(x.device), _outputs(found, layers, x.device)

    @torch.no_grad()
    def shapes(self, x: torch.Tensor) -> dict[str, tuple[int, ...]]:
        """The shape of the output of each layer that images (b, 1 or 3, h, w) pass through, in the order they do."""
        found: dict[str, tuple[int, ...]] = {}

        def note(layer: str, inputs: Any, output: Any) -> None:
            del inputs
            if isinstance(output, torch.Tensor):
                found[layer] = tuple(output.shape)

        self._forward(x, self.layers(), note)
        return found

    @torch.no_grad()
    def observed(self, x: torch.Tensor, receive: Callable[[str, Any, Any], None]) -> None:
        """Call `receive` with name, inputs and output of each layer that images (b, 1 or 3, h, w) pass, in their order."""
        self._forward(x, self.layers(), receive)

    def _forward(self, x: torch.Tensor, layers: Sequence[str], receive: Callable[[str, Any, Any], None]) -> Any:
        """What the model returns; `receive` takes name, inputs and output of each of the layers on the way."""
        modules, thread = dict(self.model.named_modules()), get_ident()
        for layer in layers:
            if layer not in modules or not layer:
                near = suggestion(layer, self.layers())
                raise InputError(f"the classifier has no layer {layer!r}{near}", code="layer")

        def hook(layer: str, module: nn.Module, inputs: Any, output: Any) -> None:
            del module
            if get_ident() == thread:  # else another thread's forward pass through the same classifier
                receive(layer, inputs, output)

        handles = [modules[layer].register_forward_hook(partial(hook, layer)) for layer in layers]
        try:
            return self.model(self.prepared(x))
        finally:
            for handle in handles:
                handle.remove()

    def class_index(self, name: str | int) -> int:
        """The index of a class by its name, in whatever case, or by its index; InputError names those near an unknown one."""
        if isinstance(name, str):
            for names, wanted in ((self.classes, name), ([c.lower() for c in self.classes], name.lower())):
                if wanted in names:
                    return names.index(wanted)
        if str(name).isdecimal() and int(name) < len(self.classes):
            return int(name)
        near = f"{suggestion(str(name), self.classes)} (its indices are 0 to {len(self.classes) - 1})"
        raise InputError(f"the classifier has no class {name!r}{near}", code="class")

    def check_gradient(self, x: torch.Tensor) -> None:
        """Check that the logits of images (b, 1 or 3, h, w) are finite and differentiable in the image.

        Raises:
            InputError: a classifier without gradient, which no optimization can explain, or whose logits are NaN.
        """
        with torch.enable_grad():
            probe = x[:1].detach().clone().requires_grad_()
            logits = self(probe)
            gradient_of(logits.sum(), probe)
        logits = logits.detach()
        if not bool(logits.softmax(1).isfinite().all()) and bool(probe.min() == probe.max()):
            # One that divides by the image's own standard deviation is sound, and undefined for a constant image.
            logits = self(torch.linspace(0, 1, x.shape[-1]).expand(1, *x.shape[1:]).to(x))
        check_answer(logits.softmax(1))

    def _logits(self, output: Any) -> torch.Tensor:
        logits = tensor_in(output, "the classifier")
        if logits.ndim == 1:
            logits = logits[:, None]
        if logits.shape[1:] == (1,) and len(self.classes) == 2:
            logits = torch.cat([torch.zeros_like(logits), logits], 1)
        if logits.ndim != 2 or logits.shape[1] != len(self.classes):
            got, count = tuple(logits.shape), len(self.classes)
            raise InputError(
                f"the classifier must return logits (b, {count}), got {got}: correct it", code="classifier"
            )
        return logits


def luma(x: torch.Tensor) -> torch.Tensor:
    """(1, 3, 1, 1): the weight of each channel of an image in its gray, on its device.

    Filled in there: a copy from the CPU would wait for the device, and cannot be part of a CUDA graph.
    """
    return torch.cat([x.new_full((1, 1, 1, 1), share) for share in _LUMA], 1)


def check_answer(probabilities: torch.Tensor) -> None:
    """Raise InputError unless class probabilities (b, classes) are finite."""
    if not bool(probabilities.isfinite().all()):
        way = "check its weights and its normalization"
        raise InputError(f"the classifier's logits are not finite for this image: {way}", code="classifier")


def gradient_of(value: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """The gradient of a classifier's output in the images; gradients of weights are not touched.

    An output that does not depend on the images, as far as PyTorch can tell, is an InputError.
    """
    slope = torch.autograd.grad(value, images, allow_unused=True)[0] if value.requires_grad else None
    if slope is None:
        cause = "torch.no_grad, a detach or numpy inside it"
        raise InputError(f"the classifier gives no gradient: remove what prevents it ({cause})", code="classifier")
    return slope


def on_device(model: Model, device: torch.device) -> Model:
    """The model itself if it is on the device, else a copy there: a model stays where its owner has it."""
    place = torch.empty(0, device=device).device  # with its index
    is_there = all(tensor.device == place for tensor in (*model.parameters(), *model.buffers()))
    return model if is_there else deepcopy(model).to(device)


def _copied(model: nn.Module) -> nn.Module:
    try:
        return deepcopy(model)
    except Exception as error:  # whatever the parts of a module raise
        reason = f"{type(model).__name__} cannot be copied ({in_one_line(error, 120)})"
        way = "give copy=False to hand it over, frozen from then on"
        raise InputError(f"{reason}: {way}", code="classifier") from error


def tensor_in(output: Any, what: str) -> torch.Tensor:
    """The tensor that matters in what a model or a layer returns: itself, the first of a tuple, "logits" or "out" of a dict."""
    if isinstance(output, torch.Tensor):
        return output
    named = [getattr(output, "logits", None)]  # transformers, GoogLeNet
    if isinstance(output, dict):
        named += [output.get(name) for name in ("logits", "out", "last_hidden_state")]
    for value in named:
        if isinstance(value, torch.Tensor):
            return value
    if isinstance(output, tuple | list) and output:
        return tensor_in(output[0], what)
    raise InputError(
        f"{what} returned {type(output).__name__}: return a tensor, a tuple, a dict with 'logits' or an object with .logits",
        code="classifier",
    )


def _outputs(found: dict[str, torch.Tensor], layers: Sequence[str], device: torch.device) -> dict[str, torch.Tensor]:
    for layer in layers:
        if layer not in found:
            raise InputError(f"a forward pass does not use the layer {layer!r}: take another", code="layer")
    return {layer: output.to(device) for layer, output in found.items()}


class _FoundError(Exception):
    """Ends a forward pass once the requested layer has been computed; never leaves `features`."""
