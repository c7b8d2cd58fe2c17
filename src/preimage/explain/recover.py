"""Recovery: the pre-image of a picture's features under the first residual block, one that the classifier is sure of (eq. 4)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from PIL.Image import Image

from preimage.engine.checkpoint import fingerprint
from preimage.engine.recipe import Recipe
from preimage.engine.result import Result
from preimage.explain.checks import check_weights
from preimage.explain.explanation import Explaining, Explanation, extended
from preimage.explain.fitting import explain
from preimage.explain.forward import (
    AnyClassifier,
    CachedForward,
    Features,
    Uncertainty,
    as_model,
    at_working_size,
    first_block,
    one_picture,
    quantile_of,
)
from preimage.explain.input_jitter import InputJitter
from preimage.explain.recipes import FAST_RECOVERY, PAPER_RECOVERY, is_published
from preimage.figures.panels import heat_map, magnified
from preimage.images import Picture
from preimage.metrics import psnr
from preimage.problem import Problem
from preimage.stopping import StoppingRule

FAST, PAPER = FAST_RECOVERY, PAPER_RECOVERY
LIMITS = (
    "What is recovered is what the layer keeps of the picture, as the prior fills it in: detail that it lost is made up.",
    "Where the picture is unlike those the classifier was trained on, the recovery leans towards those.",
)


def recover(
    image: torch.Tensor | NDArray[Any] | Image | str | Path | Picture,
    *,
    classifier: AnyClassifier,
    layer: str | None = None,
    uncertainty: Uncertainty = "auto",
    loss_weight: float = 0.02,
    target_loss: float | None = None,
    recipe: Recipe = FAST,
    stop: StoppingRule | None = None,
    initial: Any = None,
    seed: int = 0,
    device: str | torch.device = "auto",
) -> Explaining:
    """Recover a picture from its features under the first residual block, such that the estimated loss is low.

    Example:
        >>> found = recover("lesion.jpg", classifier="lesions.pt").run()
        >>> found.image.shape, round(found.numbers["psnr"], 1)
        (torch.Size([1, 3, 120, 160]), 33.1)

    Args:
        image: a tensor (c, h, w) in 0..1, a numpy array, a PIL image, or a path; one or three channels. A picture much larger
            than what the classifier looks at is recovered at that size.
        classifier: FILE.pt of `preimage train`, torchvision:NAME, timm:NAME, hf:NAME (each perhaps with @FILE of weights), or
            module.path:function; in Python a Classifier or what load_model returns, too.
        layer: Psi; None: the first residual block.
        uncertainty: what M is: loss (estimated), entropy, energy, none; auto: loss where there is an estimator, else entropy.
        loss_weight: weight of M, l1; 0: the plain deep prior.
        target_loss: quantile of the estimated loss that is asked for, 0 to 1; None: what the training chose, else 0.1.
        recipe: FAST, or PAPER for the published settings.
        stop: a stopping rule; None: all steps.
        initial: a Result, or the weights of one, to start from.
        seed: of all randomness.
        device: "auto", "cpu", "cuda", "mps".

    Raises:
        InputError: an unknown layer, a classifier without gradient or without a loss estimator where one is asked for.

    Source: Narayanaswamy, Thiagarajan, Spanias, ICASSP 2021, eq. 4.
    """
    model = as_model(classifier)
    picture = one_picture(image)
    x0 = at_working_size(picture.tensor, model.classifier)
    psi = layer or first_block(model, x0)
    check_weights(loss_weight=loss_weight)
    model.classifier.check_gradient(x0.to(model.classifier.mean.device))
    quantile = quantile_of(model, target_loss)
    shifts = None if is_published(recipe) else InputJitter((x0.shape[-2], x0.shape[-1]))
    view = CachedForward(
        model, [psi], uncertainty=uncertainty if loss_weight else "none", quantile=quantile, shifts=shifts
    )

    def problem() -> Problem:
        given = x0.to(model.classifier.mean.device)
        features = Features(view, psi, given)
        view.remember(given)
        return Problem(features.wanted, operator=features, regularizers=view.regularizers(loss_weight))

    def told(result: Result) -> Explanation:
        found = result.image.clamp(0, 1)
        place = model.classifier.mean.device
        with torch.no_grad():
            seen = view.seen(torch.cat([x0, found]).to(place))
            chances = seen.logits.softmax(1).float().cpu()
            doubts = [] if view.estimator is None else view.relative_loss(seen).float().cpu().tolist()
        names = model.classifier.classes
        told_as = [f"{names[int(row.argmax())]} {float(row.max()):.2f}" for row in chances]
        numbers: dict[str, Any] = {
            "layer": psi,
            "uncertainty": view.uncertainty,
            "psnr": float(psnr(found, x0)),
            "prediction": names[int(chances[0].argmax())],
            "prediction_after": names[int(chances[1].argmax())],
        }
        if doubts:
            numbers |= {"estimated_loss": doubts[0], "estimated_loss_after": doubts[1]}
        return extended(
            result,
            Explanation,
            given=x0,
            numbers=numbers,
            limits=LIMITS,
            panels={
                f"given: {told_as[0]}": x0[0],
                f"recovered: {told_as[1]}": found[0],
                "difference, magnified": magnified(found - x0)[0],
                "difference, heat map": heat_map(found - x0)[0],
            },
        )

    return explain(
        "recover",
        view,
        problem,
        (x0.shape[-2], x0.shape[-1]),
        told,
        recipe=recipe,
        channels=x0.shape[1],
        picture=picture,
        rule=stop,
        initial=initial,
        seed=seed,
        device=device,
        options={
            "input": fingerprint(picture.tensor),
            "layer": psi,
            "uncertainty": [view.uncertainty, quantile],
            "weight": loss_weight,
        },
        remarks=(f"layer {psi}, uncertainty by {view.in_words()}",),
    )
