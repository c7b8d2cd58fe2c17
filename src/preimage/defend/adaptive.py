"""Adaptive attacks: the attacker knows of the defence. Beside every number of an unaware attack stands one of these.

"bpda-eot" goes along the mean gradient of several cleanings, each taken for the identity on the way back (Athalye, Carlini,
Wagner 2018). "prior" is the cheap one against purification: the perturbation is itself drawn by a deep image prior, so that a
prior keeps it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import nn
from torch.nn import functional

from preimage.codes import Noise
from preimage.defend.attacks import PGD_REACH, PGD_STEPS, bounded, checked_eps
from preimage.defend.checks import at_rest, check_gradient, checked_labels, checked_pictures, device_of, logits_of
from preimage.defend.defence import DefendedClassifier, random_source
from preimage.defend.logits import checked_model, pictures_a_pass
from preimage.engine.members import Members
from preimage.engine.optimizers import Together, adam
from preimage.engine.recipe import Recipe
from preimage.errors import InputError
from preimage.networks import SkipNet

AdaptiveName = Literal["bpda-eot", "prior"]
ADAPTIVE = get_args(AdaptiveName)

SAMPLES = 8  # cleanings of each picture at each step
PRIOR_STEPS = 200

# The network that draws a perturbation: that of the defence's own kind, thin, with an output that tanh will bound.
PERTURBATION = Recipe(
    network=SkipNet.Config((16,) * 3, (16,) * 3, (4,) * 3, output="linear"),
    code=Noise(32),
    jitter=0.0,
    optimizer=adam,
    rate=0.01,
    steps=PRIOR_STEPS,
    averaging=0.0,
    stop="steps",
)


def bpda_eot(
    defended: DefendedClassifier,
    images: torch.Tensor,
    labels: torch.Tensor,
    eps: float,
    *,
    steps: int = PGD_STEPS,
    samples: int = SAMPLES,
    seed: int | None = None,
    streams: Sequence[int] | None = None,
    known: bool = False,
) -> torch.Tensor:
    """PGD along the mean gradient of several cleanings of each picture, each taken for the identity on the way back.

    Example:
        >>> attacked = bpda_eot(DefendedClassifier(model), images, labels, eps=8)
        >>> float((attacked - images).abs().max()) <= 8 / 255
        True

    Args:
        defended: the classifier with its defence.
        images: (b, 3, h, w) in 0 to 1.
        labels: (b,) the index of each picture's true class.
        eps: at least 0, in units of 1/255.
        steps: each of 2.5 eps / steps, from a random start.
        samples: cleanings of each picture at each step; how much the expectation is worth, and costs.
        seed, streams: the attacker's own random numbers; with `known` those that the defence itself will use.
        known: whether the attacker knows them: every step then sees the very cleaning that will judge it, once.

    Raises:
        InputError: pictures, labels, eps or counts that cannot be, a classifier without gradient, a seed that is known and None.

    Source: Athalye, Carlini, Wagner, Obfuscated Gradients Give a False Sense of Security, ICML 2018.
    """
    for name, value in (("steps", steps), ("samples", samples)):
        if value < 1:
            raise InputError(f"{name} must be at least 1, got {value}")
    if known and seed is None:
        raise InputError("an attacker who knows the defence's seed must be told it: give seed, or known=False")
    own, streams = random_source(len(images), seed, streams)
    generator = torch.Generator().manual_seed(own)
    with at_rest(defended.model):
        given, labels = _checked(defended.model, images, labels, eps)
        if eps == 0:
            return images.detach().clone()
        start = (2 * torch.rand(given.shape, generator=generator) - 1) * eps / 255
        attacked = bounded(given + start.to(given), given, eps)
        # Samples of small pictures are cleaned side by side; of large ones memory allows one.
        at_once = max(1, pictures_a_pass(given.shape) // (len(given) * defended.samples))
        for step in range(steps):
            # Of a stream no number is used twice: each step and sample has one of its own.
            turns = range(step * samples, (step + 1) * samples)
            drawn = [streams] if known else [[stream * steps * samples + turn for stream in streams] for turn in turns]
            slope = torch.zeros_like(given)
            for first in range(0, len(drawn), at_once):
                slope += _slope(defended, attacked, labels, own, drawn[first : first + at_once])
            attacked = bounded(attacked + PGD_REACH * eps / 255 / steps * slope.sign(), given, eps)
    return attacked.to(images)


def prior_perturbation(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    eps: float,
    *,
    recipe: Recipe = PERTURBATION,
    steps: int | None = None,
    seed: int | None = None,
    streams: Sequence[int] | None = None,
) -> torch.Tensor:
    """x + eps tanh(g_theta(z)) / 255, theta maximizing the loss of the undefended classifier: a prior's own perturbation.

    What a prior has drawn a prior keeps: purification has no reason to lose it. Needs no gradient of the defence.

    Example:
        >>> attacked = prior_perturbation(model, images, labels, eps=8)
        >>> float((attacked - images).abs().max()) <= 8 / 255
        True

    Args:
        model: the undefended classifier.
        images: (b, 3, h, w) in 0 to 1.
        labels: (b,) the index of each picture's true class.
        eps: at least 0, in units of 1/255.
        recipe: network, code and optimizer of the perturbation; its output must be linear.
        steps: None takes the recipe's; the strongest perturbation on the way is returned.
        seed, streams: of the attacker's random numbers.

    Raises:
        InputError: pictures, labels, eps or steps that cannot be, or a classifier without gradient.
    """
    recipe = recipe if steps is None else replace(recipe, steps=steps)
    own, streams = random_source(len(images), seed, streams)
    with at_rest(checked_model(model)):
        given, labels = _checked(model, images, labels, eps)
        if eps == 0:
            return images.detach().clone()
        with torch.inference_mode(False), torch.enable_grad():
            channels, height, width = given.shape[1:]
            members = {"members": len(given), "seed": own, "device": given.device, "streams": streams}
            prior = recipe.prior(channels, (height, width), **members)
            each = (recipe.optimizer(net.parameters(), recipe.rate) for net in prior.networks)
            together = Together([optimizer for of_member in each for optimizer in of_member])
            everyone, computed = list(range(len(given))), Members(prior)
            strongest, loss_of = given.clone(), torch.full((len(given),), -torch.inf, device=given.device)
            # A loop of its own: all pictures go through the classifier in one pass, which a Fit would ask about one by one.
            for _ in range(recipe.steps):
                attacked = (given + eps / 255 * computed.outputs(everyone, prior.inputs(everyone).codes).tanh()).clamp(
                    0, 1
                )
                loss = functional.cross_entropy(logits_of(model, attacked), labels, reduction="none")
                (-loss.sum()).backward()
                together.step()
                prior.networks.zero_grad(set_to_none=True)
                stronger = loss.detach() > loss_of
                strongest = torch.where(stronger[:, None, None, None], attacked.detach(), strongest)
                loss_of = torch.maximum(loss.detach(), loss_of)
    return bounded(strongest, images, eps)


def _checked(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures and labels where the classifier is, known to be such as can be attacked."""
    checked_eps(eps)
    place = device_of(model)
    with torch.inference_mode(False), torch.no_grad():
        given = checked_pictures(images).detach().float().clone().to(place)
        classes = logits_of(model, given[:1]).shape[1]
    check_gradient(model, given)
    return given, checked_labels(labels, len(images), classes).to(place)


def _slope(
    defended: DefendedClassifier, images: torch.Tensor, labels: torch.Tensor, seed: int, drawn: Sequence[Sequence[int]]
) -> torch.Tensor:
    """The gradient of the loss in the given pictures, through a cleaning of each by each row of streams, summed."""
    streams = [stream for row in drawn for stream in row]
    with torch.inference_mode(False), torch.enable_grad():
        asked = images.clone().requires_grad_()
        logits = defended.logits(asked.repeat(len(drawn), 1, 1, 1), seed, streams)
        loss = functional.cross_entropy(logits, labels.repeat(len(drawn)), reduction="sum")
        return torch.autograd.grad(loss, asked)[0]
