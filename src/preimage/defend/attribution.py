"""A saliency map of one image by one method, at the classifier's own resolution and at the image's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch.nn import functional

from preimage.classifiers import Classifier
from preimage.classifiers.classifier import check_answer
from preimage.defend.captum_methods import METHODS, Question
from preimage.defend.checks import noise_level, whole_number
from preimage.defend.faithfulness import blurred
from preimage.defend.methods import Baseline, Method
from preimage.defend.migsg import SIGMA, STEPS
from preimage.defend.users_model import at_rest
from preimage.engine.devices import choose_device
from preimage.errors import InputError
from preimage.explain.inputs import AnyClassifier, as_model, one_picture
from preimage.explain.similarity import heat_map
from preimage.rng import checked_seed

# These distinguish evidence for the class from evidence against it; the others are magnitudes only.
SIGNED = ("input-x-gradient", "integrated-gradients", "gradcam", "occlusion")
_GRAYS: dict[str, float] = {"black": 0.0, "gray": 0.5, "white": 1.0}


@dataclass(frozen=True, eq=False)
class SaliencyMap:
    """A saliency map, all tensors on the CPU.

    Args:
        map: (1, 1, h, w) at the image's size, at least 0, channels merged.
        attribution: (1, c, h', w') as the method returned it, of `seen`.
        seen: (1, c, h', w') in 0 to 1, the image at the size at which it was classified.
        target, target_class: the class, by index and name.
        confidence: the probability of the target, 0 to 1.
        prediction: the predicted class.
        method, settings: how it was made.
    """

    map: torch.Tensor
    attribution: torch.Tensor
    seen: torch.Tensor
    target: int
    target_class: str
    confidence: float
    prediction: str
    method: Method
    settings: dict[str, Any]

    @property
    def merged(self) -> torch.Tensor:
        """(1, 1, h', w'): the map at the size of `seen`, before it is resized to the image."""
        return merged(self.attribution, self.method)


def saliency_map(
    image: Any,
    classifier: AnyClassifier,
    target: str | int | None = None,
    method: Method = "mig-sg",
    *,
    n_steps: int = STEPS,
    n_samples: int | None = None,
    sigma: float = SIGMA,
    baseline: Baseline | float | torch.Tensor = "blur",
    layer: str | None = None,
    value_range: tuple[float, float] | None = None,
    seed: int = 0,
    device: str | torch.device = "auto",
) -> SaliencyMap:
    """The saliency of each pixel of an image for a class.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 2))
        >>> classifier = Classifier(model, ["benign", "malignant"], size=8)
        >>> found = saliency_map(torch.rand(1, 3, 24, 32), classifier, "malignant", "gradient")
        >>> found.map.shape, found.seen.shape
        (torch.Size([1, 1, 24, 32]), torch.Size([1, 3, 8, 8]))

    An image of more pixels than the classifier's input is first reduced to those, as the classifier itself does it: the noise
    then has the sigma it should, and the map is interpolated to the image's size.

    Channels are merged by the mean of their magnitudes; for the methods with signs (input-x-gradient, integrated-gradients,
    gradcam, occlusion) by their mean, of which the positive part is kept. (Chosen here.)

    Args:
        image: a path, an array, a tensor (c, h, w) in 0 to 1, a PIL image or a Picture.
        classifier: a Classifier, a model of load_model, or a specification as for load_classifier.
        target: class name or index; None: the predicted class.
        method: mig-sg, or one of captum's: gradient, input-x-gradient, integrated-gradients, smoothgrad; guided-backprop, for a
            classifier whose ReLUs are modules; gradcam, for a convolutional one; occlusion, which needs no gradient.
        n_steps: from the baseline to the image, at least 1; of mig-sg and integrated-gradients.
        n_samples: noisy copies, at least 1; of mig-sg (None: 4 at each step) and smoothgrad (None: 50).
        sigma: standard deviation of their noise, white being 1, at least 0.
        baseline: blur (the blurred image), mean (its mean color), black, gray, white, a number from 0 to 1, or a tensor; of
            mig-sg, integrated-gradients and occlusion. Where the image equals it there is no saliency.
        layer: of gradcam; None: the last one with spatial channels.
        value_range: values of the image that are black and white.
        seed: random seed of the noise.
        device: auto, cpu, cuda, mps; a Classifier is returned to its own device afterwards.

    Raises:
        InputError: an argument that cannot be used, or a method that does not work with this classifier.

    Source: Kattamis, Adel, Weller 2019, eq. 1 (mig-sg); of the others the papers that captum's documentation names.
    """
    if method not in get_args(Method):
        raise InputError(f"there is no method {method!r}: give one of {', '.join(get_args(Method))}")
    if layer is not None and method != "gradcam":
        raise InputError(
            f"a layer is for gradcam only, got {layer!r} for {method}: leave layer out, or take gradcam", code="option"
        )
    model, place = as_model(classifier).classifier, choose_device(device)
    picture = one_picture(image, value_range).tensor
    with at_rest(model, place):
        x = at_classifier_size(picture, model).to(place)
        with torch.no_grad():
            probabilities = model.probabilities(x)[0].float().cpu()
        check_answer(probabilities)
        number = int(probabilities.argmax()) if target is None else model.class_index(target)
        question = Question(
            model,
            x,
            number,
            _baseline(baseline, x),
            whole_number(n_steps, "n_steps"),
            None if n_samples is None else whole_number(n_samples, "n_samples"),
            noise_level(sigma, "sigma"),
            layer,
            checked_seed(seed),
        )
        attribution, settings = METHODS[method](question)
        attribution = attribution.detach().float().cpu()
    if not bool(attribution.isfinite().all()):
        raise InputError(
            f"{method} gives values that are not finite for this image: take another method", code="classifier"
        )
    if "baseline" in settings:
        settings["baseline"] = baseline if isinstance(baseline, str | int | float) else "a tensor"
    small, size = merged(attribution, method), tuple(picture.shape[-2:])
    if small.shape[-2:] != size:
        small = functional.interpolate(small, size, mode="bilinear", align_corners=False)
    return SaliencyMap(
        map=small,
        attribution=attribution,
        seen=x.cpu(),
        target=number,
        target_class=model.classes[number],
        confidence=float(probabilities[number]),
        prediction=model.classes[int(probabilities.argmax())],
        method=method,
        settings=settings,
    )


def merged(attribution: torch.Tensor, method: Method) -> torch.Tensor:
    """(b, c, h, w) -> (b, 1, h, w), at least 0: what is drawn, and by what pixels are ranked."""
    return attribution.mean(1, keepdim=True).clamp_min(0) if method in SIGNED else heat_map(attribution)


def at_classifier_size(image: torch.Tensor, classifier: Classifier) -> torch.Tensor:
    """An image (b, c, h, w) as the classifier resizes it, if it has more pixels than that; else as it is."""
    size = classifier.size
    if size is None or image.shape[-2] * image.shape[-1] <= size[0] * size[1]:
        return image
    return functional.interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=True)


def _baseline(given: Any, x: torch.Tensor) -> torch.Tensor:
    """The baseline in the shape of x, (1, c, h, w)."""
    if isinstance(given, torch.Tensor):
        try:
            return given.detach().to(x).broadcast_to(x.shape)
        except RuntimeError as error:
            raise InputError(
                f"the baseline is {tuple(given.shape)} and the image is classified as {tuple(x.shape)}: give (c, 1, 1), or "
                "that shape",
                code="shape",
            ) from error
    if given == "blur":
        return blurred(x)
    if given == "mean":
        return x.mean((2, 3), keepdim=True).expand_as(x)
    value = _GRAYS.get(given) if isinstance(given, str) else given
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InputError(
            f"the baseline must be {', '.join(get_args(Baseline))}, or a number from 0 (black) to 1 (white), got {given!r}"
        )
    return torch.full_like(x, value)
