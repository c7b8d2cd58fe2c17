"""What went wrong, in one line on stderr with a way out; PREIMAGE_DEBUG=1 adds where."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator

from preimage.errors import InputError

EXIT_CODE = 2
_SMALLER = "a smaller picture or a crop, fewer --restarts, or a thinner --recipe"
_SMALLER_OF = {  # of the commands without --restarts
    "maximize": "a smaller --size, or a thinner --recipe",
    "counterfactual": "a smaller picture or a crop, a lower --count, or a thinner --recipe",
    "recover": "a smaller picture or a crop, or a thinner --recipe",
    "invert": "a smaller picture or a crop, fewer --layers, or a thinner --recipe",
    "inspect": "a smaller picture or a crop, or a thinner --recipe",
    "saliency": "a smaller picture or a crop",
}


def report_failure(error: Exception, subject: object = None, *, command: str = "") -> int:
    """Print one line about an error, and the file it is about unless the line names it; the exit code for it."""
    text = explain(error, command)
    if subject is not None and str(subject) not in text:
        text = f"{subject}: {text}"
    print(f"preimage: {text}", file=sys.stderr)
    if os.environ.get("PREIMAGE_DEBUG", "0") not in ("", "0"):
        traceback.print_exception(error)
    return EXIT_CODE


def explain(error: Exception, command: str = "") -> str:
    """One line that says what to do."""
    text = " ".join(str(error).split())
    if isinstance(error, InputError):
        return text
    if _is_memory(error, text):
        return f"the memory is used up: take {_SMALLER_OF.get(command, _SMALLER)}"
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or text or type(error).__name__}: check the place and try again"
    kind = type(error).__name__
    return f"unexpected {kind}: {text[:300] or 'no message'} (a defect; PREIMAGE_DEBUG=1 shows where, please report it)"


@contextlib.contextmanager
def closed_pipe_is_no_failure() -> Iterator[None]:
    """Who reads the first line of what is printed and goes away (`| head`) has not made anything fail."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # Python would try, and complain, once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_memory(error: Exception, text: str) -> bool:
    # torch.OutOfMemoryError is a RuntimeError, and so is what its CPU allocator raises; torch may not be loaded here.
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and any(words in text.lower() for words in ("out of memory", "can't allocate memory", "not enough memory"))
    )
