"""The files that hosts and tools read: they parse, keep to their schemas, and run the Makefile and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from preimage.version import __version__

ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([\w-]+):", MAKEFILE, re.MULTILINE))


def loaded(path: Path) -> Any:
    """YAML 1.1 reads the key `on` as true."""
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {("on" if key is True else key): value for key, value in found.items()}


def steps_of(path: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    return [(job, step) for job in loaded(path)["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_runs_make_and_nothing_else(path: Path) -> None:
    runs = [(job, step["run"]) for job, step in steps_of(path) if "run" in step]
    assert runs
    for job, line in runs:
        words = line.split()
        assert words[0] == "make"
        assert "\n" not in line.strip()
        matrix = job.get("strategy", {}).get("matrix", {})
        chosen = re.fullmatch(r"make \$\{\{ matrix\.(\w+) \}\}", line)
        targets = matrix[chosen[1]] if chosen else [words[1]]
        assert set(targets) <= TARGETS
        assert all(re.fullmatch(r"[A-Z_]+=[\w.]+", word) for word in words[2:] if not chosen)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_has_no_rights_and_an_end(path: Path) -> None:
    assert loaded(path)["permissions"] == {"contents": "read"}
    assert all("timeout-minutes" in job for job in loaded(path)["jobs"].values())
    for _, step in steps_of(path):
        assert "run" in step or re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"])  # GitHub's own, of a stated version


def test_checks_are_on_three_systems_and_all_versions_of_python() -> None:
    matrix = loaded(GITHUB / "workflows/checks.yml")["jobs"]["test"]["strategy"]["matrix"]
    assert {system.split("-")[0] for system in matrix["os"]} == {"ubuntu", "macos", "windows"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    stated = {each.split()[-1] for each in project["classifiers"] if re.search(r"Python :: 3\.\d+", each)}
    assert set(matrix["python"]) == stated


def test_workflows_keep_to_their_schema() -> None:
    command = [str(Path(sys.executable).with_name("check-jsonschema")), "--builtin-schema", "vendor.github-workflows"]
    ran = subprocess.run([*command, *map(str, WORKFLOWS)], capture_output=True, encoding="utf-8")
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_an_issue_form_can_be_shown(path: Path) -> None:
    form = loaded(path)
    assert {"name", "description", "body"} <= form.keys()
    ids = [each["id"] for each in form["body"]]
    assert len(set(ids)) == len(ids)
    for each in form["body"]:
        assert each["type"] in ("textarea", "checkboxes", "input", "dropdown")
        assert each["attributes"]["label"]
    if path.stem == "bug":
        doctor = next(each for each in form["body"] if each["id"] == "doctor")
        assert "preimage doctor" in doctor["attributes"]["label"]
        assert doctor["validations"]["required"]


def test_dependabot_looks_at_all_that_is_pinned() -> None:
    seen = {(each["package-ecosystem"], each["directory"]) for each in loaded(GITHUB / "dependabot.yml")["updates"]}
    assert seen == {("pip", "/"), ("pip", "/requirements"), ("github-actions", "/")}


def test_a_commit_is_checked_as_make_check_does() -> None:
    (repo,) = loaded(ROOT / ".pre-commit-config.yaml")["repos"]
    assert repo["repo"] == "local"
    assert [hook["entry"] for hook in repo["hooks"]] == ["make check"]
    assert not repo["hooks"][0]["pass_filenames"]


def test_the_citation_is_of_this_version_and_its_doi_is_open() -> None:
    cited = loaded(ROOT / "CITATION.cff")
    assert {"cff-version", "message", "title", "authors", "references", "license"} <= cited.keys()
    assert cited["version"] == __version__
    assert "doi" not in cited  # there is none before the first archived release
    assert "DOI" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert len(cited["references"]) == 3


def test_what_is_left_to_the_maintainers_says_so() -> None:
    for name in ("CODE_OF_CONDUCT.md", "SECURITY.md"):
        assert "[CONTACT" in (ROOT / name).read_text(encoding="utf-8")


def test_the_demo_environment_is_pinned_by_hashes_and_complete() -> None:
    text = (ROOT / "requirements/demo.txt").read_text(encoding="utf-8")
    pins = re.findall(r"^([\w.-]+)==([^\s;]+)(.*(?:\n    --hash=.*)+)", text, re.MULTILINE)
    assert len(pins) == len(re.findall(r"^\S+==", text, re.MULTILINE))
    assert all("--hash=sha256:" in rest for _, _, rest in pins)
    normal = {re.sub(r"[-_.]+", "-", name).lower() for name, _, _ in pins}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", each)[0]).lower() for each in project["dependencies"]}  # type: ignore[index]
    assert needed <= normal
    assert {"hatchling", "editables"} <= normal
    assert re.search(r"file:|(^|[\s=@\"'])/", text, re.MULTILINE) is None  # nothing of the machine that made it


def test_every_target_is_phony_and_says_what_it_does() -> None:
    phony = set(MAKEFILE.split(".PHONY:")[1].split("\n")[0].split())
    assert phony == TARGETS - {"ifeq", "else"}
