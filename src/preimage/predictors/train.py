"""Training: a classifier and the estimator of its loss, jointly, on a few hundred labelled pictures and two cores.

    L = L_pri + 0.5 L_aux: cross-entropy, and the order of the estimated losses (loss_estimator.py).

Source: Narayanaswamy, Thiagarajan, Spanias, ICASSP 2021, eq. 2 and 3; Yoo and Kweon, CVPR 2019.
"""

from __future__ import annotations

import copy
import hashlib
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from preimage.devices import choose_device, has_native_bfloat16
from preimage.errors import InputError
from preimage.predictors.labelled import TEST, TRAIN, VALIDATION_SHARE, Labelled
from preimage.predictors.loss_estimator import LossEstimator, ranking_loss
from preimage.predictors.model_file import SMALL_SIDE, TrainedModel, backbone
from preimage.predictors.predictor import Predictor
from preimage.predictors.scores import Answers, Scores, score

AUXILIARY = 0.5  # b2 of eq. 3
WARM_UP = 0.05  # of all steps, in which the rate rises
EMA = 0.998  # of the weights; in the first steps less, so that the first weights are forgotten
QUANTILES, SURE = (0.3, 0.2, 0.1, 0.05), 0.95
MOST_LAYERS = 4


@dataclass(frozen=True)
class Settings:
    """How a training goes.

    Args:
        backbone: `resnet18` and the like of torchvision, or `timm:NAME`.
        epochs, batch, rate, decay: of AdamW, whose rate rises and then falls to 0 as a cosine.
        crop: share of each side that an augmented picture keeps.
        upright: whether up and down, left and right differ in the pictures; if not (lesions, cells) they are turned as well.
        layers: those that the loss estimator looks at; none named: the last of each block.
        seed: of weights, order and augmentation.
    """

    backbone: str = "resnet18"
    epochs: int = 60
    batch: int = 64
    rate: float = 1e-3
    decay: float = 0.05
    crop: float = 0.9
    upright: bool = True
    layers: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.rate > 0 or not 0 < self.crop <= 1:
            raise InputError(f"rate must be above 0 and crop from 0 to 1, got {self.rate} and {self.crop}")


