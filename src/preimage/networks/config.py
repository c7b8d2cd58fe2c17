"""What the configurations of networks share: checks of their choices, and how many levels an image can take.

A network's `Config` is a frozen value that builds the network for a given number of channels and size, so that a recipe can
hold, print, compare and send it; it stands inside its network's class.
"""

from __future__ import annotations

from typing import Any, get_args

from preimage.errors import InputError

PerLevel = int | tuple[int, ...]


def check_choices(config: Any, **choices: object) -> None:
    """Raise InputError for a setting (or one level's of it) that is not among the values of its Literal type."""
    for name, literal in choices.items():
        value = getattr(config, name)
        known = get_args(literal)
        if any(each not in known for each in (value if isinstance(value, tuple) else (value,))):
            raise InputError(f"{name} must be {' or '.join(known)}, got {value!r}")


def halvings(side: int, smallest: int = 4) -> int:
    """How often a side can be halved so that at least `smallest` pixels remain, at least 1.

    Example:
        >>> halvings(64), halvings(40), halvings(5)
        (4, 3, 1)
    """
    return max(1, (side // smallest).bit_length() - 1)
