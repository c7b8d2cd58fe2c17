"""`--warm-start`: pages or inputs one after another, each from the weights of the last."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from cli.tiny import TINY, pictures
from PIL import Image

from preimage.cli.progress import Progress
from preimage.engine import checkpoint
from preimage.engine.result import Result
from preimage.engine.step import Step
from preimage.images import as_picture, read
from preimage.jobs.job import Job, RunOptions
from preimage.jobs.run import Running
from preimage.observe import OraclePeak, observe
from preimage.recipes import read_recipe
from preimage.restore.denoise import denoise, recipes
from preimage.series.layout import pages_of
from preimage.stopping import after

RECIPE = read_recipe(TINY, recipes()["fast"])
COMMON = ("--recipe", "tiny.json", "--stop", "steps", "--threads", 1, "--device", "cpu")
PAGES = ("denoise", "stack.tif", "--page", "all", *COMMON)
INPUTS = ("denoise", "one.png", "two.png", "three.png", *COMMON)
NAMES = [f"{name}-denoise.png" for name in ("one", "two", "three")]


@pytest.fixture
def here(here: Path) -> Path:
    """Three like pictures as pages of one file and as files, and the same without noise in truth.tif and truth/."""
    clean = pictures()[0]
    Path("truth").mkdir()
    for k, name in enumerate(("one", "two", "three")):
        shade = np.uint8(clean * (1 - 0.15 * k))
        noise = np.random.default_rng(k).normal(0, 25, shade.shape)
        Image.fromarray(np.uint8((shade + noise).clip(0, 255))).save(f"{name}.png")
        Image.fromarray(shade).save(f"truth/{name}.png")
    for target, folder in (("stack.tif", Path()), ("truth.tif", Path("truth"))):
        stack = [np.asarray(Image.open(folder / f"{name}.png"))[..., 0] for name in ("one", "two", "three")]
        tifffile.imwrite(target, np.stack(stack), photometric="minisblack", metadata=None)
    return here


def by_hand(pages: list[Any], **options: Any) -> list[Result]:
    results: list[Result] = []
    for page in pages:
        initial = results[-1] if results else None
        options = {"recipe": RECIPE, "stop": after(), "device": "cpu", "seed": 0} | options
        results.append(denoise(page, initial=initial, **options).run())
    return results


def reports(path: str = "r.json") -> Any:
    return json.loads(Path(path).read_text())


def contents(*names: str) -> list[bytes]:
    return [Path(name).read_bytes() for name in names]


def test_pages_are_fits_by_hand_each_from_the_last(here, run):
    ran = run(*PAGES, "--warm-start", "-o", "out.tif", "--report", "r.json")
    assert ran.code == 0, ran.err
    picture = read("stack.tif", page="all")
    expected = by_hand(pages_of(picture))
    whole = picture.to_array(torch.cat([result.image for result in expected]))
    assert np.array_equal(tifffile.imread("out.tif"), whole)
    report = reports()
    assert (report["pages"], report["steps"], report["kept_steps"]) == (3, 36, [12, 12, 12])
    assert report["reason"].startswith("3 pages, kept steps 12, 12, 12")
    assert "step 1 of 36" in ran.err
    assert "page 1 of 3" in ran.err
    assert run(*PAGES, "-o", "apart.tif").code == 0
    assert not np.array_equal(tifffile.imread("out.tif")[1:], tifffile.imread("apart.tif")[1:])


def test_inputs_are_fits_by_hand_each_from_the_last(here, run):
    ran = run(*INPUTS, "--warm-start", "--report", "r.json")
    assert ran.code == 0, ran.err
    expected = by_hand(["one.png", "two.png", "three.png"])
    for name, result in zip(NAMES, expected, strict=True):
        assert np.array_equal(np.asarray(Image.open(name)), result.to_array())
    said = [report["remarks"][-1] for report in reports()]
    assert said == [
        f"begun from {source}" for source in ("random weights", "the weights of one.png", "the weights of two.png")
    ]
    assert "begun from the weights of one.png" in ran.out
    assert not list(here.glob("*.checkpoint"))


def test_inputs_of_several_pages_go_on_from_the_last_page(here, run):
    shutil.copy("stack.tif", "more.tif")
    ran = run("denoise", "stack.tif", "more.tif", "--page", "all", *COMMON, "--warm-start")
    assert ran.code == 0, ran.err
    picture = read("stack.tif", page="all")
    expected = by_hand([*pages_of(picture), *pages_of(picture)])
    second = picture.to_array(torch.cat([result.image for result in expected[3:]]))
    assert np.array_equal(tifffile.imread("more-denoise.tif"), second)


def test_a_reference_changes_no_page_and_no_input(here, run):
    extra = ("--film", "f.gif", "--every", "5", "--figure", "f.png", "--restarts", 2, "--uncertainty", "u.tif")
    assert run(*PAGES, "--warm-start", "-o", "a.tif", *extra).code == 0
    film = contents("f.gif", "u.tif")
    ran = run(*PAGES, "--warm-start", "-o", "b.tif", *extra, "--overwrite", "--reference", "truth.tif")
    assert ran.code == 0, ran.err
    assert contents("a.tif") == contents("b.tif")
    assert contents("f.gif", "u.tif") == film
    assert tifffile.imread("u.tif").shape == (3, 20, 24)
    assert run(*INPUTS, "--warm-start").code == 0
    before = contents(*NAMES)
    assert run(*INPUTS, "--warm-start", "--reference", "truth", "--overwrite").code == 0
    assert contents(*NAMES) == before


def test_the_peak_is_the_mean_of_the_best_of_each_page(here, run):
    ran = run(*PAGES, "--warm-start", "-o", "out.tif", "--reference", "truth.tif", "--report", "r.json")
    assert ran.code == 0, ran.err
    truth = read("truth.tif", page="all").tensor
    best, initial = [], None
    for page, true in zip(pages_of(read("stack.tif", page="all")), truth, strict=True):
        fit = denoise(page, recipe=RECIPE, stop=after(), device="cpu", initial=initial)
        oracle = OraclePeak(true[None])
        for _ in observe(fit, oracle):
            pass
        best.append(max((value, -step) for step, value in oracle.curve))
        initial = fit.result()
    assert reports()["peak_psnr"] == pytest.approx(np.mean([value for value, _ in best]))
    assert reports()["peak_step"] == sorted(-step for _, step in best)[1]
    assert reports()["peak_psnr"] >= reports()["psnr"] - 0.01


def test_a_film_is_of_the_first_page(here, run):
    film = ("--film", "f.gif", "--every", "5")
    assert run(*PAGES, "--warm-start", "-o", "out.tif", *film).code == 0
    with Image.open("f.gif") as shown:
        assert getattr(shown, "n_frames", 1) == 4  # of steps 1, 5 and 10, and the result


@pytest.mark.parametrize(
    ("shape", "size"),
    [((20, 30, 3), "30 x 20"), ((24, 24, 3), "24 x 24"), ((20, 24), "24 x 20")],
)
def test_inputs_of_two_sizes_are_an_error_of_the_command(here, run, shape, size):
    Image.fromarray(np.full(shape, 100, np.uint8)).save("other.png")
    tokens = ("denoise", "one.png", "two.png", "other.png", *COMMON)
    ran = run(*tokens, "--warm-start")
    assert ran.failed_in_one_line("--warm-start", "one.png", "24 x 20", "other.png", size, code="size")
    assert "step" not in ran.err
    assert not list(here.glob("*-denoise.png"))
    assert run(*tokens).code == 0


def test_one_picture_alone_is_fitted_as_ever(here, run):
    assert run("denoise", "one.png", *COMMON, "--warm-start", "-o", "a.png").code == 0
    assert run("denoise", "one.png", *COMMON, "-o", "b.png").code == 0
    assert contents("a.png") == contents("b.png")


def test_an_input_that_fails_hands_nothing_on(here, run):
    Path("text.png").write_text("not a picture")
    ran = run("denoise", "one.png", "text.png", "two.png", *COMMON, "--warm-start", "--report", "r.json")
    assert ran.failed_in_one_line("text.png")
    done = [report for report in reports() if "error" not in report]
    assert [report["remarks"][-1] for report in done] == [
        "begun from random weights",
        "begun from the weights of one.png",
    ]
    assert [report["input"] for report in reports() if "error" in report] == ["text.png"]


# ---------------------------------------------------------------------- interrupted


class Killed(BaseException):
    """The end of a process, which saves nothing on its way out."""


def end(run: Any, *tokens: object, at: int, kill: bool) -> None:
    """Run a command that ends at its n-th step: at once, or by a request to end."""
    seen: list[int] = []

    def show(progress: Progress, step: Step) -> None:
        seen.append(step.index)
        if len(seen) == at and kill:
            raise Killed
        if len(seen) == at:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Progress, "show", show)
        if kill:
            with pytest.raises(Killed):
                run(*tokens)
        else:
            assert run(*tokens).code == 143


@pytest.mark.long
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX systems")
@pytest.mark.parametrize(
    ("at", "kill", "reference"),
    [(5, True, True), (12, True, False), (15, False, True), (20, True, True), (30, False, False)],
)
def test_pages_resumed_give_the_same_bytes(here, run, at, kill, reference):
    extra = ("--warm-start", "--film", "f.gif", "--every", "3", "--figure", "f.png")
    extra += ("--reference", "truth.tif") if reference else ()
    assert run(*PAGES, *extra, "-o", "whole.tif").code == 0
    expected = contents("whole.tif", "f.gif", "f.png")
    tokens = (*PAGES, *extra, "-o", "out.tif", "--autosave", "4", "--overwrite")
    end(run, *tokens, at=at, kill=kill)
    ran = run(*tokens, "--resume")
    assert ran.code == 0, ran.err
    assert contents("out.tif", "f.gif", "f.png") == expected
    assert not list(here.glob("*.checkpoint"))


@pytest.mark.long
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX systems")
@pytest.mark.parametrize("every", [1, 100])
@pytest.mark.parametrize("kill", [True, False], ids=["killed", "asked"])
@pytest.mark.parametrize("at", [12, 13, 30])
def test_inputs_resumed_give_the_same_bytes(here, run, at, kill, every):
    """Whenever it ends: also where the input at hand has had no step saved yet, and that before it is done."""
    assert run(*INPUTS, "--warm-start").code == 0
    expected = contents(*NAMES)
    for name in NAMES:
        Path(name).unlink()
    tokens = (*INPUTS, "--warm-start", "--autosave", every)
    end(run, *tokens, at=at, kill=kill)
    ran = run(*tokens, "--resume")
    done = [
        name
        for name, before in zip(NAMES, ("one", "two", "three"), strict=True)
        if f"{before}-denoise.png exists" in ran.err
    ]
    assert ran.code == (2 if done else 0), ran.err
    assert contents(*NAMES) == expected
    assert not list(here.glob("*.checkpoint"))


def test_a_checkpoint_of_no_step_holds_no_result(here):
    options = {"recipe": "tiny.json", "stop": "steps", "device": "cpu"}
    job = Job("denoise", options, "one.png", {"output": "a.png"}, RunOptions(resume=True))
    checkpoint.save(Running(job).run, "a.png.checkpoint")
    running = Running(job)
    assert running.resumed
    assert not running.begun
    assert running.finish().state == "interrupted"
    assert not Path("a.png").exists()
    for _ in running:
        pass
    assert running.finish().state == "done"
    whole = denoise("one.png", recipe=RECIPE, stop=after(), device="cpu").run()
    assert np.array_equal(np.asarray(Image.open("a.png")), whole.to_array())


def test_weights_that_are_gone_are_said_to_be(here, run):
    """Without checkpoints nothing is left of an input that an earlier command finished."""
    assert run("denoise", "one.png", *COMMON).code == 0
    ran = run(*INPUTS, "--warm-start", "--resume", "--report", "r.json")
    assert ran.failed_in_one_line("one-denoise.png", code="exists")
    assert [each["remarks"][-1] for each in reports() if "error" not in each] == [
        "begun from random weights",
        "begun from the weights of two.png",
    ]
    alone = by_hand(["two.png"])[0]
    assert np.array_equal(np.asarray(Image.open(NAMES[1])), as_picture("two.png").to_array(alone.image))


def test_a_checkpoint_with_and_one_without_are_not_mixed(here, run):
    for first, then in (((), ("--warm-start",)), (("--warm-start",), ())):
        end(run, *PAGES, "-o", "out.tif", "--autosave", "2", "--overwrite", *first, at=4, kill=True)
        end(run, *INPUTS, "--autosave", "2", "--overwrite", *first, at=4, kill=True)
        ran = run(*PAGES, "-o", "out.tif", "--resume", *then)
        assert ran.failed_in_one_line("out.tif.checkpoint", code="checkpoint")
        ran = run(*INPUTS, "--resume", "--overwrite", *then)
        assert ran.failed_in_one_line("one-denoise.png.checkpoint", code="checkpoint")
