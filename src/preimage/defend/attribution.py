"""A saliency map of one image by one method: MIG-SG, captum's, and SmoothGrad with a generator of its own.

Hooks are registered on a copy that shares the weights (`same_weights`), so that no other pass of the classifier meets them.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch.nn import functional

from preimage.classifiers import Classifier
from preimage.classifiers.classifier import check_answer, gradient_of
from preimage.classifiers.filters import resampled
from preimage.classifiers.folding import folded
from preimage.classifiers.layout import Layout, spatial_outputs
from preimage.classifiers.modules import same_weights, takes_unit_range
from preimage.classifiers.resizing import Frame, explained_frame, for_input
from preimage.defend.checks import noise_level, whole_number
from preimage.defend.faithfulness import blurred
from preimage.defend.migsg import MIGSG, SAMPLES, baseline_like
from preimage.defend.saliency import Baseline, Method, SaliencyOptions, methods_of
from preimage.defend.users_model import at_rest, images_per_pass, in_range_of, target_gradient
from preimage.engine.devices import choose_device
from preimage.errors import InputError
from preimage.explain.inputs import model_on, one_picture
from preimage.explain.similarity import heat_map
from preimage.extras import extra

with extra("classifiers"):
    import captum.attr

SIGNED = ("input-x-gradient", "integrated-gradients", "gradcam", "occlusion")  # evidence for the class, or against it
NOISY = ("mig-sg", "smoothgrad")
MANY_PASSES = (*NOISY, "integrated-gradients", "occlusion")  # of no layers: worth to be made faster first
SMOOTHGRAD_SAMPLES = 50  # as its paper
WINDOWS = 8  # of occlusion along the short side; each overlaps the next by half
_GRAYS: dict[str, float] = {"black": 0.0, "gray": 0.5, "white": 1.0}

Attributed = tuple[torch.Tensor, dict[str, Any]]  # (1, c, h, w), and the settings it was made with


@dataclass(frozen=True, eq=False)
class SaliencyMap:
    """A saliency map of one image, and how it was made; all tensors on the CPU."""

    map: torch.Tensor  # (1, 1, h, w) at the image's size, at least 0, channels merged
    attribution: torch.Tensor  # (1, c, h', w') as the method returned it, of `seen`
    seen: torch.Tensor  # (1, c, h', w') in 0 to 1, the image at the size at which it was classified
    target: int
    target_class: str
    confidence: float  # the probability of the target, 0 to 1
    prediction: str  # the predicted class, or all labels that are
    method: Method
    settings: dict[str, Any]

    @property
    def merged(self) -> torch.Tensor:
        """(1, 1, h', w'): the map at the size of `seen`, before it is resized to the image."""
        return merged(self.attribution, self.method)


def saliency_map(image: Any, options: SaliencyOptions, method: Method | None = None) -> SaliencyMap:
    """The saliency of each pixel of an image for a class, by a method (None: the first of the options').

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 2))
        >>> options = SaliencyOptions(Classifier(model, ["benign", "malignant"], size=8), "malignant", "gradient")
        >>> found = saliency_map(torch.rand(1, 3, 24, 32), options)
        >>> found.map.shape, found.seen.shape
        (torch.Size([1, 1, 24, 32]), torch.Size([1, 3, 8, 8]))

    An image of more pixels than the classifier's input is first reduced to those, as the classifier itself does it: the noise
    then has the sigma it should, and the map is interpolated to the image's size. Of one that the classifier crops or puts in a
    letterbox the input is explained, and the map comes back at its place, 0 where the classifier sees nothing. Where an image
    equals the baseline there is no saliency. Channels are merged by the mean of their magnitudes; for the methods with signs by
    their mean, of which the positive part is kept. (Chosen here.)

    Raises:
        InputError: an option that cannot be used, or a method that does not work with this classifier.

    Source: Kattamis, Adel, Weller 2019, eq. 1 (mig-sg); of the others the papers that captum's documentation names.
    """
    method = method or methods_of(options.method)[0]
    place = choose_device(options.device)
    model = model_on(options.classifier, place, options.stated).classifier
    picture = one_picture(image, values=model.values).tensor
    baseline, size = _number_or_word(options.baseline), picture.shape[-2:]
    frame = explained_frame(model, (size[0], size[1]))
    if frame is not None:
        x, model = frame(picture, model.mean.cpu()), for_input(model)
    elif model.size is not None and size.numel() > model.size[0] * model.size[1]:
        x = resampled(picture, model.size, model.resizing.filter)
    else:
        x = picture
    with at_rest(model):
        x = x.to(place)
        with torch.no_grad():
            probabilities = model.probabilities(x)[0].float().cpu()
        check_answer(probabilities)
        predicted = int(probabilities.argmax())
        target = predicted if options.target is None else model.class_index(options.target)
        if method != "occlusion":
            model.check_gradient(x)
        leaf = x.clone().requires_grad_()  # captum would warn about another
        asked = folded(model, x) if method in MANY_PASSES else model
        attribution, settings = METHODS[method](Question(asked, leaf, target, _baseline(baseline, x), options))
    attribution = attribution.detach().float().cpu()
    if not bool(attribution.isfinite().all()):
        raise InputError(f"{method} gives values that are not finite: take another method", code="classifier")
    if "baseline" in settings:
        settings["baseline"] = "a tensor" if isinstance(baseline, torch.Tensor) else baseline
    found = merged(attribution, method)
    return SaliencyMap(
        map=_of_picture(found, (size[0], size[1]), frame),
        attribution=attribution,
        seen=x.cpu(),
        target=target,
        target_class=model.classes[target],
        confidence=float(probabilities[target]),
        prediction=model.predicted(probabilities),
        method=method,
        settings=settings,
    )


def merged(attribution: torch.Tensor, method: Method) -> torch.Tensor:
    """(b, c, h, w) -> (b, 1, h, w), at least 0: what is drawn, and by what pixels are ranked."""
    return attribution.mean(1, keepdim=True).clamp_min(0) if method in SIGNED else heat_map(attribution)


def _of_picture(found: torch.Tensor, size: tuple[int, int], frame: Frame | None) -> torch.Tensor:
    """A map (1, 1, h', w') of what was classified, at its place in the image, (1, 1, h, w); 0 where nothing was."""
    if frame is not None:
        return frame.back(found)
    if found.shape[-2:] == size:
        return found
    return functional.interpolate(found, size, mode="bilinear", align_corners=False)


def _number_or_word(given: Any) -> Any:
    try:
        return float(given) if isinstance(given, str) else given
    except ValueError:
        return given


def _baseline(given: Any, x: torch.Tensor) -> torch.Tensor:
    """The baseline in the shape of x, (1, c, h, w)."""
    if isinstance(given, torch.Tensor):
        return baseline_like(given, x)
    if given == "blur":
        return blurred(x)
    if given == "mean":
        return x.mean((2, 3), keepdim=True).expand_as(x)
    value = _GRAYS.get(given) if isinstance(given, str) else given
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        names = ", ".join(get_args(Baseline))
        raise InputError(f"the baseline must be {names}, or a number from 0 (black) to 1 (white), got {given!r}")
    return torch.full_like(x, value)


# ---------------------------------------------------------------------- the methods


@dataclass(frozen=True, eq=False)
class Question:
    """What a method attributes: the target's logit at x, (1, c, h, w), against a baseline of that shape."""

    classifier: Classifier
    x: torch.Tensor
    target: int
    baseline: torch.Tensor
    options: SaliencyOptions

    @property
    def steps(self) -> int:
        return whole_number(self.options.n_steps, "n_steps")

    def noise(self, samples: int) -> dict[str, Any]:
        """The settings of the noise; `samples` if the options name no number of them."""
        given = self.options.n_samples
        count = samples if given is None else whole_number(given, "n_samples")
        own = {"n_samples": count, "sigma": noise_level(self.options.sigma, "sigma"), "seed": self.options.seed}
        return {**own, "clipped": True} if takes_unit_range(self.classifier) else own


