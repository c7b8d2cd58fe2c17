"""Errors that a user can correct: a code for programs, and one line that names the value, the limit and the way out."""

from __future__ import annotations

from typing import Literal

ErrorCode = Literal[
    "invalid-value",  # a number out of its range, or a text that is none of the choices (the default)
    "type",  # a value of the wrong Python type or dtype
    "option",  # options that are unknown, missing or exclude each other
    "shape",  # tensors, arrays or files whose sizes, channels or pages do not match
    "size",  # an image, or one of its sides, that is too small or too large
    "range",  # image values that are not finite or outside their value range
    "not-found",  # a file, folder, function or package that does not exist
    "unreadable",  # a file that is damaged, of no known format, or without read permission
    "exists",  # an output that exists and may not be overwritten
    "unwritable",  # an output that cannot be written: missing folder, no permission, full disk
    "format",  # a file format that cannot hold the result, or a file of an older format number
    "mask",  # a mask that holds no image, no unknown pixels or other values than a mask has
    "kernel",  # a blur kernel that is not non-negative, odd-sized, of sum 1, or is too large
    "noise",  # a noise model or noise level that cannot be used or estimated
    "operator",  # an operator, distance, regularizer or stopping rule of the user that returned something unusable
    "layer",  # a layer that the classifier does not have or that cannot be inverted
    "class",  # a class index or name that the classifier does not have
    "classifier",  # a classifier or model file that cannot be loaded or used
    "checkpoint",  # a checkpoint that is absent, damaged or belongs to another job
    "memory",  # a computation that does not fit into memory
    "device",  # a device that is absent or unknown
    "missing-extra",  # an optional package that is not installed
]


class InputError(ValueError):
    """A file, an option or an argument that cannot be used; the message is one line that names the way out.

    Example:
        >>> raise InputError("steps must be at least 1, got 0: use --steps 1 or more", code="invalid-value")
        Traceback (most recent call last):
        ...
        preimage.errors.InputError: steps must be at least 1, got 0: use --steps 1 or more

    Args:
        message: the argument, the constraint, the value found and what to do instead, in one line. Line breaks and control
            characters of a value that it quotes are shown as their escapes.
        code: what the error is about. Messages may be reworded, codes are stable.
    """

    def __init__(self, message: str = "", *, code: ErrorCode = "invalid-value") -> None:
        super().__init__("".join(each if each.isprintable() else repr(each)[1:-1] for each in message))
        self.code: ErrorCode = code


class SalvageWarning(UserWarning):
    """A file that is cut off was read as far as it goes, as was specified by salvage=True (--salvage)."""


class MissingExtra(InputError, ImportError):
    """An optional package that is not installed; the message names the pip extra that installs it."""

    def __init__(self, message: str = "", *, code: ErrorCode = "missing-extra") -> None:
        super().__init__(message, code=code)

    @classmethod
    def of(cls, package: str, extra: str) -> MissingExtra:
        """The error for a package that `pip install 'preimage[extra]'` installs.

        Example:
            >>> MissingExtra.of("timm", "explain")
            MissingExtra("timm is not installed: pip install 'preimage[explain]'")
        """
        return cls(f"{package} is not installed: pip install 'preimage[{extra}]'")
