"""What attacks, defences and inspections ask of a classifier, a Classifier or any nn.Module from pictures in 0 to 1 to logits."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

import torch
from torch import nn

from preimage.classifiers import Classifier
from preimage.classifiers.classifier import check_answer
from preimage.errors import InputError

_CPU = torch.device("cpu")


def checked_pictures(images: torch.Tensor) -> torch.Tensor:
    """The pictures, known to be (b, 1 or 3, h, w), floats, finite, from 0 to 1.

    Raises:
        InputError: anything else.
    """
    if not isinstance(images, torch.Tensor) or images.ndim != 4 or images.shape[1] not in (1, 3) or not len(images):
        came = tuple(images.shape) if isinstance(images, torch.Tensor) else type(images).__name__
        raise InputError(f"pictures must be a tensor (b, 1 or 3, h, w), got {came}")
    if not images.is_floating_point():
        raise InputError(f"pictures must be floats from 0 to 1, got {images.dtype}: divide by 255")
    low, high = (float(end) for end in images.detach().aminmax())
    if not (low >= 0 and high <= 1):  # NaN is neither
        raise InputError(f"pictures must be from 0 to 1, got {low:g} to {high:g}: scale or clip them first")
    return images


def checked_labels(labels: torch.Tensor, count: int, classes: int) -> torch.Tensor:
    """The labels, known to be (b,) indices of classes, as int64.

    Raises:
        InputError: another number of them, no whole numbers, or one that is no class.
    """
    labels = torch.as_tensor(labels)
    if labels.ndim != 1 or len(labels) != count or labels.is_floating_point() or labels.dtype == torch.bool:
        kind = f"{tuple(labels.shape)} {labels.dtype}"
        raise InputError(f"labels must be the index of a class for each of {count} pictures, ({count},), got {kind}")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise InputError(
            f"labels must be from 0 to {classes - 1}, for the classifier has {classes} classes, got {low} to {high}"
        )
    return labels.long()


def logits_of(model: nn.Module, images: torch.Tensor, *, fewest: int = 2) -> torch.Tensor:
    """The logits F (b, classes) of pictures (b, c, h, w), before the softmax; (b, 1) of one with one output, if that is enough.

    Raises:
        InputError: a model that gives something else.
    """
    logits = model(images)
    if fewest == 1 and isinstance(logits, torch.Tensor) and logits.ndim == 1:
        logits = logits[:, None]
    shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else ()
    if len(shape) != 2 or shape[0] != len(images) or shape[1] < fewest:
        came = shape if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise InputError(
            f"the classifier gives {came} for {len(images)} pictures, and logits (b, classes) are expected: wrap it, "
            "Classifier(model, classes, mean, std, size)"
        )
    return logits


def check_gradient(model: nn.Module, images: torch.Tensor) -> None:
    """That the logits are finite, and tell an attacker how to change a picture.

    Raises:
        InputError: a classifier without gradient, or whose answer is NaN.
    """
    with torch.inference_mode(False), torch.enable_grad():
        asked = images[:1].detach().clone().requires_grad_()
        logits = logits_of(model, asked)
        gradient_of(logits.sum(), asked)
        check_answer(logits.detach().softmax(1))


def gradient_of(value: torch.Tensor, images: torch.Tensor, way: str = "") -> torch.Tensor:
    """The gradient of a classifier's answer in the pictures; nothing is added to that of its weights.

    Where there is none, `way` is said at the end.

    Raises:
        InputError: an answer that does not hang on the pictures, as far as PyTorch can tell.
    """
    slope = torch.autograd.grad(value, images, allow_unused=True)[0] if value.requires_grad else None
    if slope is None:
        raise InputError(
            "the classifier gives no gradient (torch.no_grad, a detach or numpy inside it): its logits must be differentiable "
            f"in the picture{way}"
        )
    return slope


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode within; after it every part of it is in the mode it was in."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextlib.contextmanager
def at_rest(model: nn.Module) -> Iterator[None]:
    """Within, the classifier is in evaluation mode and learns nothing; afterwards it is as it was, its gradients too."""
    learning = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    with evaluating(model):
        model.requires_grad_(False)
        try:
            yield
        finally:
            for parameter, learns, gradient in learning:
                parameter.requires_grad_(learns)
                parameter.grad = gradient


def device_of(model: nn.Module, otherwise: torch.device = _CPU) -> torch.device:
    """Where a classifier is; another place if it holds nothing."""
    return next((tensor.device for tensor in (*model.parameters(), *model.buffers())), otherwise)


def fingerprint_of(model: nn.Module) -> str:
    """A hash of all that a classifier has learned, and of how a Classifier prepares its pictures: 16 hexadecimal digits.

    Example:
        >>> fingerprint_of(Classifier(model, 10)) == fingerprint_of(Classifier(model, 10, size=64))
        False
    """
    digest = hashlib.sha256(type(model).__name__.encode())
    if isinstance(model, Classifier):
        digest.update(repr((model.classes, model.size, type(model.model).__name__)).encode())
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        if isinstance(value, torch.Tensor):
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
