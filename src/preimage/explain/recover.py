"""Recovery: the pre-image of the features of the first residual block with a low estimated loss (eq. 4).

    x* = argmin E(Psi(x), Psi(x0)) + l1 M(x),   x = g_theta(z)

Source: Narayanaswamy, Thiagarajan, Spanias, ICASSP 2021, eq. 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from preimage.explain.options import FeatureOptions, StopOptions, explaining

if TYPE_CHECKING:
    from preimage.engine.result import Result
    from preimage.explain.explanation import Explanation
    from preimage.explain.run import ExplanationRun
    from preimage.stopping import Tracker

LIMITS = (
    "The recovery shows what the layer keeps of the image, completed by the prior: detail that the layer lost is made up.",
    "Where the image is unlike the training images of the classifier, the recovery tends towards those.",
)


@dataclass(frozen=True, kw_only=True)
class RecoverOptions(FeatureOptions, StopOptions):
    """Options of `recover`."""


def start(image: Any, options: RecoverOptions) -> ExplanationRun[Explanation]:
    """The Run; the options are those of `recover`.

    Raises:
        InputError: an unknown layer, a classifier without gradient, or none of a loss estimator that the options need.
    """
    import torch

    from preimage.explain.explanation import Explanation, extended
    from preimage.explain.forward import CachedForward, Features
    from preimage.explain.inputs import given_by
    from preimage.explain.psi import psi_of
    from preimage.explain.recipes import RECOVERY, chosen
    from preimage.explain.run import ExplanationRun
    from preimage.explain.uncertainty import UncertaintyPenalty
    from preimage.figures.panels import heat_map, magnified
    from preimage.metrics import psnr
    from preimage.problem import Problem

    given = given_by(image, options.classifier, options.device, options.stated)
    psi = psi_of(given.model, given.on_device, options.layer)
    x0, layer, weight = given.image, psi.layer, options.loss_weight
    recipe, name = chosen(RECOVERY, options.recipe, options.steps)
    penalty = UncertaintyPenalty(
        given.model, options.uncertainty if weight else "none", target_loss=options.target_loss
    )
    jitter = given.jitter(options.input_jitter, published=name == "paper")
    forward = CachedForward(given.classifier, [layer, *penalty.layers], jitter=jitter)
    features = Features(forward, layer, given.on_device)
    penalty.set_reference(forward, given.on_device)

    def build(result: Result, _: Tracker) -> Explanation:
        found = result.image.clamp(0, 1)
        with torch.no_grad():
            passed = forward(torch.cat([x0, found]).to(given.device))
            probabilities = given.classifier.probabilities_of(passed.logits).float().cpu()
            losses = [] if penalty.estimator is None else penalty.relative_loss(passed).float().cpu().tolist()
        predictions = [given.classifier.predicted(row) for row in probabilities]
        titles = [given.classifier.in_words(row) for row in probabilities]
        numbers: dict[str, Any] = {
            "layer": layer,
            "uncertainty": penalty.kind,
            "psnr": float(psnr(found, x0)),
            "prediction": predictions[0],
            "prediction_after": predictions[1],
        }
        if losses:
            numbers |= {"estimated_loss": losses[0], "estimated_loss_after": losses[1]}
        panels = {
            f"input: {titles[0]}": x0[0],
            f"recovered: {titles[1]}": found[0],
            "difference, magnified": magnified(found - x0)[0],
            "difference, heat map": heat_map(found - x0)[0],
        }
        return extended(result, Explanation, given=x0, numbers=numbers, panels=panels, limits=LIMITS)

    return ExplanationRun(
        "recover",
        given,
        options,
        Problem(features.target, operator=features, regularizers=penalty.regularizers(forward, weight)),
        build,
        forward=forward,
        recipe=recipe,
        rule=options.stop,
        fingerprint={"layer": layer, "uncertainty": [penalty.kind, penalty.quantile], "weight": weight},
        remark=f"layer {layer}, uncertainty penalty: {penalty.description()}",
        further_remarks=psi.remarks,
    )


recover: Final = explaining(
    "recover",
    "Recover an image from its features at an early block, such that the classifier is confident.",
    "preimage recover lesion.jpg --classifier lesions.pt",
    RecoverOptions,
    start,
    "RECOVERY",
)
