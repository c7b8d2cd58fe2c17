"""StoppingRule: when to stop and what to keep are one concept. A rule looks at Steps, never at the ground truth.

A rule answers for each member by itself, keeps the best average it has seen in `.best`, and says why in words that are
advice. Rules compose: `held_out() | after(500)` stops at whichever says so first and keeps what that one kept.
"""

from __future__ import annotations

from preimage.stopping.held_out import HeldOut, Risk, holds_out
from preimage.stopping.rule import Either, StoppingRule
from preimage.stopping.thresholds import After, Discrepancy, Plateau
from preimage.stopping.variance import MovingVariance, WindowedVariance

# As they read in a call: denoise(picture, stop=held_out() | after(500))
after = After
windowed_variance = WindowedVariance
moving_variance = MovingVariance
held_out = HeldOut
risk = Risk
discrepancy = Discrepancy
plateau = Plateau

__all__ = [
    "After",
    "Discrepancy",
    "Either",
    "HeldOut",
    "MovingVariance",
    "Plateau",
    "Risk",
    "StoppingRule",
    "WindowedVariance",
    "after",
    "discrepancy",
    "held_out",
    "holds_out",
    "moving_variance",
    "plateau",
    "risk",
    "windowed_variance",
]
