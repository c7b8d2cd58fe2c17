"""StoppingRule: when to stop and what to keep are one concept. A rule judges Steps, never with the ground truth.

A rule is a value (patience, fractions, windows); `rule.start` makes the Tracker of one fit, which judges each member by itself,
keeps the best average in `.best`, and gives its reason as advice. Rules compose: `held_out() | after(500)` stops at whichever
stops first and keeps what that one kept.
"""

from __future__ import annotations

from collections.abc import Callable

from preimage.errors import InputError
from preimage.stopping.held_out import HeldOut, Risk, holds_out
from preimage.stopping.residual import ResidualNoise
from preimage.stopping.rule import EitherRule, StoppingRule
from preimage.stopping.thresholds import After, Discrepancy, Plateau
from preimage.stopping.tracker import ScoreTracker, Tracker
from preimage.stopping.variance import MovingVariance, WindowedVariance

# As they read in a call: denoise(image, stop=held_out() | after(500))
after = After
windowed_variance = WindowedVariance
moving_variance = MovingVariance
held_out = HeldOut
risk = Risk
discrepancy = Discrepancy
plateau = Plateau
residual_noise = ResidualNoise

_RULES: dict[str, Callable[[], StoppingRule]] = {
    "steps": After,
    "risk": Risk,
    "held-out": HeldOut,
    "windowed-variance": WindowedVariance,
    "moving-variance": MovingVariance,
    "discrepancy": Discrepancy,
    "plateau": Plateau,
    "residual-noise": ResidualNoise,
}
NAMES = tuple(_RULES)
"""The rules by their names on the command line."""


def by_name(name: str) -> StoppingRule:
    """A rule by its name on the command line, with its default options; InputError for an unknown name.

    Example:
        >>> by_name("held-out").fraction
        0.03
    """
    if name not in _RULES:
        raise InputError(f"stop must be one of {', '.join(NAMES)}, got {name!r}")
    return _RULES[name]()


__all__ = [
    "NAMES",
    "After",
    "Discrepancy",
    "EitherRule",
    "HeldOut",
    "MovingVariance",
    "Plateau",
    "ResidualNoise",
    "Risk",
    "ScoreTracker",
    "StoppingRule",
    "Tracker",
    "WindowedVariance",
    "after",
    "by_name",
    "discrepancy",
    "held_out",
    "holds_out",
    "moving_variance",
    "plateau",
    "residual_noise",
    "risk",
    "windowed_variance",
]