@dataclass(frozen=True)
class Epoch:
    """One pass over the training part: its mean losses, and how the averaged weights do on the validation part."""

    index: int
    total: int
    seconds: float
    loss: float
    auxiliary: float
    validation: Scores
    best: int


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
        predictor: a finished classifier, which stays as it is: only the loss estimator is fitted to it.
        device: "auto", "cpu", "cuda", "mps".
    """

    def __init__(
        self,
        data: Labelled,
        settings: Settings | None = None,
        *,
        predictor: Predictor | None = None,
        device: str | torch.device = "auto",
    ) -> None:
        self.settings = settings = settings or Settings()
        self.device = choose_device(device)
        self.data, self.frozen = data, predictor is not None
        self.learned, self.validation = data.part(TRAIN).split(VALIDATION_SHARE, settings.seed)
        if predictor is not None and len(predictor.classes) != len(data.classes):
            raise InputError(
                f"the classifier has {len(predictor.classes)} classes, {data.name} has {len(data.classes)}: they must be the same"
            )
        self.small = min(data.size) < SMALL_SIDE
        self.predictor = (predictor or self._fresh()).to(self.device)
        layers = list(settings.layers) or block_layers(self.predictor, self._pictures(self.validation, [0]))
        self.estimator = self._estimator(layers)
        self.both = nn.ModuleList([self.predictor, self.estimator]).to(self.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        if not self.frozen:
            self.predictor.model.requires_grad_(True)
        self.average = AveragedModel(self.both, multi_avg_fn=averaged, use_buffers=True)
        self.optimizer = torch.optim.AdamW(
            [p for p in self.both.parameters() if p.requires_grad], lr=settings.rate, weight_decay=settings.decay
        )
        self.index, self.seconds = 0, 0.0
        self.best: dict[str, Any] = {}
        self.history: list[dict[str, float]] = []

    def __iter__(self) -> Iterator[Epoch]:
        while self.index < self.settings.epochs:
            yield self._epoch()

    def run(self) -> TrainedModel:
        """All epochs, and the result."""
        for _ in self:
            pass
        return self.result()

    # ------------------------------------------------------------------ one epoch

    def _epoch(self) -> Epoch:
        begin = time.perf_counter()
        self.index += 1
        # Everything that is drawn in an epoch comes from its number, so that resuming goes on with the same draws.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.settings.seed * 100_003 + self.index)
            losses = self._pass()
        scores = score(self.answers(self.validation))
        if not self.best or scores.worth >= self.best["scores"]["worth"]:
            held = {name: value.detach().cpu().clone() for name, value in self.average.module.state_dict().items()}
            self.best = {"epoch": self.index, "scores": asdict(scores) | {"worth": scores.worth}, "weights": held}
        self.seconds += time.perf_counter() - begin
        epoch = Epoch(self.index, self.settings.epochs, self.seconds, *losses, scores, self.best["epoch"])
        row = {"epoch": self.index, "seconds": self.seconds, "loss": losses[0], "auxiliary": losses[1]}
        self.history.append(row | asdict(scores))
        return epoch

    def _pass(self) -> tuple[float, float]:
        """One pass over as many draws as there are pictures, each class as often; the mean losses."""
        self.predictor.model.train(not self.frozen)
        self.estimator.train()
        counts = self.learned.labels.bincount(minlength=len(self.data.classes)).clamp_min(1)
        order = torch.multinomial(1 / counts.double()[self.learned.labels], len(self.learned), replacement=True)
        batches = order.split(self.settings.batch)
        sums = torch.zeros(2)
        for number, batch in enumerate(batches):
            done = (self.index - 1 + number / len(batches)) / self.settings.epochs
            for group in self.optimizer.param_groups:
                group["lr"] = self.settings.rate * min(1, done / WARM_UP) * 0.5 * (1 + math.cos(math.pi * done))
            losses = self._losses(self._augmented(batch), self.learned.labels[batch].to(self.device))
            self.optimizer.zero_grad(set_to_none=True)
            (losses[1] if self.frozen else losses[0] + AUXILIARY * losses[1]).backward()
            self.optimizer.step()
            self.average.update_parameters(self.both)
            sums += torch.stack(losses).detach().cpu()
        self.predictor.model.eval()
        primary, auxiliary = (sums / len(batches)).tolist()
        return primary, auxiliary

    def _losses(self, x: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with self._precision(), torch.set_grad_enabled(not self.frozen):
            logits, features = self.predictor.logits_and_features(x, self.estimator.layers)
        primary = functional.cross_entropy(logits.float(), labels, reduction="none")
        with self._precision():
            estimates = self.estimator(features)
        return primary.mean(), ranking_loss(estimates.float(), primary)

    def _augmented(self, batch: torch.Tensor) -> torch.Tensor:
        """Pictures of the training part, cropped, flipped and changed in color, each for itself: (b, 3, h, w) in 0 to 1."""
        from torchvision.transforms import v2

        height, width = (max(16, round(self.settings.crop * side / 4) * 4) for side in self.data.size)
        changes: list[Any] = [v2.RandomCrop((height, width)), v2.RandomHorizontalFlip()]
        if not self.settings.upright:
            changes.append(v2.RandomVerticalFlip())
        changes.append(v2.ColorJitter(brightness=0.15, contrast=0.15, saturation=0.15, hue=0.02))
        change = v2.Compose(changes)
        pictures = torch.stack([change(self.learned.pictures[i]) for i in batch])
        return self._laid_out(pictures)

    # ------------------------------------------------------------------ what it answers

    @torch.no_grad()
    def answers(self, data: Labelled) -> Answers:
        """What the averaged weights say of pictures: labels, logits, estimated losses."""
        predictor, estimator = parts(self.average.module)
        logits, estimates = [], []
        for indices in torch.arange(len(data)).split(128):
            x = self._pictures(data, indices)
            with self._precision():
                found, features = predictor.logits_and_features(x, estimator.layers)
                logits.append(found.float().cpu())
                estimates.append(estimator(features).float().cpu())
        return Answers(data.labels, torch.cat(logits), torch.cat(estimates))

    def result(self) -> TrainedModel:
        """The best epoch's averaged weights, and how they do on the test part.

        Raises:
            InputError: no epoch was done.
        """
        if not self.best:
            raise InputError("there is no result before the first epoch: iterate the training, or call run()")
        self.average.module.load_state_dict(self.best["weights"])
        found = self.answers(self.validation)
        predictor, estimator = parts(copy.deepcopy(self.average.module).cpu())
        predictor.requires_grad_(False)
        estimator.eval().requires_grad_(False)
        estimator.settle(found.estimates)
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
        return TrainedModel(predictor, estimator, about)

    # ------------------------------------------------------------------ state

    @property
    def identity(self) -> dict[str, Any]:
        """What a saved state belongs to."""
        digest = hashlib.sha256(self.learned.pictures.numpy().tobytes())
        digest.update(self.learned.labels.numpy().tobytes())
        return {"settings": asdict(self.settings), "frozen": self.frozen, "data": digest.hexdigest()[:16]}

    def state_dict(self) -> dict[str, Any]:
        """All that an epoch leaves behind."""
        return {
            "both": self.both.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            **{name: getattr(self, name) for name in ("index", "seconds", "best", "history")},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after the epoch whose state this is."""
        self.both.load_state_dict(state["both"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        for name in ("index", "seconds", "best", "history"):
            setattr(self, name, state[name])

    # ------------------------------------------------------------------ parts

    def _fresh(self) -> Predictor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.settings.seed)
            model = backbone(self.settings.backbone, len(self.data.classes), small=self.small)
        sample = self.learned.pictures[:: max(1, len(self.learned) // 500)].float() / 255
        mean, std = sample.mean((0, 2, 3)), sample.std((0, 2, 3)).clamp_min(1e-3)
        return Predictor(model, self.data.classes, mean.tolist(), std.tolist(), self.data.size)

    def _estimator(self, layers: list[str]) -> LossEstimator:
        with torch.no_grad():
            _, features = self.predictor.logits_and_features(self._pictures(self.validation, [0]), layers)
        channels = {
            layer: value.shape[1] if value.ndim in (2, 4) else value.shape[2] for layer, value in features.items()
        }
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.settings.seed + 1)
            return LossEstimator(channels)

    def _pictures(self, data: Labelled, indices: Any) -> torch.Tensor:
        return self._laid_out(data.pictures[indices])

    def _laid_out(self, pictures: torch.Tensor) -> torch.Tensor:
        return (pictures.to(self.device).float() / 255).contiguous(memory_format=torch.channels_last)

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=has_native_bfloat16(self.device))


def averaged(averages: Any, currents: Any, count: Any) -> None:
    """One step of the running mean of weights and buffers, in place."""
    weight = max(1 - EMA, 9 / (10 + int(count)))
    with torch.no_grad():
        for average, current in zip(averages, currents, strict=True):
            if average.is_floating_point():
                average.lerp_(current, weight)
            else:
                average.copy_(current)


def parts(both: nn.Module) -> tuple[Predictor, LossEstimator]:
    """The classifier and the loss estimator that are averaged together."""
    predictor, estimator = both.children()
    assert isinstance(predictor, Predictor)
    assert isinstance(estimator, LossEstimator)
    return predictor, estimator


def block_layers(predictor: Predictor, x: torch.Tensor) -> list[str]:
    """The layers a loss estimator looks at: the last of each resolution, at most four; of a transformer, four spaced evenly.

    Raises:
        InputError: a classifier without blocks: name the layers.
    """
    # Of what gives the same shape the last is the whole of a block, for it is computed after its parts.
    shapes = {name: shape[1:] for name, shape in predictor.shapes(x).items()}
    chosen = list(
        {shape[1:]: name for name, shape in shapes.items() if len(shape) == 3 and min(shape[1:]) > 1}.values()
    )
    if not chosen:
        tokens = [name for name, shape in shapes.items() if len(shape) == 2 and name.count(".") <= 2]
        chosen = (
            [tokens[round(k * (len(tokens) - 1) / MOST_LAYERS)] for k in range(1, MOST_LAYERS + 1)] if tokens else []
        )
    if not chosen:
        raise InputError("the classifier has no blocks that a loss estimator could look at: name layers of it")
    return list(dict.fromkeys(chosen[-MOST_LAYERS:]))


def target_quantile(found: Answers) -> float:
    """The widest quantile of the estimated loss below which nearly all pictures are told right; 0.1 if there is none."""
    right = found.logits.argmax(1) == found.labels
    order = found.estimates.argsort()
    for level in QUANTILES:
        surest = order[: max(1, round(level * len(order)))]
        if float(right[surest].float().mean()) >= SURE:
            return level
    return 0.1
