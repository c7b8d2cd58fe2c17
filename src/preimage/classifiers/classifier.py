"""Classifier: any image classifier behind one interface: images in 0 to 1 in, logits and the features of any layer out."""

from __future__ import annotations

import copy as copying
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import deepcopy
from functools import partial
from itertools import chain
from threading import get_ident
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import nn

from preimage.classifiers import modules, outputs
from preimage.classifiers.answers import Answers
from preimage.classifiers.arguments import class_names, class_number, height_and_width, mean_and_std, suggestion
from preimage.classifiers.outputs import OutputKind, tensor_in
from preimage.classifiers.resizing import Mode, Resizing, as_resizing
from preimage.errors import InputError
from preimage.images.ranges import ValueRange

ChannelOrder = Literal["rgb", "bgr"]
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_LUMA = (0.299, 0.587, 0.114)

Receive = Callable[[str, Any, Any], Any]
Model = TypeVar("Model", bound=nn.Module)


class Classifier(Answers, nn.Module):
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
            Compiled it is explained as the module that it was made of, in half precision with its weights in single precision,
            exported (also an ExportedProgram) or scripted as it is, without layers where it hides them.
        classes: their names, or their number.
        mean, std: of the normalization, for images in 0 to 1: three numbers each, or one number each, as (0.5,), for a model of
            gray images.
        size: side, or (height, width), in pixels, to which images are resized first; None: as they are.
        output: what the model returns: "logits"; "probabilities", their softmax; "sigmoid", that of each logit; "labels", logits
            of labels that are independent of each other; "label-probabilities", the sigmoid of each of these. None: logits,
            and an error at the first call where they cannot be any.
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
        output: OutputKind | None = None,
    ) -> None:
        super().__init__()
        model = modules.taken(model, copy=copy)
        self.classes: tuple[str, ...] = class_names(classes)
        statistics = mean_and_std(mean, std)
        self.size: tuple[int, int] | None = height_and_width(size)
        self.resizing: Resizing = as_resizing(resizing)
        if channel_order not in get_args(ChannelOrder):
            raise InputError(f"channel_order must be rgb or bgr, got {channel_order!r}")
        self.channel_order: ChannelOrder = channel_order
        self.values: ValueRange | None = values
        self.output: OutputKind | None = outputs.checked_output(output)
        self.label: int | None = None  # the one of `of_label`
        self.measured: dict[str, Any] = {}  # what was found out about it once, by name
        self._count: int = len(self.classes)  # of what the model returns
        self._output_is_known: bool = False
        self.training = False
        self.model: nn.Module = model
        place = next(chain(self.model.parameters(), self.model.buffers()), torch.zeros(0)).device
        with torch.inference_mode(False):
            for name, numbers in zip(("mean", "std"), statistics, strict=True):
                held = torch.tensor(numbers, dtype=torch.float32, device=place)
                self.register_buffer(name, held.reshape(1, -1, 1, 1))

    def train(self, mode: bool = True) -> Classifier:
        """Stay in evaluation mode: a classifier that is explained must not change."""
        modules.in_evaluation_mode(self.model)
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(b, 1 or 3, h, w) in 0 to 1 -> logits (b, classes)."""
        return self._logits(self._forward(own := self.prepared(x)), own).to(x.device)

    def probabilities(self, x: torch.Tensor) -> torch.Tensor:
        """The class probabilities, (b, classes): the softmax of the logits, or of independent labels the sigmoid of each."""
        return self.probabilities_of(self(x))

    def with_output(self, output: OutputKind | None) -> Classifier:
        """The same classifier, of the same weights, where the model returns something else; None: itself."""
        if outputs.checked_output(output) in (None, self.output):
            return self
        other = copying.copy(self)
        other.output, other._output_is_known = output, False
        return other

    def of_label(self, name: str | int) -> Classifier:
        """The classifier, of the same weights, of one independent label: of two classes, "no NAME" and NAME.

        Raises:
            InputError: an unknown label, or classes that exclude one another.
        """
        if not self.independent:
            raise InputError("the classes exclude one another: of_label is of output='labels'", code="class")
        index, other = self.class_index(name), copying.copy(self)
        other.label, other.classes = index, (f"no {self.classes[index]}", self.classes[index])
        return other

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
        other = copying.copy(self)
        other.resizing = resizing
        return other

    def layers(self) -> list[str]:
        """The names of all layers, in the order of the model's own listing; none of what is scripted or exported."""
        return modules.layers_of(self.model)

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
            self._forward(self.prepared(x), [layer], stop)
        return self._features(found, [layer], x)[layer]

    def logits_and_features(
        self, x: torch.Tensor, layers: Sequence[str]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The logits (b, classes) and the outputs of some layers, as by `features`, in one forward pass."""
        found: dict[str, torch.Tensor] = {}

        def keep(layer: str, inputs: Any, output: Any) -> torch.Tensor | None:
            del inputs
            found[layer] = tensor_in(output, f"layer {layer}")
            if isinstance(output, torch.Tensor):
                return output.clone()  # for what follows, which may change it in place, as nn.ReLU(inplace=True) does
            found[layer] = found[layer].clone()
            return None

        logits = self._logits(self._forward(own := self.prepared(x), layers, keep), own).to(x.device)
        return logits, self._features(found, layers, x)

    @torch.no_grad()
    def shapes(self, x: torch.Tensor) -> dict[str, tuple[int, ...]]:
        """The shape of the output of each layer that images (b, 1 or 3, h, w) pass through, in the order they do."""
        found: dict[str, tuple[int, ...]] = {}

        def note(layer: str, inputs: Any, output: Any) -> None:
            del inputs
            if isinstance(output, torch.Tensor):
                found[layer] = tuple(output.shape)

        modules.check_layers(self.model)
        self._forward(self.prepared(x), self.layers(), note)
        return found

    @torch.no_grad()
    def observed(self, x: torch.Tensor, receive: Receive) -> None:
        """Call `receive` with name, inputs and output of each layer that images (b, 1 or 3, h, w) pass, in their order."""
        modules.check_layers(self.model)
        self._forward(self.prepared(x), self.layers(), receive)

    def _forward(self, x: torch.Tensor, layers: Sequence[str] = (), receive: Receive | None = None) -> outputs.Returned:
        """What the model returns for its input; `receive` takes name, inputs and output of each of the layers on the way."""
        parts, thread = dict(self.model.named_modules()), get_ident()
        if layers:
            modules.check_layers(self.model)
        known = self.layers() if layers else []
        for layer in layers:
            if layer not in known:
                raise InputError(f"the classifier has no layer {layer!r}{suggestion(layer, known)}", code="layer")

        def hook(layer: str, module: nn.Module, inputs: Any, output: Any) -> Any:
            del module
            if receive is None or get_ident() != thread:  # another thread's pass through the same classifier
                return None
            return receive(layer, inputs, output)

        handles = [parts[layer].register_forward_hook(partial(hook, layer)) for layer in layers]
        try:
            return outputs.returned(self.model, self.output, x)
        finally:
            for handle in handles:
                handle.remove()

    def class_index(self, name: str | int) -> int:
        """The index of a class by its name, in whatever case, or by its index; InputError names those near an unknown one."""
        return class_number(name, self.classes)

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
        if not bool(self.probabilities_of(logits).isfinite().all()) and bool(probe.min() == probe.max()):
            # One that divides by the image's own standard deviation is sound, and undefined for a constant image.
            logits = self(torch.linspace(0, 1, x.shape[-1]).expand(1, *x.shape[1:]).to(x))
        check_answer(self.probabilities_of(logits))

    def _logits(self, returned: outputs.Returned, x: torch.Tensor) -> torch.Tensor:
        """The logits (b, classes) of what the model returned for its input x."""
        values = self._values(returned.output, len(x))
        if not (self._output_is_known or self.model.training or torch.compiler.is_compiling()):
            probes = outputs.Probes(x, unit=modules.takes_unit_range(self.model))
            again = partial(self._again, len(x))
            self._output_is_known = outputs.check_output(self.output, values, again, probes)
        logits = outputs.logits_from(values, self.output) if returned.logits is None else returned.logits
        return logits if self.label is None else outputs.of_two_classes(logits[:, self.label])

    def _features(
        self, found: dict[str, torch.Tensor], layers: Sequence[str], x: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """The outputs of layers for images x; of a model that averages over samples of each image their mean, as its logits."""
        if unused := [layer for layer in layers if layer not in found]:
            raise InputError(f"a forward pass does not use the layer {unused[0]!r}: take another", code="layer")
        samples, images = getattr(self.model, "averaged_samples", 1), len(x)
        for layer, value in found.items() if samples > 1 else ():
            if len(value) == samples * images:
                found[layer] = value.unflatten(0, (images, samples)).mean(1)
        return {layer: found[layer].to(x.device) for layer in layers}

    def _again(self, images: int, x: torch.Tensor) -> torch.Tensor:
        return self._values(modules.called(self.model, x), images)

    def _values(self, output: Any, images: int) -> torch.Tensor:
        return outputs.rows_in(output, images, self._count, self.output)


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


class _FoundError(Exception):
    """Ends a forward pass once the requested layer has been computed; never leaves `features`."""
