"""Pictures that hold only what one classifier goes by: matched to its features of a picture, from another picture.

    x' = arg min over x' in [0, 1]  || g(x') - g(x) ||_2,        g: what the classifier's last linear layer is given

Of an adversarially trained classifier x' is a robust picture; of any other it is a non-robust one, which to the eye stays near
what it began as, and to the classifier is x.

Source: Ilyas, Santurkar, Tsipras, Engstrom, Tran, Madry, Adversarial Examples Are Not Bugs, They Are Features, NeurIPS 2019;
Kattamis, Adel, Weller, Exploring Properties of the Deep Image Prior, 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from preimage.classifiers import Classifier
from preimage.classifiers.classifier import gradient_of
from preimage.defend.checks import checked_images
from preimage.defend.users_model import at_rest, device_of
from preimage.errors import InputError
from preimage.images import as_picture
from studies.defence.file_names import file_names

# Ilyas et al. take 1000 steps of 0.1. MEASURED on four pictures and a ResNet-18: these leave 5.5 % of the features' norm, 250 of
# 0.1 leave 10 %, and 250 that shrink from 1 to nothing leave 7 %.
STEPS, RATE = 250, 1.0
BATCH = 64
IMAGES_FILE, LABELS_FILE = "CIFAR_ims", "CIFAR_lab"


def features_matched(
    images: torch.Tensor,
    classifier: Classifier,
    *,
    layer: str | None = None,
    starts: torch.Tensor | None = None,
    steps: int = STEPS,
    rate: float = RATE,
    batch: int = BATCH,
    seed: int = 0,
) -> torch.Tensor:
    """Pictures of which the classifier's features are those of the given ones, from starts that have nothing to do with them.

    Each step goes down the gradient of the distance, by a length that is the same for every picture: `rate` at first, in the
    Euclidean norm of a picture in 0 to 1, falling to 0 as a straight line.

    Example:
        >>> robust = features_matched(images, load_classifier("robust.pt"), starts=shuffled(images))
        >>> relative_distance(load_classifier("robust.pt"), robust, images).max() < 0.5
        tensor(True)

    Args:
        images: (b, 3, h, w) in 0 to 1.
        classifier: whose features.
        layer: of the classifier, by name; None: what its last linear layer is given, the penultimate layer.
        starts: pictures of the same shape, of `shuffled` say; None: noise, even from 0 to 1.
        steps: how many.
        rate: length of the first step.
        batch: pictures a pass.
        seed: of the noise.

    Returns:
        (b, 3, h, w) in 0 to 1, on the CPU.

    Raises:
        InputError: pictures, starts, steps or a rate that cannot be, no such layer, a classifier that ends in no linear one.

    Source: Ilyas et al. 2019, section 3.1 (pictures of the robust and of the non-robust data set).
    """
    if steps < 1 or batch < 1 or not rate > 0:
        raise InputError(f"steps and batch must be at least 1 and rate above 0, got {steps}, {batch} and {rate}")
    given = checked_images(images).detach().float().cpu()
    if starts is None:
        starts = torch.rand(given.shape, generator=torch.Generator().manual_seed(seed))
    if checked_images(starts).shape != given.shape:
        raise InputError(f"starts must have the shape of the pictures, {tuple(given.shape)}, got {tuple(starts.shape)}")
    begun, place = starts.detach().float().cpu(), device_of(classifier)
    each = zip(given.split(batch), begun.split(batch), strict=True)
    with at_rest(classifier):
        found = [_matched(x.to(place), y.to(place), classifier, layer, steps, rate).cpu() for x, y in each]
    return torch.cat(found)


def _matched(
    images: torch.Tensor, x: torch.Tensor, classifier: Classifier, layer: str | None, steps: int, rate: float
) -> torch.Tensor:
    with torch.no_grad():
        wanted = features_of(classifier, images, layer)
    for step in range(steps):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            slope = gradient_of((features_of(classifier, x, layer) - wanted).norm(dim=1).sum(), x)
        length = slope.flatten(1).norm(dim=1).clamp_min(1e-12).reshape(-1, 1, 1, 1)
        x = (x.detach() - rate * (1 - step / steps) * slope / length).clamp(0, 1)
    return x.detach()


def features_of(classifier: Classifier, images: torch.Tensor, layer: str | None = None) -> torch.Tensor:
    """What a layer gives for pictures (b, c, h, w), (b, n); of no layer in particular what the last linear one is given.

    Raises:
        InputError: no such layer; no linear layer that gives the logits.
    """
    if layer is not None:
        return classifier.features(images, layer).flatten(1).float()
    outputs = (1, 2) if len(classifier.classes) == 2 else (len(classifier.classes),)
    heads = [
        part for part in classifier.model.modules() if isinstance(part, nn.Linear) and part.out_features in outputs
    ]
    if not heads:
        raise InputError(
            "the classifier has no linear layer that gives its logits: name the layer whose features count"
        )
    found: list[torch.Tensor] = []

    def keep(module: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        del module
        found.append(given[0])

    handle = heads[-1].register_forward_pre_hook(keep)
    try:
        classifier(images)
    finally:
        handle.remove()
    if not found:
        raise InputError("the classifier does not use its last linear layer: name the layer whose features count")
    return found[-1].flatten(1).float()


@torch.no_grad()
def relative_distance(
    classifier: Classifier, images: torch.Tensor, others: torch.Tensor, layer: str | None = None
) -> torch.Tensor:
    """|| g(image) - g(other) || / || g(other) || of each of two rows of pictures (b, c, h, w), (b,)."""
    place = device_of(classifier)
    with at_rest(classifier):
        ours, theirs = (features_of(classifier, x.to(place), layer) for x in (images, others))
    return ((ours - theirs).norm(dim=1) / theirs.norm(dim=1).clamp_min(1e-12)).cpu()


def shuffled(images: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """The same pictures (b, c, h, w) in another order, none in its own place: each is a random start for another.

    Example:
        >>> (shuffled(images) != images).flatten(1).any(1).all()
        tensor(True)

    Raises:
        InputError: a single picture.
    """
    if len(images) < 2:
        raise InputError("one picture alone has no other to start from: give 2 or more, or start from noise")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    starts = torch.empty_like(images)
    starts[order] = images[order.roll(1)]
    return starts


# ---------------------------------------------------------------------- folders and files


def write_image_folder(
    folder: str | Path,
    images: torch.Tensor,
    labels: Sequence[int] | torch.Tensor,
    classes: Sequence[str],
    names: Sequence[str] | None = None,
) -> list[Path]:
    """Write pictures as PNGs of 8 bits, one folder per class, as `preimage train` and torchvision's ImageFolder read them.

    Example:
        >>> write_image_folder("robust", images, labels, ("airplane", "automobile"))[0]
        PosixPath('robust/airplane/00000.png')

    Args:
        folder: it is made where it is not there; pictures in it of the same name are replaced.
        images: (b, 1 or 3, h, w) in 0 to 1.
        labels: (b,) the index of each picture's class.
        classes: their names; as folders without what a file name cannot hold.
        names: of each picture, without the ending; numbers if None.

    Raises:
        InputError: pictures or labels that cannot be, a folder that cannot be written.
    """
    count, chosen = len(checked_images(images)), [int(label) for label in labels]
    words = [f"{number:05d}" for number in range(count)] if names is None else list(names)
    if not len(words) == len(chosen) == count or len(set(zip(chosen, words, strict=True))) < count:
        raise InputError(
            f"{count} pictures need a label and a name of its own each, got {len(chosen)} and {len(words)}"
        )
    if min(chosen) < 0 or max(chosen) >= len(classes):
        raise InputError(f"labels must be from 0 to {len(classes) - 1}, got {min(chosen)} to {max(chosen)}")
    folders, files = (
        file_names(classes),
        dict(zip(dict.fromkeys(words), file_names(list(dict.fromkeys(words))), strict=True)),
    )
    paths = [Path(folder) / folders[label] / f"{files[name]}.png" for label, name in zip(chosen, words, strict=True)]
    for path, image in zip(paths, images.detach().cpu(), strict=True):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{path.parent} cannot be made ({error.strerror}): choose another folder") from error
        as_picture(image[None]).write(image[None], path, overwrite=True)
    return paths


def write_features_matched(
    folder: str | Path,
    images: torch.Tensor,
    labels: torch.Tensor,
    classifier: Classifier,
    *,
    layer: str | None = None,
    starts: torch.Tensor | None = None,
    steps: int = STEPS,
    rate: float = RATE,
    batch: int = BATCH,
    seed: int = 0,
) -> list[Path]:
    """`features_matched` of pictures as an image folder, in the classes of the classifier; what is there is not made again.

    Every batch is written before the next is begun: after a crash the same call goes on. It does not know with which settings
    the pictures that are there were made: another classifier, another folder.

    Example:
        >>> write_features_matched("robust", images, labels, load_classifier("robust.pt"))

    Args:
        labels: (b,) the index of each picture's class, under whose name it is written.
        starts: as in `features_matched`; None: the given pictures, `shuffled` by the seed.

    Raises:
        InputError: as `features_matched` and `write_image_folder`.
    """
    begun = shuffled(checked_images(images), seed) if starts is None else starts
    folders = file_names(classifier.classes)
    paths = [Path(folder) / folders[int(y)] / f"{number:05d}.png" for number, y in enumerate(labels)]
    missing = torch.tensor([number for number, path in enumerate(paths) if not path.exists()], dtype=torch.long)
    for some in missing.split(batch):
        if len(some):
            found = features_matched(
                images[some], classifier, layer=layer, starts=begun[some], steps=steps, rate=rate, batch=batch
            )
            names = [f"{number:05d}" for number in some.tolist()]
            write_image_folder(folder, found, labels[some], classifier.classes, names)
    return paths


def read_published(folder: str | Path) -> tuple[torch.Tensor, torch.Tensor]:
    """The published data sets of robust and non-robust pictures: (n, 3, 32, 32) float32 in 0 to 1, and labels (n,) int64.

    Example:
        >>> images, labels = read_published("release_datasets/d_robust_CIFAR")
        >>> write_image_folder("robust", images, labels, CLASSES)

    Args:
        folder: `d_robust_CIFAR` or `d_non_robust_CIFAR` of the release, with its files CIFAR_ims and CIFAR_lab: tensors, or lists
            of tensors, by torch.save. No code in them is ever run.

    Raises:
        InputError: files that are not there or hold something else.

    Source: Ilyas et al. 2019, https://github.com/MadryLab/constructed-datasets.
    """
    images = _saved(Path(folder) / IMAGES_FILE)
    labels = _saved(Path(folder) / LABELS_FILE)
    if not images.is_floating_point() or images.ndim != 4 or images.shape[1] != 3 or not len(images):
        raise InputError(
            f"{Path(folder) / IMAGES_FILE} holds {_kind(images)}: pictures are floats (n, 3, h, w) from 0 to 1"
        )
    low, high = (float(end) for end in images.aminmax())
    if not (low >= 0 and high <= 1):  # NaN is neither
        raise InputError(
            f"{Path(folder) / IMAGES_FILE} holds values from {low:g} to {high:g}: pictures are from 0 to 1"
        )
    if labels.shape != images.shape[:1] or labels.is_floating_point() or labels.dtype == torch.bool or labels.min() < 0:
        wanted = f"a whole number of at least 0 for each of {len(images)} pictures"
        raise InputError(f"{Path(folder) / LABELS_FILE} holds {_kind(labels)}: labels are {wanted}")
    return images.float(), labels.long()


def _saved(path: Path) -> torch.Tensor:
    """The tensor in a file, or those of a list one after another."""
    if not path.is_file():
        raise InputError(f"{path} does not exist: give the folder that holds {IMAGES_FILE} and {LABELS_FILE}")
    try:
        held: Any = torch.load(path, map_location="cpu", weights_only=True)
        return held if isinstance(held, torch.Tensor) else torch.cat(list(held))
    except Exception as error:  # pickle, zip, another thing than tensors: each raises its own
        raise InputError(
            f"{path} holds no tensors by torch.save, or more than tensors: it is not of the published data"
        ) from error


def _kind(tensor: torch.Tensor) -> str:
    return f"{tuple(tensor.shape)} {tensor.dtype}"
