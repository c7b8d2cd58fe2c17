"""docs/architecture.md is true to the folders: every room is on its listing, and every long file has its reason."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "preimage"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_the_listing_names_every_room_and_no_other():
    rooms = {path.name for path in SOURCE.glob("*.py")} | {
        f"{path.parent.name}/" for path in SOURCE.glob("*/__init__.py")
    }
    listing = PAGE.split("    src/preimage/\n")[1].split("    studies/")[0]
    named = set(re.findall(r"(?:^ {6}|  )([a-z_]+(?:/|\.py))", listing, re.MULTILINE))
    assert named == rooms


def test_every_long_file_has_a_reason():
    long = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        if len(path.read_text(encoding="utf-8").splitlines()) > 300
    }
    assert long <= set(re.findall(r"^\| `(\S+\.py)` \| \d+ \|", PAGE, re.MULTILINE))


def test_files_that_are_named_exist():
    for name in set(re.findall(r"`((?:\w+/)+\w+\.(?:py|md|csv))`", PAGE)):
        assert any((folder / name).exists() for folder in (ROOT, ROOT / "src", SOURCE)), name
