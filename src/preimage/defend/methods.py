"""saliency: where a classifier looks in a picture, by MIG-SG or by one of captum's methods, all asked in the same way."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import captum.attr
import torch
from torch.nn import functional

from preimage.classifiers import Classifier
from preimage.classifiers.classifier import check_answer
from preimage.defend.faithfulness import blurred
from preimage.defend.logits import checked_seed, noise_level, pictures_a_pass, whole_number
from preimage.defend.saliency import MIGSG, SAMPLES, SIGMA, STEPS
from preimage.engine.devices import choose_device
from preimage.errors import InputError
from preimage.explain.inputs import AnyClassifier, as_model, one_picture
from preimage.explain.similarity import heat_map

Method = Literal[
    "mig-sg",
    "gradient",
    "input-x-gradient",
    "integrated-gradients",
    "smoothgrad",
    "guided-backprop",
    "gradcam",
    "occlusion",
]
Baseline = Literal["blur", "mean", "black", "gray", "white"]

# These tell what speaks for the class from what speaks against it; the others have sizes only.
SIGNED = ("input-x-gradient", "integrated-gradients", "gradcam", "occlusion")
SMOOTHGRAD_SAMPLES = 50  # as its paper
WINDOWS = 8  # of occlusion along the short side; each overlaps the next by half
_GRAYS: dict[str, float] = {"black": 0.0, "gray": 0.5, "white": 1.0}


@dataclass(frozen=True, eq=False)
class SaliencyMap:
    """Where the classifier looks, and what it says.

    `map` is (1, 1, h, w) at the picture's own size, at least 0, channels merged; `attribution` is (1, c, h', w') as the method
    gave it, of `seen`, the picture at the size at which it was asked; both on the CPU.
    """

    map: torch.Tensor
    attribution: torch.Tensor
    seen: torch.Tensor
    target: int
    target_class: str
    confidence: float  # the target's probability, 0 to 1
    prediction: str  # the class that the classifier says
    method: Method
    settings: dict[str, Any]

    @property
    def merged(self) -> torch.Tensor:
        """(1, 1, h', w'): the map at the size of `seen`, before it was brought to the picture's."""
        return merged(self.attribution, self.method)


