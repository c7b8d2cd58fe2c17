"""The documentation site: what is generated is complete, links lead somewhere, numbers stand in a table; and it builds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest

import preimage
from preimage.errors import ErrorCode
from preimage.registry import TASKS, task_named
from preimage.tasks import described
from studies import STUDIES
from tools.site import api, examples, layout, links, pages, reference, results
from tools.site.__main__ import build

DOCS = pages.DOCS
REFERENCE = reference.pages()


@pytest.mark.parametrize("name", TASKS)
def test_the_page_of_a_task_has_each_of_its_options_outputs_and_recipes(name: str):
    task, text = task_named(name), REFERENCE[f"reference/tasks/{name}.md"]
    options: Any = task.options
    for option, stated in described(options).items():
        assert f"| `{option}`" in text
        assert stated.help.replace("|", "\\|") in text
        assert stated.kind == "python" or all(f"`{flag}`" in text for flag in stated.flags_of(option))
    assert all(f"| {output.name} |" in text for output in task.outputs)
    if task.recipes is not None:
        assert f"## {name}\n\n| setting | {' | '.join(task.recipes())} |" in REFERENCE["reference/recipes.md"]


def test_each_public_name_and_each_error_code_is_in_the_reference():
    shown = {name.rsplit(".", 1)[1] for page in api.AREAS for name in api.names_on(page)}
    tasks = {name.replace("-", "_") for name in TASKS}
    assert set(preimage.__all__) - tasks - {"__version__"} <= shown
    listed = re.findall(r"^\| `([\w-]+)` \| \S", REFERENCE["reference/errors.md"], re.MULTILINE)
    assert listed == list(get_args(ErrorCode))


def test_each_study_has_a_page_with_its_rows(tmp_path: Path):
    found = results.pages(tmp_path)
    assert set(found) == {"docs/results/index.md", *(f"docs/results/{name}.md" for name in STUDIES)}
    for name in STUDIES:
        text = found[f"docs/results/{name}.md"]
        assert text.startswith("# ")
        assert f"make study NAME={name}" in text
    rows = {path.name for path in (tmp_path / "results").iterdir()}
    assert rows == {path.name for path in (DOCS / "results").glob("*.csv")}
    assert all(any(f"]({name})" in text for text in found.values()) for name in rows)


def test_a_heading_of_the_results_is_found_on_the_page_of_its_study():
    assert results.place_of_anchor("") == ("docs/results/index.md", "")
    assert results.place_of_anchor("denoising") == ("docs/results/denoising.md", "")
    assert results.place_of_anchor("speckle_3") == ("docs/results/denoising.md", "speckle_3")


def test_each_script_has_a_page_and_is_listed():
    found = examples.pages()
    index = found.pop("docs/examples/index.md")
    assert {path.stem for path in (layout.ROOT / "examples").glob("*.py")} == {Path(name).stem for name in found}
    assert all(f"]({Path(name).name})" in index for name in found)


def test_each_page_that_is_written_is_in_the_navigation(tmp_path: Path):
    def places(entries: Any) -> set[str]:
        values = [value for entry in entries for value in entry.values()]
        return {v for v in values if isinstance(v, str)}.union(*(places(v) for v in values if isinstance(v, list)))

    written = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")} - {"results.md"}
    assert written <= places(layout.NAVIGATION)
    (tmp_path / "start.md").write_text("# Start")
    (tmp_path / "examples").mkdir()
    for name, text in (("index", "[b](b.md) [a](a.md)"), ("a", ""), ("b", "")):
        (tmp_path / "examples" / f"{name}.md").write_text(f"# The `{name}`\n\n{text}")
    nav = layout.navigation(tmp_path, [{"In": [{"S": "start.md"}, {"T": "studio.md"}]}, {"E": "examples/*"}])
    listed = [{"The index": "examples/index.md"}, {"The b": "examples/b.md"}, {"The a": "examples/a.md"}]
    assert nav == [{"In": [{"S": "start.md"}]}, {"E": listed}]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a](restore.md#limits)", "[a](../restore.md#limits)"),
        ("[a](results.md#denoising)", "[a](../results/denoising.md)"),
        ("![a](pictures/a.png) and [b](https://b.org)", "![a](../pictures/a.png) and [b](https://b.org)"),
        ("[a](../examples/tiny.py)", "[a](../examples/tiny.md)"),
        ("[stopping.md](stopping.md)", "[When a fit stops](../stopping.md)"),
        ("[results.md](results.md)", "[Results](../results/index.md)"),
        ("[the log](../benchmarks/LOG.md)", "the log"),
        ("[a](../CHANGELOG.md)", "[a](../changelog.md)"),
        ("```\n[a](results.md)\n```", "```\n[a](results.md)\n```"),
        (
            "Do:\n\n    make site   # all\n    make test\n\nThen",
            "Do:\n\n```bash\nmake site   # all\nmake test\n```\n\nThen",
        ),
        ("Is:\n\n    x = 1\n", "Is:\n\n    x = 1\n"),
        ("Two:\n- one\n  more\n\n  | a |\n- two", "Two:\n\n- one\n    more\n\n    | a |\n- two"),
    ],
)
def test_a_page_of_the_repository_becomes_one_of_the_site(text: str, expected: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pages, "repository", lambda: None)
    assert pages.site_text(text, "docs/page.md", "in/page.md") == expected


def test_what_is_not_in_the_site_is_linked_in_the_repository_where_it_has_an_address(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pages, "repository", lambda: "https://example.org/p")
    shown = pages.site_text("[the log](../benchmarks/LOG.md)", "docs/page.md", "page.md")
    assert shown == "[the log](https://example.org/p/blob/main/benchmarks/LOG.md)"


def test_links_that_lead_nowhere_are_found(tmp_path: Path):
    (tmp_path / "in").mkdir()
    (tmp_path / "index.html").write_text(
        '<h1 id="top"></h1><a href="#top"></a><a href="#gone"></a><a href="in/page.html#here"></a><a href="in/gone.html"></a>'
        '<a href="in/page.html#gone"></a><a href="https://example.org"></a><img src="https://example.org/a.png">'
        '<a href="../x"></a>'
    )
    page = '<p id="here"><a href="../index.html">up</a><img src="data:image/png;base64,"></p>'
    (tmp_path / "in" / "page.html").write_text(page)
    found = links.check(tmp_path)
    assert (found.pages, found.internal) == (2, 7)
    assert found.external == ["https://example.org", "https://example.org/a.png"]
    assert found.broken == [
        "index.html: #gone: no such anchor",
        "index.html: in/gone.html: no such file",
        "index.html: in/page.html#gone: no such anchor",
        "index.html: https://example.org/a.png: loaded from elsewhere",
        "index.html: ../x: no such file",
    ]


@pytest.mark.parametrize(
    "page", ["index.md", "choose.md", "claims.md", "how-to/photographer.md", "how-to/clinic.md", "equation.md"]
)
def test_each_decimal_number_stands_in_a_table_of_a_command(page: str):
    """README and the guides hold numbers that they cite from the results."""
    sources = ["docs/results.md", "README.md", "docs/restore.md", "docs/explain.md", "docs/defend.md", "docs/speed.md"]
    known = set(
        re.findall(r"\d+\.\d+", "\n".join((layout.ROOT / name).read_text(encoding="utf-8") for name in sources))
    )
    text = re.sub(
        r"```.*?```|`[^`]*`|^ {4}.*?$", "", (DOCS / page).read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    assert set(re.findall(r"\d+\.\d+", text)) <= known


@pytest.mark.long
def test_the_site_builds_without_a_warning_or_a_broken_link(tmp_path: Path, capsys):
    assert build(tmp_path) == 0, capsys.readouterr().err
    site = tmp_path / "site"
    index = (site / "search.js").read_text(encoding="utf-8")
    assert all(f"reference/tasks/{name}.html" in index for name in TASKS)
    assert all((site / "results" / f"{name}.html").exists() for name in STUDIES)
    worker = '<script src="../assets/iframe-worker.js"'
    assert worker in (site / "results" / "denoising.html").read_text(encoding="utf-8")
    assert 'id="preimage.engine.fit.Fit"' in (site / "reference" / "api" / "fit.html").read_text(encoding="utf-8")