def mig_sg(question: Question) -> Attributed:
    steps, noise = question.steps, question.noise(SAMPLES)
    path = question.x, question.baseline, question.target, steps, noise["n_samples"], noise["sigma"]
    found = MIGSG(question.classifier).attribute(*path, seed=noise["seed"])
    return found, {"n_steps": steps, **noise, "baseline": None}


def gradient(question: Question) -> Attributed:
    return captum.attr.Saliency(question.classifier).attribute(question.x, target=question.target), {}


def input_x_gradient(question: Question) -> Attributed:
    return captum.attr.InputXGradient(question.classifier).attribute(question.x, target=question.target), {}


def integrated_gradients(question: Question) -> Attributed:
    found = captum.attr.IntegratedGradients(question.classifier).attribute(
        question.x,
        baselines=question.baseline,
        target=question.target,
        n_steps=question.steps,
        internal_batch_size=images_per_pass(question.x.shape),
    )
    return found, {"n_steps": question.steps, "baseline": None}


def smoothgrad(question: Question) -> Attributed:
    """1/n sum of dF_t/dx (x + N(0, sigma^2)), as captum's NoiseTunnel, which draws from the global generator."""
    settings = question.noise(SMOOTHGRAD_SAMPLES)
    x, samples = question.x.detach(), settings["n_samples"]
    generator = torch.Generator(x.device).manual_seed(settings["seed"])
    total, size = torch.zeros_like(x), images_per_pass(x.shape)
    for first in range(0, samples, size):
        copies = x.repeat_interleave(min(size, samples - first), 0)
        noise = torch.normal(0.0, torch.full_like(copies, settings["sigma"]), generator=generator)
        points = in_range_of(question.classifier, copies + noise)
        slopes = target_gradient(question.classifier, points, [question.target] * len(copies))
        total = total + slopes.sum(0, keepdim=True)
    return total / samples, settings


