"""The forms of the page are drawn from the TaskSpecs alone."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, fields, replace

from preimage.jobs.job import RunOptions, run_options_of
from preimage.registry import TASKS, task_named
from preimage.restore.denoise import DenoiseOptions
from preimage.studio.forms import OWN, form_of_task, forms, tasks_of_page
from preimage.tasks import option


def named(form: dict, name: str) -> dict:
    return next(each for each in form["options"] if each["name"] == name)


def test_an_option_that_is_added_to_a_task_appears_with_its_help_unit_and_range():
    @dataclass(frozen=True, kw_only=True)
    class More(DenoiseOptions):
        sharpness: float = option(0.5, help="Sharpness of edges.", unit="px", minimum=0, maximum=2, exclusive=True)

    form = form_of_task(replace(task_named("denoise"), options=More))
    found = named(form, "sharpness")
    assert found["help"] == "Sharpness of edges."
    assert (found["unit"], found["minimum"], found["maximum"], found["exclusive"]) == ("px", 0, 2, True)
    assert found["forms"] == ["float"]
    assert (found["default"], found["required"], found["flag"]) == (0.5, False, "--sharpness")


def test_every_task_of_one_picture_has_a_form_with_all_options_that_a_page_can_set():
    assert {form["name"] for form in forms()} == {name for name in TASKS if task_named(name).inputs != "data"}
    for form in forms():
        task = task_named(form["name"])
        shown = {each["name"] for each in form["options"]}
        own = {e.name for e in fields(task.options) if "option" in e.metadata and e.metadata["option"].kind != "python"}
        assert own - shown <= {"warm_start", "calibrate"}
        assert set(run_options_of(task)) - shown <= set(OWN)
        assert all(each["help"] and each["forms"] for each in form["options"]), form["name"]
        assert len(shown) == len(form["options"])


def test_kinds_of_values_are_told_apart():
    inpaint = form_of_task(task_named("inpaint"))
    assert named(inpaint, "mask")["forms"] == ["image", "null"]
    assert named(inpaint, "mask_white")["forms"] == [{"words": ["valid", "missing"]}, "null"]
    assert {"tuple": ["int", "int"]} in named(inpaint, "tile")["forms"]
    deblur = form_of_task(task_named("deblur"))
    assert named(deblur, "kernel")["forms"] == ["file", "str"]
    assert named(deblur, "kernel")["required"]
    counterfactual = form_of_task(task_named("counterfactual"))
    assert named(counterfactual, "classifier")["forms"] == ["classifier"]
    assert named(counterfactual, "further_classifiers")["forms"] == ["classifiers", "null"]
    assert counterfactual["kind"] == "explain"


def test_paths_of_the_server_cannot_be_asked_for():
    assert "train" not in tasks_of_page()
    names = {each["name"] for each in form_of_task(task_named("inspect"))["options"]}
    assert "calibrate" not in names
    assert {each.name for each in fields(RunOptions)} >= set(OWN)


def test_the_server_imports_no_torch():
    code = "import sys, preimage.studio.app, preimage.studio.forms as f; f.forms(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
