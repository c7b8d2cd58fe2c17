"""Threat: an attacker of an evaluation as a value, and what it knows of the defense."""

from __future__ import annotations

from dataclasses import dataclass

from preimage.defend.adaptive import ADAPTIVE, SAMPLES
from preimage.defend.attacks import ATTACKS, checked_eps
from preimage.defend.checks import whole_number
from preimage.errors import InputError

NONE = "none"  # the attack of unattacked images, and the defense of a bare classifier


@dataclass(frozen=True)
class Threat:
    """An attacker: which attack, how strong, and what it knows of the defense.

    Example:
        >>> Threat("bpda-eot", 8, steps=40, samples=16, knows_seed=True)
        Threat(name='bpda-eot', eps=8, steps=40, samples=16, knows_seed=True)

    Args:
        name: fgsm, bi, llci, pgd or autoattack, unaware of the defense; bpda-eot or prior, which know of it.
        eps: 0 to 255, in units of 1/255.
        steps: at least 1; None: the attack's.
        samples: of bpda-eot: purifications at each step, at least 1.
        knows_seed: of bpda-eot: whether the attacker knows the random numbers that the defense will draw.

    Raises:
        InputError: an unknown name, eps or counts out of range, or knows_seed for an attack that has no use for it.
    """

    name: str
    eps: float
    steps: int | None = None
    samples: int = SAMPLES
    knows_seed: bool = False

    def __post_init__(self) -> None:
        known = (NONE, *ATTACKS, *ADAPTIVE)
        if self.name not in known:
            raise InputError(f"an attack is one of {', '.join(known)}, got {self.name!r}")
        checked_eps(self.eps)
        whole_number(self.samples, "samples")
        if self.steps is not None:
            whole_number(self.steps, "steps")
        if self.knows_seed and not self.per_defence:
            raise InputError(f"{self.name} uses no random numbers of the defense: leave knows_seed out", code="option")

    @property
    def per_defence(self) -> bool:
        """Whether it is computed for each defense anew."""
        return self.name == "bpda-eot"


UNATTACKED = Threat(NONE, 0)
