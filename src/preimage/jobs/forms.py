"""Forms: the types that an option has where it is written down: on a command line, in a JSON job, on a web page.

An image is a path there, a classifier a specification; a type that is known to Python alone (a rule, a tensor) has no form.
"""

from __future__ import annotations

import inspect
import sys
import types
import typing
from collections.abc import Callable
from dataclasses import Field
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from preimage.errors import InputError

_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", Path: "a path"}


def form_of(options: Callable[..., Any], each: Field[Any]) -> tuple[Any, ...]:
    """The types that a field of an options dataclass has where it is written down; one Literal for all words.

    Example:
        >>> from preimage.restore.inpaint import InpaintOptions
        >>> fields = InpaintOptions.__dataclass_fields__
        >>> form_of(InpaintOptions, fields["tv"]), form_of(InpaintOptions, fields["mask"])
        ((<class 'float'>,), (<class 'pathlib.Path'>, <class 'NoneType'>))

    Args:
        options: the dataclass.
        each: a field that is declared with `option`, and not for Python alone.
    """
    kind = each.metadata["option"].kind
    if kind == "classifiers":
        return (tuple[str, ...], type(None))
    if kind in ("image", "file", "classifier"):
        own = str if kind == "classifier" else Path
        return (own, type(None)) if each.default is None else (own,)
    found = [member for member in _resolved(options, each) if _has_form(member)]
    words = [word for member in found if get_origin(member) is Literal for word in get_args(member)]
    others = [member for member in found if get_origin(member) is not Literal]
    if words:
        others.insert(len(others) - (type(None) in others), Literal[tuple(dict.fromkeys(words))])
    return tuple(others) if set(others) - {type(None)} else (str, *others)


def from_plain(name: str, value: Any, form: tuple[Any, ...]) -> Any:
    """A value of JSON as an option of a form has it: a list as a tuple.

    Example:
        >>> from_plain("shift", [1, 2], (tuple[int, int], type(None)))
        (1, 2)

    Raises:
        InputError: a value of another type.
    """
    for member in form:
        if _fits(value, member):
            return tuple(value) if isinstance(value, list) else value
    raise InputError(f"{name} must be {' or '.join(map(_in_words, form))}, got {value!r}", code="type")


def _fits(value: Any, member: Any) -> bool:
    if get_origin(member) is Literal:
        return any(value == word and type(value) is type(word) for word in get_args(member))
    if get_origin(member) is tuple:
        if not isinstance(value, list | tuple):
            return False
        kinds = get_args(member)
        kinds = kinds[:1] * len(value) if kinds[-1] is ... else kinds
        return len(value) == len(kinds) and all(map(_fits, value, kinds))
    if member in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, {Path: str, float: int | float}.get(member, member))


def _in_words(member: Any) -> str:
    if get_origin(member) is Literal:
        return ", ".join(map(str, get_args(member)))
    if get_origin(member) is tuple:
        return f"a list of {' and '.join(_in_words(each) for each in get_args(member) if each is not ...)}"
    return _WORDS.get(member, "null")


def _resolved(options: Any, each: Field[Any]) -> list[Any]:
    """The members of a field's type; those whose names are known to type checkers alone are left out."""
    if not isinstance(each.type, str):
        return members_of(each.type)
    owner = next(c for c in options.__mro__ if each.name in inspect.get_annotations(c))
    names = {**vars(typing), **vars(sys.modules[owner.__module__])}
    found: list[Any] = []
    for text in _split(each.type):
        try:
            found += members_of(eval(text, names))
        except (NameError, AttributeError):
            continue
    return found


def _split(text: str) -> list[str]:
    """The members of a union that is written out, split at | outside of brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[(") - (letter in "])")
        if letter == "|" and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def members_of(hint: Any) -> list[Any]:
    """The members of a union, or the type itself."""
    members = list(get_args(hint)) if get_origin(hint) in (Union, types.UnionType) else [hint]
    return [type(None) if member is None else member for member in members]


def _has_form(member: Any) -> bool:
    if member in (bool, int, float, str, Path, type(None)) or get_origin(member) is Literal:
        return True
    return get_origin(member) is tuple and all(each in (int, float, str, ...) for each in get_args(member))
