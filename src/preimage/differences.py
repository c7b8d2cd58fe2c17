"""How two sets of plain options differ, in few words: of settings by name those that differ, of hashes no digits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_MOST, _LONGEST = 4, 80  # differences, and characters of each
_ANOTHER = {"input": "of another picture", "model": "of another classifier"}
_HASH = re.compile("[0-9a-f]{64}")


def first_difference(now: Mapping[str, Any], then: Mapping[str, Any]) -> str:
    """The first option, in the order of the alphabet, in which two sets of them differ; nothing where they do not.

    Example:
        >>> first_difference({"recipe": {"steps": 3, "rate": 0.1}}, {"recipe": {"steps": 5, "rate": 0.1}})
        'recipe steps 5, not 3'
    """
    for key in sorted(now.keys() | then.keys()):
        if now.get(key) != then.get(key):
            apart = list(_apart(key, now.get(key), then.get(key)))
            more = [f"and {len(apart) - _MOST} more"] if len(apart) > _MOST else []
            return "; ".join(apart[:_MOST] + more)
    return ""


def _apart(name: str, now: Any, then: Any) -> Iterator[str]:
    if isinstance(now, dict) and isinstance(then, dict):
        keys = now.keys() | then.keys() if now.get("kind") == then.get("kind") else {"kind"}
        for key in sorted(keys):
            if now.get(key) != then.get(key):
                yield from _apart(f"{name} {key}", now.get(key), then.get(key))
    elif now is not None and then is not None and _HASH.search(f"{then} {now}"):
        yield f"{name} {_ANOTHER.get(name, 'of another content')}"
    else:
        yield f"{name} {_brief(then)}, not {_brief(now)}"


def _brief(value: Any) -> str:
    text = "none" if value is None else _HASH.sub("one", str(value))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
