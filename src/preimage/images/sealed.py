"""Files of ours that nobody edits carry a seal: the length and SHA-256 of their content. It is checked before anything is used.

A bit that has flipped, or a sector that was lost, would else load as other weights.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

_MARK = b"preimage seal "
_LENGTH = len(_MARK) + 64 + 1 + 16 + 1


class _Hashing(io.RawIOBase):
    """What is written to a file, counted and hashed on the way."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.sha256 = hashlib.sha256()
        self.length = 0
        self.failure: OSError | None = None  # torch.save makes an error without a cause of it

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        try:
            self.file.write(data)
        except OSError as error:
            self.failure = error
            raise
        self.sha256.update(data)
        self.length += memoryview(data).nbytes
        return memoryview(data).nbytes


def sealed(write: Callable[[Any], object]) -> Callable[[BinaryIO], None]:
    """What writes the same, and the seal after it: a zip file (of torch.save) stays one.

    Example:
        >>> file = io.BytesIO()
        >>> sealed(lambda file: file.write(b"weights"))(file)
        >>> unsealed(file.getvalue()).read(7)
        b'weights'
    """

    def both(file: BinaryIO) -> None:
        hashing = _Hashing(file)
        try:
            write(hashing)
        except Exception as error:
            raise hashing.failure or error from None
        file.write(_seal(hashing.sha256.hexdigest(), hashing.length))

    return both


def unsealed(data: bytes) -> io.BytesIO | None:
    """The content of a sealed file, with its seal at the end; None where there is none, or another content."""
    end = len(data) - _LENGTH
    if end < 0:
        return None
    found = hashlib.sha256(memoryview(data)[:end]).hexdigest()
    return io.BytesIO(data) if data[end:] == _seal(found, end) else None


def has_seal(file: BinaryIO) -> bool:
    """Whether there is a seal at the end of a file, of whatever content."""
    file.seek(max(0, file.seek(0, io.SEEK_END) - _LENGTH))
    return file.read(len(_MARK)) == _MARK


def _seal(digest: str, length: int) -> bytes:
    return _MARK + f"{digest} {length:016d}\n".encode()


def with_digest(values: Mapping[str, Any]) -> dict[str, Any]:
    """Plain data for a JSON file, with its own hash as "sha256".

    Example:
        >>> has_digest(with_digest({"threshold": 0.3})), has_digest({"threshold": 0.3})
        (True, False)
    """
    own = {name: value for name, value in values.items() if name != "sha256"}
    return {**own, "sha256": _digest(own)}


def has_digest(values: Mapping[str, Any]) -> bool:
    """Whether plain data are what `with_digest` made."""
    return values.get("sha256") == with_digest(values)["sha256"]


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
