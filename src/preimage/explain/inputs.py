"""What an explaining task is given: a classifier, one image, the size at which it is explained, and masks of that size."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from preimage.classifiers import Classifier
from preimage.classifiers.classifier import check_answer, on_device
from preimage.classifiers.load import load_model, with_classes
from preimage.classifiers.model_file import TrainedModel
from preimage.classifiers.modules import original
from preimage.classifiers.outputs import NoLogitsError
from preimage.classifiers.resizing import Frame, explained_frame, for_input, frame_of, with_resizing
from preimage.classifiers.untrained import looks_untrained
from preimage.engine.devices import choose_device
from preimage.errors import InputError
from preimage.explain.forward import InputJitter
from preimage.explain.options import UNSTATED, Stated
from preimage.images import Picture, as_picture, read
from preimage.images.ranges import ValueRange
from preimage.images.tiff_reading import SeveralPages

AnyClassifier = Classifier | TrainedModel | str | Path

# Images of more than so many times the classifier's pixels are explained at the classifier's own size.
LARGEST = 2.0
DARK = 0.25  # of white: a 16-bit image whose values end below it was probably taken with fewer bits
SQUEEZED = 0.05  # difference of proportions from which on it is said


@dataclass(frozen=True, eq=False)
class Given:
    """A classifier and the image to explain, on the device of the fit.

    Args:
        model: the classifier with its loss estimator, if it has one.
        image: (1, c, h, w) at the size at which it is explained, on the CPU; gray where the task makes an image from nothing.
        on_device: the same on the device.
        picture: the image as it was read; None if there was none.
        frame: where the image lies in the picture, if the classifier crops it or puts it in a letterbox; None: it is the whole.
    """

    model: TrainedModel
    image: torch.Tensor
    on_device: torch.Tensor
    picture: Picture | None = None
    frame: Frame | None = None

    @property
    def classifier(self) -> Classifier:
        return self.model.classifier

    @property
    def size(self) -> tuple[int, int]:
        return self.image.shape[-2], self.image.shape[-1]

    @property
    def device(self) -> torch.device:
        return self.on_device.device

    @property
    def full_size(self) -> torch.Tensor:
        """The image as it was read, (1, c, h, w)."""
        return self.image if self.picture is None else self.picture.tensor

    def report(self) -> dict[str, Any]:
        """How the image became the classifier's input, where that changes or loses anything of it; plain data."""
        if self.frame is not None:
            return self.frame.report()
        return {"resizing": "squeeze"} if self._is_squeezed else {}

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is to be said of the classifier and of its input."""
        frame = self.frame
        if frame is None and self._is_squeezed:
            frame = frame_of(self.classifier, self.size)
        return remarks_on(self.model, self.on_device, frame)

    @property
    def _is_squeezed(self) -> bool:
        size = self.classifier.size
        return size is not None and abs(size[0] * self.size[1] - size[1] * self.size[0]) > SQUEEZED * math.prod(size)

    def jitter(self, wanted: bool | None, *, published: bool) -> InputJitter | None:
        """The shifts of the classifier's input, by default those of all recipes but the published ones."""
        return InputJitter(self.size, self.device) if (not published if wanted is None else wanted) else None


def given_by(
    image: Any, classifier: AnyClassifier, device: str | torch.device = "auto", stated: Stated = UNSTATED
) -> Given:
    """What an explaining task is given, checked.

    Where the classifier crops images or puts them in a letterbox, its input is what is explained.

    Raises:
        InputError: no classifier or one without gradient, no single image, an unknown device or resizing.
    """
    place = choose_device(device)
    model = model_on(classifier, place, stated)
    own = model.classifier
    picture = one_picture(image, values=own.values)
    frame = explained_frame(own, (picture.tensor.shape[-2], picture.tensor.shape[-1]))
    if frame is None:
        x0 = at_working_size(picture.tensor, own)
    else:
        x0, own = frame(picture.tensor, own.mean.cpu()), for_input(own)
    given = Given(replace(model, classifier=own), x0, x0.to(place), picture, frame)
    own.check_gradient(given.on_device)
    return given


def remarks_on(model: TrainedModel, images: torch.Tensor, frame: Frame | None) -> tuple[str, ...]:
    """What is to be said of a classifier: of its weights, of what it sees of an image, and whether it looks untrained."""
    found = (*model.remarks, "" if frame is None else frame.remark(), looks_untrained(model.classifier, images))
    return tuple(filter(None, found))


def as_model(classifier: AnyClassifier, stated: Stated = UNSTATED) -> TrainedModel:
    """A classifier however it is given, with its loss estimator if it has one, and what is stated of it.

    Raises:
        InputError: something that is no classifier, or of another number of classes.
    """
    # A Classifier may itself be compiled.
    found: Any = original(classifier) if isinstance(classifier, nn.Module) else classifier
    if isinstance(found, str | Path):
        model = load_model(found, classes=stated.classes, output=stated.output)
        return replace(model, classifier=with_resizing(model.classifier, stated.resizing))
    if isinstance(found, Classifier):
        found = TrainedModel(found)
    if isinstance(found, TrainedModel):
        model = with_classes(found, stated.classes)
        own = with_resizing(model.classifier.with_output(stated.output), stated.resizing)
        return replace(model, classifier=own)
    way_out = " (wrap it: Classifier(model, classes, mean, std, size))" if isinstance(classifier, nn.Module) else ""
    raise InputError(
        "classifier must be a Classifier, a model of load_model, or a text as for load_classifier, got "
        f"{type(classifier).__name__}{way_out}",
        code="classifier",
    )


