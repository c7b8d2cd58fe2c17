"""Checks of the arguments of a Classifier; each error names the value and the way out."""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from preimage.errors import InputError
from preimage.images.files import read_text

MOST_CLASSES = 10**6


def class_names(classes: Any) -> tuple[str, ...]:
    """The names of at least two classes that are given by name, or by their number.

    Example:
        >>> class_names(2), class_names(["benign", "malignant"])
        (('0', '1'), ('benign', 'malignant'))
    """
    if isinstance(classes, str) or not isinstance(classes, int | Iterable):
        raise InputError(f"classes must be a list of their names, or their number, got {classes!r}", code="type")
    names = tuple(map(str, range(classes) if isinstance(classes, int) else classes))
    if len(names) < 2:
        raise InputError(f"classes must be 2 or more, got {len(names)}: name both of a binary classifier", code="class")
    first: dict[str, int] = {}
    for number, name in enumerate(names):
        if first.setdefault(name, number) != number:
            pair = f"classes {first[name]} and {number}"
            raise InputError(f"{pair} are both called {name!r}: give each a name of its own", code="class")
    return names


def class_number(name: Any, classes: Sequence[str]) -> int:
    """The index of a class by its name, in whatever case, by one of its names (ImageNet's "tench, Tinca tinca"), or its index.

    Example:
        >>> class_number("Tench", ["goldfish", "tench, Tinca tinca"]), class_number(0, ["no", "yes"])
        (1, 0)

    Raises:
        InputError: an unknown one, with those near it.
    """
    if isinstance(name, str):
        lower, wanted = [each.lower() for each in classes], name.lower().strip()
        for names, own in ((list(classes), name), (lower, wanted)):
            if own in names:
                return names.index(own)
        found = [k for k, each in enumerate(lower) if wanted in (part.strip() for part in each.split(","))]
        if wanted and len(found) == 1:
            return found[0]
    if str(name).isdecimal() and int(name) < len(classes):
        return int(name)
    if not isinstance(name, str) and str(name) in classes:
        way = f"its class called {str(name)!r} is given as text"
        raise InputError(f"the classifier has no class of index {name} (0 to {len(classes) - 1}): {way}", code="class")
    near = f"{suggestion(str(name), classes)} (its indices are 0 to {len(classes) - 1})"
    raise InputError(f"the classifier has no class {name!r}{near}", code="class")


def requested_classes(classes: Any) -> tuple[str, ...] | int | None:
    """What was requested of a classifier's classes: their names, their number, or None.

    Example:
        >>> requested_classes("benign,malignant"), requested_classes("7"), requested_classes(["a", "b"])
        (('benign', 'malignant'), 7, ('a', 'b'))

    A text holds names with commas between, a number, or the name of a FILE.txt with a name on each line.
    """
    if classes is None or isinstance(classes, bool):
        return None if classes is None else len(class_names(classes))
    if isinstance(classes, str):
        if Path(classes).suffix.lower() == ".txt":
            return class_names([line.strip() for line in read_text(classes).splitlines() if line.strip()])
        names = [name.strip() for name in classes.split(",")]
        classes = int(classes) if classes.strip().isdecimal() else [name for name in names if name]
    if isinstance(classes, int) and classes > MOST_CLASSES:
        raise InputError(f"classes must be {MOST_CLASSES} at most, got {classes}: give their number", code="class")
    return len(class_names(classes)) if isinstance(classes, int) else class_names(classes)


def mean_and_std(mean: Any, std: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The mean and standard deviation of each channel, which are 1 or 3.

    A single number is refused: it may be meant for gray as well as for color.
    """
    try:
        means, stds = tuple(map(float, mean)), tuple(map(float, std))
    except (TypeError, ValueError):
        means = stds = ()
    if len(means) not in (1, 3) or len(means) != len(stds) or not math.isfinite(sum(means + stds)) or min(stds) <= 0:
        raise InputError(
            f"mean and std must be 3 finite numbers each, or 1 for a model of gray images, std above 0, got {mean!r}, {std!r}: "
            "give (0.5,) * 3, or (0.5,), for example"
        )
    return means, stds


def height_and_width(size: Any) -> tuple[int, int] | None:
    """(height, width), whole numbers of at least 1, of a side, of both, or of None.

    Example:
        >>> height_and_width(224), height_and_width((240, 320)), height_and_width(None)
        ((224, 224), (240, 320), None)
    """
    if size is None:
        return None
    try:
        sides = tuple(map(operator.index, size if isinstance(size, Iterable) else (size, size)))
    except TypeError:  # a fraction, a word
        sides = ()
    if len(sides) != 2 or min(sides) < 1 or isinstance(size, bool):
        raise InputError(
            f"size must be a side in pixels, (height, width), or None for images as they are, got {size!r}: give 224, say"
        )
    return sides[0], sides[1]


def suggestion(wanted: str, names: Sequence[str]) -> str:
    """The names near one that does not exist, or else the first few, as the end of a message.

    Example:
        >>> suggestion("layer5", ["conv1", "layer3", "layer4"])
        ': did you mean layer4, layer3?'
    """
    near = difflib.get_close_matches(wanted, names, n=4, cutoff=0.4)
    if near:
        return f": did you mean {', '.join(near)}?"
    return f": there are {', '.join(names[:4])}{', ...' if len(names) > 4 else ''}"


def in_one_line(error: Exception, longest: int) -> str:
    """The message of an error of somebody else's code, whose line breaks and length are unknown."""
    return " ".join(str(error).split())[:longest]
