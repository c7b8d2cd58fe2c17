"""What is made with what where nothing is stated: the prior of a counterfactual, how many altered copies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from preimage.explain.options import AnyPrior
from preimage.explain.recipes import RECOVERY
from preimage.recipes import choose

if TYPE_CHECKING:
    from preimage.classifiers.model_file import TrainedModel
    from preimage.explain.counterfactual import CounterfactualOptions
    from preimage.explain.maximize import MaximizeOptions

COPIES = 4
SMALLEST_SIDE = 96  # of images of which copies are made to maximize: measured at 224 pixels, not below


def prior_of(options: CounterfactualOptions, model: TrainedModel) -> AnyPrior:
    """By default pixels with total variation: other classifiers follow their changes, and they stay with the image.

    The deep prior goes with M, and with a recipe or weights that are given.
    """
    if options.prior is not None:
        return options.prior
    choice = choose(RECOVERY, options.recipe)
    is_fast = choice.name == "fast" and "network" not in choice.changes
    return "tv" if is_fast and model.estimator is None and options.initial is None else "deep"


def copies_of(options: CounterfactualOptions, model: TrainedModel, recipe: str, prior: AnyPrior) -> int:
    """Copies by default where nothing else keeps the change from being a pattern of this one classifier."""
    if options.copies is not None:
        return options.copies
    return 0 if recipe == "paper" or prior == "none" or model.estimator is not None else COPIES


def copies_to_maximize(options: MaximizeOptions, recipe: str, size: tuple[int, int]) -> int:
    """Copies by default under any prior but none, as published with the recipe "paper"; of small images none."""
    if options.copies is not None:
        return options.copies
    return 0 if recipe == "paper" or options.prior == "none" or min(size) < SMALLEST_SIDE else COPIES
