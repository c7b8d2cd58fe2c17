"""The uncertainty penalty M, which keeps an image among those on which the classifier is reliable."""

from __future__ import annotations

import math
from functools import partial
from typing import get_args

import torch
from torch.nn import functional

from preimage.classifiers import LossEstimator
from preimage.classifiers.model_file import TrainedModel
from preimage.errors import InputError
from preimage.explain.forward import CachedForward, ForwardPass
from preimage.explain.options import UncertaintyKind
from preimage.problem import Regularizer


class UncertaintyPenalty:
    """M(x), from the estimated loss, the predictive entropy or the energy.

    Args:
        model: the classifier, with the estimator of its loss if there is one.
        kind: "auto": "loss" if there is an estimator, else "entropy".
        target_loss: target quantile of the estimated loss, 0 to 1; None: the one chosen in training, else 0.1.

    Raises:
        InputError: an unknown kind, or "loss" without an estimator.
    """

    def __init__(
        self, model: TrainedModel, kind: UncertaintyKind = "auto", *, target_loss: float | None = None
    ) -> None:
        if kind not in get_args(UncertaintyKind):
            raise InputError(f"uncertainty must be {', '.join(get_args(UncertaintyKind))}, got {kind!r}")
        if kind == "loss" and model.estimator is None:
            raise InputError(
                "the classifier has no loss estimator: `preimage train DATA --classifier ... --freeze -o FILE.pt` fits one, "
                "or take uncertainty entropy or energy",
                code="option",
            )
        if kind == "auto":
            kind = "loss" if model.estimator is not None else "entropy"
        self.kind: UncertaintyKind = kind
        self.quantile: float = float(model.about.get("target_quantile", 0.1)) if target_loss is None else target_loss
        self.estimator: LossEstimator | None = model.estimator if kind == "loss" else None
        self.layers: list[str] = self.estimator.layers if self.estimator is not None else []  # whose features it needs
        self.reference_energy: float = 0.0

    @torch.no_grad()
    def set_reference(self, forward: CachedForward, image: torch.Tensor) -> None:
        """Take the energy of the given image as reference."""
        if self.kind == "energy":
            self.reference_energy = float(_energy(forward, image))

    def regularizers(self, forward: CachedForward, weight: float) -> tuple[tuple[float, Regularizer], ...]:
        """M with its weight as a term of the loss, or no term."""
        terms = {"loss": self.estimated_loss, "entropy": self.predictive_entropy, "energy": self.energy}
        return ((weight, partial(terms[self.kind], forward)),) if weight and self.kind in terms else ()

    def estimated_loss(self, forward: CachedForward, x: torch.Tensor) -> torch.Tensor:
        """M(x) = ((estimate - its quantile) / spread)^2, (b,) (Narayanaswamy et al. 2021, eq. 4)."""
        return self.relative_loss(forward(x)).square()

    def predictive_entropy(self, forward: CachedForward, x: torch.Tensor) -> torch.Tensor:
        """The entropy of the class probabilities over its maximum, squared, (b,): 0 to 1; of independent labels their mean."""
        if forward.classifier.independent:
            logits = forward(x).logits
            entropies = functional.softplus(logits) - logits * logits.sigmoid()
            return (entropies.mean(1) / math.log(2)).square()
        log_probabilities = forward(x).logits.log_softmax(1)
        return (-(log_probabilities.exp() * log_probabilities).sum(1) / math.log(log_probabilities.shape[1])).square()

    def energy(self, forward: CachedForward, x: torch.Tensor) -> torch.Tensor:
        """How far the energy is above that of the given image, relative, squared, (b,).

        It is -logsumexp(logits) (Liu et al., NeurIPS 2020), of independent labels the sum of -log(1 + exp(logit)) (Wang et al.,
        NeurIPS 2021).
        """
        energy = _energy(forward, x)
        return ((energy - self.reference_energy) / (abs(self.reference_energy) + 1)).clamp_min(0).square()

    def relative_loss(self, forward_pass: ForwardPass) -> torch.Tensor:
        """(estimate - quantile) / spread, (b,)."""
        assert self.estimator is not None
        return self.estimator.relative(self.estimator.score(forward_pass.features, forward_pass.logits), self.quantile)

    def description(self) -> str:
        """What M is, in words for a remark."""
        return {
            "loss": f"estimated loss, target quantile {self.quantile:.0%}",
            "entropy": "predictive entropy (no loss estimator)",
            "energy": "energy (no loss estimator)",
        }.get(self.kind, "none")


def _energy(forward: CachedForward, x: torch.Tensor) -> torch.Tensor:
    logits = forward(x).logits
    return -functional.softplus(logits).sum(1) if forward.classifier.independent else -logits.logsumexp(1)
