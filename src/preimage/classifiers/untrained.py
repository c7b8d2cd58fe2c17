"""How a training begins: an untrained classifier for its images, and an untrained loss estimator for a classifier."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from preimage.classifiers.classifier import Classifier
from preimage.classifiers.loss_estimator import LossEstimator, block_layers
from preimage.classifiers.model_file import Backbone
from preimage.errors import InputError
from preimage.rng import drawing_from

_SAMPLES = 500  # images whose mean and standard deviation normalize all


def untrained_classifier(backbone: Backbone, images: torch.Tensor, classes: Sequence[str], seed: int) -> Classifier:
    """A classifier of random weights that normalizes by mean and standard deviation of its training images.

    Example:
        >>> images = torch.randint(256, (20, 3, 32, 32), dtype=torch.uint8)
        >>> untrained_classifier(Backbone("thin_resnet10"), images, ["nevus", "melanoma"], seed=0).classes
        ('nevus', 'melanoma')

    Args:
        backbone: the architecture.
        images: (n, 3, h, w) uint8.
        classes: their names.
        seed: random seed of the weights.

    Raises:
        InputError: an unknown architecture.
    """
    with drawing_from(seeded(seed)):
        model = backbone.build(len(classes))
    sample = images[:: max(1, len(images) // _SAMPLES)].cpu().float() / 255
    mean, std = sample.mean((0, 2, 3)), sample.std((0, 2, 3)).clamp_min(1e-3)
    # No size yet: crops of the images are classified as they are.
    return Classifier(model, classes, mean.tolist(), std.tolist(), copy=False)


def untrained_estimator(
    classifier: Classifier, image: torch.Tensor, layers: Sequence[str] = (), *, seed: int
) -> LossEstimator:
    """A loss estimator of random weights for some layers of a classifier; none given: the last of each block.

    Args:
        classifier: on the device of the image.
        image: (1, 3, h, w) in 0 to 1, by which the layers' channels are known.
        layers: their names.
        seed: random seed of the weights.

    Raises:
        InputError: a classifier that cannot process images of this size, or an unknown layer.
    """
    height, width = image.shape[-2:]
    try:
        with torch.no_grad():
            chosen = list(layers) or block_layers(classifier, image)
            _, features = classifier.logits_and_features(image, chosen)
    except InputError:
        raise
    except (RuntimeError, AssertionError, ValueError) as error:  # each library has its own
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            f"the classifier cannot process images of {width} x {height} ({reason}): give another size or another classifier",
            code="classifier",
        ) from error
    channels = {layer: value.shape[1] if value.ndim in (2, 4) else value.shape[2] for layer, value in features.items()}
    with drawing_from(seeded(seed)):
        return LossEstimator(channels)


def seeded(seed: int) -> torch.Generator:
    """A generator on the CPU."""
    return torch.Generator().manual_seed(seed)
