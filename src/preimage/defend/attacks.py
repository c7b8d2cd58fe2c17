"""Attacks: adversarial examples of images, which differ by at most eps in every value.

A thin face of the adversarial-robustness-toolbox (the extra `defend`), in the units of the literature: eps counts in 1/255.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from numbers import Real
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from preimage.defend.checks import checked_images, checked_labels, checked_model, importing_toolbox, whole_number
from preimage.defend.users_model import at_rest, check_exclusive, check_gradient, check_logits, device_of, logits_of
from preimage.errors import InputError
from preimage.rng import checked_seed

AttackName = Literal["fgsm", "bi", "llci", "pgd", "autoattack"]
ATTACKS = get_args(AttackName)

PGD_STEPS, AUTO_STEPS = 20, 100
PGD_REACH = 2.5  # the length of all steps together, in eps (Madry et al. 2018)
# Those of the toolbox: 5000 squares, the first 80 % of the image.
AUTO_RESTARTS, SQUARES_PER_STEP, LARGEST_SQUARE = 5, 50, 0.8

_LOCK = threading.RLock()  # of the global generators


def attack(
    name: AttackName,
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    eps: float,
    *,
    steps: int | None = None,
    batch: int = 64,
    seed: int = 0,
) -> torch.Tensor:
    """Adversarial examples: images that differ by at most eps / 255 in every value, within 0 to 1.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4))
        >>> images, labels = torch.rand(2, 3, 8, 8), torch.tensor([0, 3])
        >>> attacked = attack("fgsm", model, images, labels, eps=8)
        >>> bool((attacked - images).abs().max() <= 8 / 255)
        True

    Args:
        name: "fgsm": one step along the sign of the loss's gradient (Goodfellow et al. 2015); "bi", basic iterative: several of
            1/255 (Kurakin et al. 2017); "llci": the same towards the least likely class; "pgd": from a random start, steps of
            2.5 eps / steps (Madry et al. 2018); "autoattack": APGD by two losses, DeepFool and Square, each on the images that
            are still correctly classified (Croce and Hein 2020, as in the toolbox: none of them targeted).
        model: a Classifier, or any module from images in 0 to 1 to logits; it is used in evaluation mode.
        images: (b, 1 or 3, h, w) in 0 to 1.
        labels: (b,) the index of each image's true class.
        eps: 0 to 255, in units of 1/255; 0 returns the images as they are.
        steps: at least 1; None: by Kurakin's rule for bi and llci, min(eps + 4, 1.25 eps), rounded up; 20 for pgd; 100 for
            autoattack (whose Square attack makes 50 queries a step). fgsm has one.
        batch: images per pass.
        seed: random seed of random starts; they depend on the images that are attacked together. The toolbox draws from global
            generators: attacks of several threads run one after another (`global_generators`).

    Raises:
        InputError: an unknown attack, images, labels, eps or steps out of range, a classifier without gradient.
        MissingExtra: the adversarial-robustness-toolbox is not installed.
    """
    if name not in ATTACKS:
        raise InputError(f"an attack is one of {', '.join(ATTACKS)}, got {name!r}")
    steps = None if steps is None else whole_number(steps, "steps")
    batch, seed = whole_number(batch, "batch"), checked_seed(seed)
    with attackable(model, images, labels, eps) as (given, labels, classes):
        if eps == 0:
            return images.detach().clone()
        generate = _toolbox_attack(name, _classifier(model, given, classes), eps, steps, batch)
        if name == "llci":
            with torch.no_grad():
                labels = torch.cat([logits_of(model, part) for part in given.split(batch)]).argmin(1)
        try:
            with torch.inference_mode(False), torch.enable_grad(), global_generators(seed):
                found = generate(x=given.cpu().numpy(), y=labels.cpu().numpy())
        finally:
            model.to(given.device)  # the toolbox knows one graphics card
    return bounded(torch.from_numpy(found), images, eps)


@contextmanager
def attackable(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, eps: float
) -> Iterator[tuple[torch.Tensor, torch.Tensor, int]]:
    """A context with a classifier at rest: images and labels on its device, checked, and the number of classes.

    Raises:
        InputError: images, labels or eps out of range, or (unless eps is 0) a classifier without gradient.
    """
    checked_eps(eps)
    place = device_of(checked_model(model))
    check_exclusive(model)
    with at_rest(model):
        with torch.inference_mode(False), torch.no_grad():
            given = checked_images(images).detach().float().clone().to(place)
            classes = logits_of(model, given[:1]).shape[1]
            check_logits(model, given)
        labels = checked_labels(labels, len(given), classes).to(place)
        if eps:
            check_gradient(model, given)
        yield given, labels, classes


def kurakin_steps(eps: float) -> int:
    """Steps of 1/255 of the iterative attacks: min(eps + 4, 1.25 eps), a fraction rounded up, at least 1.

    Example:
        >>> [kurakin_steps(eps) for eps in (1, 2, 5, 10, 25, 100)]
        [2, 3, 7, 13, 29, 104]

    Source: Kurakin, Goodfellow, Bengio, Adversarial examples in the physical world, 2017, section 2.2; rounding is unpublished.
    """
    return max(1, math.ceil(min(eps + 4, 1.25 * eps)))


def bounded(attacked: torch.Tensor, images: torch.Tensor, eps: float) -> torch.Tensor:
    """Images clipped to within eps / 255 of the given ones and to 0 to 1, exactly, in the dtype and on the device of these."""
    given = images.detach().cpu()
    exact, reach = given.double(), eps / 255
    inside = attacked.detach().cpu().double().clamp(exact - reach, exact + reach).clamp(0, 1).to(given.dtype)
    # Rounding may have stepped over the bound by one unit in the last place.
    beyond = (inside.double() - exact).abs() > reach
    return torch.where(beyond, torch.nextafter(inside, given), inside).to(images.device)


def checked_eps(eps: float) -> float:
    """eps, known to be a number from 0 to 255; an InputError else."""
    if not isinstance(eps, Real) or not 0 <= eps <= 255:
        raise InputError(f"eps must be from 0 to 255, in units of 1/255, got {eps!r}")
    return eps


def _classifier(model: nn.Module, images: torch.Tensor, classes: int) -> Any:
    """The toolbox's view of a classifier of such images."""
    with importing_toolbox("art.estimators.classification"):
        from art.estimators.classification import PyTorchClassifier
    place, shape = "gpu" if images.is_cuda else "cpu", tuple(images.shape[1:])
    return PyTorchClassifier(model, nn.CrossEntropyLoss(), shape, classes, clip_values=(0.0, 1.0), device_type=place)


