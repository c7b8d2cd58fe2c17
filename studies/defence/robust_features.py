"""Pictures that hold only what one classifier goes by: matched to its features of a picture, from another picture.

    x' = arg min over x' in [0, 1]  || g(x') - g(x) ||_2,        g: what the classifier's last linear layer is given

Of an adversarially trained classifier x' is a robust picture; of any other it is a non-robust one, which to the eye stays near
what it began as, and to the classifier is x.

Source: Ilyas, Santurkar, Tsipras, Engstrom, Tran, Madry, Adversarial Examples Are Not Bugs, They Are Features, NeurIPS 2019
(the data sets: https://github.com/MadryLab/constructed-datasets); Kattamis, Adel, Weller 2019.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from preimage.classifiers import Classifier
from preimage.classifiers.classifier import gradient_of
from preimage.defend.checks import checked_images, checked_labels
from preimage.defend.users_model import at_rest, device_of
from preimage.errors import InputError
from preimage.images import as_picture
from studies.harness.study import slug

# Ilyas et al. take 1000 steps of 0.1. MEASURED on four pictures and a ResNet-18: these leave 5.5 % of the features' norm, 250 of
# 0.1 leave 10 %, and 250 that shrink from 1 to nothing leave 7 %.
STEPS, RATE, BATCH = 250, 1.0, 64


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
    """Pictures (b, 3, h, w), on the CPU, of which the classifier's features are those of the given ones, from other starts.

    Each step goes down the gradient of the distance, by a length that is the same for every picture: `rate` at first, in the
    Euclidean norm of a picture in 0 to 1, falling to 0 as a straight line.

    Args:
        layer: of the classifier, by name; None: what its last linear layer is given, the penultimate layer.
        starts: pictures of the same shape, of `shuffled` say; None: noise by the seed, even from 0 to 1.
        batch: pictures a pass.
    """
    if steps < 1 or batch < 1 or not rate > 0:
        raise InputError(f"steps and batch must be at least 1 and rate above 0, got {steps}, {batch} and {rate}")
    given = checked_images(images).detach().float().cpu()
    if starts is None:
        starts = torch.rand(given.shape, generator=torch.Generator().manual_seed(seed))
    if checked_images(starts).shape != given.shape:
        raise InputError(f"starts must have the shape of the pictures, {tuple(given.shape)}, got {tuple(starts.shape)}")
    found, place = [], device_of(classifier)
    with at_rest(classifier):
        for part, x in zip(given.split(batch), starts.detach().float().cpu().split(batch), strict=True):
            with torch.no_grad():
                wanted = features_of(classifier, part.to(place), layer)
            x = x.to(place)
            for step in range(steps):
                with torch.enable_grad():
                    x = x.detach().requires_grad_()
                    slope = gradient_of((features_of(classifier, x, layer) - wanted).norm(dim=1).sum(), x)
                length = slope.flatten(1).norm(dim=1).clamp_min(1e-12).reshape(-1, 1, 1, 1)
                x = (x.detach() - rate * (1 - step / steps) * slope / length).clamp(0, 1)
            found.append(x.detach().cpu())
    return torch.cat(found)


def features_of(classifier: Classifier, images: torch.Tensor, layer: str | None = None) -> torch.Tensor:
    """What a layer gives for pictures (b, c, h, w), (b, n); of no layer in particular what the last linear one is given."""
    if layer is not None:
        return classifier.features(images, layer).flatten(1).float()
    outputs = (1, 2) if len(classifier.classes) == 2 else (len(classifier.classes),)
    linear = [part for part in classifier.model.modules() if isinstance(part, nn.Linear)]
    heads = [part for part in linear if part.out_features in outputs]
    found: list[torch.Tensor] = []
    if heads:
        with heads[-1].register_forward_pre_hook(lambda module, given: found.append(given[0])):
            classifier(images)
    if not found:
        raise InputError(
            "the classifier has no linear layer that gives its logits: name the layer whose features count"
        )
    return found[-1].flatten(1).float()


@torch.no_grad()
def relative_distance(classifier: Classifier, images: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """|| g(image) - g(other) || / || g(other) || of each of two rows of pictures (b, c, h, w), (b,)."""
    place = device_of(classifier)
    with at_rest(classifier):
        ours, theirs = (features_of(classifier, x.to(place)) for x in (images, others))
    return ((ours - theirs).norm(dim=1) / theirs.norm(dim=1).clamp_min(1e-12)).cpu()


def shuffled(images: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """The same pictures (b, c, h, w) in another order, none in its own place: each is a random start for another."""
    if len(images) < 2:
        raise InputError("one picture alone has no other to start from: give 2 or more, or start from noise")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    starts = torch.empty_like(images)
    starts[order] = images[order.roll(1)]
    return starts


def file_names(names: Sequence[str]) -> list[str]:
    """A file name for each name: one part of a path whatever it holds; numbered where two would be alike in any case."""
    plain = [slug(name)[:100] for name in names]
    alike = len({name.lower() for name in plain}) < len(plain)
    return [f"{name}-{k}" for k, name in enumerate(plain)] if alike else plain


def write_image_folder(
    folder: str | Path,
    images: torch.Tensor,
    labels: Sequence[int] | torch.Tensor,
    classes: Sequence[str],
    names: Sequence[str] | None = None,
) -> list[Path]:
    """Write pictures as PNGs of 8 bits, one folder per class, as `preimage train` and torchvision's ImageFolder read them.

    Args:
        images: (b, 1 or 3, h, w) in 0 to 1.
        labels: (b,) the index of each picture's class.
        names: of each picture, without the ending; numbers if None.
    """
    chosen = checked_labels(labels, len(checked_images(images)), len(classes)).tolist()
    words = [f"{number:05d}" for number in range(len(images))] if names is None else file_names(names)
    folders = file_names(classes)
    paths = [Path(folder) / folders[label] / f"{word}.png" for label, word in zip(chosen, words, strict=True)]
    for path, image in zip(paths, images.detach().cpu().split(1), strict=True):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{path.parent} cannot be made ({error.strerror}): choose another folder") from error
        as_picture(image).write(image, path, overwrite=True)
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

    Args:
        starts: as in `features_matched`; None: the pictures, `shuffled` by the seed.
    """
    begun = shuffled(checked_images(images), seed) if starts is None else starts
    folders = file_names(classifier.classes)
    paths = [Path(folder) / folders[int(y)] / f"{number:05d}.png" for number, y in enumerate(labels)]
    missing = torch.tensor([number for number, path in enumerate(paths) if not path.exists()], dtype=torch.long)
    settings: Any = {"layer": layer, "steps": steps, "rate": rate, "batch": batch}
    for some in missing.split(batch) if len(missing) else ():
        found = features_matched(images[some], classifier, starts=begun[some], **settings)
        names = [f"{number:05d}" for number in some.tolist()]
        write_image_folder(folder, found, labels[some], classifier.classes, names)
    return paths


def read_published(folder: str | Path) -> tuple[torch.Tensor, torch.Tensor]:
    """The published data sets of robust and non-robust pictures: (n, 3, 32, 32) float32 in 0 to 1, and labels (n,) int64.

    Args:
        folder: `d_robust_CIFAR` or `d_non_robust_CIFAR` of the release, with its files CIFAR_ims and CIFAR_lab: tensors, or lists
            of tensors, by torch.save. No code in them is ever run.
    """
    found = []
    for path in (Path(folder) / "CIFAR_ims", Path(folder) / "CIFAR_lab"):
        if not path.is_file():
            raise InputError(f"{path} does not exist: give the folder that holds CIFAR_ims and CIFAR_lab")
        try:
            held: Any = torch.load(path, map_location="cpu", weights_only=True)
            found.append(held if isinstance(held, torch.Tensor) else torch.cat(list(held)))
        except Exception as error:  # pickle, zip, another thing than tensors: each raises its own
            raise InputError(f"{path} holds no tensors by torch.save: it is not of the published data") from error
    images = checked_images(found[0])
    return images.float(), checked_labels(found[1], len(images), 10)