def guided_backprop(question: Question) -> Attributed:
    if not any(isinstance(module, torch.nn.ReLU) for module in question.classifier.modules()):
        message = "guided-backprop is for classifiers with modules of nn.ReLU: take gradient or another method"
        raise InputError(message, code="classifier")
    with warnings.catch_warnings():
        # It warns that it registers hooks, which it removes again.
        warnings.filterwarnings("ignore", message="Setting backward hooks on ReLU activations")
        method = captum.attr.GuidedBackprop(same_weights(question.classifier))
        return method.attribute(question.x, target=question.target), {}


def gradcam(question: Question) -> Attributed:
    """relu(sum over channels of the mean gradient times the features), wherever the layer has its channels."""
    known = {each.name: each.layout for each in spatial_outputs(question.classifier, question.x.detach())}
    layer = _last_spatial(known) if question.options.layer is None else question.options.layer
    # A copy, whose hooks meet no other pass of the classifier.
    copy: Any = same_weights(question.classifier)
    if layer in copy.layers() and layer not in copy.shapes(question.x):
        raise InputError(f"gradcam needs a layer that returns one tensor, and {layer!r} is none", code="layer")
    logits, features = copy.logits_and_features(question.x, [layer])
    if layer not in known or known[layer].axes == "tokens":
        shape = tuple(features[layer].shape)
        message = (
            f"gradcam needs a layer with spatial channels, (b, c, h, w) or (b, h, w, c), and {layer!r} gives {shape}"
        )
        raise InputError(message, code="layer")
    slopes = gradient_of(logits[0, question.target], features[layer])
    own, slopes = (known[layer].channels_first(each.detach()) for each in (features[layer], slopes))
    found = torch.relu((slopes.mean((2, 3), keepdim=True) * own).sum(1, keepdim=True))
    size = tuple(question.x.shape[-2:])
    return functional.interpolate(found, size, mode="bilinear").expand_as(question.x), {"layer": layer}


def _last_spatial(known: dict[str, Layout]) -> str:
    spatial = [name for name, layout in known.items() if layout.axes != "tokens" and min(layout.size or (1, 1)) > 1]
    names = list(known)
    after = names[names.index(spatial[-1]) :] if spatial else names
    if any(known[name].axes == "tokens" and known[name].size is not None for name in after):
        message = "this classifier works on tokens: take another method than gradcam, or name a layer (b, c, h, w)"
        raise InputError(message, code="layer")
    if not spatial:
        message = "gradcam needs a layer with spatial channels, and this classifier has none: take another method"
        raise InputError(message, code="layer")
    return spatial[-1]


def occlusion(question: Question) -> Attributed:
    channels, height, width = question.x.shape[1:]
    stride = max(1, math.ceil(min(height, width) / (2 * WINDOWS)))
    found = captum.attr.Occlusion(question.classifier).attribute(
        question.x,
        sliding_window_shapes=(channels, 2 * stride, 2 * stride),
        strides=(channels, stride, stride),
        baselines=question.baseline,
        target=question.target,
        perturbations_per_eval=images_per_pass(question.x.shape),
    )
    return found, {"window": 2 * stride, "stride": stride, "baseline": None}


METHODS: dict[Method, Callable[[Question], Attributed]] = {
    "mig-sg": mig_sg,
    "gradient": gradient,
    "input-x-gradient": input_x_gradient,
    "integrated-gradients": integrated_gradients,
    "smoothgrad": smoothgrad,
    "guided-backprop": guided_backprop,
    "gradcam": gradcam,
    "occlusion": occlusion,
}
