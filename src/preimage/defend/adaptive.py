"""Adaptive attacks, which know of the defense: the result of an unaware attack means little without one of these.

"bpda-eot" follows the mean gradient of several purifications, each the identity in the backward pass (Athalye, Carlini, Wagner
2018). "prior" is a cheap one against purification: the perturbation is itself the output of a deep image prior, so that a prior
retains it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn
from torch.nn import functional

from preimage.defend.attacks import PGD_REACH, PGD_STEPS, attackable, bounded
from preimage.defend.checks import whole_number
from preimage.defend.defence import DefendedClassifier, random_source
from preimage.defend.purification import PAPER, prior_of
from preimage.defend.users_model import images_per_pass, logits_of
from preimage.engine.members import Members
from preimage.errors import InputError
from preimage.networks import SkipNet
from preimage.optimizers import Together

ADAPTIVE = ("bpda-eot", "prior")

SAMPLES = 8  # purifications of each image at each step
PRIOR_STEPS = 200

# The network whose output is the perturbation: of the defense's own kind, thin, its linear output bounded by tanh.
PERTURBATION = replace(
    PAPER,
    network=SkipNet.Config((16,) * 3, (16,) * 3, (4,) * 3, output="linear"),
    jitter=0.0,
    steps=PRIOR_STEPS,
    precision="auto",
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
    """PGD along the mean gradient of several purifications of each image (see the module).

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4))
        >>> images, labels = torch.rand(2, 3, 16, 16), torch.tensor([0, 3])
        >>> attacked = bpda_eot(DefendedClassifier(model, steps=1), images, labels, eps=8, steps=1, samples=1)
        >>> bool((attacked - images).abs().max() <= 8 / 255)
        True

    Args:
        defended: the classifier with its defense.
        images, labels, eps: as in `attack`.
        steps: number of steps, each of 2.5 eps / steps, from a random start.
        samples: purifications of each image at each step, by which the expectation is estimated.
        seed, streams: the attacker's own random seed and streams; with `known` those that the defense itself will use.
        known: whether the attacker knows these: every step then uses the very purification that is evaluated, once.

    Raises:
        InputError: images, labels, eps or counts out of range, a classifier without gradient, `known` without a seed.

    Source: Athalye, Carlini, Wagner, Obfuscated Gradients Give a False Sense of Security, ICML 2018.
    """
    steps, samples = whole_number(steps, "steps"), whole_number(samples, "samples")
    if known and seed is None:
        raise InputError("an attacker who knows the defense's seed needs it: give seed, or known=False", code="option")
    own, streams = random_source(len(images), seed, streams)
    generator = torch.Generator().manual_seed(own)
    with attackable(defended.model, images, labels, eps) as (given, labels, _):
        if eps == 0:
            return images.detach().clone()
        start = (2 * torch.rand(given.shape, generator=generator) - 1) * eps / 255
        attacked = bounded(given + start.to(given), given, eps)
        # Samples of small images are purified side by side; of large ones memory allows one.
        at_once = max(1, images_per_pass(given.shape) // (len(given) * defended.samples))
        for step in range(steps):
            # No random number is used twice: each step and sample has a stream of its own.
            turns = range(step * samples, (step + 1) * samples)
            drawn = [streams] if known else [[stream * steps * samples + turn for stream in streams] for turn in turns]
            slope = torch.zeros_like(given)
            for first in range(0, len(drawn), at_once):
                slope += _gradient(defended, attacked, labels, own, drawn[first : first + at_once])
            attacked = bounded(attacked + PGD_REACH * eps / 255 / steps * slope.sign(), given, eps)
    return attacked.to(images)


def prior_perturbation(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    eps: float,
    *,
    steps: int | None = None,
    seed: int | None = None,
    streams: Sequence[int] | None = None,
) -> torch.Tensor:
    """x + eps tanh(g_theta(z)) / 255, theta maximizing the loss of the undefended classifier.

    Purification tends to retain it, since it is the output of a prior. Needs no gradient of the defense.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4))
        >>> images, labels = torch.rand(2, 3, 16, 16), torch.tensor([0, 3])
        >>> attacked = prior_perturbation(model, images, labels, eps=8, steps=2)
        >>> bool((attacked - images).abs().max() <= 8 / 255)
        True

    Args:
        model: the undefended classifier.
        images, labels, eps: as in `attack`.
        steps: number of steps; None: 200. The strongest perturbation of all steps is returned.
        seed, streams: the attacker's random seed and streams.

    Raises:
        InputError: images, labels, eps or steps out of range, or a classifier without gradient.
    """
    recipe = PERTURBATION if steps is None else replace(PERTURBATION, steps=steps)
    own, streams = random_source(len(images), seed, streams)
    with attackable(model, images, labels, eps) as (given, labels, _):
        if eps == 0:
            return images.detach().clone()
        with torch.inference_mode(False), torch.enable_grad():
            prior = prior_of(given, recipe, own, streams, given.device)
            owned = [recipe.optimizer(network.parameters(), recipe.rate) for network in prior.networks]
            together = Together([optimizer for of_member in owned for optimizer in of_member])
            everyone, computed = list(range(len(given))), Members(prior)
            strongest, loss_of = given.clone(), torch.full((len(given),), -torch.inf, device=given.device)
            # A loop of its own: all images go through the classifier in one pass, and a Fit would classify them one by one.
            for _ in range(recipe.steps):
                perturbation = computed.outputs(everyone, prior.inputs(everyone).codes).tanh()
                attacked = (given + eps / 255 * perturbation).clamp(0, 1)
                loss = functional.cross_entropy(logits_of(model, attacked), labels, reduction="none")
                (-loss.sum()).backward()
                together.step()
                prior.networks.zero_grad(set_to_none=True)
                stronger = loss.detach() > loss_of
                strongest = torch.where(stronger[:, None, None, None], attacked.detach(), strongest)
                loss_of = torch.maximum(loss.detach(), loss_of)
    return bounded(strongest, images, eps)


def _gradient(
    defended: DefendedClassifier, images: torch.Tensor, labels: torch.Tensor, seed: int, drawn: Sequence[Sequence[int]]
) -> torch.Tensor:
    """The gradient of the loss in the images, through a purification of each by each row of streams, summed."""
    streams = [stream for row in drawn for stream in row]
    with torch.inference_mode(False), torch.enable_grad():
        x = images.clone().requires_grad_()
        logits = defended.logits(x.repeat(len(drawn), 1, 1, 1), seed, streams)
        loss = functional.cross_entropy(logits, labels.repeat(len(drawn)), reduction="sum")
        return torch.autograd.grad(loss, x)[0]
