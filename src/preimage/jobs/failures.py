"""What is said of a job that failed: one line with a way out, and what a report has of it."""

from __future__ import annotations

from preimage.errors import InputError

_SMALLER = "a smaller picture or a crop, fewer --restarts, or a thinner --recipe"
_NO_MEMORY = ("out of memory", "allocate memory", "not enough memory", "could not create a primitive")
_NO_MEMORY += ("bad_alloc", "can't start new thread", "resource temporarily unavailable")
_SMALLER_OF = {  # of the commands without --restarts
    "maximize": "a smaller --size, or a thinner --recipe",
    "counterfactual": "a smaller picture or a crop, a lower --count, or a thinner --recipe",
    "recover": "a smaller picture or a crop, or a thinner --recipe",
    "invert": "a smaller picture or a crop, fewer --layers, or a thinner --recipe",
    "inspect": "a smaller picture or a crop, or a thinner --recipe",
    "saliency": "a smaller picture or a crop",
}


def failure_of(error: Exception, subject: object, command: str) -> dict[str, str | None]:
    """What a report has of an input that could not be done: plain data."""
    code = error.code if isinstance(error, InputError) else type(error).__name__
    return {"task": command, "input": str(subject), "output": None, "error": explain(error, command), "code": code}


def explain(error: Exception, command: str = "") -> str:
    """One line that says what to do."""
    if isinstance(error, InputError):
        return str(error)  # one line, but for what a name in it holds
    text = " ".join(str(error).split())
    if _is_memory(error, text):
        return f"the memory is used up: take {_SMALLER_OF.get(command, _SMALLER)}"
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or text or type(error).__name__}: check the place and try again"
    kind = type(error).__name__
    return f"unexpected {kind}: {text[:300] or 'no message'} (a defect; PREIMAGE_DEBUG=1 shows where, please report it)"


def _is_memory(error: Exception, text: str) -> bool:
    # torch.OutOfMemoryError is a RuntimeError, and so is what its CPU allocator raises; torch may not be loaded here.
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in text.lower() for words in _NO_MEMORY)
    )
