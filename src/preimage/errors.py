"""What can go wrong that a user can mend: one clear line naming what was wrong, the value and the way out."""

from __future__ import annotations


class InputError(ValueError):
    """A file, an option or an argument that cannot be used; the text is one line that says what to do instead.

    Example:
        >>> raise InputError("steps must be at least 1, got 0: give --steps 1 or more")
        Traceback (most recent call last):
        ...
        preimage.errors.InputError: steps must be at least 1, got 0: give --steps 1 or more
    """


class MissingExtra(InputError, ImportError):
    """An optional package that is not installed; the text names the pip extra that brings it."""

    @classmethod
    def of(cls, package: str, extra: str) -> MissingExtra:
        return cls(f"{package} is not installed: pip install 'preimage[{extra}]'")
