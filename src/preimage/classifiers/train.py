"""Training: a classifier and the estimator of its loss, jointly, on a few hundred labelled pictures and two cores.

    L = L_pri + 0.5 L_aux: cross-entropy, and the order of the estimated losses (loss_estimator.py).

Source: Narayanaswamy, Thiagarajan, Spanias, ICASSP 2021, eq. 2 and 3; Yoo and Kweon, CVPR 2019.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from preimage.classifiers.augmentation import augmented, sent
from preimage.classifiers.classifier import Classifier
from preimage.classifiers.fingerprint import model_fingerprint, tensor_fingerprint
from preimage.classifiers.labelled import TEST, TRAIN, VALIDATION_SHARE, Labelled
from preimage.classifiers.loss_estimator import LossEstimator, block_layers, ranking_loss
from preimage.classifiers.model_file import SMALL_SIDE, Backbone, TrainedModel
from preimage.classifiers.scores import Answers, Scores, score, target_quantile
from preimage.classifiers.settings import Settings, optimizers
from preimage.engine.devices import choose_device, free_memory, give_back_memory, has_native_bfloat16, keep_freed_memory
from preimage.errors import InputError
from preimage.rng import drawing_from

AUXILIARY = 0.5  # b2 of eq. 3
WARM_UP = 0.05  # of all steps, in which the rate rises
EMA = 0.998  # of the weights; in the first steps less, so that the first weights are forgotten


@dataclass(frozen=True)
class Batch:
    """One step of an epoch: its number and that of the epoch, both from 1, and how many there are."""

    index: int
    total: int
    epoch: int
    epochs: int


@dataclass(frozen=True)
class Epoch:
    """One pass over the training part: its mean losses, and how the averaged weights do on the validation part.

    `robust`: the accuracy there under attack, in adversarial training only.
    """

    index: int
    total: int
    seconds: float
    loss: float
    auxiliary: float
    validation: Scores
    best: int
    robust: float | None = None


class Training:
    """Iterate it for Epochs, then `result()`; the test part is read there, once.

    Example:
        >>> training = Training(read_labelled("lesions/labels.csv", split_column="split", group="lesion_id"))
        >>> for epoch in training:
        ...     print(epoch.index, epoch.validation.balanced_accuracy)
        >>> model = training.result()

    Args:
        data: pictures of a training and a test part; validation is taken from the first, by whole groups.
        settings: how.
        classifier: a finished classifier, which stays as it is: only the loss estimator is fitted to it. Its classes are those of
            the data by name where the names are the same, else by their order.
        device: "auto", "cpu", "cuda", "mps".

    Raises:
        InputError: a class with too few pictures, other classes than the classifier's, a backbone that is not known or cannot
            take pictures of this size; while it goes on, a loss that is no number any more.
    """

    task = "train"

    def __init__(
        self,
        data: Labelled,
        settings: Settings | None = None,
        *,
        classifier: Classifier | None = None,
        device: str | torch.device = "auto",
    ) -> None:
        settings = settings or Settings()
        self.device = choose_device(device)
        self.frozen = classifier is not None
        self.data = data = data.with_classes_of(classifier.classes) if classifier is not None else data
        self.learned, self.validation = map(self._held, data.part(TRAIN).split(VALIDATION_SHARE, settings.seed))
        self.settings = settings = settings.of(len(self.learned))
        assert settings.epochs is not None
        self.epochs = settings.epochs
        self.backbone = Backbone(settings.backbone, small=min(data.size) < SMALL_SIDE)
        self.classifier = (copy.deepcopy(classifier) if classifier is not None else self._fresh()).to(self.device)
        layers = list(settings.layers) or self._layers()
        self.estimator = self._estimator(layers)
        self.both = nn.ModuleList([self.classifier, self.estimator]).to(self.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        if not self.frozen:
            self.classifier.model.requires_grad_(True)
        self.average = AveragedModel(self.both)
        self.optimizers = optimizers((p for p in self.both.parameters() if p.requires_grad), settings)
        self.index, self.seconds = 0, 0.0
        self.best: dict[str, Any] = {}
        self.history: list[dict[str, float]] = []

    def __iter__(self) -> Iterator[Epoch]:
        return (step for step in self.steps() if isinstance(step, Epoch))

    def steps(self) -> Iterator[Batch | Epoch]:
        """Every batch, and after the last of each pass its Epoch; what is left in the midst of one counts for nothing."""
        on_cpu = self.device.type == "cpu"
        if on_cpu:
            keep_freed_memory()
        try:
            while self.index < self.epochs:
                yield from self._epoch()
        finally:
            if on_cpu:
                give_back_memory()

    def run(self) -> TrainedModel:
        """All epochs, and the result."""
        for _ in self:
            pass
        return self.result()

    # ------------------------------------------------------------------ one epoch

    def _epoch(self) -> Iterator[Batch | Epoch]:
        begin = time.perf_counter()
        index = self.index + 1
        sums = torch.zeros(2, device=self.device)  # not read before the end: whoever reads waits for the device
        # Everything that is drawn in an epoch comes from its number, so that resuming goes on with the same draws.
        generator = torch.Generator().manual_seed(self.settings.seed * 100_003 + index)
        batches = self._batches(generator)
        for number, batch in enumerate(batches):
            sums += self._step(batch, index - 1 + number / len(batches), generator)
            yield Batch(number + 1, len(batches), index, self.epochs)
        self.index = index
        primary, auxiliary = (sums / len(batches)).tolist()
        if not math.isfinite(primary + auxiliary):
            raise InputError(f"the loss is no number any more in epoch {index}: take a smaller rate")
        scores, robust = score(self.answers(self.validation)), self._robust()
        worth = scores.worth if robust is None else robust
        if not self.best or worth >= self.best["scores"]["worth"]:
            held = {name: value.detach().cpu().clone() for name, value in self.average.module.state_dict().items()}
            self.best = {"epoch": index, "scores": asdict(scores) | {"worth": worth}, "weights": held}
        self.seconds += time.perf_counter() - begin
        row = {"epoch": index, "seconds": self.seconds, "loss": primary, "auxiliary": auxiliary}
        self.history.append(row | asdict(scores) | ({} if robust is None else {"robust": robust}))
        yield Epoch(index, self.epochs, self.seconds, primary, auxiliary, scores, self.best["epoch"], robust)

    def _batches(self, generator: torch.Generator) -> list[torch.Tensor]:
        """As many draws as there are pictures, each class as often."""
        counts = self.learned.labels.bincount(minlength=len(self.data.classes)).clamp_min(1)
        shares = 1 / counts.double()[self.learned.labels]
        order = torch.multinomial(shares, len(self.learned), replacement=True, generator=generator)
        # One picture has no order among others, and no deviation that a normalization could divide by.
        return [batch for batch in order.split(self.settings.batch) if len(batch) > 1]

    def _step(self, batch: torch.Tensor, done: float, generator: torch.Generator) -> torch.Tensor:
        """One step of the optimizer after so many epochs; its two losses."""
        share = done / self.epochs
        pace = min(1, share / WARM_UP) * 0.5 * (1 + math.cos(math.pi * share))
        for optimizer, most in self.optimizers:
            optimizer.param_groups[0]["lr"] = most * pace
        self.classifier.model.train(not self.frozen)
        self.estimator.train()
        x, labels = self._augmented(batch, generator), sent(self.learned.labels[batch], self.device)
        share, drawn = self._blend(len(x), generator)
        order = sent(drawn, self.device)
        # A model's own draws, as of dropout.
        with drawing_from(_seeded(int(torch.randint(2**31, (), generator=generator)))):
            primary, auxiliary = self._losses(
                torch.lerp(x[order], x, share), ((share, labels), (1 - share, labels[order]))
            )
        self.both.zero_grad(set_to_none=True)
        (auxiliary if self.frozen else primary + AUXILIARY * auxiliary).backward()
        for optimizer, _ in self.optimizers:
            optimizer.step()
        follow(self.average, self.both)
        self.classifier.model.eval()
        return torch.stack([primary, auxiliary]).detach()

    def _blend(self, count: int, generator: torch.Generator) -> tuple[float, torch.Tensor]:
        """The share that each picture keeps, and the order of those that take the rest; beside a finished classifier none."""
        if not self.settings.mix or self.frozen:
            return 1.0, torch.arange(count)
        random = np.random.default_rng(int(torch.randint(2**31, (), generator=generator)))
        share = float(random.beta(self.settings.mix, self.settings.mix))
        return max(share, 1 - share), torch.randperm(count, generator=generator)

    def _losses(
        self, x: torch.Tensor, answers: Sequence[tuple[float, torch.Tensor]]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Of pictures of which each shows classes in these shares."""
        with self._precision(), torch.set_grad_enabled(not self.frozen):
            logits, features = self.classifier.logits_and_features(x, self.estimator.layers)
        primary = loss_of(logits, answers)
        with self._precision():
            estimates = self.estimator(features)
        return primary.mean(), ranking_loss(estimates.float(), primary)

    def _augmented(self, batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        height, width = (max(16, round(self.settings.crop * side / 4) * 4) for side in self.data.size)
        size = min(height, self.data.size[0]), min(width, self.data.size[1])
        seen = augmented(self._pictures(self.learned, batch), size, generator, upright=self.settings.upright)
        return seen.contiguous(memory_format=torch.channels_last)

    def _robust(self) -> float | None:
        """What an epoch is chosen by in the place of its scores; AdversarialTraining has such a number."""
        return None

    # ------------------------------------------------------------------ what it answers

    @torch.no_grad()
    def answers(self, data: Labelled) -> Answers:
        """Predictions of the averaged weights: labels, logits, estimated losses."""
        classifier, estimator = parts(self.average.module)
        logits, estimates = [], []
        for indices in torch.arange(len(data)).split(128):
            x = self._pictures(data, indices)
            with self._precision():
                found, features = classifier.logits_and_features(x, estimator.layers)
                logits.append(found.float())
                estimates.append(estimator(features).float())
        return Answers(data.labels, torch.cat(logits).cpu(), torch.cat(estimates).cpu())

    def result(self) -> TrainedModel:
        """The best epoch's averaged weights, and how they do on the test part.

        Raises:
            InputError: no epoch was done.
        """
        if not self.best:
            raise InputError("there is no result before the first epoch: iterate the training, or call run()")
        self.average.module.load_state_dict(self.best["weights"])
        found = self.answers(self.validation)
        classifier, estimator = parts(copy.deepcopy(self.average.module).cpu())
        classifier.requires_grad_(False)
        estimator.eval().requires_grad_(False)
        estimator.settle(found.estimates)
        classifier.size = classifier.size or self.data.size
        about = {
            "data": self.data.name,
            "settings": asdict(self.settings) | {"layers": list(self.estimator.layers)},
            "frozen": self.frozen,
            "epoch": self.best["epoch"],
            "seconds": self.seconds,
            "pictures": {TRAIN: len(self.learned), "validation": len(self.validation), TEST: len(self.data.part(TEST))},
            "target_quantile": target_quantile(found),
            "validation": asdict(score(found)),
            "test": asdict(score(self.answers(self.data.part(TEST)))),
            "history": self.history,
        }
        return TrainedModel(classifier, estimator, about, None if self.frozen else self.backbone)

    # ------------------------------------------------------------------ state

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What a saved state belongs to: settings, and what the pictures and a finished classifier are, as hashes."""
        data = (part for each in (self.learned, self.validation) for part in (each.pictures, each.labels))
        return {
            **asdict(self.settings),
            "data": tensor_fingerprint(data),
            "classifier": model_fingerprint(self.classifier) if self.frozen else "its own",
        }

    def state_dict(self) -> dict[str, Any]:
        """All that an epoch leaves behind."""
        return {
            "both": self.both.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer, _ in self.optimizers],
            **{name: getattr(self, name) for name in ("index", "seconds", "best", "history")},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after the epoch whose state this is."""
        self.both.load_state_dict(state["both"])
        self.average.load_state_dict(state["average"])
        for (optimizer, _), known in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(known)
        for name in ("index", "seconds", "best", "history"):
            setattr(self, name, state[name])

    # ------------------------------------------------------------------ parts

    def _fresh(self) -> Classifier:
        with drawing_from(_seeded(self.settings.seed)):
            model = self.backbone.build(len(self.data.classes))
        sample = self.learned.pictures[:: max(1, len(self.learned) // 500)].cpu().float() / 255
        mean, std = sample.mean((0, 2, 3)), sample.std((0, 2, 3)).clamp_min(1e-3)
        # No size yet: what is cut out of the pictures is learned from as it is.
        return Classifier(model, self.data.classes, mean.tolist(), std.tolist(), copy=False)

    def _layers(self) -> list[str]:
        height, width = self.data.size
        try:
            return block_layers(self.classifier, self._pictures(self.validation, [0]))
        except InputError:
            raise
        except (RuntimeError, AssertionError, ValueError) as error:  # each library has its own
            reason = " ".join(str(error).split())[:120]
            raise InputError(
                f"the classifier takes no pictures of {width} x {height} ({reason}): give another size or another classifier"
            ) from error

    def _estimator(self, layers: list[str]) -> LossEstimator:
        with torch.no_grad():
            _, features = self.classifier.logits_and_features(self._pictures(self.validation, [0]), layers)
        channels = {
            layer: value.shape[1] if value.ndim in (2, 4) else value.shape[2] for layer, value in features.items()
        }
        with drawing_from(_seeded(self.settings.seed + 1)):
            return LossEstimator(channels)

    def _pictures(self, data: Labelled, indices: Any) -> torch.Tensor:
        pictures = data.pictures
        chosen = sent(torch.as_tensor(indices), pictures.device)
        return self._laid_out(pictures[chosen])

    def _held(self, data: Labelled) -> Labelled:
        """With its pictures on the GPU, where they take no more than a quarter of what is free."""
        free = free_memory(self.device) if self.device.type == "cuda" else None
        fits = free is not None and data.pictures.nbytes <= free / 4
        return replace(data, pictures=data.pictures.to(self.device)) if fits else data

    def _laid_out(self, pictures: torch.Tensor) -> torch.Tensor:
        return (pictures.to(self.device).float() / 255).contiguous(memory_format=torch.channels_last)

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=has_native_bfloat16(self.device))


def loss_of(logits: torch.Tensor, answers: Sequence[tuple[float, torch.Tensor]]) -> torch.Tensor:
    """(b,): the cross-entropy to each of the labels (b,), by their shares."""
    each = [share * functional.cross_entropy(logits.float(), labels, reduction="none") for share, labels in answers]
    return torch.stack(each).sum(0)


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def follow(average: AveragedModel, current: nn.Module) -> None:
    """One step of the running mean of weights and buffers, in place; at first they are taken over.

    AveragedModel's own step reads its count from the device, and so waits for it. Here the count stays on the CPU.
    """
    count = int(average.n_averaged)
    weight = max(1 - EMA, 9 / (10 + count)) if count else 1.0
    pairs = [
        pair
        for of in (nn.Module.parameters, nn.Module.buffers)
        for pair in zip(of(average.module), of(current), strict=True)
    ]
    numbers = [pair for pair in pairs if pair[0].is_floating_point()]
    torch._foreach_lerp_([own for own, _ in numbers], [its.detach() for _, its in numbers], weight)  # pyright: ignore[reportPrivateImportUsage]
    for own, its in pairs:
        if not own.is_floating_point():  # counts, of batches
            own.copy_(its)
    average.n_averaged += 1


def parts(both: nn.Module) -> tuple[Classifier, LossEstimator]:
    """The classifier and the loss estimator that are averaged together."""
    classifier, estimator = both.children()
    assert isinstance(classifier, Classifier)
    assert isinstance(estimator, LossEstimator)
    return classifier, estimator
