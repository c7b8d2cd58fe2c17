"""`python -m preimage` is the `preimage` command."""

from __future__ import annotations

import sys

from preimage.cli import main

if __name__ == "__main__":
    sys.exit(main())
