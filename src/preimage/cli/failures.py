"""What went wrong, in one line on stderr with a way out; PREIMAGE_DEBUG=1 adds where."""

from __future__ import annotations

import traceback

from preimage.cli.streams import debugging, say
from preimage.jobs.failures import explain

EXIT_CODE = 2


def report_failure(error: Exception, subject: object = None, *, command: str = "") -> int:
    """Print one line about an error, and the file it is about unless the line names it; the exit code for it."""
    text = _with_flag(explain(error, command), command)
    say(f"preimage: {text if subject is None else about(subject, text)}")
    if debugging():
        traceback.print_exception(error)
    return EXIT_CODE


def about(subject: object, text: str) -> str:
    """A line that names what it is about, as it is where it does so already."""
    return text if str(subject) in text else f"{subject}: {text}"


def _with_flag(text: str, command: str) -> str:
    """What is said first of an option, by its name on the command line where that is another one: "steps must be", of n_steps."""
    from preimage.registry import TASKS, task_named
    from preimage.tasks import described

    name, must, rest = text.partition(" must be ")
    stated = described(task_named(command).options).get(name) if must and command in TASKS else None
    return text if stated is None or not stated.flags else f"{stated.flags[0].lstrip('-')}{must}{rest}"
