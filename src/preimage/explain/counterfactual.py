"""Counterfactual: what would have to change in a picture for another diagnosis, by a change that a person can read.

    x* = argmin E(Psi(x), Psi(x0)) + l1 M(x) + l2 CE(F(x), y_t),   x = g_theta(z)

Psi is the first residual block, M the estimated loss of the classifier against the one asked for, F the classifier. Beside it
runs a second member with the same initial weights, code and jitter, and without the class term: the reconstruction. What
the class asked for is the difference of the two, not what the prior leaves out of any picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch.nn import functional

from preimage.classifiers import Classifier
from preimage.classifiers.model_file import TrainedModel
from preimage.engine.checkpoint import fingerprint
from preimage.engine.recipe import Recipe
from preimage.engine.result import Result
from preimage.errors import InputError
from preimage.explain.checks import check_weights, whole
from preimage.explain.class_schedule import ClassReached
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
from preimage.explain.invert import PriorName, regularizers_of, with_prior
from preimage.explain.quality import judge, stability
from preimage.explain.recipes import FAST_RECOVERY, PAPER_RECOVERY, is_published
from preimage.explain.regions import lesion_of, region_of
from preimage.figures.panels import heat_map, magnified
from preimage.images import Picture
from preimage.problem import Problem

FAST, PAPER = FAST_RECOVERY, PAPER_RECOVERY
PIXELS_RATE = 0.002  # of pixels that start as the picture: Adam dithers by about its rate where nothing is asked for
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
LIMITS = (
    "It shows what this classifier reacts to, not what the disease (or whatever the class is) does.",
    "Another seed gives another change: ask for several (--count) and look at what they share.",
    "A change that a second, independently trained classifier does not follow is likely to be peculiar to this one.",
)


@dataclass(frozen=True, eq=False)
class Counterfactual(Explanation):
    """A counterfactual; `image` is the picture, (1, c, h, w), of the size that was given.

    Args:
        changed, reconstruction: with and without the class term, (1, c, h, w), at the size it was explained in.
        classes: the classifier's.
        prediction, target: indices of what the given picture is told to be, and of what was asked for.
        valid: whether the classifier says the target of `changed`.
        confidence: the probability it gives the target there.
        probabilities: {"given", "reconstruction", "counterfactual"}: (classes,) each.
        along_strengths: the probability of the target for each picture of `strengths()`.
        others: of further seeds.
    """

    changed: torch.Tensor = field(default_factory=lambda: torch.zeros(0))
    reconstruction: torch.Tensor = field(default_factory=lambda: torch.zeros(0))
    classes: tuple[str, ...] = ()
    prediction: int = 0
    target: int = 0
    valid: bool = False
    confidence: float = 0.0
    probabilities: dict[str, torch.Tensor] = field(default_factory=dict)
    along_strengths: tuple[float, ...] = ()
    others: tuple[Counterfactual, ...] = ()

    @property
    def difference(self) -> torch.Tensor:
        """What the class term changed, (1, c, h, w), signed."""
        return self.changed - self.reconstruction

    def strengths(self) -> list[tuple[float, torch.Tensor]]:
        """A strip from the reconstruction (0) to the counterfactual (1): (strength, picture) each."""
        return [(share, torch.lerp(self.reconstruction, self.changed, share)) for share in STRENGTHS]


def counterfactual(
    image: torch.Tensor | NDArray[Any] | Image | str | Path | Picture,
    *,
    classifier: AnyClassifier,
    target: str | int | None = None,
    confidence: float = 0.9,
    layer: str | None = None,
    uncertainty: Uncertainty = "auto",
    loss_weight: float = 0.02,
    class_weight: float = 0.1,
    target_loss: float | None = None,
    region: torch.Tensor | NDArray[Any] | Image | str | Path | Picture | None = None,
    lesion_mask: torch.Tensor | NDArray[Any] | Image | str | Path | Picture | None = None,
    second_classifier: AnyClassifier | None = None,
    count: int = 1,
    prior: PriorName = "deep",
    recipe: Recipe = FAST,
    initial: Any = None,
    seed: int = 0,
    device: str | torch.device = "auto",
) -> Explaining:
    """Change a picture so that a classifier takes it for another class.

    Example:
        >>> found = counterfactual("lesion.jpg", classifier="lesions.pt", target="mel").run()
        >>> found.valid, round(found.confidence, 2)
        (True, 0.93)
        >>> found.save("as-melanoma.png")

    Args:
        image: a tensor (c, h, w) in 0..1, a numpy array, a PIL image, or a path; one or three channels.
        classifier: FILE.pt of `preimage train`, torchvision:NAME, timm:NAME, hf:NAME (each perhaps with @FILE of weights), or
            module.path:function; in Python a Classifier or what load_model returns, too.
        target: the class, by name or number; None: the runner-up, the most probable class but one.
        confidence: the probability of the target that is asked for, between 0 and 1.
        layer: Psi, whose features the picture keeps; None: the first residual block.
        uncertainty: what keeps the picture one that the classifier knows: loss (estimated, from a model file of ours), entropy or
            energy (without any estimator), none (the plain deep prior); auto: loss where there is an estimator, else entropy.
        loss_weight: weight of that, l1.
        class_weight: weight of the cross-entropy to the target, l2; with FAST it grows where the class is not reached.
        target_loss: quantile of the estimated loss that is asked for, 0 to 1; None: what the training chose, else 0.1.
        region: a black and white picture, white where it may change; None: everywhere.
        lesion_mask: a black and white picture, white where the change should be: only for the report, the fit never sees it.
        second_classifier: an independently trained classifier with the same classes, for the report: does it follow?
        count: so many counterfactuals from different seeds.
        prior: deep (the network's structure); or, to compare, the picture's own pixels from which the fit then starts: none (what
            is called an adversarial change), tv (with total variation), alpha (and the alpha norm).
        recipe: FAST, or PAPER for the published settings.
        initial: a Result, or the weights of one, to start from.
        seed: of all randomness.
        device: "auto", "cpu", "cuda", "mps".

    Raises:
        InputError: an unknown class or layer, a target that is the prediction already, a region of another size, a
            classifier without gradient.

    Source: Narayanaswamy, Thiagarajan, Spanias, ICASSP 2021, eq. 5; how E is normalized is unpublished: here by the mean square
    of the target's features.
    """
    model = as_model(classifier)
    asker = model.classifier
    picture = one_picture(image)
    x0 = at_working_size(picture.tensor, asker)
    size = (x0.shape[-2], x0.shape[-1])
    allowed = None if region is None else region_of(region, picture, size)
    lesion = None if lesion_mask is None else lesion_of(lesion_mask, picture, size)
    second = None if second_classifier is None else as_model(second_classifier).classifier
    count = whole("count", count, least=1)
    check_weights(loss_weight=loss_weight, class_weight=class_weight)
    psi = layer or first_block(model, x0)
    asker.check_gradient(x0.to(asker.mean.device))
    quantile = quantile_of(model, target_loss)
    published = is_published(recipe)
    shifts = None if published else InputJitter(size)
    view = CachedForward(
        model, [psi], uncertainty=uncertainty, quantile=quantile, given=x0, region=allowed, shifts=shifts
    )
    with torch.no_grad():
        chances = asker.probabilities(x0.to(asker.mean.device))[0].cpu()
    said = int(chances.argmax())
    wanted = _target(asker, chances, target)
    if second is not None:
        second.class_index(asker.classes[wanted])  # said now rather than after the fit
    recipe = with_prior(recipe, prior)
    if prior != "deep" and initial is None:
        initial = [{"network": {"image": x0}, "code": torch.zeros(0)}]
        recipe = replace(recipe, rate=PIXELS_RATE)
    rule = ClassReached(
        lambda x: asker.probabilities(view.composed(x)), wanted, confidence=confidence, push=1.0 if published else 1.25
    )
    judged = partial(_judged, model=model, target=wanted, mask=lesion, second=second)

    def problem() -> Problem:
        given = x0.to(asker.mean.device)
        features = Features(view, psi, given)
        view.remember(given)
        strengths = torch.tensor([class_weight, 0.0] * count)
        return Problem(
            features.wanted,
            operator=features,
            regularizers=(
                (strengths, partial(cross_entropy, view, wanted)),
                *view.regularizers(loss_weight),
                *regularizers_of(prior, size, x0.shape[1]),
            ),
            finish=view.composed,
        )

    names = asker.classes
    begun: list[Explaining] = []  # its tracker knows what the result is judged by
    run = explain(
        "counterfactual",
        view,
        problem,
        size,
        _Question(view, lambda: begun[0].fit.tracker, x0, picture, said, wanted, judged).told,
        recipe=recipe,
        channels=x0.shape[1],
        members=2 * count,
        streams=[k // 2 for k in range(2 * count)],
        picture=picture,
        rule=rule,
        initial=initial,
        seed=seed,
        device=device,
        options={
            "input": fingerprint(picture.tensor),
            "region": None if allowed is None else fingerprint(allowed),
            "target": wanted,
            "layer": psi,
            "uncertainty": [view.uncertainty, quantile],
            "weights": [loss_weight, class_weight],
            "confidence": confidence,
            "count": count,
            "prior": prior,
        },
        remarks=(
            f"{names[said]} ({float(chances[said]):.2f}) -> {names[wanted]} ({float(chances[wanted]):.2f}); "
            f"layer {psi}, uncertainty by {view.in_words()}",
        ),
    )
    begun.append(run)
    return run


def cross_entropy(view: CachedForward, target: int, x: torch.Tensor) -> torch.Tensor:
    """-log of the probability of a class, (b,)."""
    return -view.seen(x).logits.log_softmax(1)[:, target]


def _target(classifier: Classifier, chances: torch.Tensor, target: str | int | None) -> int:
    said = int(chances.argmax())
    runner_up = int(chances.argsort(descending=True)[1])
    if target is None:
        return runner_up
    wanted = classifier.class_index(target)
    if wanted == said:
        raise InputError(
            f"the classifier says {classifier.classes[said]} of this picture already: choose another target (the runner-up is "
            f"{classifier.classes[runner_up]})"
        )
    return wanted


def _judged(
    given: torch.Tensor,
    reconstruction: torch.Tensor,
    changed: torch.Tensor,
    *,
    model: TrainedModel,
    target: int,
    mask: torch.Tensor | None,
    second: Classifier | None,
) -> dict[str, Any]:
    """All numbers of quality.py that what was given allows."""
    wanted: str | int = target
    if second is not None:
        second.to(model.classifier.mean.device)
        wanted = model.classifier.classes[target]
    found = judge(
        given,
        changed,
        classifier=model.classifier,
        target=wanted,
        reconstruction=reconstruction,
        estimator=model.estimator,
        mask=mask,
        second=second,
        signs=mask is not None and given.shape[1] == 3,
    )
    return {name: value for name, value in found.as_dict().items() if value is not None}


@dataclass(frozen=True, eq=False)
class _Question:
    """What was asked, by which a Result is told: the picture as it was given and at the size it is explained in, what the
    classifier says of it, the class that was asked for, and what judges the answer."""

    view: CachedForward
    tracker: Callable[[], Any]
    x0: torch.Tensor
    picture: Picture
    said: int
    wanted: int
    judged: Callable[..., dict[str, Any]]

    def told(self, result: Result) -> Counterfactual:
        """The first counterfactual, with the others in it and, of several, how much they agree."""
        found = [self.one(result, k) for k in range(len(result.image) // 2)]
        first, *others = found
        if not others:
            return first
        agreement = stability(torch.cat([each.difference for each in found]))
        numbers = first.numbers | {
            "count": len(found),
            "valid_share": sum(each.valid for each in found) / len(found),
            "stability": agreement.change,
            "stability_of_heat_maps": agreement.heat_map,
        }
        panels = first.panels | {
            f"counterfactual {k}: {first.classes[self.wanted]} {each.confidence:.2f}": each.changed[0]
            for k, each in enumerate(others, 2)
        }
        return replace(first, numbers=numbers, panels=panels, others=tuple(others))

    def one(self, result: Result, k: int) -> Counterfactual:
        """The counterfactual of members 2 k and 2 k + 1."""
        classifier, place = self.view.classifier, self.view.classifier.mean.device
        changed, reconstruction = (result.image[2 * k + i : 2 * k + i + 1].clamp(0, 1) for i in (0, 1))
        strip = [torch.lerp(reconstruction, changed, share) for share in STRENGTHS]
        with torch.no_grad():
            each = (
                classifier.probabilities(torch.cat([self.x0, reconstruction, changed, *strip]).to(place)).float().cpu()
            )
        probabilities = dict(zip(("given", "reconstruction", "counterfactual"), each[:3], strict=True))
        change = changed - reconstruction
        whole = changed
        if self.x0.shape != self.picture.tensor.shape:
            up = functional.interpolate(
                change, size=self.picture.tensor.shape[-2:], mode="bicubic", align_corners=False
            )
            whole = (self.picture.tensor + up).clamp(0, 1)
        names = classifier.classes
        shown = list(dict.fromkeys([self.said, self.wanted, *each[2].argsort(descending=True)[:2].tolist()]))
        confidence = float(each[2, self.wanted])
        valid = int(each[2].argmax()) == self.wanted
        return extended(
            result,
            Counterfactual,
            given=self.x0,
            changed=changed,
            reconstruction=reconstruction,
            classes=names,
            prediction=self.said,
            target=self.wanted,
            valid=valid,
            confidence=confidence,
            along_strengths=tuple(each[3:, self.wanted].tolist()),
            probabilities=probabilities,
            panels={
                f"given: {names[self.said]} {float(each[0, self.said]):.2f}": self.x0[0],
                f"reconstruction: {_best(each[1], names)}": reconstruction[0],
                f"counterfactual: {_best(each[2], names)}": changed[0],
                "difference, magnified": magnified(change)[0],
                "difference, heat map": heat_map(change)[0],
            },
            curves={"probability": {names[i]: self.tracker().curve(2 * k, i) for i in shown}},
            limits=LIMITS,
            numbers={
                "valid": valid,
                "prediction": names[self.said],
                "target": names[self.wanted],
                "confidence": confidence,
                "class_weight_grew": self.tracker().pushed[2 * k],
                **self.judged(self.x0, reconstruction, changed),
                "probabilities": {
                    name: dict(zip(names, values.tolist(), strict=True)) for name, values in probabilities.items()
                },
            },
            image=whole,
            kept_step=result.kept_step[2 * k : 2 * k + 1],
            reason=result.reason if result.reason_code == "interrupted" else self.tracker().reason(2 * k),
        )


def _best(chances: torch.Tensor, names: tuple[str, ...]) -> str:
    return f"{names[int(chances.argmax())]} {float(chances.max()):.2f}"
