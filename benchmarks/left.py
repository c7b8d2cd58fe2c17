"""What `make release` leaves to a person: `python -m benchmarks.left` names it, and is not well while a placeholder is left."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from preimage.version import __version__

ROOT = Path(__file__).parents[1]


def placeholders() -> list[str]:
    """The lines of pyproject.toml whose links name no account yet."""
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    return [f"pyproject.toml:{number}" for number, line in enumerate(lines, 1) if "/OWNER/" in line]


def main() -> int:
    changed = subprocess.run(
        ["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, encoding="utf-8", check=True
    )
    unreleased = f"## {__version__} - unreleased" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    blocking = [f"name the account instead of OWNER: {', '.join(found)}"] if (found := placeholders()) else []
    blocking += [f"CHANGELOG.md: {__version__} is still called unreleased: give it a date"] if unreleased else []
    blocking += ["commit what is changed"] if changed.stdout.strip() else []
    steps = [
        "make test, test-long and check have passed on this very commit, and the weekly run against the newest versions",
        f"git tag v{__version__}, and push it",
        "python -m twine upload dist/* (an account at PyPI with two factors; or a trusted publisher of the repository)",
        f"pipx run preimage=={__version__} demo, on a machine without the checkout",
        "the DOI of the archived release in CITATION.cff, and the next version in src/preimage/version.py",
    ]
    print(f"dist/ holds {__version__}, built and checked. Left to a person:")
    for number, step in enumerate([*blocking, *steps], 1):
        print(f"  {number}. {step}")
    return 1 if blocking else 0


if __name__ == "__main__":
    sys.exit(main())
