"""The `preimage` command: `main` runs it and returns its exit code; whatever goes wrong becomes one line.

0 all done      2 an input or an option that cannot be used      130, 143, 129 stopped by Ctrl-C, SIGTERM or SIGHUP
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence

from preimage.errors import SalvageWarning


def main(tokens: Sequence[str] | None = None) -> int:
    """Run the command line, `sys.argv[1:]` unless given.

    Example:
        >>> main(["denoise", "photo.png", "--output", "clean.png"])      # doctest: +SKIP
        0
    """
    try:
        # What was salvaged is said with the other remarks, and is in the report.
        warnings.filterwarnings("ignore", category=SalvageWarning)
        # Within the try, for Ctrl-C may come while the many modules of the libraries underneath are read.
        from preimage.cli.command import call
        from preimage.cli.failures import report_failure

        given = sys.argv[1:] if tokens is None else list(tokens)
        try:
            return call(given)
        except Exception as error:
            return report_failure(error, command=given[0] if given else "")
    except KeyboardInterrupt:
        print("preimage: aborted", file=sys.stderr)
        return 130


def prints_result(tokens: Sequence[str]) -> bool:
    """Whether what a command prints on stdout is what it was called for, and not about the files that it writes."""
    from preimage.registry import TASKS

    return not tokens or tokens[0] not in TASKS or not {"--json", "--help", "-h"}.isdisjoint(tokens)
