"""The process of the command line: the script `preimage`, and `python -m preimage`."""

from __future__ import annotations

import sys
from typing import NoReturn

from preimage.cli.interrupt import end_at_once


def run() -> NoReturn:
    """Run the command line and end the process with its exit code."""
    end_at_once()  # an exception within the import of a large library may be lost, or abort the process
    from preimage.cli.streams import failed, say, secure

    secure()
    from preimage.cli import main, prints_result

    code = main(sys.argv[1:])
    sys.stdout.flush()
    if (reason := failed(sys.stdout)) and code == 0 and prints_result(sys.argv[1:]):
        say(f"preimage: standard output cannot be written ({reason}): free some space or choose another place")
        code = 2
    sys.exit(code)


if __name__ == "__main__":
    run()
