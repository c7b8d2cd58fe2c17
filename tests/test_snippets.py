"""The snippets of README.md, CONTRIBUTING.md and docs/**/*.md run: Python ones in a folder of small files, with fits of a few
steps; command lines are parsed and become jobs, and some of them are run."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from preimage import Classifier, Fit, Recipe
from preimage.classifiers import TrainedModel
from preimage.classifiers.model_file import Backbone, write_model
from preimage.cli import command as commands
from preimage.cli import execute, folder, main
from preimage.jobs.job import Job
from preimage.registry import TASKS
from studies import STUDIES

ROOT = Path(__file__).parents[1]
PAGES = [
    *(name for name in ("README.md", "CONTRIBUTING.md") if (ROOT / name).exists()),
    *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md") if path.name != "results.md"),
]
STEPS = 2  # of every fit
LONG = ("evaluate_defence", "features_matched")  # minutes even so

Snippet = tuple[str, int, str]


def python_snippets() -> list[Any]:
    """(page, line, source) of each fenced Python snippet."""
    found = []
    for page in PAGES:
        if (
            page == "CONTRIBUTING.md"
        ):  # a task in three snippets, which tests/test_contributing.py puts where they belong
            continue
        text = (ROOT / page).read_text(encoding="utf-8")
        for match in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line, source = text[: match.start()].count("\n") + 2, match[1]
            marks = [pytest.mark.long] if any(f"{name}(" in source for name in LONG) else []
            found.append(pytest.param(page, line, source, marks=marks, id=f"{page}:{line}"))
    return found


def command_lines() -> list[Snippet]:
    """(page, line, command) of each line of an indented block, and of code within a sentence, that can be typed."""
    begins = r"(?:preimage|make|python -m) "
    found = []
    for page in PAGES:
        fenced = False
        for number, line in enumerate((ROOT / page).read_text(encoding="utf-8").splitlines(), 1):
            fenced ^= line.startswith("```")
            if fenced:
                continue
            texts = [line.strip()] if re.match(f" {{4,}}{begins}", line) else re.findall(f"`({begins}[^`]+)`", line)
            found += [(page, number, re.sub(r"\s+#.*", "", text)) for text in texts]
    return found


def tokens_of(command: str) -> list[str] | None:
    """The words of a command of preimage; None if it is another, or holds a placeholder in capitals."""
    words = shlex.split(command)
    placeholders = ("COMMAND", "NAME", "TASK", "FOLDER", "DATA", "FILE", "FILE.pt", "SPEC", "SIDE")
    return words[1:] if words[0] == "preimage" and not set(words) & set(placeholders) else None


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sample_files: Path) -> Path:
    """A folder with every file that snippets read, small."""
    monkeypatch.chdir(tmp_path)
    for path in sample_files.iterdir():
        if path.is_file():
            Path(path.name).write_bytes(path.read_bytes())
    photo = Image.open("photo.png")
    for name in (
        "lesion.png",
        "lesion.jpg",
        "suspicious.png",
        "small.png",
        "scan.tif",
        "film.tif",
        "dark.png",
        "bright.png",
    ):
        photo.save(name)
    holes = np.zeros((32, 32), np.uint8)
    holes[4:8, 4:8] = 255
    Image.fromarray(holes).save("holes.png")
    torch.manual_seed(0)
    for name, classes in (("lesions", ["nv", "mel", "bcc", "akiec"]), ("cifar10", 4), ("robust", 4), ("standard", 4)):
        classifier = Classifier(Backbone("thin_resnet10").build(4), classes, mean=(0.5,) * 3, std=(0.25,) * 3)
        write_model(Path(f"{name}.pt"), TrainedModel(classifier, origin=Backbone("thin_resnet10")))
    published = Path("release_datasets/d_robust_CIFAR")
    published.mkdir(parents=True)
    torch.save(torch.rand(2, 3, 32, 32), published / "CIFAR_ims")
    torch.save(torch.tensor([0, 1]), published / "CIFAR_lab")
    return tmp_path


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every fit ends after a few steps."""
    begin = Fit.__init__

    def begin_brief(self: Fit, problem: Any, prior: Any, *, recipe: Recipe | None = None, **given: Any) -> None:
        recipe = recipe or Recipe()
        begin(self, problem, prior, recipe=replace(recipe, steps=min(recipe.steps, STEPS)), **given)

    monkeypatch.setattr(Fit, "__init__", begin_brief)
    with torch.random.fork_rng(devices=[]):
        yield


