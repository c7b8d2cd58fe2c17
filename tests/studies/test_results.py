"""docs/results.md is what the committed rows and the templates give, byte for byte."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import studies
from studies.harness.study import Run
from studies.harness.text import TEXTS, fill, with_section

DOCS = Path(__file__).parents[2] / "docs"
RESULTS = (DOCS / "results.md").read_text()


@pytest.mark.parametrize(("name", "scale"), studies.SECTIONS)
def test_each_section_is_made_of_the_committed_rows(name, scale):
    title = Run(name, scale).section
    section = RESULTS.split(f"<!-- begin {title} -->\n")[1].split(f"\n<!-- end {title} -->")[0]
    assert studies.text(name, scale=scale, output=DOCS) == section


def test_there_is_nothing_but_these_sections():
    text, titles = "", [Run(*each).section for each in studies.SECTIONS]
    for title in titles:
        held = re.search(f"<!-- begin {title} -->\n(.*)\n<!-- end {title} -->", RESULTS, re.DOTALL)
        assert held
        text = with_section(text, title, held[1])
    assert text == RESULTS
    assert {path.stem for path in TEXTS.glob("*.md")} == {*titles, "heading"}


def test_a_template_keeps_the_lines_of_its_scale_and_drops_empty_paragraphs(monkeypatch, tmp_path):
    monkeypatch.setattr("studies.harness.text.TEXTS", tmp_path)
    first = "## Title\n\n@smoke Drawn.\n@small,paper Photographs of {side} px.\nRows: `{rows}`.\n\n"
    (tmp_path / "a.md").write_text(first + "{table}\n\n@paper Only there.\n")
    values = {"side": 32, "rows": "a.csv", "table": ""}
    assert fill("a", "smoke", values) == "## Title\n\nDrawn. Rows: `a.csv`."
    assert fill("a", "paper", values) == "## Title\n\nPhotographs of 32 px. Rows: `a.csv`.\n\nOnly there."


def test_a_section_takes_the_place_of_its_former_self_and_leaves_the_others():
    both = with_section(with_section("", "first", "## One\n\nold text"), "second", "## Two\n\nother text")
    text = with_section(both, "first", "## One\n\nnew text")
    assert "old text" not in text
    assert text.index("new text") < text.index("other text")
    assert text.count("## One") == text.count("## Two") == text.count("# Results\n") == 1
    assert with_section(text, "second", "## Two\n\nother text") == text
