"""Counterfactual: what would have to change in an image for another predicted class, by a change that a person can interpret.

    x* = argmin E(Psi(x), Psi(x0)) + l1 M(x) + l2 CE(F(x), y_t),   x = g_theta(z)

Of independent labels the target is one of them, which is to appear or, where it is present, to disappear; the class term then is
the cross-entropy of this label, and the divergence of all others from what they were.

Psi is the first residual block (of other networks the first block that keeps color and light, psi.py), M the uncertainty penalty,
F the classifier. A second member with the same initial weights, code and jitter is fitted without the class term: the
reconstruction. The difference of the two is what the class term changed, without what the prior leaves out of any image. Where
the classifier calls the reconstruction otherwise than the image, it gets a term that brings the own class back.

Source: Narayanaswamy, Thiagarajan, Spanias, ICASSP 2021, eq. 5; how E is normalized is unpublished: here by the mean square
of the target's features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from preimage.errors import InputError
from preimage.explain.options import (
    AnyPrior,
    ClassifierOutput,
    FeatureOptions,
    FrequencyOptions,
    Stated,
    check_finite,
    explaining,
    further_images,
)
from preimage.extras import require
from preimage.tasks import Output, option

if TYPE_CHECKING:
    import torch

    from preimage.classifiers import Classifier
    from preimage.classifiers.model_file import TrainedModel
    from preimage.explain.explanation import Counterfactual
    from preimage.explain.run import ExplanationRun

# Of pixels initialized with the image: Adam moves each by about its rate even without a gradient to follow.
PIXELS_RATE, COEFFICIENTS_RATE = 0.002, 0.01
CLASS_WEIGHT_GROWTH = 1.25
CONFIDENCE, CONFIDENCE_OF_COPIES = 0.9, 0.6
WHOLE = 0.995  # of a mask: what is lost of it is said
FILM = "GIF or WebP: from the picture to the counterfactual, with the probability of the target."
STRENGTHS = "PNG of the change at strengths from 0 to 1, with the probability of the target."


@dataclass(frozen=True, kw_only=True)
class CounterfactualOptions(FeatureOptions, FrequencyOptions):
    """Options of `counterfactual`. All priors but deep start from the image; with none the change is an adversarial one."""

    prior: AnyPrior | None = option(
        None,
        help="Prior: deep (the network's structure), spectrum (Fourier coefficients in decorrelated colors), or pixels with tv "
        "(total variation), alpha (also the alpha norm) or none (no regularizer) (default: tv; deep for a classifier with a loss "
        "estimator, and with a recipe that is not fast).",
    )

    target: str | int | None = option(
        None,
        help="Target class, by name or number from 0 (default: the second most probable); of labels the one to appear, or to "
        "disappear if it is present (default: the most probable).",
    )
    confidence: float | None = option(
        None,
        help="Target probability of the target class, or of the absence of a label, between 0 and 1 (default: 0.9; with copies, "
        "of which it is the mean, 0.6).",
    )
    class_weight: float = option(0.1, help="Weight l2 of the cross-entropy to the target class, at least 0.", minimum=0)
    class_weight_growth: float | None = option(
        None,
        help="Factor, at least 1, by which the class weight grows every 5 steps while the target confidence is not reached "
        "(default: 1.25; with recipe paper 1).",
        minimum=1,
    )
    copies: int | None = option(
        None,
        help="Altered copies (noise, shift, scale, color) of the image at each step, in all of which the class is sought; 0: the "
        "image itself alone, as published (default: 4; 0 for a classifier with a loss estimator, with prior none and with recipe "
        "paper).",
        minimum=0,
    )
    further_classifiers: Sequence[Classifier | TrainedModel | str | Path] | None = option(
        None,
        help="Further classifiers with the same classes, an ensemble: the target class is sought in all of them.",
        kind="classifiers",
        flags=("--further-classifier",),
    )
    region: Any = option(None, help="Mask, white where the image may change (default: everywhere).", kind="image")
    lesion_mask: Any = option(
        None, help="Mask, white where the change is expected; for the report, never used by the fit.", kind="image"
    )
    second_classifier: Classifier | TrainedModel | str | Path | None = option(
        None,
        help="Independently trained classifier with the same classes; the report says whether its prediction changes too.",
        kind="classifier",
    )
    second_classifier_output: ClassifierOutput | None = option(
        None, help="Output of the second classifier, as --classifier-output."
    )
    count: int = option(
        1, help="Number of counterfactuals from different seeds, 1 to 10000.", minimum=1, maximum=10_000
    )

    def __post_init__(self) -> None:
        from preimage.rng import is_whole

        super().__post_init__()
        if self.confidence is not None:
            check_finite(confidence=self.confidence)
        check_finite(class_weight=self.class_weight)
        if self.class_weight_growth is not None:
            check_finite(class_weight_growth=self.class_weight_growth)
        if not is_whole(self.count):
            raise InputError(f"count must be a whole number, at least 1, got {self.count!r}")


def start(image: Any, options: CounterfactualOptions) -> ExplanationRun[Counterfactual]:
    """The Run; the options are those of `counterfactual`.

    Raises:
        InputError: an unknown class or layer, a target that is the predicted class, a mask of another size, a classifier
            without gradient.
    """
    from functools import partial

    import torch

    from preimage.classifiers.fingerprint import model_fingerprint
    from preimage.engine.checkpoint import fingerprint
    from preimage.explain.class_schedule import ClassReached
    from preimage.explain.class_term import (
        ClassTerm,
        ClassTerms,
        counted,
        keeps_class,
        loss_of,
        loss_of_change,
        of_pairs,
    )
    from preimage.explain.coarse_to_fine import CoarseToFine
    from preimage.explain.copies import Alteration, Copies
    from preimage.explain.counterfactual_result import ResultBuilder
    from preimage.explain.defaults import copies_of, prior_of
    from preimage.explain.ensemble import further_of
    from preimage.explain.forward import CachedForward, Features
    from preimage.explain.inputs import beside, check_sound, given_by
    from preimage.explain.masks import lesion_of, region_of, seen_share
    from preimage.explain.psi import psi_of
    from preimage.explain.recipes import RECOVERY, chosen, pixel_regularizers, pixels_of
    from preimage.explain.run import ExplanationRun
    from preimage.explain.uncertainty import UncertaintyPenalty
    from preimage.problem import Problem

    require("classifiers", "torchmetrics", subject="a counterfactual is compared by MS-SSIM")
    if options.lesion_mask is not None:
        require("explain", "skimage", "scipy", subject="with a lesion mask the signs of the lesion are measured")
    given = given_by(image, options.classifier, options.device, options.stated)
    model, classifier, x0, prior = given.model, given.classifier, given.image, prior_of(options, given.model)
    region = None if options.region is None else region_of(options.region, given)
    lesion = None if options.lesion_mask is None else lesion_of(options.lesion_mask, given)
    masks = {"region": options.region, "lesion mask": options.lesion_mask}
    shares = {name: seen_share(mask, given) for name, mask in masks.items() if mask is not None}
    lost = [f"the classifier sees {share:.0%} of the {name}" for name, share in shares.items() if share < WHOLE]
    second = options.second_classifier
    if second is not None:
        second = beside(second, given, Stated(options.second_classifier_output, options.classes))
        check_sound(second, given.on_device, "the second classifier", "--second-classifier-output")
    psi = psi_of(model, given.on_device, options.layer)
    layer = psi.layer
    rate = COEFFICIENTS_RATE if prior == "spectrum" else PIXELS_RATE
    pixel_changes = {"rate": rate} if options.initial is None else {}
    recipe, name = chosen(RECOVERY, options.recipe, options.steps, prior, **pixel_changes)
    growth = options.class_weight_growth
    if growth is None:
        growth = 1.0 if name == "paper" else CLASS_WEIGHT_GROWTH
    copies, confidence = copies_of(options, model, name, prior), options.confidence
    coarse = bool(copies) if options.coarse_to_fine is None else options.coarse_to_fine
    if confidence is None:
        confidence = CONFIDENCE_OF_COPIES if copies else CONFIDENCE
    penalty = UncertaintyPenalty(model, options.uncertainty, target_loss=options.target_loss)
    forward = CachedForward(
        classifier,
        [layer, *penalty.layers],
        image=given.on_device,
        region=None if region is None else region.to(given.device),
        jitter=given.jitter(options.input_jitter, published=name == "paper"),
        copies=Copies(Alteration(copies), x0.shape[1], given.size, given.device) if copies else None,
        coarse_to_fine=CoarseToFine(given.size, recipe.steps, given.device) if coarse else None,
    )
    further = further_of(options.further_classifiers, given, forward, Stated(classes=options.classes))
    by_further = tuple(each.probabilities for each in further)
    with torch.no_grad():
        probabilities = classifier.probabilities(given.on_device)[0].cpu()
    prediction, target = int(probabilities.argmax()), _target(classifier, probabilities, options.target)
    absent = classifier.independent and bool(classifier.predicts(probabilities[None], target))
    if second is not None:
        second.class_index(classifier.classes[target])  # an unknown class is an error before the fit
    rule = ClassReached(
        probabilities=partial(of_pairs, forward, by_further, absent=absent),
        target=target,
        absent=absent,
        keeps_class=None if name == "paper" else partial(keeps_class, classifier, probabilities),
        confidence=confidence,
        counted=counted(copies, len(further)),
        growth=growth,
    )
    on_device = probabilities.to(given.device)
    terms = tuple(each.term(target, absent, given.on_device) for each in further)
    sought = ClassTerm(forward, loss_of(classifier, target, absent, on_device), further=terms)
    kept = ClassTerm(forward, loss_of_change(classifier, on_device), is_altered=False)
    features = Features(forward, layer, given.on_device)
    penalty.set_reference(forward, given.on_device)
    class_weights = torch.tensor([options.class_weight, 0.0] * options.count)
    problem = Problem(
        features.target,
        operator=features,
        regularizers=(
            (class_weights, ClassTerms([sought, kept] * options.count)),
            *penalty.regularizers(forward, options.loss_weight),
            *pixel_regularizers(prior, x0),
        ),
        finish=forward.composed,
    )
    return ExplanationRun(
        "counterfactual",
        given,
        options,
        problem,
        ResultBuilder(given, prediction, target, lesion, second, absent, layer, copies, by_further),
        forward=forward,
        recipe=recipe,
        rule=rule,
        initial=None if prior == "deep" else [{"network": pixels_of(prior, x0), "code": torch.zeros(0)}],
        streams=[k // 2 for k in range(2 * options.count)],
        fingerprint={
            "region": None if region is None else fingerprint(region),
            "target": target,
            "absent": absent,
            "layer": layer,
            "uncertainty": [penalty.kind, penalty.quantile],
            "weights": [options.loss_weight, options.class_weight, growth],
            "confidence": confidence,
            "copies": copies,
            "coarse_to_fine": coarse,
            "further": [model_fingerprint(each.forward.classifier) for each in further],
            "count": options.count,
            "prior": prior,
        },
        remark=f"{_change(classifier, probabilities, prediction, target)}; layer {layer}, uncertainty penalty: "
        f"{penalty.description()}"
        + (f"; {copies} altered copies a step, a pass to and fro through the classifier each" if copies else ""),
        further_remarks=(*psi.remarks, *lost),
    )


def _change(classifier: Classifier, probabilities: torch.Tensor, prediction: int, target: int) -> str:
    """What is to change, in words."""
    before, after = (f"{classifier.classes[i]} ({float(probabilities[i]):.2f})" for i in (prediction, target))
    if not classifier.independent:
        return f"{before} -> {after}"
    way = "present -> absent" if bool(classifier.predicts(probabilities[None], target)) else "absent -> present"
    return f"label {after}: {way}, all others as they are"


def _target(classifier: Classifier, probabilities: torch.Tensor, target: str | int | None) -> int:
    if classifier.independent:
        return int(probabilities.argmax()) if target is None else classifier.class_index(target)
    prediction, runner_up = probabilities.argsort(descending=True)[:2].tolist()
    if target is None:
        return runner_up
    index = classifier.class_index(target)
    if index == prediction:
        raise InputError(
            f"the predicted class of this image is {classifier.classes[prediction]} already: choose another target (the second "
            f"most probable is {classifier.classes[runner_up]})",
            code="class",
        )
    return index


counterfactual: Final = explaining(
    "counterfactual",
    "Change an image so that a classifier predicts another class.",
    "preimage counterfactual lesion.jpg --classifier lesions.pt --target mel --html why.html",
    CounterfactualOptions,
    start,
    "RECOVERY",
    Output("film", FILM, (".gif", ".webp"), "preimage.figures.explanation:save_change_film", extra="figures"),
    Output("strengths", STRENGTHS, (".png",), "preimage.figures.explanation:save_strip_figure", extra="figures"),
    further=further_images,
)