def names_of_the_reader() -> dict[str, Any]:
    """What snippets take for granted: a model of the reader's own, and images with their labels."""
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, 4, 1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.LazyLinear(2)
    )
    model(torch.rand(1, 3, 224, 224))
    classifier = Classifier(Backbone("thin_resnet10").build(10), 10)
    return {"my_model": model, "model": classifier, "images": torch.rand(2, 3, 32, 32), "labels": torch.tensor([0, 1])}


@pytest.mark.parametrize(("page", "line", "source"), python_snippets())
def test_python(page: str, line: int, source: str, here: Path, brief: None):
    """Each snippet runs by itself, and every run that it begins can be iterated."""
    names = names_of_the_reader()
    exec(compile("\n" * (line - 1) + source, page, "exec"), names)
    for value in names.values():
        if hasattr(value, "finished") and not isinstance(value, type) and not value.finished:
            assert next(value).index >= 1


def test_command_lines_become_jobs(here: Path, monkeypatch: pytest.MonkeyPatch):
    """Every option exists, every value is in its range, and what was typed is a job in JSON."""
    called: list[execute.Command] = []
    monkeypatch.setattr(execute, "execute", lambda command: called.append(command) or 0)
    monkeypatch.setattr(folder, "execute_folder", lambda command, asked: called.append(command) or 0)
    count = 0
    for page, line, command in command_lines():
        tokens = tokens_of(command)
        if tokens is None or "--help" in tokens:
            continue
        where = f"{page}:{line}: {command}"
        if len(tokens) == 1:  # the name alone, within a sentence
            assert tokens[0] in (*TASKS, "demo", "doctor", "status", "studio"), where
            continue
        if tokens[0] not in TASKS:
            commands.build().parse_args(tokens, exit_on_error=False, print_error=False)
            continue
        called.clear()
        assert commands.call(tokens) == 0, where
        (typed,) = called
        for source in typed.inputs or (None,):
            job = typed.job(source)
            assert Job.from_json(job.to_json()) == job, where
        required = {"classifier": "lesions.pt"} if tokens[0] == "inspect" else {}
        typed.task.options(**{**required, **typed.options})
        count += 1
    assert count > 40


def test_other_commands_exist():
    """Targets of make, studies and modules that the pages name."""
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page, line, command in command_lines():
        words, where = shlex.split(command), f"{page}:{line}: {command}"
        if words[0] == "make":
            assert words[1] in targets, where
            assert all(
                study in STUDIES for word in words if word.startswith("NAME=") and (study := word[5:]) != "..."
            ), where
        elif words[0] == "python":
            assert importlib.util.find_spec(words[2]) is not None, where


@pytest.mark.parametrize(
    "command",
    [
        "preimage denoise photo.png",
        "preimage inpaint photo.png --mask holes.png --mask-white missing",
        "preimage denoise cells.tif --page all --range 0 4095 --restarts 3 --uncertainty spread.tif",
        "preimage saliency lesion.jpg --classifier lesions.pt --method mig-sg,gradcam -o where.png",
    ],
)
def test_commands_run(command: str, here: Path, brief: None):
    """As they stand in README.md; each leaves its file."""
    assert command in {each for _, _, each in command_lines()}
    tokens = shlex.split(command)[1:]
    before = set(here.iterdir())
    assert main(tokens) == 0
    assert set(here.iterdir()) - before
