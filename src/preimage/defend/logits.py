"""What this wing asks of a classifier: the logit of a class, in evaluation mode, on the classifier's own device."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import torch
from torch import nn

from preimage.classifiers import Classifier
from preimage.defend.checks import gradient_of, logits_of
from preimage.errors import InputError

Target = int | str | torch.Tensor | Sequence[int | str] | None

# Pixels of the pictures of one pass where nobody says how many: about 1 GB with a ResNet-18 and its gradient.
PIXELS_A_PASS = 2**20


def checked_model(model: Any) -> nn.Module:
    """The model, if it is one.

    Raises:
        InputError: anything but an nn.Module, of which a Classifier is one.
    """
    if not isinstance(model, nn.Module):
        raise InputError(
            f"the classifier must be a Classifier or an nn.Module that returns logits, got {type(model).__name__}: "
            "load_classifier gives one by its name"
        )
    return model


def pictures_a_pass(shape: torch.Size, asked: int | None = None) -> int:
    """How many pictures (b, c, h, w) go through the classifier at once: as many as were asked for, or a million pixels."""
    return max(1, PIXELS_A_PASS // (shape[-2] * shape[-1])) if asked is None else asked


def target_numbers(model: nn.Module, target: Target, count: int) -> list[int] | None:
    """The class of each of so many pictures, by number; None where none was named.

    Example:
        >>> target_numbers(load_classifier("lesions.pt"), ["mel", 5], 2)      # doctest: +SKIP
        [4, 5]

    Raises:
        InputError: no such class, another count than that of the pictures, a name for a model that has none.
    """
    if target is None:
        return None
    given: list[Any]
    if isinstance(target, torch.Tensor):
        if target.is_floating_point() or target.dtype == torch.bool or target.ndim > 1:
            raise InputError(
                f"a tensor of targets holds a whole number for each picture, got {target.dtype} of shape "
                f"{tuple(target.shape)}: give classes by number"
            )
        given = target.reshape(-1).tolist()
        given = given * count if len(given) == 1 else given
    else:
        given = [target] * count if isinstance(target, str | int) or not isinstance(target, Sequence) else list(target)
    if len(given) != count:
        raise InputError(f"there are {count} pictures and {len(given)} targets: give one for all, or one for each")
    return [_number(model, each) for each in given]


def _number(model: nn.Module, target: Any) -> int:
    if isinstance(model, Classifier):
        return model.class_index(target)
    if isinstance(target, str):
        raise InputError(
            f"this model has no names for its classes, and {target!r} is one: give the class by number, or wrap the model: "
            "Classifier(model, classes)"
        )
    try:
        number = -1 if isinstance(target, bool) else operator.index(target)
    except TypeError:  # none, or a fraction
        number = -1
    if number < 0:
        raise InputError(f"a target is the number of a class, counted from 0, got {target!r}: give 0, say")
    return number


def of_targets(values: torch.Tensor, targets: Sequence[int] | None) -> torch.Tensor:
    """Of values (b, classes) the one of each picture's own target, (b,).

    Raises:
        InputError: a target that is not among them, or none where there are several.
    """
    classes = values.shape[1]
    if targets is None:
        if classes > 1:
            raise InputError(f"the classifier has {classes} classes: give target, one of 0 to {classes - 1}")
        return values[:, 0]
    if max(targets) >= classes:
        raise InputError(
            f"the classifier has no class {max(targets)}: its {classes} classes are 0 to {classes - 1}, give one of these"
        )
    return values.gather(1, torch.tensor(targets, device=values.device)[:, None])[:, 0]


def probability_of(model: nn.Module, x: torch.Tensor, targets: Sequence[int] | None) -> torch.Tensor:
    """softmax(F)_t of pictures (b, c, h, w), (b,): of each its own target's; of a model with one output the sigmoid."""
    logits = logits_of(model, x, fewest=1).float()
    return of_targets(logits.softmax(1) if logits.shape[1] > 1 else logits.sigmoid(), targets)


def slope_of(model: nn.Module, x: torch.Tensor, targets: Sequence[int] | None) -> torch.Tensor:
    """dF_t/dx at pictures (b, c, h, w), of the same shape; nothing is added to the gradients of the model's weights.

    Raises:
        InputError: a model whose logits do not hang on the picture, as far as PyTorch can tell.
    """
    with torch.enable_grad():
        asked = x.detach().requires_grad_()
        value = of_targets(logits_of(model, asked, fewest=1), targets).sum()
        return gradient_of(value, asked, "; of the methods of saliency occlusion needs none")


def checked_pictures(pictures: Any, name: str = "inputs") -> torch.Tensor:
    """A batch of pictures, if it is one.

    Raises:
        InputError: no tensor, other than four axes, values that are no floats or not finite.
    """
    if not isinstance(pictures, torch.Tensor):
        raise InputError(
            f"{name} must be a tensor (b, c, h, w), got {type(pictures).__name__}: torch.as_tensor makes one"
        )
    if pictures.ndim != 4:
        raise InputError(
            f"{name} must be pictures (b, c, h, w), got shape {tuple(pictures.shape)}: pictures[None] makes a batch of one"
        )
    if not pictures.is_floating_point():
        raise InputError(
            f"{name} must be floats, as the classifier takes them, got {pictures.dtype}: divide by 255, say"
        )
    if not bool(pictures.isfinite().all()):
        raise InputError(f"{name} hold values that are not finite: replace them first, torch.nan_to_num does")
    return pictures.detach()


def whole_number(value: Any, name: str, least: int = 1) -> int:
    """A count, if it is one."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(
            f"{name} must be a whole number of at least {least}, got {value!r}: give {name}={least} or more"
        )
    return value


def checked_seed(seed: Any) -> int:
    """A seed, if it is one."""
    if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= int(seed) < 2**31:
        raise InputError(f"seed must be a whole number from 0 to {2**31 - 1}, got {seed!r}")
    return int(seed)


def noise_level(value: Any, name: str) -> float:
    """A standard deviation, if it is one."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) < math.inf:
        raise InputError(f"{name} must be a number of at least 0, got {value!r}: 0 is no noise")
    return float(value)
