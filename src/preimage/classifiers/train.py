"""Training: a classifier and the estimator of its loss, jointly, on a few hundred labeled images and two cores.

    L = L_pri + 0.5 L_aux: cross-entropy, and the order of the estimated losses (loss_estimator.py).

Source: Narayanaswamy, Thiagarajan, Spanias, ICASSP 2021, eq. 2 and 3; Yoo and Kweon, CVPR 2019.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import cached_property
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from preimage.classifiers.augmentation import Targets, augmented, loss_of, mixup, sent
from preimage.classifiers.classifier import Classifier
from preimage.classifiers.fingerprint import model_fingerprint
from preimage.classifiers.labelled import TEST, TRAIN, VALIDATION, Labelled
from preimage.classifiers.loss_estimator import LossEstimator, ranking_loss, untrained_estimator
from preimage.classifiers.model_file import SMALL_SIDE, Backbone, TrainedModel
from preimage.classifiers.resizing import Resizing
from preimage.classifiers.scores import Batch, Epoch, Predictions, score, target_quantile
from preimage.classifiers.settings import Settings, optimizers, update_average
from preimage.classifiers.shift_head import fit_shift_head
from preimage.classifiers.unusual import fit_terms
from preimage.engine.checkpoint import fingerprint
from preimage.engine.devices import choose_device, has_native_bfloat16, wide
from preimage.errors import InputError
from preimage.memory import check_free, keeping_freed_memory
from preimage.rng import drawing_from

AUXILIARY = 0.5  # b2 of eq. 3
WARM_UP = 0.05  # of all steps, in which the learning rate rises
BACKWARD = 250e6  # bytes that the first training step takes, at least
_SAMPLES = 500  # images whose mean and standard deviation normalize all


class Training:
    """A training: iterate it for Epochs, then `result()`; the test part is read there, once.

    Example:
        >>> images, labels = torch.randint(256, (16, 3, 32, 32), dtype=torch.uint8), torch.arange(16) % 2
        >>> parts = ("train", "train", "train", "test") * 4
        >>> data = Labelled(images, labels, tuple(map(str, range(16))), parts, ("even", "odd"), "random")
        >>> training = Training(data, Settings("thin_resnet10", epochs=1, batch=6), device="cpu")
        >>> for epoch in training:
        ...     print(epoch.index, epoch.best, epoch.validation.rank_correlation <= 1)
        1 1 True
        >>> training.result().about["pictures"]
        {'train': 9, 'validation': 3, 'test': 4}

    Args:
        data: images of a training and a test part; if it names no validation part, one is taken from the first, by whole groups.
        settings: None: Settings().
        classifier: a finished classifier, which stays as it is: only the loss estimator is fitted to it. Those of the
            data may be a few of its classes, by name, synset id or index; as many, none of which is named so, by their order.
        device: "auto", "cpu", "cuda", "mps".

    Raises:
        InputError: a class with too few images, other classes than the classifier's, a backbone that is not known or cannot
            process images of this size; while it is iterated, a loss that is not finite.
    """

    apart: bool = False  # whether the loss of the loss estimator does not reach the classifier

    def __init__(
        self,
        data: Labelled,
        settings: Settings | None = None,
        *,
        classifier: Classifier | None = None,
        device: str | torch.device = "auto",
    ) -> None:
        settings = settings or Settings()
        self.device: torch.device = choose_device(device)
        self.frozen: bool = classifier is not None
        self.data: Labelled = data if classifier is None else data.with_classes_of(classifier.classes)
        parts = self.data.learned_and_validation(settings.seed)
        self.learned: Labelled = parts[0].near(self.device)
        self.validation: Labelled = parts[1].near(self.device)
        self.settings: Settings = settings.of(len(self.learned))
        self.epochs: int = self.settings.epochs or 0
        self.backbone: Backbone = Backbone(settings.backbone, small=min(data.size) < SMALL_SIDE)
        own = copy.deepcopy(classifier) if classifier is not None else self._untrained()
        self.resizing: Resizing = own.resizing
        own.resizing = Resizing()  # images of the data set have the input's size already
        self.classifier: Classifier = own.to(self.device)
        self.estimator: LossEstimator = untrained_estimator(
            self.classifier,
            self.validation.batch([0], self.device),
            settings.layers,
            seed=settings.seed + 1,
            shifts=bool(settings.shifts),
        )
        self.both: nn.ModuleList = nn.ModuleList([self.classifier, self.estimator]).to(
            self.device, memory_format=torch.channels_last
        )  # pyright: ignore[reportCallIssue]
        if not self.frozen:
            self.classifier.model.requires_grad_(True)
        self.average: AveragedModel = AveragedModel(self.both)
        self._optimizers = optimizers((p for p in self.both.parameters() if p.requires_grad), self.settings)
        self.index: int = 0
        self.seconds: float = 0.0
        self.best: dict[str, Any] = {}
        self.history: list[dict[str, Any]] = []
        self._before_epoch: dict[str, Any] | None = None

    def __iter__(self) -> Iterator[Epoch]:
        return (step for step in self.steps() if isinstance(step, Epoch))

    def steps(self) -> Iterator[Batch | Epoch]:
        """Every batch, and after the last of each pass its Epoch.

        An epoch that was left incomplete by an earlier iteration is done again from its first batch.
        """
        if self._before_epoch is not None:
            self.load_state_dict(self._before_epoch)
        if self.device.type == "cpu" and not self.index:
            # PyTorch's backward pass crashes where it should raise.
            check_free(BACKWARD, "training", "raise the limit of memory, or close other programs")
        with keeping_freed_memory(wanted=self.device.type == "cpu"):
            while self.index < self.epochs:
                yield from self._epoch()

    def run(self) -> TrainedModel:
        """All epochs, and the result."""
        list(self)
        return self.result()

    def _epoch(self) -> Iterator[Batch | Epoch]:
        begin = time.perf_counter()
        index = self.index + 1
        self._before_epoch = self._state()
        sums = torch.zeros(2, device=self.device)  # not read before the end: whoever reads waits for the device
        # Everything that is drawn in an epoch comes from its number, so that a resumed training draws the same.
        generator = torch.Generator().manual_seed(self.settings.seed * 100_003 + index)
        batches = self._batches(generator)
        for number, batch in enumerate(batches):
            sums += self._step(batch, index - 1 + number / len(batches), generator)
            yield Batch(number + 1, len(batches), index, self.epochs)
        primary, auxiliary = (sums / len(batches)).tolist()
        if not math.isfinite(primary + auxiliary):
            raise InputError(f"the loss is not finite any more in epoch {index}: reduce rate ({self.settings.rate:g})")
        self.index, self._before_epoch = index, None
        scores, robust = score(self.predictions(self.validation)), self._robust()
        criterion = scores.criterion if robust is None else robust
        if not self.best or criterion >= self.best["scores"]["criterion"]:
            held = {name: value.detach().cpu().clone() for name, value in self.average.module.state_dict().items()}
            self.best = {"epoch": index, "scores": asdict(scores) | {"criterion": criterion}, "weights": held}
        self.seconds += time.perf_counter() - begin
        row = {"epoch": index, "seconds": self.seconds, "loss": primary, "auxiliary": auxiliary}
        self.history.append(row | asdict(scores) | ({} if robust is None else {"robust": robust}))
        yield Epoch(index, self.epochs, self.seconds, primary, auxiliary, scores, self.best["epoch"], robust)

    def _batches(self, generator: torch.Generator) -> list[torch.Tensor]:
        """As many draws as there are images, each class equally often."""
        counts = self.learned.labels.bincount(minlength=len(self.data.classes)).clamp_min(1)
        shares = 1 / wide(counts)[self.learned.labels]
        order = torch.multinomial(shares, len(self.learned), replacement=True, generator=generator)
        # One image has no order among others, and no deviation that a normalization could divide by.
        return [batch for batch in order.split(self.settings.batch) if len(batch) > 1]

    def _step(self, batch: torch.Tensor, done: float, generator: torch.Generator) -> torch.Tensor:
        """One step of the optimizer after so many epochs; its two losses."""
        share = done / self.epochs
        pace = min(1, share / WARM_UP) * 0.5 * (1 + math.cos(math.pi * share))
        for optimizer, peak in self._optimizers:
            optimizer.param_groups[0]["lr"] = peak * pace
        self.classifier.model.train(not self.frozen)
        self.estimator.train()
        x, labels = self._augmented(batch, generator), sent(self.learned.labels[batch], self.device)
        share, drawn = mixup(len(x), 0.0 if self.frozen else self.settings.mix, generator)
        order = sent(drawn, self.device)
        mixed, targets = torch.lerp(x[order], x, share), ((share, labels), (1 - share, labels[order]))
        seed = int(torch.randint(2**31, (), generator=generator))
        with drawing_from(torch.Generator().manual_seed(seed)):  # a model's own draws, as of dropout
            primary, auxiliary = self._losses(mixed, targets)
        self.both.zero_grad(set_to_none=True)
        (auxiliary if self.frozen else primary + AUXILIARY * auxiliary).backward()
        for optimizer, _ in self._optimizers:
            optimizer.step()
        update_average(self.average, self.both)
        self.classifier.model.eval()
        return torch.stack([primary, auxiliary]).detach()

    def _losses(self, x: torch.Tensor, targets: Targets) -> tuple[torch.Tensor, torch.Tensor]:
        with self._precision(), torch.set_grad_enabled(not self.frozen):
            logits, features = self.classifier.logits_and_features(x, self.estimator.layers)
        primary = loss_of(logits, targets)
        if self.apart:
            features = {name: value.detach() for name, value in features.items()}
        with self._precision():
            estimates = self.estimator(features)
        return primary.mean(), ranking_loss(estimates.float(), primary)

    def _augmented(self, batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        height, width = (max(16, round(self.settings.crop * side / 4) * 4) for side in self.data.size)
        size = min(height, self.data.size[0]), min(width, self.data.size[1])
        x = augmented(self.learned.batch(batch, self.device), size, generator, upright=self.settings.upright)
        return x.contiguous(memory_format=torch.channels_last)

    def _robust(self) -> float | None:
        """What an epoch is chosen by instead of its scores; AdversarialTraining has such a number."""
        return None

    @property
    def averaged(self) -> tuple[Classifier, LossEstimator]:
        """The classifier and the loss estimator with the averaged weights."""
        classifier, estimator = self.average.module.children()
        assert isinstance(classifier, Classifier)
        assert isinstance(estimator, LossEstimator)
        return classifier, estimator

    @torch.no_grad()
    def predictions(self, data: Labelled, models: tuple[Classifier, LossEstimator] | None = None) -> Predictions:
        """Labels, logits and estimated losses of images, by the averaged weights or by other models."""
        classifier, estimator = models or self.averaged
        logits, estimates = [], []
        for x in data.batches(self.device):
            with self._precision():
                found, features = classifier.logits_and_features(x, estimator.layers)
                logits.append(found.float())
                estimates.append(estimator.score(features, found).float())
        return Predictions(data.labels, torch.cat(logits).cpu(), torch.cat(estimates).cpu())

    def result(self) -> TrainedModel:
        """The best epoch's averaged weights, and their scores on the test part.

        Raises:
            InputError: no epoch is complete.
        """
        if not self.best:
            raise InputError("there is no result before the first epoch: iterate, or call run()", code="option")
        latest = {name: value.clone() for name, value in self.average.module.state_dict().items()}
        self.average.module.load_state_dict(self.best["weights"])
        try:
            return self._result()
        finally:
            self.average.module.load_state_dict(latest)

    def _result(self) -> TrainedModel:
        classifier, estimator = models = copy.deepcopy(self.averaged)
        if self.settings.shifts:
            seed, kinds = self.settings.seed, self.settings.shifts
            passed = fit_shift_head(classifier, estimator, self.learned, kinds, self.device, seed=seed)
            fit_terms(classifier, estimator, passed, self.validation, self.device)
        found, tested = (self.predictions(data, models) for data in (self.validation, self.data.part(TEST)))
        classifier.cpu().requires_grad_(False)
        estimator.cpu().eval().requires_grad_(False)
        estimator.settle(found.estimates)
        classifier.size, classifier.resizing = classifier.size or self.data.size, self.resizing
        about = {
            "data": self.data.name,
            "size": list(self.data.size),
            "device": str(self.device),
            "settings": asdict(self.settings) | {"layers": list(self.estimator.layers)},
            "frozen": self.frozen,
            "epoch": self.best["epoch"],
            "seconds": self.seconds,
            "pictures": {TRAIN: len(self.learned), VALIDATION: len(self.validation), TEST: len(self.data.part(TEST))},
            "target_quantile": target_quantile(found),
            "validation": asdict(score(found)),
            "test": asdict(score(tested)),
            "history": list(self.history),
        }
        return TrainedModel(classifier, estimator, about, None if self.frozen else self.backbone)

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """What a saved state belongs to: settings, and hashes of the images, the labels and a finished classifier."""
        parts = (part for each in (self.learned, self.validation) for part in (each.pictures, each.labels))
        return {
            **asdict(self.settings),
            "data": [fingerprint(part.cpu()) for part in parts],
            "classifier": model_fingerprint(self.classifier) if self.frozen else "its own",
        }

    def state_dict(self) -> dict[str, Any]:
        """The state after the last complete epoch."""
        return self._state() if self._before_epoch is None else self._before_epoch

    def _state(self) -> dict[str, Any]:
        tensors = {
            "both": self.both.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer, _ in self._optimizers],
        }
        plain = {"index": self.index, "seconds": self.seconds, "best": self.best, "history": list(self.history)}
        return copy.deepcopy(tensors) | plain

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue after the epoch of a state."""
        self.both.load_state_dict(state["both"])
        self.average.load_state_dict(state["average"])
        for (optimizer, _), known in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(copy.deepcopy(known))  # it would share the tensors
        self.index, self.seconds, self.best = state["index"], state["seconds"], state["best"]
        self.history, self._before_epoch = list(state["history"]), None

    def _untrained(self) -> Classifier:
        """Random weights; its input is normalized by mean and standard deviation of the training images."""
        with drawing_from(torch.Generator().manual_seed(self.settings.seed)):
            model = self.backbone.build(len(self.data.classes))
        sample = self.learned.thinned(_SAMPLES).pictures.cpu().float() / 255
        mean, std = sample.mean((0, 2, 3)), sample.std((0, 2, 3)).clamp_min(1e-3)
        # No size yet: crops of the images are classified as they are.
        return Classifier(model, self.data.classes, mean.tolist(), std.tolist(), copy=False, values=self.data.values)

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=has_native_bfloat16(self.device))