def model_on(classifier: AnyClassifier, device: torch.device, stated: Stated = UNSTATED) -> TrainedModel:
    """A model on a device: the one that is given if it is there, else a copy, for it stays where its owner has it."""
    model = as_model(classifier, stated)
    estimator = None if model.estimator is None else on_device(model.estimator, device)
    return replace(model, classifier=on_device(model.classifier, device), estimator=estimator)


def beside(classifier: AnyClassifier, given: Given, stated: Stated) -> Classifier:
    """Another classifier, for the image that the explained one sees: where that crops, it crops no more of it."""
    found = model_on(classifier, given.device, stated).classifier
    return found if given.frame is None else for_input(found)


@torch.no_grad()
def check_sound(classifier: Classifier, image: torch.Tensor, whose: str, option: str = "--classifier-output") -> None:
    """See that a further classifier answers for an image (1, c, h, w), before a fit that needs its answer.

    Args:
        whose: the classifier, as the error names it.
        option: that states what it returns.

    Raises:
        InputError: it returns no logits, or none that are finite.
    """
    try:
        check_answer(classifier.probabilities(image))
    except NoLogitsError as error:
        raise NoLogitsError(f"{whose}: {error.reason}", error.way, option) from error
    except InputError as error:
        raise InputError(f"{whose}: {error}", code=error.code) from error


def one_picture(
    image: Any,
    value_range: tuple[float, float] | None = None,
    *,
    page: int | None = None,
    values: ValueRange | None = None,
    salvage: bool = False,
) -> Picture:
    """A single image of one or three channels, whose black and white are those of its kind of values.

    16 bits go from 0 to 65535, floats within 0 to 1 from 0 to 1: stretched to its own values, as for a restoration, an image
    would have another contrast than those the classifier was trained on. A Picture is taken as it was read. page: from 1.
    values: the range of the classifier's training, to which images of its dtype are clipped. salvage: as for `images.read`.

    Example:
        >>> one_picture(np.zeros((32, 40), np.uint8)).tensor.shape
        torch.Size([1, 1, 32, 40])

    Raises:
        InputError: several pages, or another number of channels.
    """
    picture = one_page(image, value_range, page=page, salvage=salvage)
    if value_range is None and not isinstance(image, Picture):
        fits = values is not None and values.dtype == picture.dtype.name
        picture = _within(picture, values) if values is not None and fits else _with_range_of_type(picture)
    pages, channels = picture.tensor.shape[:2]
    if pages != 1:
        raise InputError(f"{picture.name} has {pages} pages, and one image is explained at a time", code="shape")
    if channels not in (1, 3):
        raise InputError(
            f"{picture.name} has {channels} channels: a classifier takes 1 or 3, gray or color: convert it first",
            code="shape",
        )
    return picture


def one_page(
    image: Any, value_range: tuple[float, float] | None = None, *, page: int | None = None, salvage: bool = False
) -> Picture:
    try:
        if isinstance(image, str | Path):
            return read(image, page=page, value_range=value_range, salvage=salvage)
        return as_picture(image, value_range=value_range)
    except SeveralPages as error:
        message = (
            f"{error.name} has {error.count} pages, and one image is explained at a time: choose it with --page N "
        )
        raise InputError(message + "(from 1), in Python read(path, page=N)", code="shape") from error


def _within(picture: Picture, values: ValueRange) -> Picture:
    """The picture in the value range of a classifier's training."""
    low, high = picture.units()
    scaled = (low + picture.tensor.double() * (high - low) - values.low) / (values.high - values.low)
    remarks = picture.remarks
    if bool(((scaled < 0) | (scaled > 1)).any()):
        remarks += (f"{picture.name} has values outside of {values}, the range of the classifier: they were clipped",)
    tensor = scaled.clamp(0, 1).float()
    return replace(picture, tensor=tensor, low=values.low, high=values.high, remarks=remarks)


def _with_range_of_type(picture: Picture) -> Picture:
    low, high = picture.units()
    remarks = picture.remarks
    if picture.dtype == np.uint16:
        black, white = 0.0, 65535.0
        if 0 < high < white * DARK:
            what = f"{picture.name} has 16-bit values that end at {high:g} of 65535"
            remarks += (f"{what}: specify --range LOW HIGH if that is white",)
    elif picture.dtype.kind == "f" and low >= 0 and high <= 1:
        black, white = 0.0, 1.0
    else:
        return picture
    values = low + picture.tensor.double() * (high - low)
    tensor = ((values - black) / (white - black)).float()
    return replace(picture, tensor=tensor, low=black, high=white, remarks=remarks)


def at_working_size(image: torch.Tensor, classifier: Classifier) -> torch.Tensor:
    """An image (1, c, h, w), reduced if it is much larger than the classifier's input, which has no more detail."""
    height, width = image.shape[-2:]
    if classifier.size is None:
        return image
    pixels = classifier.size[0] * classifier.size[1]
    if height * width <= LARGEST * pixels:
        return image
    factor = math.sqrt(pixels / (height * width))
    size = tuple(max(16, 4 * round(side * factor / 4)) for side in (height, width))
    return functional.interpolate(image, size=size, mode="bilinear", antialias=True, align_corners=False)