def saliency(
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
    """Where in a picture a classifier looks for a class.

    Example:
        >>> found = saliency("lesion.jpg", "lesions.pt", "mel")          # doctest: +SKIP
        >>> found.map.shape, found.confidence                            # doctest: +SKIP
        (torch.Size([1, 1, 450, 600]), 0.83)

    A picture of more pixels than the classifier looks at is reduced to those first, as the classifier itself does it: noise is
    then what it is called, and the map is brought back to the picture's size.

    Channels are merged in the map alone, in a way that is chosen here: the mean of their sizes; for the methods that know signs
    (input-x-gradient, integrated-gradients, gradcam, occlusion) their mean, of which only what speaks for the class is left.

    Args:
        image: a picture: a path, an array, a tensor in 0 to 1, a Pillow image.
        classifier: FILE.pt of `preimage train`, torchvision:NAME, timm:NAME, hf:NAME (each perhaps with @FILE of weights), or
            module.path:function; in Python a Classifier or what load_model returns, too.
        target: the class that is asked about, by name or number; None: the one that the classifier says.
        method: mig-sg, or one of captum's: gradient, input-x-gradient, integrated-gradients, smoothgrad; guided-backprop, for a
            classifier whose ReLUs are modules; gradcam, for a convolutional one; occlusion, which needs no gradient.
        n_steps: from the baseline to the picture, at least 1; of mig-sg and integrated-gradients.
        n_samples: noisy copies, at least 1; of mig-sg (None: 4 at each step) and smoothgrad (None: 50).
        sigma: standard deviation of their noise, white being 1, at least 0.
        baseline: what nothing is: the picture blurred (blur), its mean color (mean), black, gray, white, a number from 0 to 1,
            or a tensor; of mig-sg, integrated-gradients and occlusion. Where the picture equals it there is no saliency. The
            blur is chosen here, for the way to it passes pictures; with black what is dark is never salient.
        layer: of gradcam; None: the last one that gives channels with places.
        value_range: values of the picture that are black and white.
        seed: of the noise.
        device: "auto", "cpu", "cuda", "mps".

    Raises:
        InputError: what cannot be used, or a method that does not work with this classifier.

    Source: Kattamis, Adel, Weller 2019, eq. 1 (mig-sg); of the others the papers that captum's documentation names.
    """
    if method not in get_args(Method):
        raise InputError(f"there is no method {method!r}: give one of {', '.join(get_args(Method))}")
    if layer is not None and method != "gradcam":
        raise InputError(f"a layer is of gradcam alone, got {layer!r} for {method}: leave layer out, or take gradcam")
    asked = as_model(classifier).classifier.to(choose_device(device))
    picture = one_picture(image, value_range).tensor
    x = at_its_size(picture, asked).to(asked.mean.device)
    with torch.no_grad():
        chances = asked.probabilities(x)[0].float().cpu()
    check_answer(chances)
    number = int(chances.argmax()) if target is None else asked.class_index(target)
    question = _Question(
        asked,
        x,
        number,
        _baseline(baseline, x),
        whole_number(n_steps, "n_steps"),
        None if n_samples is None else whole_number(n_samples, "n_samples"),
        noise_level(sigma, "sigma"),
        layer,
        checked_seed(seed),
    )
    attribution, settings = _METHODS[method](question)
    if not bool(attribution.isfinite().all()):
        raise InputError(f"{method} gives values that are not finite for this picture: take another method")
    if "baseline" in settings:
        settings["baseline"] = baseline if isinstance(baseline, str | int | float) else "a tensor"
    attribution = attribution.detach().float().cpu()
    small = merged(attribution, method)
    size = tuple(picture.shape[-2:])
    own = (
        small if small.shape[-2:] == size else functional.interpolate(small, size, mode="bilinear", align_corners=False)
    )
    return SaliencyMap(
        map=own,
        attribution=attribution,
        seen=x.cpu(),
        target=number,
        target_class=asked.classes[number],
        confidence=float(chances[number]),
        prediction=asked.classes[int(chances.argmax())],
        method=method,
        settings=settings,
    )


def merged(attribution: torch.Tensor, method: Method) -> torch.Tensor:
    """(b, c, h, w) -> (b, 1, h, w), at least 0: what is drawn, and by what pixels are put in order."""
    return attribution.mean(1, keepdim=True).clamp_min(0) if method in SIGNED else heat_map(attribution)


def at_its_size(picture: torch.Tensor, classifier: Classifier) -> torch.Tensor:
    """A picture (b, c, h, w) as the classifier resizes it, where it has more pixels than that; else as it is."""
    size = classifier.size
    if size is None or picture.shape[-2] * picture.shape[-1] <= size[0] * size[1]:
        return picture
    return functional.interpolate(picture, size=size, mode="bilinear", align_corners=False, antialias=True)


# ---------------------------------------------------------------------- one method each


@dataclass(frozen=True, eq=False)
class _Question:
    """What a method is asked: x and baseline are (1, c, h, w)."""

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
        """The picture, to which captum may ask the gradient without a warning."""
        self.classifier.check_gradient(self.x)
        return self.x.detach().clone().requires_grad_()


Answer = tuple[torch.Tensor, dict[str, Any]]


def _mig_sg(asked: _Question) -> Answer:
    samples = SAMPLES if asked.samples is None else asked.samples
    settings = {"n_steps": asked.steps, "n_samples": samples, "sigma": asked.sigma, "seed": asked.seed}
    found = MIGSG(asked.classifier).attribute(
        asked.x, asked.baseline, asked.target, asked.steps, samples, asked.sigma, seed=asked.seed
    )
    return found, {**settings, "baseline": None}


def _gradient(asked: _Question) -> Answer:
    return captum.attr.Saliency(asked.classifier).attribute(asked.leaf(), target=asked.target), {}


def _input_x_gradient(asked: _Question) -> Answer:
    return captum.attr.InputXGradient(asked.classifier).attribute(asked.leaf(), target=asked.target), {}


def _integrated_gradients(asked: _Question) -> Answer:
    found = captum.attr.IntegratedGradients(asked.classifier).attribute(
        asked.leaf(),
        baselines=asked.baseline,
        target=asked.target,
        n_steps=asked.steps,
        internal_batch_size=pictures_a_pass(asked.x.shape),
    )
    return found, {"n_steps": asked.steps, "baseline": None}


def _smoothgrad(asked: _Question) -> Answer:
    samples = SMOOTHGRAD_SAMPLES if asked.samples is None else asked.samples
    with _random_numbers(asked.x.device, asked.seed):
        found = captum.attr.NoiseTunnel(captum.attr.Saliency(asked.classifier)).attribute(
            asked.leaf(),
            nt_type="smoothgrad",
            nt_samples=samples,
            nt_samples_batch_size=min(samples, pictures_a_pass(asked.x.shape)),
            stdevs=asked.sigma,
            target=asked.target,
            abs=False,
        )
    return cast(torch.Tensor, found), {"n_samples": samples, "sigma": asked.sigma, "seed": asked.seed}


@contextlib.contextmanager
def _random_numbers(device: torch.device, seed: int) -> Iterator[None]:
    """The random numbers of the whole process, which captum draws from, begun at a seed and put back afterwards.

    On one device alone: torch.manual_seed would begin anew those of all graphics cards, which are not put back.
    """
    on_card = device.type == "cuda"
    with torch.random.fork_rng([device] if on_card else []):
        if on_card:
            torch.cuda.default_generators[device.index].manual_seed(seed)
        elif device.type == "mps":
            torch.mps.manual_seed(seed)
        else:
            torch.default_generator.manual_seed(seed)
        yield


def _guided_backprop(asked: _Question) -> Answer:
    if not any(isinstance(module, torch.nn.ReLU) for module in asked.classifier.modules()):
        raise InputError(
            "guided-backprop changes how the gradient passes modules of nn.ReLU, and the classifier has none: take gradient "
            "or another method"
        )
    with warnings.catch_warnings():
        # It says that it sets hooks, which it takes off again.
        warnings.filterwarnings("ignore", message="Setting backward hooks on ReLU activations")
        return captum.attr.GuidedBackprop(asked.classifier).attribute(asked.leaf(), target=asked.target), {}


def _gradcam(asked: _Question) -> Answer:
    layer = _last_with_places(asked) if asked.layer is None else asked.layer
    shape = tuple(asked.classifier.features(asked.x, layer).shape)
    if len(shape) != 4:
        raise InputError(
            f"gradcam needs a layer that gives channels with places (b, c, h, w), and {layer!r} gives {shape}"
        )
    module = asked.classifier.model.get_submodule(layer)
    found: Any = captum.attr.LayerGradCam(asked.classifier, module).attribute(
        asked.leaf(), target=asked.target, relu_attributions=True
    )
    size = tuple(asked.x.shape[-2:])
    large = captum.attr.LayerAttribution.interpolate(found.detach(), size, "bilinear")
    return large.expand_as(asked.x), {"layer": layer}


def _last_with_places(asked: _Question) -> str:
    shapes = asked.classifier.shapes(asked.x)
    if any(len(shape) == 3 for shape in shapes.values()):
        raise InputError(
            "gradcam is for convolutional classifiers, and this one works on tokens: take another method, or name a layer that "
            "gives (b, c, h, w)"
        )
    spatial = [name for name, shape in shapes.items() if len(shape) == 4 and shape[2] * shape[3] > 1]
    if not spatial:
        raise InputError("gradcam needs a layer that gives channels with places, and this classifier has none")
    return spatial[-1]


def _occlusion(asked: _Question) -> Answer:
    channels, height, width = asked.x.shape[1:]
    stride = max(1, math.ceil(min(height, width) / (2 * WINDOWS)))
    side = 2 * stride
    found = captum.attr.Occlusion(asked.classifier).attribute(
        asked.x,
        sliding_window_shapes=(channels, side, side),
        strides=(channels, stride, stride),
        baselines=asked.baseline,
        target=asked.target,
        perturbations_per_eval=pictures_a_pass(asked.x.shape),
    )
    return found, {"window": side, "stride": stride, "baseline": None}


_METHODS: dict[str, Callable[[_Question], Answer]] = {
    "mig-sg": _mig_sg,
    "gradient": _gradient,
    "input-x-gradient": _input_x_gradient,
    "integrated-gradients": _integrated_gradients,
    "smoothgrad": _smoothgrad,
    "guided-backprop": _guided_backprop,
    "gradcam": _gradcam,
    "occlusion": _occlusion,
}


# ---------------------------------------------------------------------- what was given


def _baseline(given: Any, x: torch.Tensor) -> torch.Tensor:
    """(1, c, h, w): what stands for nothing."""
    if isinstance(given, torch.Tensor):
        try:
            return given.detach().to(x).broadcast_to(x.shape)
        except RuntimeError as error:
            raise InputError(
                f"the baseline is {tuple(given.shape)} and the picture is seen as {tuple(x.shape)}: give (c, 1, 1), or that shape"
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
