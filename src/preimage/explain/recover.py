"""Recovery: the pre-image of a picture's features under the first residual block, one that the classifier is sure of (eq. 4)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from PIL.Image import Image

from preimage.checkpoint import fingerprint
from preimage.explain.asked import check_weights
from preimage.explain.explanation import Explaining, Explanation, extended
from preimage.explain.fitting import explain
from preimage.explain.panels import heat_map, magnified
from preimage.explain.recipes import FAST_RECOVERY, PAPER_RECOVERY, is_published
from preimage.explain.shifts import Shifts
from preimage.explain.view import (
    AnyPredictor,
    Doubt,
    Features,
    View,
    as_model,
    at_working_size,
    first_block,
    one_picture,
    quantile_of,
)
from preimage.images import Picture
from preimage.metrics import psnr
from preimage.problem import Problem
from preimage.recipes import Recipe
from preimage.result import Result
from preimage.stopping import Rule

FAST, PAPER = FAST_RECOVERY, PAPER_RECOVERY
LIMITS = (
    "What is recovered is what the layer keeps of the picture, as the prior fills it in: detail that it lost is made up.",
    "Where the picture is unlike those the classifier was trained on, the recovery leans towards those.",
)


def recover(
    image: torch.Tensor | NDArray[Any] | Image | str | Path | Picture,
    *,
    predictor: AnyPredictor,
    layer: str | None = None,
    doubt: Doubt = "auto",
    loss_weight: float = 0.02,
    target_loss: float | None = None,
    recipe: Recipe = FAST,
    stop: Rule | None = None,
    initial: Any = None,
    seed: int = 0,
    device: str | torch.device = "auto",
) -> Explaining:
    """Recover a picture from its features under the first residual block, such that the estimated loss is low.

    Example:
        >>> found = recover("lesion.jpg", predictor="lesions.pt").run()
        >>> found.image.shape, round(found.numbers["psnr"], 1)
        (torch.Size([1, 3, 120, 160]), 33.1)

    Args:
        image: a tensor (c, h, w) in 0..1, a numpy array, a PIL image, or a path; one or three channels. A picture much larger
            than what the classifier looks at is recovered at that size.
        predictor: FILE.pt of `preimage train`, torchvision:NAME, timm:NAME, hf:NAME (each perhaps with @FILE of weights), or
            module.path:function; in Python a Predictor or what load_model returns, too.
        layer: Psi; None: the first residual block.
        doubt: what M is: loss (estimated), entropy, energy, none; auto: loss where there is an estimator, else entropy.
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
    model = as_model(predictor)
    picture = one_picture(image)
    x0 = at_working_size(picture.tensor, model.predictor)
    psi = layer or first_block(model, x0)
    check_weights(loss_weight=loss_weight)
    model.predictor.check_gradient(x0.to(model.predictor.mean.device))
    quantile = quantile_of(model, target_loss)
    shifts = None if is_published(recipe) else Shifts((x0.shape[-2], x0.shape[-1]))
    view = View(model, [psi], doubt=doubt if loss_weight else "none", quantile=quantile, shifts=shifts)

    def problem() -> Problem:
        given = x0.to(model.predictor.mean.device)
        features = Features(view, psi, given)
        view.remember(given)
        return Problem(features.wanted, operator=features, penalties=view.penalties(loss_weight))

    def told(result: Result) -> Explanation:
        found = result.image.clamp(0, 1)
        place = model.predictor.mean.device
        with torch.no_grad():
            seen = view.seen(torch.cat([x0, found]).to(place))
            chances = seen.logits.softmax(1).float().cpu()
            doubts = [] if view.estimator is None else view.relative_loss(seen).float().cpu().tolist()
        names = model.predictor.classes
        told_as = [f"{names[int(row.argmax())]} {float(row.max()):.2f}" for row in chances]
        numbers: dict[str, Any] = {
            "layer": psi,
            "doubt": view.doubt,
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
            "doubt": [view.doubt, quantile],
            "weight": loss_weight,
        },
        remarks=(f"layer {psi}, doubt by {view.in_words()}",),
    )
