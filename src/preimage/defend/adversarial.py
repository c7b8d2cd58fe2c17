"""Adversarial training: a classifier is trained on adversarial examples of itself, made by one step of an attack.

    min over weights  E  L( x + eta + eps sign grad L(x + eta) ),     eta ~ U(-2 eps, 2 eps)

which is N-FGSM: the noise is twice as wide as the step, and the sum is not clipped to eps. So one step is enough, and does not
end in catastrophic overfitting, where a classifier is robust to one step only; robust accuracy under PGD on held-out images is
measured after every epoch, and the best weights are kept.

Source: de Jorge et al., Make Some Noise, NeurIPS 2022; Wong, Rice, Kolter, Fast is better than free, ICLR 2020.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch.nn import functional

from preimage.classifiers import Classifier, TrainedModel
from preimage.classifiers.augmentation import Targets, loss_of, sent, shifted
from preimage.classifiers.classifier import gradient_of
from preimage.classifiers.labelled import TEST, Labelled
from preimage.classifiers.settings import Settings
from preimage.classifiers.train import Training
from preimage.defend.attacks import PGD_REACH, attackable, checked_eps
from preimage.defend.users_model import logits_of
from preimage.errors import InputError

EPS = 8.0  # in units of 1/255
NOISE = 2.0  # of the start, in eps (de Jorge et al. 2022)
VALIDATED, VALIDATION_STEPS = 500, 5  # validation images after each epoch, and steps of PGD on them
TEST_STEPS = 10
# At 32 pixels an image is shifted by 4 at most, as is usual for CIFAR-10. From the time of a step, 10,000 such images take 35
# minutes on one core with native bfloat16, and 80 on one without.
SETTINGS = Settings(backbone="thin_resnet18", epochs=40, batch=128, crop=0.875, mix=0.0)


class AdversarialTraining(Training):
    """A Training against perturbations of at most eps / 255 in every value: iterate it for Epochs, then `result()`.

    Images are shifted and flipped, their colors are not changed. The loss of the loss estimator does not reach the classifier.
    `result().about["adversarial"]` has the accuracy on the test part under ten steps of PGD.

    Example:
        >>> images, labels = torch.randint(256, (16, 3, 32, 32), dtype=torch.uint8), torch.arange(16) % 2
        >>> parts = ("train", "train", "train", "test") * 4
        >>> data = Labelled(images, labels, tuple(map(str, range(16))), parts, ("even", "odd"), "random")
        >>> brief = Settings("thin_resnet10", epochs=1, batch=6, mix=0.0)
        >>> for epoch in (training := AdversarialTraining(data, brief, eps=8, device="cpu")):
        ...     print(epoch.index, 0 <= epoch.robust <= 1)
        1 True
        >>> training.result().about["adversarial"]["attack"]
        'PGD-10'

    Args:
        data, device: as for Training.
        settings: None: SETTINGS. `crop` is the smallest share of each side that is visible of an image.
        eps: above 0 to 255, in units of 1/255.

    Raises:
        InputError: as Training, and an eps out of range.
    """

    apart = True

    def __init__(
        self, data: Labelled, settings: Settings | None = None, *, eps: float = EPS, device: str | torch.device = "auto"
    ) -> None:
        if not checked_eps(eps):
            raise InputError("eps must be above 0, got 0: Training trains without attack")
        self.eps: float = float(eps)
        super().__init__(data, settings or SETTINGS, device=device)
        chosen = torch.randperm(len(self.validation), generator=torch.Generator().manual_seed(self.settings.seed))
        self.validated: Labelled = self.validation.subset(chosen[:VALIDATED].tolist())

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """What a saved state belongs to: that of a Training, and eps."""
        return super().fingerprint | {"eps": self.eps}

    def _result(self) -> TrainedModel:
        model = super()._result()
        robust = self._robust_accuracy(self.data.part(TEST), TEST_STEPS)
        model.about["adversarial"] = {"eps": self.eps, "attack": f"PGD-{TEST_STEPS}", "test": robust}
        return model

    def _robust(self) -> float:
        with self._precision():
            return self._robust_accuracy(self.validated, VALIDATION_STEPS)

    def _robust_accuracy(self, data: Labelled, steps: int) -> float:
        classifier, _ = self.averaged
        correct = 0.0
        for indices in torch.arange(len(data)).split(self.settings.batch):
            x, labels = data.batch(indices, self.device), data.labels[indices]
            correct += len(indices) * robust_accuracy(classifier, x, labels, self.eps, steps=steps)
        return correct / len(data)

    def _logits(self, x: torch.Tensor) -> torch.Tensor:
        with self._precision():
            return self.classifier(x)

    def _losses(self, x: torch.Tensor, targets: Targets) -> tuple[torch.Tensor, torch.Tensor]:
        return super()._losses(n_fgsm(self._logits, x, targets, self.eps), targets)

    def _augmented(self, batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        down, across = (round((1 - self.settings.crop) * side) for side in self.data.size)
        x = shifted(self.learned.batch(batch, self.device), (down, across), generator, upright=self.settings.upright)
        return x.contiguous(memory_format=torch.channels_last)


def n_fgsm(
    model: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor, targets: Targets, eps: float
) -> torch.Tensor:
    """Adversarial examples of images by one step: noise, then the step, neither clipped to eps; within 0 to 1.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 4))
        >>> images, labels = torch.rand(6, 3, 8, 8), torch.tensor([0, 1, 2, 3, 0, 1])
        >>> attacked = n_fgsm(model, images, [(1.0, labels)], eps=8)
        >>> float((attacked - images).abs().max()) < 3 * 8 / 255 + 1e-6
        True

    Args:
        model: from images to logits, differentiable.
        images, eps: as in `attack`.
        targets: labels (b,) of the images, with their shares of the loss.

    Source: de Jorge et al., Make Some Noise, NeurIPS 2022, algorithm 1.
    """
    start = perturbed(images, NOISE * eps).requires_grad_()
    loss = loss_of(model(start), targets).mean()
    return (start.detach() + eps / 255 * gradient_of(loss, start).sign()).clamp(0, 1)


def robust_accuracy(
    classifier: Classifier, images: torch.Tensor, labels: torch.Tensor, eps: float, *, steps: int = TEST_STEPS
) -> float:
    """The accuracy, 0 to 1, under PGD from a random start by steps of 2.5 eps / steps.

    As `attack("pgd", ...)`, without the toolbox and on the classifier's device, since it is measured after every epoch.

    Example:
        >>> classifier = Classifier(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 4)), 4)
        >>> images, labels = torch.rand(6, 3, 8, 8), torch.tensor([0, 1, 2, 3, 0, 1])
        >>> robust_accuracy(classifier, images, labels, eps=8) <= robust_accuracy(classifier, images, labels, eps=0)
        True

    Args:
        classifier: used in evaluation mode.
        images, labels, eps: as in `attack`; all images go through the classifier in one pass.
        steps: number of steps.

    Raises:
        InputError: images, labels or eps out of range, or a classifier without gradient.

    Source: Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR 2018.
    """
    with attackable(classifier, images, labels, eps) as (given, labels, _), torch.enable_grad():
        reach = eps / 255
        x = perturbed(given, eps, torch.Generator().manual_seed(0))
        for _ in range(steps if eps else 0):
            x.requires_grad_()
            slope = gradient_of(functional.cross_entropy(logits_of(classifier, x).float(), labels, reduction="sum"), x)
            x = x.detach() + PGD_REACH * reach / steps * slope.sign()
            x = torch.minimum(torch.maximum(x, given - reach), given + reach).clamp(0, 1)
        with torch.no_grad():
            return float((logits_of(classifier, x).argmax(1) == labels).float().mean())


def perturbed(images: torch.Tensor, eps: float, generator: torch.Generator | None = None) -> torch.Tensor:
    """Images with uniform noise of at most eps / 255 in every value, within 0 to 1; drawn on the CPU, on any device the same."""
    noise = 2 * torch.rand(images.shape, generator=generator) - 1
    return (images + eps / 255 * sent(noise, images.device)).clamp(0, 1)
