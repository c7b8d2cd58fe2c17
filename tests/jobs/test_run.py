"""run_job: the same job writes the same bytes wherever it is run; what a job may not do is refused, and nothing is lost."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cli.tiny import ENVIRONMENT, pictures
from PIL import Image

from preimage import InputError
from preimage.engine.fit import Fit
from preimage.jobs.job import Job, RunOptions
from preimage.jobs.run import Running, run_job

THIN = {"recipe": "thin.json", "device": "cpu"}
OWN = "classifiers.small:own_classifier"


def job(name: str = "a", source: str = "noisy.png", **run: object) -> Job:
    files = {"output": f"{name}.png", "figure": f"{name}-figure.png", "film": f"{name}.gif"}
    return Job("denoise", THIN, source, files, RunOptions(threads=1, **run))  # pyright: ignore


def refused(given: Job, **options: bool) -> str:
    with pytest.raises(InputError) as error:
        run_job(given, **options)
    assert "\n" not in str(error.value)
    return error.value.code


def test_a_job_that_is_repeated_writes_the_same_bytes(here):
    outcome = run_job(job("a", report=Path("a.json")))
    assert outcome.state == "done"
    assert outcome.report["steps"] == 3
    assert json.loads(Path("a.json").read_text()) == outcome.report
    assert {name: str(path) for name, path in outcome.written.items()} == dict(job("a").outputs)
    assert run_job(Job.from_json(job("b").to_json())).state == "done"
    first = {end: Path(f"a{end}").read_bytes() for end in (".png", "-figure.png", ".gif")}
    assert all(Path(f"b{end}").read_bytes() == content for end, content in first.items())
    # Its own files are the one thing in its way.
    assert refused(job("a")) == "exists"
    assert run_job(job("a", overwrite=True)).state == "done"
    assert all(Path(f"a{end}").read_bytes() == content for end, content in first.items())


def test_a_job_that_was_done_is_done(here, monkeypatch):
    given = job("a", report=Path("a.json"))
    first = run_job(given)
    before = {path: path.read_bytes() for path in here.iterdir()}
    with monkeypatch.context() as patched:
        patched.setattr(Fit, "__next__", lambda fit: pytest.fail("it is computed again"))
        again = run_job(Job.from_json(given.to_json()))
    assert (again.state, again.report, again.written) == ("done", first.report, first.written)
    assert {path: path.read_bytes() for path in here.iterdir()} == before
    # Other options, an output that was changed or is gone, another input, another recipe in its file: it is not this one's.
    assert refused(replace(given, options={**THIN, "seed": 1})) == "exists"
    for name, content in (("a.gif", b"other"), ("noisy.png", Path("clean.png").read_bytes()), ("thin.json", b"{}")):
        Path(name).write_bytes(content)
        assert refused(given) in ("exists", "format")
        Path(name).write_bytes(before[here / name])
    assert run_job(given).state == "done"
    Path("a.gif").unlink()
    assert refused(given) == "exists"


def test_another_file_of_that_name_is_refused(here):
    whole = job().pinned()
    assert whole.input_sha256 == hashlib.sha256(Path("noisy.png").read_bytes()).hexdigest()
    assert run_job(whole).state == "done"
    Path("noisy.png").write_bytes(Path("clean.png").read_bytes())
    again = replace(whole, run=RunOptions(threads=1, overwrite=True))
    before = {path: path.read_bytes() for path in here.iterdir()}
    assert refused(again) == "format"
    assert {path: path.read_bytes() for path in here.iterdir()} == before


@pytest.mark.parametrize(
    ("task", "option"),
    [
        ("saliency", "classifier"),
        ("counterfactual", "classifier"),
        ("recover", "classifier"),
        ("inspect", "classifier"),
        ("train", "classifier"),
    ],
)
def test_a_job_from_elsewhere_imports_no_module(here, task, option):
    Path("mine.py").write_text("raise SystemExit('it was imported')")
    before = sorted(here.iterdir())
    for named in ("mine:classifier", " mine:classifier", Path("mine:classifier")):
        assert refused(Job(task, {option: named, "device": "cpu"}, "noisy.png")) == "classifier"
    assert "mine" not in sys.modules
    assert sorted(here.iterdir()) == before


def test_the_second_classifier_is_one_as_well(here):
    options = {"classifier": "torchvision:resnet18", "second_classifier": "os:getcwd"}
    assert refused(Job("counterfactual", options, "noisy.png")) == "classifier"


def test_code_that_is_allowed_is_run(here):
    pytest.importorskip("captum")  # which the oldest environment has not
    options = {"classifier": OWN, "device": "cpu", "method": "gradient"}
    asked = Job("saliency", options, "noisy.png", {"output": "map.png"})
    assert refused(asked) == "classifier"
    assert run_job(asked, allow_code=True).state == "done"
    assert Path("map.png").exists()


def test_an_input_that_is_not_there_has_no_content(here):
    assert refused(replace(job(), input="nowhere.png", input_sha256="0" * 64)) == "not-found"


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (replace(job(), input="nowhere.png"), "not-found"),
        (replace(job(), options={**THIN, "sigma": -1.0}), "invalid-value"),
        (replace(job(), options={**THIN, "recipe": "nowhere.json"}), "not-found"),
        (replace(job(), outputs={"output": "a.xyz"}), "format"),
        (replace(job(), outputs={"output": "nowhere/a.png"}), "unwritable"),
        (replace(job(), outputs={"output": "noisy.png"}), "option"),
        (replace(job(), outputs={"output": "a.png", "figure": "a.png"}), "option"),
        (job(every=5, reference=Path("nowhere.png")), "not-found"),
        (replace(job(), task="denoize"), "option"),
        (replace(job(), options={**THIN, "color": 1}), "option"),
        (replace(job(), outputs={"output": "a.png", "movie": "a.gif"}), "option"),
        (Job("maximize", {"classifier": "a.pt"}, run=RunOptions(strength=0.5)), "option"),
    ],
)
def test_what_cannot_be_is_an_error_with_a_code_and_nothing_is_written(here, given, code):
    before = sorted(here.iterdir())
    assert refused(given) == code
    assert sorted(here.iterdir()) == before


def test_what_fails_midway_leaves_nothing(here, monkeypatch):
    def fail(fit: Fit) -> None:
        raise MemoryError

    before = sorted(here.iterdir())
    monkeypatch.setattr(Fit, "__next__", fail)
    with pytest.raises(MemoryError):
        run_job(job())
    assert sorted(here.iterdir()) == before


def test_left_early_the_best_so_far_is_written_and_a_resumed_job_goes_on(here):
    run_job(job("whole"))
    given = job("a", autosave=1)
    running = Running(given)
    for step in running:
        if step.index == 2:
            break
    outcome = running.finish()
    assert outcome.state == "interrupted"
    assert outcome.report["reason_code"] == "interrupted"
    assert Path("a.png").exists()
    assert refused(given) == "exists"
    assert run_job(replace(given, run=replace(given.run, resume=True))).state == "done"
    assert Path("a.png").read_bytes() == Path("whole.png").read_bytes()
    assert Path("a.gif").read_bytes() == Path("whole.gif").read_bytes()
    assert not Path("a.png.checkpoint").exists()


def test_left_before_the_first_step_nothing_is_written(here):
    before = sorted(here.iterdir())
    assert Running(job(autosave=1)).finish().state == "interrupted"
    assert sorted(here.iterdir()) == before


# ---------------------------------------------------------------------- processes


def processes(*commands: tuple[str, ...]) -> list[tuple[int, str]]:
    """Run commands at once; exit code and stderr of each."""
    begun = [
        subprocess.Popen(
            [sys.executable, "-m", "preimage", *command, "--recipe", "thin.json", "--device", "cpu", "--threads", "1"],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for command in commands
    ]
    return [(process.returncode, err) for process in begun for _, err in [process.communicate(timeout=300)]]


@pytest.mark.long
@pytest.mark.skipif(os.name == "nt", reason="hard links")
def test_of_processes_with_one_output_one_writes(here):
    found = processes(*[("denoise", "noisy.png", "-o", "out.png", "--quiet")] * 2)
    assert sorted(code for code, _ in found) == [0, 2]
    for code, err in found:
        assert len(err.splitlines()) == (1 if code else 0), err
        assert not code or "out.png" in err
    assert run_job(job("alone")).state == "done"
    assert Path("out.png").read_bytes() == Path("alone.png").read_bytes()
    assert not list(here.glob(".preimage*"))


@pytest.mark.long
def test_processes_at_once_give_what_each_gives_alone(here):
    names = [f"p{seed}" for seed in range(2)]
    for seed, name in enumerate(names):
        Image.fromarray(pictures(20 + seed, 24)[1]).save(f"{name}.png")
    found = processes(
        *[
            ("denoise", f"{name}.png", "-o", f"{name}-out.png", "--film", f"{name}.gif", "--seed", str(seed), "--quiet")
            for seed, name in enumerate(names)
        ]
    )
    assert found == [(0, "")] * 2
    for seed, name in enumerate(names):
        files = {"output": "alone.png", "film": "alone.gif"}
        given = Job("denoise", {**THIN, "seed": seed}, f"{name}.png", files, RunOptions(threads=1, overwrite=True))
        assert run_job(given).state == "done"
        assert Path("alone.png").read_bytes() == Path(f"{name}-out.png").read_bytes()
        assert Path("alone.gif").read_bytes() == Path(f"{name}.gif").read_bytes()
