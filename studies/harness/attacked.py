"""What the studies of the defence share: attacks, recipes, and what a classifier predicts of pictures and of early outputs.

Up to scale small the pictures are CIFAR-10's. At paper and imagenet they are ImageNet's, as in Kattamis, Adel, Weller 2019
(published: 500 pictures of 200 classes). At imagenet the studies share their fits, for one takes long.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from preimage.classifiers import Classifier
from preimage.defend.attacks import attack
from preimage.defend.evaluate import seeds_of
from preimage.defend.purification import FAST, PAPER
from preimage.defend.users_model import device_of
from preimage.engine.devices import choose_device, has_native_bfloat16
from preimage.engine.recipe import Recipe
from preimage.networks import SkipNet
from studies.defence.several_steps import early_outputs, kept_outputs
from studies.harness import Run
from studies.harness.classifiers import SEED, Pictures

NONE = "none"
BATCH = 32  # pictures that are fitted side by side
# Of the two networks that were published the one that 32 pixels are fitted with: three levels of 16 channels.
THIN = replace(PAPER, network=SkipNet.Config((16,) * 3, (16,) * 3, (4,) * 3))
_TINY = SkipNet.Config((8, 8), (8, 8), (2, 2), upsample="nearest", padding="zeros")
TINY, TINY_FAST = replace(PAPER, network=_TINY), replace(FAST, network=_TINY, steps=4)  # of smoke runs
# Of all that is asked of the published fit at scale imagenet: by Tables 1 and 2, Figure 1, Figure 2.
LOOKS = tuple(sorted({50, 750, *range(100, 4001, 100)}))


@dataclass(frozen=True)
class Condition:
    """An attack of the bare classifier and its eps, in 1/255; none and 0: the pictures as they are."""

    attack: str
    eps: float = 0

    def of(self, classifier: Classifier, pictures: Pictures, seed: int = SEED) -> torch.Tensor:
        name: Any = self.attack
        if name == NONE:
            return pictures.images
        return attack(name, classifier, pictures.images, pictures.labels, self.eps, seed=seed)

    def __str__(self) -> str:
        return "as they are" if self.attack == NONE else f"{self.attack.upper()} {self.eps:g}"


CLEAN = Condition(NONE)


def published() -> Recipe:
    """The published recipe, as the shared fits have it: in bfloat16 where the machine computes it faster, else in float32."""
    return replace(PAPER, precision="bfloat16" if has_native_bfloat16(choose_device("auto")) else "float32")


def fits_folder(run: Run) -> Path:
    """Where the fits are kept that studies share."""
    return (run.output or Path("out")) / "fits"


def shared_fit(
    run: Run, classifier: Classifier, pictures: Pictures, number: int, condition: Condition
) -> tuple[torch.Tensor, dict[int, torch.Tensor]]:
    """One of the pictures under an attack, and the outputs of its published fit by step: those that the defence table judges."""
    place = pictures.numbers.index(number)
    given = condition.of(classifier, pictures[place : place + 1])
    own = {"recipe": published(), "seed": seeds_of(SEED)[0], "stream": place}
    found = kept_outputs(fits_folder(run), given.to(device_of(classifier)), LOOKS, **own)
    return given, dict(zip(LOOKS, found, strict=True))


@torch.no_grad()
def classified(classifier: Classifier, images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(b,) the probability of each picture's true class, and (b,) bool: whether it is what is predicted; on the CPU."""
    chances, labels = torch.cat([classifier.probabilities(part).cpu() for part in images.split(BATCH)]), labels.cpu()
    return chances.gather(1, labels[:, None])[:, 0], chances.argmax(1) == labels


def classified_early(
    classifier: Classifier, images: torch.Tensor, labels: torch.Tensor, recipe: Recipe, looks: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same of the early outputs, fitted where the classifier is: (looks, b) both.

    A picture has the same random numbers whatever was done to it.
    """
    each, streams = [], torch.arange(len(images))
    for some in streams.split(BATCH):
        given = images[some].to(device_of(classifier))
        early = early_outputs(given, looks, recipe=recipe, seed=SEED, streams=some.tolist())
        found = [classified(classifier, outputs, labels[some]) for outputs in early]
        each.append([torch.stack(values) for values in zip(*found, strict=True)])
    confidence, right = (torch.cat(parts, 1) for parts in zip(*each, strict=True))
    return confidence, right
