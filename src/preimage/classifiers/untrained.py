"""Whether a classifier looks untrained: an explanation of random weights is well formed, and says nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import nn

from preimage.classifiers.classifier import Classifier
from preimage.classifiers.modules import takes_unit_range
from preimage.errors import InputError

# MEASURED on untrained AlexNet, VGG, SqueezeNet, ViT and MobileNet (entropy at least 0.96 of its maximum, distances at most 0.08)
# and on trained ones (distances at least 0.37). By a tint: 0.07 at most on untrained AlexNet, VGG, SqueezeNet
# and networks of two convolutions, 0.67 on a classifier of colors.
ENTROPY, DISTANCE, TINT = 0.95, 0.1, 1 / 3
_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)


def looks_untrained(classifier: Classifier, image: torch.Tensor) -> str:
    """The warning for people, in one line; an empty text for a classifier that was trained as far as can be seen.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> looks_untrained(Classifier(model, 4), torch.rand(1, 3, 32, 32)).partition(":")[0]
        'the classifier looks untrained'

    Args:
        image: (1, c, h, w) in 0 to 1, on the classifier's device.
    """
    if _norms_are_initial(classifier.model):
        reason = "all its normalizations are as they were initialized"
    elif _answers_alike(classifier, image):
        unlike = "its negative, its shuffled pixels, its tints and noise"
        reason = f"it gives nearly the same uncertain probabilities for the image, {unlike}"
    else:
        return ""
    return (
        f"the classifier looks untrained: {reason}; an explanation of random weights means nothing, check its weights"
    )


def _norms_are_initial(model: nn.Module) -> bool:
    """Whether there are normalizations, and not one with a statistic, a weight or a bias that training has changed."""
    norms = [part for part in model.modules() if isinstance(part, _NORMS)]
    changed, count = False, 0
    for norm in norms:
        for name, value in (*norm.named_parameters(recurse=False), *norm.named_buffers(recurse=False)):
            if value.numel() and value.is_floating_point():
                count += 1
                first = (
                    0.0
                    if name in ("bias", "running_mean")
                    else 1.0
                    if name == "running_var"
                    else float(value.flatten()[0])
                )
                changed = changed or not bool((value == first).all())
    return count > 0 and not changed


def _answers_alike(classifier: Classifier, image: torch.Tensor) -> bool:
    """Whether unlike images have nearly the same, nearly uniform probabilities."""
    if takes_unit_range(classifier.model):  # one that purifies them, which would take its time
        return False
    try:
        with torch.no_grad():
            given = classifier.probabilities(image).float()
            if not bool(given.isfinite().all()) or _relative_entropy(given, classifier.independent) < ENTROPY:
                return False
            others = [classifier.probabilities(other).float() for other in _unlike(image)]
    except InputError:  # for this image or size alone: the task itself says so
        return False
    differences = [(other - given).abs() for other in others]
    share = [float(each.max()) if classifier.independent else float(each.sum()) / 2 for each in differences]
    return max(share) < DISTANCE


def _relative_entropy(p: torch.Tensor, independent: bool) -> float:
    """The entropy of probabilities (1, classes) over its maximum, 0 to 1."""
    if independent:
        p = torch.stack([p, 1 - p])
        return float(-torch.special.xlogy(p, p).sum(0).mean()) / math.log(2)
    return float(-torch.special.xlogy(p, p).sum()) / math.log(p.shape[1])


def _unlike(image: torch.Tensor) -> Iterator[torch.Tensor]:
    """Images that no trained classifier takes for the given one."""
    generator = torch.Generator().manual_seed(0)
    yield 1 - image
    yield torch.rand(image.shape, generator=generator).to(image)
    order = torch.randperm(image[0, 0].numel(), generator=generator).to(image.device)
    yield image.flatten(2)[..., order].view_as(image)
    yield torch.linspace(0, 1, image.shape[-1], device=image.device).expand_as(image)
    if image.shape[1] == 3:  # if the image is gray, so are all above, and a classifier of colors answers them alike
        for color in torch.eye(3, device=image.device, dtype=image.dtype):
            yield image.lerp(color.view(1, 3, 1, 1).expand_as(image), TINT)
