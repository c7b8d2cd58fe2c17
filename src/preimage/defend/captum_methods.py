"""Methods of saliency, each a function of one question: MIG-SG, captum's, and SmoothGrad with a generator of its own.

Hooks are registered on a copy that shares the weights (`same_weights`), so that no other pass of the classifier meets them.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import captum.attr
import torch

from preimage.classifiers import Classifier
from preimage.defend.logits import images_per_pass, target_gradient
from preimage.defend.methods import Method
from preimage.defend.migsg import MIGSG, SAMPLES
from preimage.defend.users_model import same_weights
from preimage.errors import InputError

Attributed = tuple[torch.Tensor, dict[str, Any]]  # (1, c, h, w), and the settings it was made with

SMOOTHGRAD_SAMPLES = 50  # as its paper
WINDOWS = 8  # of occlusion along the short side; each overlaps the next by half


@dataclass(frozen=True, eq=False)
class Question:
    """What a method attributes: the target's logit at x, (1, c, h, w), against a baseline of that shape."""

    classifier: Classifier
    x: torch.Tensor
    target: int
    baseline: torch.Tensor
    steps: int
    samples: int | None
    sigma: float
    layer: str | None
    seed: int

    def leaf(self) -> torch.Tensor:
        """The image as a leaf that requires a gradient, which captum would otherwise warn about."""
        self.classifier.check_gradient(self.x)
        return self.x.detach().clone().requires_grad_()


def mig_sg(question: Question) -> Attributed:
    samples = SAMPLES if question.samples is None else question.samples
    settings = {"n_steps": question.steps, "n_samples": samples, "sigma": question.sigma, "seed": question.seed}
    found = MIGSG(question.classifier).attribute(
        question.x, question.baseline, question.target, question.steps, samples, question.sigma, seed=question.seed
    )
    return found, {**settings, "baseline": None}


def gradient(question: Question) -> Attributed:
    return captum.attr.Saliency(question.classifier).attribute(question.leaf(), target=question.target), {}


def input_x_gradient(question: Question) -> Attributed:
    return captum.attr.InputXGradient(question.classifier).attribute(question.leaf(), target=question.target), {}


def integrated_gradients(question: Question) -> Attributed:
    found = captum.attr.IntegratedGradients(question.classifier).attribute(
        question.leaf(),
        baselines=question.baseline,
        target=question.target,
        n_steps=question.steps,
        internal_batch_size=images_per_pass(question.x.shape),
    )
    return found, {"n_steps": question.steps, "baseline": None}


def smoothgrad(question: Question) -> Attributed:
    """1/n sum of dF_t/dx (x + N(0, sigma^2)), as captum's NoiseTunnel, which draws from the global generator."""
    samples = SMOOTHGRAD_SAMPLES if question.samples is None else question.samples
    x, size = question.x.detach(), min(samples, images_per_pass(question.x.shape))
    question.classifier.check_gradient(x)
    generator = torch.Generator(x.device).manual_seed(question.seed)
    total = torch.zeros_like(x)
    for first in range(0, samples, size):
        count = min(size, samples - first)
        copies = x.repeat_interleave(count, 0)
        noise = torch.normal(0.0, torch.full_like(copies, question.sigma), generator=generator)
        slopes = target_gradient(question.classifier, copies + noise, [question.target] * count)
        total = total + slopes.unsqueeze(0).sum(1)
    return total * 1 / samples, {"n_samples": samples, "sigma": question.sigma, "seed": question.seed}


def guided_backprop(question: Question) -> Attributed:
    if not any(isinstance(module, torch.nn.ReLU) for module in question.classifier.modules()):
        raise InputError(
            "guided-backprop changes how the gradient passes modules of nn.ReLU, and the classifier has none: take gradient "
            "or another method",
            code="classifier",
        )
    with warnings.catch_warnings():
        # It warns that it registers hooks, which it removes again.
        warnings.filterwarnings("ignore", message="Setting backward hooks on ReLU activations")
        method = captum.attr.GuidedBackprop(same_weights(question.classifier))
        return method.attribute(question.leaf(), target=question.target), {}


def gradcam(question: Question) -> Attributed:
    layer = _last_spatial(question) if question.layer is None else question.layer
    copy: Any = same_weights(question.classifier)
    shape = tuple(copy.features(question.x, layer).shape)
    if len(shape) != 4:
        raise InputError(
            f"gradcam needs a layer with spatial channels (b, c, h, w), and {layer!r} gives {shape}", code="layer"
        )
    found: Any = captum.attr.LayerGradCam(copy, copy.model.get_submodule(layer)).attribute(
        question.leaf(), target=question.target, relu_attributions=True
    )
    size = tuple(question.x.shape[-2:])
    large = captum.attr.LayerAttribution.interpolate(found.detach(), size, "bilinear")
    return large.expand_as(question.x), {"layer": layer}


def _last_spatial(question: Question) -> str:
    shapes = question.classifier.shapes(question.x)
    if any(len(shape) == 3 for shape in shapes.values()):
        raise InputError(
            "gradcam is for convolutional classifiers, and this one works on tokens: take another method, or name a layer that "
            "gives (b, c, h, w)",
            code="layer",
        )
    spatial = [name for name, shape in shapes.items() if len(shape) == 4 and shape[2] * shape[3] > 1]
    if not spatial:
        raise InputError(
            "gradcam needs a layer with spatial channels, and this classifier has none: take another method",
            code="layer",
        )
    return spatial[-1]


def occlusion(question: Question) -> Attributed:
    channels, height, width = question.x.shape[1:]
    stride = max(1, math.ceil(min(height, width) / (2 * WINDOWS)))
    side = 2 * stride
    found = captum.attr.Occlusion(question.classifier).attribute(
        question.x,
        sliding_window_shapes=(channels, side, side),
        strides=(channels, stride, stride),
        baselines=question.baseline,
        target=question.target,
        perturbations_per_eval=images_per_pass(question.x.shape),
    )
    return found, {"window": side, "stride": stride, "baseline": None}


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
