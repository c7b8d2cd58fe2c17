"""A user's model, a Classifier or any nn.Module from images to logits: borrowed for one call, and its passes.

Mode, gradient flags and gradients are restored, also after an error. Several threads may borrow one model: the first borrower
records its state, and the last one restores it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from preimage.classifiers.classifier import Classifier, check_answer, gradient_of
from preimage.classifiers.modules import in_evaluation_mode, takes_unit_range
from preimage.classifiers.outputs import Probes, check_output
from preimage.defend.checks import whole_number
from preimage.errors import InputError

_CPU = torch.device("cpu")
# Pixels of the images of one pass if no batch size is given: about 1 GB with a ResNet-18 and its gradient.
PIXELS_PER_PASS = 2**20
_LOCK = threading.RLock()

# By the id of a module or parameter: its attributes as they were, and by how many it is borrowed now.
_BORROWED: dict[int, tuple[dict[str, Any], int]] = {}


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
            names = ("training",) if isinstance(part, nn.Module) else ("requires_grad", "grad")
            before, borrowers = _BORROWED.get(id(part), ({name: getattr(part, name) for name in names}, 0))
            _BORROWED[id(part)] = before, borrowers + 1
        in_evaluation_mode(model)
        for parameter in model.parameters():  # a scripted module has no requires_grad_
            parameter.requires_grad_(False)
    try:
        yield
    finally:
        with _LOCK:
            for part in parts:
                before, borrowers = _BORROWED.pop(id(part))
                if borrowers > 1:
                    _BORROWED[id(part)] = before, borrowers - 1
                    continue
                for name, value in before.items():
                    setattr(part, name, value)


def device_of(model: nn.Module, otherwise: torch.device = _CPU) -> torch.device:
    """The device of a classifier, or `otherwise` if it has neither parameters nor buffers."""
    return next((tensor.device for tensor in (*model.parameters(), *model.buffers())), otherwise)


def in_range_of(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Noisy images, clipped to 0 to 1 for a model that takes no others, as one that purifies them."""
    return images.clamp(0, 1) if takes_unit_range(model) else images


# ---------------------------------------------------------------------- passes


def images_per_pass(shape: torch.Size, size: int | None = None) -> int:
    """How many images (b, c, h, w) go through the classifier at once: `size`, or a million pixels' worth if it is None."""
    if size is None:
        return max(1, PIXELS_PER_PASS // (shape[-2] * shape[-1]))
    return whole_number(size, "internal_batch_size")


def logits_of(model: nn.Module, images: torch.Tensor, *, fewest: int = 2) -> torch.Tensor:
    """The logits F (b, classes) of images (b, c, h, w), before the softmax; with `fewest` 1 also (b, 1) of a single output.

    A model that returns something else is an InputError.
    """
    logits = model(images)
    if fewest == 1 and isinstance(logits, torch.Tensor) and logits.ndim == 1:
        logits = logits[:, None]
    found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if isinstance(found, str) or len(found) != 2 or found[0] != len(images) or found[1] < fewest:
        way = "expected logits (b, classes): wrap it, Classifier(model, classes, mean, std, size)"
        raise InputError(f"the classifier returns {found} for {len(images)} images, {way}", code="classifier")
    return logits


def probabilities_of(model: nn.Module, logits: torch.Tensor) -> torch.Tensor:
    """The class probabilities of a model's logits (b, classes): a Classifier knows its own, others have their softmax."""
    own: Any = getattr(model, "probabilities_of", None)
    return logits.softmax(1) if own is None else own(logits)


def check_logits(model: nn.Module, images: torch.Tensor) -> None:
    """Raise InputError for a module whose outputs for images (b, c, h, w) are probabilities; a Classifier knows its own."""
    if isinstance(model, Classifier):
        return
    values = logits_of(model, images[:1], fewest=1)
    check_output(None, values, lambda x: logits_of(model, x, fewest=1), Probes(images[:1], unit=True))


def check_exclusive(model: nn.Module) -> None:
    """Raise InputError for a classifier of independent labels, where one class is to be the right one."""
    if getattr(model, "independent", False):
        way = "classifier.of_label(NAME) is the classifier of one of them"
        raise InputError(f"the labels of this classifier do not exclude one another: {way}", code="class")


def probability_of(model: nn.Module, x: torch.Tensor, targets: Sequence[int] | None) -> torch.Tensor:
    """The probability of each image's target, (b,), of images (b, c, h, w): of F_t; of a model with one output its sigmoid."""
    logits = logits_of(model, x, fewest=1).float()
    return _of_targets(probabilities_of(model, logits) if logits.shape[1] > 1 else logits.sigmoid(), targets)


def target_gradient(model: nn.Module, x: torch.Tensor, targets: Sequence[int] | None) -> torch.Tensor:
    """dF_t/dx at images (b, c, h, w), of the same shape; gradients of weights are not touched."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        value = _of_targets(logits_of(model, x, fewest=1), targets).sum()
        return gradient_of(value, x)


def _of_targets(values: torch.Tensor, targets: Sequence[int] | None) -> torch.Tensor:
    """Of values (b, classes) that of each image's target, (b,); without targets there must be one class."""
    classes = values.shape[1]
    if targets is None and classes == 1:
        return values[:, 0]
    if targets is None or max(targets) >= classes:
        what = (
            "give target, a class of the classifier"
            if targets is None
            else f"the classifier has no class {max(targets)}"
        )
        raise InputError(f"{what}: its {classes} classes are 0 to {classes - 1}", code="class")
    return values.gather(1, torch.tensor(targets, device=values.device)[:, None])[:, 0]


def check_gradient(model: nn.Module, images: torch.Tensor) -> None:
    """Raise InputError if the logits of the first of some images (b, c, h, w) are not finite, or not differentiable in it."""
    with torch.inference_mode(False), torch.enable_grad():
        x = images[:1].detach().clone().requires_grad_()
        logits = logits_of(model, x)
        gradient_of(logits.sum(), x)
        check_answer(probabilities_of(model, logits.detach()))
