"""What went wrong, in one line on stderr with a way out; PREIMAGE_DEBUG=1 adds where."""

from __future__ import annotations

import traceback

from preimage.cli.streams import debugging, say
from preimage.jobs.failures import explain

EXIT_CODE = 2


def report_failure(error: Exception, subject: object = None, *, command: str = "") -> int:
    """Print one line about an error, and the file it is about unless the line names it; the exit code for it."""
    text = explain(error, command)
    if subject is not None and str(subject) not in text:
        text = f"{subject}: {text}"
    say(f"preimage: {text}")
    if debugging():
        traceback.print_exception(error)
    return EXIT_CODE