def _toolbox_attack(name: AttackName, classifier: Any, eps: float, steps: int | None, batch: int) -> Callable[..., Any]:
    """The toolbox's function (x, y) -> adversarial examples of an attack, with the settings of `attack`."""
    with importing_toolbox("art.attacks.evasion"):
        from art.attacks.evasion import BasicIterativeMethod, FastGradientMethod, ProjectedGradientDescent

    if name == "autoattack":
        return partial(_auto_attack, classifier, eps, steps or AUTO_STEPS, batch)
    reach = eps / 255
    shared: dict[str, Any] = {"eps": reach, "batch_size": batch}
    if name == "fgsm":
        return FastGradientMethod(classifier, eps_step=reach, **shared).generate
    shared |= {"verbose": False}
    if name == "pgd":
        count = steps or PGD_STEPS
        settings = {"eps_step": PGD_REACH * reach / count, "max_iter": count, "num_random_init": 1}
        return ProjectedGradientDescent(classifier, **settings, **shared).generate
    settings = {"eps_step": 1 / 255, "max_iter": steps or kurakin_steps(eps), "targeted": name == "llci"}
    return BasicIterativeMethod(classifier, **settings, **shared).generate


def _auto_attack(
    classifier: Any, eps: float, steps: int, batch: int, x: NDArray[np.float32], y: NDArray[np.int64]
) -> NDArray[np.float32]:
    """AutoAttack as the toolbox configures it, as far as small images and few classes allow: one attack after another.

    The toolbox's own needs a package for several processes even for one, and drops what DeepFool finds beyond eps.
    """
    with importing_toolbox("art.attacks.evasion"):
        from art.attacks.evasion import AutoProjectedGradientDescent, DeepFool, SquareAttack

    def correct(x: NDArray[np.float32], y: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.flatnonzero(classifier.predict(x, batch_size=batch).argmax(1) == y)

    reach, (height, width) = eps / 255, x.shape[-2:]
    shared: dict[str, Any] = {"batch_size": batch, "verbose": False}
    climbing = {"eps": reach, "eps_step": reach / 4, "max_iter": steps, "nb_random_init": AUTO_RESTARTS}
    # The ratio of logit differences has a third largest logit; with two classes there is none.
    losses = ("cross_entropy", "difference_logits_ratio") if classifier.nb_classes > 2 else ("cross_entropy",)
    # The side of the first square follows from its area, and must be within an image that is not square.
    first = min(LARGEST_SQUARE, (min(height, width) - 1) ** 2 / (height * width))
    queries = {"max_iter": SQUARES_PER_STEP * steps, "nb_restarts": AUTO_RESTARTS, "p_init": first}
    attacks: list[Any] = [
        *(AutoProjectedGradientDescent(classifier, loss_type=loss, **climbing, **shared) for loss in losses),
        DeepFool(classifier, max_iter=steps, epsilon=1e-3, **shared),
        SquareAttack(classifier, eps=reach, **queries, **shared),
    ]
    found, standing = x.copy(), correct(x, y)
    for each in attacks:
        if len(standing):
            tried = torch.from_numpy(each.generate(x=x[standing], y=y[standing]))
            found[standing] = bounded(tried, torch.from_numpy(x[standing]), eps).numpy()
            standing = standing[correct(found[standing], y[standing])]
    return found


@contextmanager
def global_generators(seed: int) -> Iterator[None]:
    """A context in which NumPy's and PyTorch's global generators, from which the toolbox draws, start at a seed; then restored.

    One at a time, by a lock: threads of this library get what each gets alone. A thread of yours that draws from NumPy's global
    generator meanwhile takes part in the same stream; one with a generator of its own (np.random.default_rng) does not.

    Example:
        >>> with global_generators(3):
        ...     first = np.random.rand()
        >>> with global_generators(3):
        ...     np.random.rand() == first
        True
    """
    with _LOCK, torch.random.fork_rng(devices=[]):
        before = np.random.get_state()
        torch.default_generator.manual_seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(before)
