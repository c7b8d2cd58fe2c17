"""Checks of arguments that attacks, defenses, saliency and inspections share; each error names the value and the way out."""

from __future__ import annotations

import contextlib
import math
import operator
import os
import random
import sys
from collections.abc import Iterator, Sequence
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import nn

from preimage.classifiers import Classifier
from preimage.errors import InputError
from preimage.extras import extra
from preimage.rng import is_whole

Target = int | str | torch.Tensor | Sequence[int | str] | None


def checked_model(model: Any) -> nn.Module:
    """The model, known to be an nn.Module, which a Classifier is."""
    if not isinstance(model, nn.Module):
        message = f"the classifier must be a Classifier or an nn.Module, got {type(model).__name__}: load_classifier loads one"
        raise InputError(message, code="type")
    return model


def checked_images(images: Any, name: str = "images", *, unit: bool = True) -> torch.Tensor:
    """The images, known to be finite floats (b, 1 or 3, h, w) in 0 to 1; without `unit` (b, c, h, w) in any range."""
    wanted = f"{name} must be a tensor {'(b, 1 or 3, h, w)' if unit else '(b, c, h, w)'}"
    if not isinstance(images, torch.Tensor):
        raise InputError(f"{wanted}, got {type(images).__name__}: torch.as_tensor makes one", code="type")
    shape = tuple(images.shape)
    if images.ndim != 4 or not len(images) or (unit and shape[1] not in (1, 3)):
        way = ": images[None] makes a batch of one" if images.ndim == 3 else ""
        raise InputError(f"{wanted}, got shape {shape}{way}", code="shape")
    if not images.is_floating_point():
        raise InputError(f"{name} must be floats, got {images.dtype}: divide by 255 first", code="type")
    low, high = (float(end) for end in images.detach().aminmax())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError(f"{name} have values that are not finite: torch.nan_to_num replaces them", code="range")
    if unit and not (low >= 0 and high <= 1):
        raise InputError(f"{name} must be from 0 to 1, got {low:g} to {high:g}: scale or clip them first", code="range")
    return images


def checked_labels(labels: Any, count: int, classes: int) -> torch.Tensor:
    """The labels, known to be (count,) class indices, as int64."""
    labels = torch.as_tensor(labels)
    if labels.ndim != 1 or len(labels) != count or labels.is_floating_point() or labels.dtype == torch.bool:
        wanted = f"labels must be the class index of each of {count} images, ({count},)"
        raise InputError(f"{wanted}, got {tuple(labels.shape)} {labels.dtype}", code="shape")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        message = f"labels must be one of the classifier's {classes} classes, 0 to {classes - 1}, got {low} to {high}"
        raise InputError(message, code="class")
    return labels.long()


def target_numbers(model: nn.Module, target: Target, count: int) -> list[int] | None:
    """The target class of each of `count` images, by number; None if no target is given.

    Example:
        >>> classifier = Classifier(torch.nn.Flatten(), ["nevus", "melanoma", "keratosis"])
        >>> target_numbers(classifier, ["melanoma", 2], 2)
        [1, 2]
    """
    if target is None:
        return None
    if isinstance(target, torch.Tensor):
        if target.is_floating_point() or target.dtype == torch.bool or target.ndim > 1:
            found = f"{target.dtype} of shape {tuple(target.shape)}"
            raise InputError(f"a tensor of targets holds a whole number for each image, got {found}", code="class")
        values: Any = target.tolist()
        target = values[0] if isinstance(values, list) and len(values) == 1 else values
    given = list(target) if isinstance(target, Sequence) and not isinstance(target, str) else [target] * count
    if len(given) != count:
        message = f"there are {count} images and {len(given)} targets: give one for all, or one for each"
        raise InputError(message, code="shape")
    return [_target_number(model, each) for each in given]


def _target_number(model: nn.Module, target: Any) -> int:
    if isinstance(model, Classifier):
        return model.class_index(target)
    if isinstance(target, str):
        way = "give the class by number, or wrap the model: Classifier(model, classes)"
        raise InputError(f"this model has no names for its classes, and {target!r} is one: {way}", code="class")
    try:
        number = -1 if isinstance(target, bool) else operator.index(target)
    except TypeError:  # None, or a fraction
        number = -1
    if number < 0:
        message = f"a target is the number of a class, counted from 0, got {target!r}: give 0, for example"
        raise InputError(message, code="class")
    return number


def whole_number(value: Any, name: str, least: int = 1) -> int:
    """The value, known to be a whole number of at least `least`."""
    if not is_whole(value) or value < least:
        raise InputError(f"{name} must be a whole number, at least {least}, got {value!r}")
    return int(value)


def noise_level(value: Any, name: str) -> float:
    """The value, known to be a standard deviation: a finite number of at least 0."""
    if not isinstance(value, Real) or isinstance(value, bool) or not 0 <= float(value) < math.inf:
        raise InputError(f"{name} must be a number, at least 0, got {value!r}: 0 adds no noise")
    return float(value)


@contextlib.contextmanager
def importing_toolbox(module: str) -> Iterator[None]:
    """Within it a module of the adversarial-robustness-toolbox is imported; what that does to the process is undone.

    It draws from Python's generator and sets variables of the environment, when it is imported first.

    Raises:
        MissingExtra: if it is not installed.
    """
    first = module not in sys.modules
    environment, python, arrays = dict(os.environ), random.getstate(), np.random.get_state()
    try:
        with extra("defend"):
            yield
    finally:
        if first:
            random.setstate(python)
            np.random.set_state(arrays)
            for name in os.environ.keys() - environment.keys():
                del os.environ[name]
            os.environ.update(environment)
