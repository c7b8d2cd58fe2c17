"""Classifiers that a function of the user returns, by its name: module.path:function."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import Any

from preimage.classifiers.arguments import in_one_line
from preimage.classifiers.classifier import Classifier
from preimage.errors import InputError

FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_LONGEST = 300  # characters of the message of somebody else's code


def of_function(spec: str) -> Classifier:
    """What a user's function returns; modules of the working folder are found as well."""
    if not FUNCTION.fullmatch(spec):
        raise InputError(f"{spec!r} names no function: give module.path:function", code="not-found")
    module, _, function = spec.partition(":")
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        found: Any = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise InputError(f"{spec} cannot be imported ({error}): give module.path:function", code="not-found") from error
    except Exception as error:  # whatever the user's own code raises
        raise InputError(f"{spec} cannot be imported ({_named(error)}): fix {module}", code="classifier") from error
    finally:
        if added:
            sys.path.remove(here)
    return called(found, spec)


def called(function: Any, name: str) -> Classifier:
    try:
        made = function()
    except Exception as error:
        way = "it must return a Classifier, called without arguments"
        raise InputError(f"{name}() failed ({_named(error)}): {way}", code="classifier") from error
    if not isinstance(made, Classifier):
        way = "it must return a preimage.Classifier, which has the classes, mean, std and size of your model"
        raise InputError(f"{name}() returned {type(made).__name__}: {way}", code="classifier")
    return made


def _named(error: Exception) -> str:
    text = in_one_line(error, _LONGEST)
    return text if isinstance(error, InputError) else f"{type(error).__name__}: {text or 'no message'}"
